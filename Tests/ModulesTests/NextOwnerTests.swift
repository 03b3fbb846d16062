import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// An account is removed while others write to it, and its name has another owner at once.
@Suite struct NextOwnerTests {
    private static let roster = "<query xmlns='jabber:iq:roster'/>"
    private static let vCard = "<vCard xmlns='vcard-temp'/>"
    private static let notes = "<query xmlns='jabber:iq:private'><notes xmlns='urn:example'/></query>"
    private let juliet = "juliet@example.org"

    /// Keeps a contact, a vCard and a private set.
    private func keep(_ client: TestClient, _ server: TestServer, _ text: String) throws {
        try client.ask(
            server, "set", "<query xmlns='jabber:iq:roster'><item jid='\(text)@example.net' name='\(text)'/></query>")
        try client.ask(server, "set", "<vCard xmlns='vcard-temp'><FN>\(text)</FN></vCard>")
        try client.ask(
            server, "set",
            "<query xmlns='jabber:iq:private'><notes xmlns='urn:example'>\(text)</notes></query>")
    }

    private func kept(_ client: TestClient, _ server: TestServer) throws -> [String] {
        let contacts = try client.ask(server, "get", Self.roster)?.elements.map { $0[attribute: "jid"] ?? "" } ?? []
        let card = try? client.ask(server, "get", Self.vCard)?.elements.first?.text
        let notes = try client.ask(server, "get", Self.notes)?.elements.first?.text ?? ""
        return contacts + [card ?? "", notes]
    }

    @Test(arguments: 0..<30)
    func `the next owner of a name starts with nothing, and what it is told to be kept is kept`(
        _ seed: UInt64
    ) async throws {
        let server = try await TestServer(standardModules, seed: seed)
        let old = try server.login("\(juliet)/balcony", management: seed % 2 == 0)
        let senders = try ["romeo@example.org/orchard", "mercutio@example.org/square"].map {
            try server.login($0, management: true)
        }
        server.befriend(old, senders[0])
        try keep(old, server, "old")
        if seed % 3 == 0 { old.cut() } else if seed % 3 == 1 { old.end() }
        server.settle()
        var sent = 0
        func send(_ count: Int) {
            for sender in senders {
                for _ in 0..<count {
                    sent += 1
                    sender.send(message(to: juliet, "\(sent)", id: "\(sent)"))
                }
            }
        }
        for sender in senders { sender.inbox = [] }
        send(20)
        // Not settled: the removal comes among what is on its way.
        for _ in 0..<(seed * 3) { _ = server.simulation.step(&server.generator) }
        let (kernel, address) = (server.server, try #require(BareJID(juliet)))
        send(20)
        _ = await server.pump { try? await kernel.removeAccount(address) }
        let first = sent + 1
        send(20)
        server.addAccount(juliet)
        send(20)
        let new = try server.login("\(juliet)/chamber", management: true)
        send(20)
        server.settle()
        let bodies = new.takeBodies()
        #expect(try kept(new, server) == ["", ""])
        // The contacts of the old account have heard that it is gone.
        let own = try senders[0].ask(server, "get", Self.roster)?.elements
        #expect(own?.first { $0[attribute: "jid"] == juliet }?[attribute: "subscription"] == "none")
        server.advance(by: .seconds(10))
        for sender in senders {
            sender.requestAcknowledgement()
            server.settle()
            #expect(sender.unacknowledged.isEmpty)
            let bounced = sender.inbox.filter { $0[attribute: "type"] == "error" }.compactMap { $0[attribute: "id"] }
            // A receipt never closes over nothing. Messages acknowledged before the removal went with the account.
            let own = (first...sent).filter { ($0 - 1) / 20 % 2 == (sender === senders[0] ? 0 : 1) }.map(String.init)
            for id in own { #expect(bodies.contains(id) != bounced.contains(id), "\(id), seed \(seed)") }
        }
        try keep(new, server, "new")
        let storage = server.crash()
        let again = try await TestServer(standardModules, memory: storage)
        let last = try again.login("\(juliet)/chamber")
        #expect(try kept(last, again) == ["new@example.net", "new", "new"])
        await again.stop()
    }

    @Test func `what is under way for a removed account bounces, and ends apart from the next one`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        // It waits for the disk when the account goes.
        server.storage.set(.stalled)
        romeo.inbox = []
        for number in 0..<5 { romeo.send(message(to: juliet, "\(number)", id: "\(number)")) }
        server.settle()
        let (kernel, address) = (server.server, try #require(BareJID(juliet)))
        let (memory, owner) = (server.memory, try #require(await owner(server)))
        // Past the stall, as the batch of another connection to the database would.
        _ = await server.pump { try? await memory.submit([.removeAccount(owner)]) }
        kernel.accountCreated(address)
        server.storage.set(.none)
        server.settle()
        let bounced = romeo.inbox.filter { $0[attribute: "type"] == "error" }
        #expect(bounced.compactMap { $0[attribute: "id"] }.sorted() == (0..<5).map(String.init))
        #expect(
            bounced.allSatisfy { $0.first("error", .client)?.elements.first?.name == "service-unavailable" })
        server.addAccount(juliet)
        server.settle()
        let new = try server.login("\(juliet)/chamber")
        #expect(new.takeBodies().isEmpty)
        romeo.send(message(to: juliet, "hello"))
        server.settle()
        #expect(new.takeBodies() == ["hello"])
        await server.stop()
    }

    private func owner(_ server: TestServer) async -> OwnerID? {
        let memory = server.memory
        return await server.pump {
            try? await memory.read([]) { snapshot throws(StorageError) in
                try snapshot.account(host: "example.org", local: "juliet")?.owner
            }
        } ?? nil
    }
}
