import Messages
import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

@Suite struct EchoTests {
    @Test func `each name counts for itself`() async throws {
        let server = try await TestServer([MessagesModule.self, EchoModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        for (name, body) in [("cave", "a"), ("cave", "b"), ("hall", "c"), ("cave", "d")] {
            romeo.send(message(to: "\(name)@echo.example.org", body))
            server.settle()
        }
        #expect(romeo.takeBodies() == ["1 a", "2 b", "1 c", "3 d"])
        await server.stop()
    }

    @Test func `an entity hibernates, and comes back with its count`() async throws {
        let server = try await TestServer([MessagesModule.self, EchoModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.send(message(to: "cave@echo.example.org", "a") + message(to: "cave@echo.example.org", "b"))
        server.settle()
        #expect(server.counts.entities == 1)
        server.advance(by: .seconds(120))
        #expect(server.counts.entities == 0)
        romeo.send(message(to: "cave@echo.example.org", "c"))
        server.settle()
        #expect(romeo.takeBodies() == ["1 a", "2 b", "3 c"])
        await server.stop()
    }

    @Test func `an entity whose state cannot be written stays`() async throws {
        let server = try await TestServer([MessagesModule.self, EchoModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.send(message(to: "cave@echo.example.org", "a"))
        server.settle()
        server.storage.set(.failing)
        server.advance(by: .seconds(120))
        server.storage.set(.none)
        romeo.send(message(to: "cave@echo.example.org", "b"))
        server.settle()
        #expect(romeo.takeBodies() == ["1 a", "2 b"])
        await server.stop()
    }

    @Test func `what comes while the state is written waits, and counts on`() async throws {
        let server = try await TestServer([MessagesModule.self, EchoModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.send(message(to: "cave@echo.example.org", "a"))
        server.settle()
        server.storage.set(.stalled)
        server.advance(by: .seconds(120))
        romeo.send(message(to: "cave@echo.example.org", "b"))
        server.settle()
        #expect(romeo.takeBodies() == ["1 a"])
        server.storage.set(.none)
        server.settle()
        #expect(romeo.takeBodies() == ["2 b"])
        await server.stop()
    }

    @Test func `a stop writes the state of every entity`() async throws {
        let server = try await TestServer([MessagesModule.self, EchoModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.send(message(to: "cave@echo.example.org", "a"))
        server.settle()
        let next = try await TestServer([MessagesModule.self, EchoModule.self], memory: await server.stop())
        let again = try next.login("romeo@example.org/orchard", priority: nil)
        again.send(message(to: "cave@echo.example.org", "b"))
        next.settle()
        #expect(again.takeBodies() == ["2 b"])
        await next.stop()
    }

    @Test func `a reload changes the options and keeps the state`() async throws {
        let server = try await TestServer([MessagesModule.self, EchoModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.send(message(to: "cave@echo.example.org", "a"))
        server.settle()
        try await server.reload([.init(name: "messages"), .init(name: "echo", node: options(["greeting": "hm "]))])
        romeo.send(message(to: "cave@echo.example.org", "b"))
        server.settle()
        // The entity lives on with the wiring it was made with; a new one has the new wiring.
        romeo.send(message(to: "hall@echo.example.org", "c"))
        server.settle()
        let bodies = romeo.takeBodies()
        #expect(bodies.first == "1 a")
        #expect(bodies.last == "hm 1 c")
        #expect(bodies.dropFirst().first?.hasSuffix("2 b") == true)
        await server.stop()
    }
}
