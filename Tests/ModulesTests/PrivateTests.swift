import ModuleKit
import ModuleTesting
import Private
import Testing
import XMPPServer

@Suite struct PrivateTests {
    private func query(_ content: String) -> String { "<query xmlns='jabber:iq:private'>\(content)</query>" }
    private let prefs = "<exodus xmlns='exodus:prefs'><defaultnick>Hamlet</defaultnick></exodus>"

    @Test func `what was kept comes back, also after a restart`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(try romeo.ask(server, "set", query(prefs)) == nil)
        let other = try server.login("romeo@example.org/garden")
        let answer = try other.ask(server, "get", query("<exodus xmlns='exodus:prefs'/>"))
        #expect(answer?.first("exodus", "exodus:prefs")?.elements.first?.text == "Hamlet")
        let next = try await TestServer(standardModules, memory: server.crash())
        let again = try next.login("romeo@example.org/orchard")
        let kept = try again.ask(next, "get", query("<exodus xmlns='exodus:prefs'/>"))
        #expect(kept == answer)
        await next.stop()
    }

    @Test func `what was never kept comes back empty`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let answer = try romeo.ask(server, "get", query("<a xmlns='urn:x'><b/></a>"))
        #expect(answer?.elements == [Element("a", "urn:x")])
        await server.stop()
    }

    @Test func `a set replaces the element of its name and leaves others`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        try romeo.ask(server, "set", query("<a xmlns='urn:x'>1</a><b xmlns='urn:x'>2</b>"))
        try romeo.ask(server, "set", query("<a xmlns='urn:x'>3</a>"))
        let answer = try romeo.ask(server, "get", query("<a xmlns='urn:x'/><b xmlns='urn:x'/><a2 xmlns='urn:x'/>"))
        #expect(answer?.elements.map(\.text) == ["3", "2", ""])
        await server.stop()
    }

    @Test func `an empty element takes the kept one away`() async throws {
        let server = try await TestServer(standardModules, config: ["private": options(["elements": "1"])])
        let romeo = try server.login("romeo@example.org/orchard")
        try romeo.ask(server, "set", query("<a xmlns='urn:x'>1</a>"))
        #expect(romeo.refusal(server, "set", query("<b xmlns='urn:x'>1</b>")) == "resource-constraint")
        try romeo.ask(server, "set", query("<a xmlns='urn:x'/>"))
        #expect(romeo.refusal(server, "set", query("<b xmlns='urn:x'>1</b>")) == nil)
        await server.stop()
    }

    @Test(arguments: [
        ("get", "", "bad-request"), ("set", "", "not-acceptable"),
        ("get", "<a xmlns='urn:x'/><a xmlns='urn:y'/>", "bad-request"),
        ("set", "<a xmlns='urn:x'/><a xmlns='urn:y'/>", "bad-request"),
        ("set", "<a xmlns='urn:x'>1</a><a xmlns='urn:x'>2</a>", "bad-request"),
        ("get", "<a xmlns='urn:x'/><a xmlns='urn:x'/>", "bad-request"),
        ("set", "<vCard xmlns='vcard-temp'/>", "not-acceptable"),
        ("set", "<query xmlns='jabber:iq:roster'/>", "not-acceptable"),
        ("set", "<x xmlns='http://jabber.org/protocol/muc'/>", "not-acceptable"),
        ("get", "<x xmlns='jabber:iq:private'/>", "not-acceptable"), ("set", "<x/>", "not-acceptable"),
        ("set", "<x xmlns=''/>", "not-acceptable"),
    ])
    func `what breaks the rules is refused`(_ type: String, _ content: String, _ condition: String) async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(romeo.refusal(server, type, query(content)) == condition)
        await server.stop()
    }

    @Test func `nobody reads or writes what is another's`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        server.befriend(romeo, juliet)
        try juliet.ask(server, "set", query(prefs))
        for (address, condition) in [
            ("juliet@example.org", "forbidden"), ("nobody@example.org", "forbidden"),
            ("example.org", "service-unavailable"),
        ] {
            #expect(romeo.refusal(server, "get", query(prefs), to: address) == condition)
            #expect(romeo.refusal(server, "set", query(prefs), to: address) == condition)
        }
        await server.stop()
    }

    @Test func `limits of number, size and sum hold, also for sets at the same time`() async throws {
        let server = try await TestServer(
            standardModules, config: ["private": options(["elements": "4", "element": "300", "bytes": "1KiB"])])
        let clients = try (0..<8).map { try server.login("romeo@example.org/r\($0)", priority: nil) }
        for (number, client) in clients.enumerated() {
            client.send("<iq type='set' id='s'>\(query("<n\(number) xmlns='urn:x'>1</n\(number)>"))</iq>")
        }
        server.settle()
        let results = clients.compactMap { $0.inbox.first?[attribute: "type"] }
        #expect(results.count == 8)
        #expect(results.filter { $0 == "result" }.count == 4)
        let romeo = clients[0]
        romeo.inbox = []
        let long = String(repeating: "x", count: 400)
        #expect(romeo.refusal(server, "set", query("<n0 xmlns='urn:x'>\(long)</n0>")) != nil)
        await server.stop()
    }

    @Test func `a set is answered when it is on disk, and refused when the disk refuses`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        server.storage.set(.stalled)
        romeo.send("<iq type='set' id='s'>\(query(prefs))</iq>")
        server.settle()
        try romeo.expectNo("iq")
        server.storage.set(.none)
        server.settle()
        try romeo.expect("<iq type='result' id='s'/>")
        server.storage.set(.failing)
        #expect(romeo.refusal(server, "set", query("<a xmlns='urn:x'>1</a>")) == "resource-constraint")
        server.storage.set(.none)
        #expect(try romeo.ask(server, "get", query("<a xmlns='urn:x'/>"))?.elements == [Element("a", "urn:x")])
        await server.stop()
    }

    @Test func `odd names of elements and namespaces are kept apart`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let namespaces = [
            "urn:a%", "urn:a_", "urn:ab", "urn:a&apos;; --", "urn:&quot;", "{x}", "urn:\u{1F600}", "urn:e\u{301}",
            "urn:\u{E9}",
        ]
        for (number, namespace) in namespaces.enumerated() {
            try romeo.ask(server, "set", query("<a xmlns='\(namespace)'>\(number)</a>"))
        }
        for (number, namespace) in namespaces.enumerated() {
            let answer = try romeo.ask(server, "get", query("<a xmlns='\(namespace)'/>"))
            #expect(answer?.elements.first?.text == "\(number)", "\(namespace)")
        }
        await server.stop()
    }

    @Test func `an element that cannot be read is an error, not an empty one that the client would write over`()
        async throws
    {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        try romeo.ask(server, "set", query("<a xmlns='urn:x'>1</a>"))
        let memory = server.memory
        let owner = try #require(
            await server.pump {
                try? await memory.read([]) { snapshot throws(StorageError) in
                    try snapshot.account(host: "example.org", local: "romeo")?.owner
                }
            } ?? nil)
        server.storage.submit([.put("private", owner, key: "{urn:x}a", value: Array("<a".utf8))]) { _ in }
        server.settle()
        #expect(romeo.refusal(server, "get", query("<a xmlns='urn:x'/>")) == "internal-server-error")
        #expect(romeo.refusal(server, "get", query("<b xmlns='urn:x'/>")) == nil)
        await server.stop()
    }

    @Test func `an element with every attribute that the limits allow comes back`() async throws {
        let server = try await TestServer(standardModules) { $0.limits.authenticated.elements.attributes = 10_000 }
        let romeo = try server.login("romeo@example.org/orchard")
        let attributes = (0..<4000).map { "a\($0)='x'" }.joined(separator: " ")
        try romeo.ask(server, "set", query("<a xmlns='urn:x' \(attributes)>1</a>"))
        let answer = try romeo.ask(server, "get", query("<a xmlns='urn:x'/>"))
        #expect(answer?.elements.first?.attributes.count == 4000)
        await server.stop()
    }

    @Test func `what waits for the disk is bounded in bytes`() async throws {
        let server = try await TestServer(standardModules, config: ["private": options(["bytes": "8KiB"])])
        let clients = try (0..<10).map { try server.login("romeo@example.org/\($0)", priority: nil) }
        server.storage.set(.stalled)
        for (index, client) in clients.enumerated() {
            let text = String(repeating: "x", count: 2000)
            client.send(
                """
                <iq type='set' id='s'><query xmlns='jabber:iq:private'><e xmlns='urn:e:\(index)'>\(text)</e></query></iq>
                """)
        }
        server.settle()
        let refused = clients.count { $0.inbox.contains { $0[attribute: "type"] == "error" } }
        #expect((5...7).contains(refused))
        server.storage.set(.none)
        server.settle()
        #expect(clients.count { $0.inbox.contains { $0[attribute: "type"] == "result" } } == 10 - refused)
        // The line has come to its end, and there is room again.
        let brief = "<query xmlns='jabber:iq:private'><e xmlns='urn:e:0'>y</e></query>"
        #expect(clients[0].refusal(server, "set", brief) == nil)
        await server.stop()
    }
}
