import ModuleKit
import ModuleTesting
import Ping
import Private
import StorageMemory
import Testing
import XMPPServer

/// A session that waits goes on when nothing is in its way any more, whatever it was.
@Suite struct PressureTests {
    private static let get = "<iq type='get' id='g'><query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query></iq>"
    private static let ping = "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>"

    /// More than the mark, of nobody's rows.
    private func press(_ server: TestServer) {
        let rows = (0..<20_001).map { Mutation.delete("private", OwnerID(.max), key: "\($0)") }
        server.storage.submit(rows) { _ in }
        #expect(server.storage.isPressed)
    }

    @Test func `a session whose answer comes while the storage is pressed goes on afterwards`() async throws {
        let server = try await TestServer([PingModule.self, PrivateModule.self])
        let romeo = try server.login("romeo@example.org/orchard")
        let memory = server.memory
        let found = await server.pump {
            try? await memory.read([]) { snapshot throws(StorageError) in
                try snapshot.account(host: "example.org", local: "romeo")?.owner
            }
        }
        let owner = try #require(found ?? nil)
        server.storage.set(.stalled)
        // A read of romeo's rows waits for this one.
        server.storage.submit([.delete("private", owner, key: "x")]) { _ in }
        romeo.send(Self.get)
        server.settle()
        #expect(romeo.inbox.isEmpty)
        romeo.send(Self.ping)
        server.settle()
        press(server)
        // The answer comes, and what it waited for is over, but not the pressure.
        server.storage.timeOutReads()
        server.settle()
        #expect(romeo.inbox.compactMap { $0[attribute: "id"] } == ["g"])
        server.advance(by: .seconds(1))
        #expect(romeo.inbox.compactMap { $0[attribute: "id"] } == ["g"])
        server.storage.set(.none)
        server.advance(by: .seconds(1))
        #expect(romeo.inbox.compactMap { $0[attribute: "id"] } == ["g", "p"])
        await server.stop()
    }
}
