import ModuleKit
import ModuleTesting
import Testing

/// XEP-0013 with messages as large as they may be.
@Suite struct LargeRetrievalTests {
    @Test func `a client that reads gets all its messages, however large they are together`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let text = String(repeating: "x", count: 200_000)
        for number in 0..<15 {
            romeo.send("<message to='juliet@example.org' type='chat' id='\(number)'><body>\(text)</body></message>")
        }
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony", priority: nil)
        juliet.send("<iq type='get' id='f'><offline xmlns='http://jabber.org/protocol/offline'><fetch/></offline></iq>")
        server.advance(by: .seconds(1))
        #expect(juliet.errors.isEmpty)
        #expect(juliet.inbox.count { $0.name == "message" } == 15)
        #expect(juliet.inbox.contains { $0[attribute: "id"] == "f" && $0[attribute: "type"] == "result" })
        await server.stop()
    }
}
