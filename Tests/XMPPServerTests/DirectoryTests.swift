import Messages
import ModuleKit
import ModuleTesting
import Synchronization
import Testing
import XMPPServer

/// Two processes, of which one is the test: some addresses live there.
private final class TestCourier: Courier {
    let carried = Mutex<[(stanza: Stanza, node: NodeID)]>([])
    let elsewhere: Set<String>

    init(_ elsewhere: Set<String>) {
        self.elsewhere = elsewhere
    }

    func node(of address: BareJID) -> NodeID? { elsewhere.contains(address.local) ? NodeID(7) : nil }

    func carry(_ envelope: Envelope, for address: BareJID, to node: NodeID) {
        carried.withLock { $0.append((envelope.stanza, node)) }
    }
}

@Suite struct DirectoryTests {
    @Test func `what is for an address of another process goes to the courier, and what comes from there arrives`()
        async throws
    {
        let courier = TestCourier(["juliet"])
        let server = try await TestServer([MessagesModule.self], loops: 3, courier: courier)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send("<message to='juliet@example.org' type='chat'><body>over there</body></message>")
        romeo.send("<message to='romeo@example.org/orchard' type='chat'><body>here</body></message>")
        server.settle()
        #expect(romeo.takeBodies() == ["here"])
        let carried = courier.carried.withLock { $0.map { ($0.stanza.to?.description, $0.node) } }
        #expect(carried.count == 1)
        #expect(carried.first?.0 == "juliet@example.org")
        #expect(carried.first?.1 == NodeID(7))

        var answer = Element("message", .client, ["type": "chat"])
        answer.append(Element("body", .client, [:], "back"))
        let from = try #require(JID("juliet@example.org/balcony"))
        let stanza = Stanza(answer).with(from: from, to: romeo.address)
        server.server.deliver(Envelope(stanza), for: romeo.account)
        server.settle()
        #expect(romeo.takeBodies() == ["back"])
        await server.stop()
    }
}
