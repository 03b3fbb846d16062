import Last
import ModuleKit
import ModuleTesting
import Presence
import Testing

/// A client's presence costs others a bounded number of bytes.
@Suite struct PresenceLimitTests {
    private func fat(_ type: String = "", to: String = "", bytes: Int = 20_000) -> String {
        "<presence id='p'\(type.isEmpty ? "" : " type='\(type)'")\(to.isEmpty ? "" : " to='\(to)'")>"
            + "<status>\(String(repeating: "x", count: bytes))</status></presence>"
    }

    private func errors(_ client: TestClient) -> [String?] {
        client.inbox.filter { $0.name == "presence" && $0[attribute: "type"] == "error" }
            .map { $0.first("error", .client)?.elements.first?.name }
    }

    @Test(arguments: ["", "subscribe", "subscribed", "unsubscribe", "unsubscribed"])
    func `presence that is too large is refused, and nobody hears or keeps it`(_ type: String) async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        server.befriend(romeo, juliet)
        for to in ["", "juliet@example.org", "juliet@example.org/balcony", "mercutio@example.org"] {
            if to.isEmpty, !type.isEmpty { continue }
            romeo.inbox = []
            romeo.send(fat(type, to: to))
            server.settle()
            #expect(errors(romeo) == ["policy-violation"], "\(to)")
        }
        #expect(juliet.inbox.isEmpty)
        let late = try server.login("juliet@example.org/late")
        let shown = late.inbox.filter { $0[attribute: "from"] == "romeo@example.org/orchard" }
        #expect(shown.map { $0.elements.filter { $0.name == "status" } } == [[]])
        await server.stop()
    }

    @Test func `presence of the usual size is kept and sent, and the operator says what is usual`() async throws {
        let server = try await TestServer(standardModules, config: ["presence": options(["size": "32KiB"])])
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        server.befriend(romeo, juliet)
        romeo.send(fat())
        server.settle()
        #expect(juliet.inbox.first?.first("status", .client)?.text.utf8.count == 20_000)
        await server.stop()
    }

    @Test func `who goes with too many words has gone`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        let mercutio = try server.login("mercutio@example.org/street")
        server.befriend(romeo, juliet)
        romeo.send("<presence to='mercutio@example.org/street'/>")
        server.settle()
        mercutio.inbox = []
        romeo.send(fat("unavailable"))
        server.settle()
        for client in [juliet, mercutio] {
            #expect(client.inbox.map { $0[attribute: "type"] } == ["unavailable"])
            #expect(client.inbox.first?.elements == [])
        }
        #expect(errors(romeo) == [])
        await server.stop()
    }

    /// A contact with fifty resources that say as much as they may.
    @Test func `a contact cannot keep somebody from logging in`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        server.befriend(romeo, juliet)
        romeo.end()
        server.settle()
        for index in 0..<49 {
            let other = try server.login("juliet@example.org/\(index)")
            other.send(fat(bytes: 250_000))
            other.send(fat(bytes: 8000))
            server.settle()
        }
        let again = try server.login("romeo@example.org/orchard")
        #expect(again.phase == .ready)
        let bytes = again.inbox.reduce(0) { $0 + $1.description.utf8.count }
        #expect(bytes > 49 * 8000)
        #expect(bytes < 49 * 9000)
        await server.stop()
    }

    @Test func `whom a session has told directly is remembered within bounds, in bytes too`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let long = String(repeating: "r", count: 1000)
        for index in 0..<100 { romeo.send("<presence to='juliet@example.org/\(index)\(long)'/>") }
        server.settle()
        #expect(errors(romeo).count == 100 - 64)
        #expect(Set(errors(romeo)) == ["resource-constraint"])
        // Taking presence back makes room.
        for index in 0..<10 { romeo.send("<presence type='unavailable' to='juliet@example.org/\(index)\(long)'/>") }
        romeo.inbox = []
        for index in 0..<5 { romeo.send("<presence to='juliet@example.org/\(index)\(long)'/>") }
        server.settle()
        #expect(errors(romeo) == [])
        await server.stop()
    }
}
