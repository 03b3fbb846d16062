import ModuleKit
import ModuleTesting
import Register
import Testing

/// XEP-0077.
@Suite struct RegisterTests: RegisterSuite {
    private let remove = "<query xmlns='jabber:iq:register'><remove/></query>"

    private func form(_ name: String, _ password: String) -> String {
        "<query xmlns='jabber:iq:register'><username>\(name)</username><password>\(password)</password></query>"
    }

    // MARK: Making an account

    @Test func `a stranger asks for the form, makes an account and logs in with it`() async throws {
        let server = try await server()
        let stranger = outside(server)
        #expect(stranger.offered?.first("register", .init("http://jabber.org/features/iq-register")) != nil)
        let fields = try stranger.ask(server, "get", empty, to: "example.org")
        #expect(fields?.elements.map(\.name) == ["instructions", "username", "password", "x"])
        #expect(try stranger.ask(server, "set", form("Bill", "Calliope"), to: "example.org") == nil)
        #expect(inside(server, "bill@example.org/globe", "Calliope").phase == .ready)
        #expect(await server.status("register_made") == 1)
        await server.stop()
    }

    @Test func `the account is there after a crash, once the result was sent`() async throws {
        let server = try await server()
        try outside(server).ask(server, "set", form("bill", "Calliope"))
        let next = try await TestServer(Self.modules, memory: server.crash())
        #expect(inside(next, "bill@example.org/globe", "Calliope").phase == .ready)
        await next.stop()
    }

    @Test func `without the module, and without encryption, nothing is offered or answered`() async throws {
        let without = try await TestServer(standardModules)
        let stranger = outside(without)
        #expect(stranger.offered?.elements.contains { $0.name == "register" } == false)
        #expect(stranger.refusal(without, "get", empty) == "no answer")
        #expect(stranger.errors.last?.elements.first?.name == "not-authorized")
        await without.stop()

        let server = try await server()
        var options = TestClient.Options()
        options.staysOutside = true
        let clear = server.client("stranger@example.org/x", options)
        clear.logIn()
        server.settle()
        #expect(clear.offered?.elements.contains { $0.name == "register" } == false)
        #expect(clear.refusal(server, "set", form("bill", "Calliope")) == "no answer")
        #expect(clear.errors.last?.elements.first?.name == "not-authorized")
        #expect(clear.phase == .offline)
        await server.stop()
    }

    @Test func `it is offered after STARTTLS, not before, and not after authentication`() async throws {
        let server = try await server()
        var options = TestClient.Options()
        options.startsTLS = true
        options.staysOutside = true
        let stranger = server.client("stranger@example.org/x", options)
        stranger.logIn()
        server.settle()
        #expect(stranger.offered?.elements.contains { $0.name == "register" } == true)
        let romeo = inside(server, "romeo@example.org/orchard")
        #expect(romeo.phase == .ready)
        #expect(romeo.offered?.elements.contains { $0.name == "register" } == false)
        await server.stop()
    }

    @Test func `a name that is taken is a conflict, in every spelling`() async throws {
        let server = try await server()
        let stranger = outside(server)
        for name in ["romeo", "ROMEO", "ｒｏｍｅｏ"] {
            #expect(stranger.refusal(server, "set", form(name, "long enough")) == "conflict", "\(name)")
        }
        // After a conflict another name may be tried on the same stream.
        #expect(stranger.refusal(server, "set", form("romeo2", "long enough")) == nil)
        await server.stop()
    }

    @Test(arguments: [
        ("", "long enough"), ("bill", ""), ("a b", "long enough"), ("a@b", "long enough"), ("a/b", "long enough"),
        ("o&apos;neil", "long enough"), ("&#x200b;", "long enough"), ("😀", "long enough"), ("bill", "short"),
        ("bill", "long enough\u{7F}"), ("admin", "long enough"), ("Abuse", "long enough"), ("ＡＤＭＩＮ", "long enough"),
        ("rоmeo", "long enough"), ("αdmin", "long enough"),
    ])
    func `names and passwords that break the rules are not acceptable`(_ name: String, _ password: String) async throws
    {
        let server = try await server()
        #expect(outside(server).refusal(server, "set", form(name, password)) == "not-acceptable")
        await server.stop()
    }

    @Test func `the name of the account is no password, in no spelling, with the host or without`() async throws {
        let server = try await server(["shortest": "1", "per_address": "100"])
        let stranger = outside(server)
        for password in [
            "balthasar", "Balthasar", "BALTHASAR", "ｂａｌｔｈａｓａｒ", "balthasar@example.org", "BALTHASAR@Example.ORG.",
        ] {
            let request = form("Balthasar", password)
            #expect(stranger.refusal(server, "set", request) == "not-acceptable", "\(password)")
        }
        stranger.send("<iq type='set' id='x'>\(form("balthasar", "balthasar"))</iq>")
        server.settle()
        let text = stranger.inbox.last?.first("error", .client)?.elements.last?.text
        #expect(text == "the password must not be the name of the account")
        for password in ["balthasar1", "balthasar@example.net", "example.org", "balthasar@example.org/x"] {
            let romeo = inside(server, "romeo@example.org/orchard")
            #expect(romeo.refusal(server, "set", form("romeo", "ROMEO")) == "not-acceptable")
            let request = form("a\(password.count)", password)
            #expect(outside(server).refusal(server, "set", request) == nil, "\(password)")
        }
        await server.stop()
    }

    @Test func `missing fields are not acceptable, and nobody is there to be removed`() async throws {
        let server = try await server()
        let stranger = outside(server)
        #expect(stranger.refusal(server, "set", empty) == "not-acceptable")
        #expect(
            stranger.refusal(server, "set", "<query xmlns='jabber:iq:register'><username>x</username></query>")
                == "not-acceptable")
        #expect(stranger.refusal(server, "set", remove) == "unexpected-request")
        await server.stop()
    }

    @Test func `names with percent, underscore and other scripts are what they are`() async throws {
        let server = try await server()
        for (number, name) in ["a%", "a_", "ab", "a;--", "ромео", "jürgen", "ju\u{308}rgen2"].enumerated() {
            let stranger = outside(server, from: "192.0.2.\(number + 10)")
            #expect(stranger.refusal(server, "set", form(name, "long enough \(number)")) == nil, "\(name)")
            #expect(inside(server, "\(name)@example.org/a", "long enough \(number)").phase == .ready, "\(name)")
        }
        await server.stop()
    }

    @Test func `one stream makes one account`() async throws {
        let server = try await server()
        let stranger = outside(server)
        try stranger.ask(server, "set", form("one", "long enough"))
        #expect(stranger.refusal(server, "set", form("two", "long enough")) == "not-acceptable")
        await server.stop()
    }

    @Test func `one stream makes as many accounts as the operator allows, refused names apart`() async throws {
        let server = try await server(["per_stream": "3"])
        let stranger = outside(server)
        #expect(stranger.refusal(server, "set", form("romeo", "long enough")) == "conflict")
        for name in ["one", "two", "three"] { try stranger.ask(server, "set", form(name, "long enough")) }
        #expect(stranger.refusal(server, "set", form("four", "long enough")) == "not-acceptable")
        #expect(inside(server, "three@example.org/a", "long enough").phase == .ready)
        await server.stop()
    }

    @Test func `an account is made at the host and nowhere else`() async throws {
        let server = try await server(["per_stream": "10"])
        let stranger = outside(server)
        for address in [
            "romeo@example.org", "nobody@example.org", "example.org/x", "example.net", "romeo@example.net/x",
        ] {
            #expect(stranger.refusal(server, "get", empty, to: address) == "service-unavailable", "\(address)")
            let request = form("one", "long enough")
            #expect(stranger.refusal(server, "set", request, to: address) == "service-unavailable", "\(address)")
        }
        for address in [nil, "example.org", "EXAMPLE.org"] {
            #expect(stranger.refusal(server, "get", empty, to: address) == nil, "\(address ?? "")")
        }
        #expect(stranger.refusal(server, "set", form("one", "long enough"), to: "example.org") == nil)
        await server.stop()
    }

    @Test func `who has an account asks nothing of another's registration, and changes nothing`() async throws {
        let server = try await server()
        let romeo = inside(server, "romeo@example.org/orchard")
        for address in ["juliet@example.org", "nobody@example.org"] {
            #expect(romeo.refusal(server, "get", empty, to: address) == "service-unavailable")
            #expect(romeo.refusal(server, "set", form("romeo", "long enough"), to: address) == "service-unavailable")
            #expect(romeo.refusal(server, "set", remove, to: address) == "service-unavailable")
        }
        #expect(inside(server, "romeo@example.org/street").phase == .ready)
        #expect(inside(server, "juliet@example.org/street").phase == .ready)
        await server.stop()
    }

    @Test func `what is no request breaks nothing`() async throws {
        let server = try await server()
        let stranger = outside(server)
        stranger.send("<iq type='set'>\(empty)</iq>")
        server.settle()
        #expect(stranger.inbox.first?.first("error", .client)?.elements.first?.name == "bad-request")
        stranger.inbox = []
        stranger.send("<iq type='set' id='two'>\(empty)\(empty)</iq>")
        server.settle()
        #expect(stranger.inbox.first?.first("error", .client)?.elements.first?.name == "bad-request")
        #expect(stranger.refusal(server, "get", empty) == nil)
        stranger.send("<iq type='get' id='x'><query xmlns='jabber:iq:roster'/></iq>")
        server.settle()
        #expect(stranger.errors.last?.elements.first?.name == "not-authorized")
        await server.stop()
    }

    @Test func `a failing disk is told, and the name can be had later`() async throws {
        let server = try await server()
        let stranger = outside(server)
        server.storage.set(.failing)
        #expect(stranger.refusal(server, "set", form("bill", "long enough")) == "resource-constraint")
        server.storage.set(.none)
        #expect(stranger.refusal(server, "set", form("bill", "long enough")) == nil)
        await server.stop()
    }

    @Test func `requests sent in one go are answered one after the other`() async throws {
        let server = try await server()
        let stranger = outside(server)
        for number in 0..<5 { stranger.send("<iq type='set' id='r\(number)'>\(form("bill", "long enough"))</iq>") }
        server.settle()
        #expect(stranger.inbox.map { $0[attribute: "id"] } == (0..<5).map { "r\($0)" })
        #expect(stranger.inbox.map { $0[attribute: "type"] } == ["result", "error", "error", "error", "error"])
        await server.stop()
    }

    // MARK: Limits

    @Test func `line 34: an address has so many attempts, a network of IPv6 addresses too, and later again`()
        async throws
    {
        let server = try await server(["per_address": "2"])
        func attempt(_ name: String, _ peer: String) -> String? {
            outside(server, from: peer).refusal(server, "set", form(name, "long enough"))
        }
        #expect(attempt("a1", "2001:db8::1") == nil)
        #expect(attempt("a2", "2001:db8::2") == nil)
        #expect(attempt("a3", "2001:db8::ffff") == "resource-constraint")
        #expect(attempt("a3", "2001:db8:0:1::1") == nil)
        // Guessing names counts as well.
        #expect(attempt("a1", "192.0.2.7") == "conflict")
        #expect(attempt("a1", "192.0.2.7") == "conflict")
        #expect(attempt("a1", "192.0.2.7") == "resource-constraint")
        server.advance(by: .seconds(3601))
        #expect(attempt("a4", "2001:db8::3") == nil)
        #expect(await server.status("register_refused") == 4)
        await server.stop()
    }

    @Test func `line 34: all addresses together have so many attempts`() async throws {
        let server = try await server(["total": "3"])
        let outcomes = (0..<5).map { number in
            outside(server, from: "198.51.100.\(number)").refusal(server, "set", form("n\(number)", "long enough"))
        }
        #expect(outcomes == [nil, nil, nil, "resource-constraint", "resource-constraint"])
        await server.stop()
    }

    // MARK: Having an account

    @Test func `who is registered is told so`() async throws {
        let server = try await server()
        let romeo = inside(server, "romeo@example.org/orchard")
        let answer = try romeo.ask(server, "get", empty, to: "example.org")
        #expect(answer?.elements.map(\.name) == ["registered", "instructions", "username", "password"])
        #expect(answer?.elements.dropFirst(2).map(\.text) == ["romeo", ""])
        await server.stop()
    }

    @Test func `a changed password holds, the old one does not, and only the asking session stays`() async throws {
        let server = try await server()
        let romeo = inside(server, "romeo@example.org/orchard")
        let other = inside(server, "romeo@example.org/garden")
        #expect(try romeo.ask(server, "set", form("Romeo", "a new password"), to: "example.org") == nil)
        #expect(other.phase == .offline)
        #expect(other.errors.last?.elements.first?.name == "not-authorized")
        #expect(romeo.phase == .ready)
        #expect(romeo.refusal(server, "get", "<ping xmlns='urn:xmpp:ping'/>", to: "example.org") == nil)
        #expect(inside(server, "romeo@example.org/street").phase == .negotiating)
        #expect(inside(server, "romeo@example.org/street", "a new password").phase == .ready)
        await server.stop()
    }

    @Test func `a password change that breaks the rules changes nothing`() async throws {
        let server = try await server()
        let romeo = inside(server, "romeo@example.org/orchard")
        let query = "<query xmlns='jabber:iq:register'>"
        #expect(romeo.refusal(server, "set", "\(query)<password>a new password</password></query>") == "bad-request")
        #expect(romeo.refusal(server, "set", form("romeo", "")) == "bad-request")
        #expect(romeo.refusal(server, "set", form("romeo", "short")) == "not-acceptable")
        #expect(romeo.refusal(server, "set", form("juliet", "a new password")) == "not-allowed")
        #expect(romeo.refusal(server, "set", form("romeo", "a new password\u{7F}")) == "not-acceptable")
        #expect(inside(server, "romeo@example.org/street").phase == .ready)
        #expect(inside(server, "juliet@example.org/street").phase == .ready)
        await server.stop()
    }

    @Test func `new passwords are for a while as many as attempts of an address`() async throws {
        let server = try await server(["per_address": "2"])
        let romeo = inside(server, "romeo@example.org/orchard")
        let outcomes = (0..<3).map { romeo.refusal(server, "set", form("romeo", "a new password \($0)")) }
        #expect(outcomes == [nil, nil, "resource-constraint"])
        let juliet = inside(server, "juliet@example.org/balcony")
        #expect(juliet.refusal(server, "set", form("juliet", "a new password")) == nil)
        server.advance(by: .seconds(3601))
        #expect(romeo.refusal(server, "set", form("romeo", "a newer password")) == nil)
        await server.stop()
    }

    @Test func `a channel that is not safe changes no password`() async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(romeo.refusal(server, "set", form("romeo", "a new password")) == "not-authorized")
        await server.stop()
    }

    @Test func `what the operator has switched off is not allowed`() async throws {
        let server = try await server(["create": "false", "password": "false", "remove": "false"])
        let romeo = inside(server, "romeo@example.org/orchard")
        #expect(romeo.refusal(server, "set", form("romeo", "a new password")) == "not-allowed")
        #expect(romeo.refusal(server, "set", remove) == "not-allowed")
        let stranger = outside(server)
        #expect(stranger.offered?.elements.contains { $0.name == "register" } == false)
        #expect(stranger.refusal(server, "get", empty) == "no answer")
        await server.stop()
    }

    @Test func `another host has nobody of ours registered`() async throws {
        let server = try await TestServer(Self.modules, hosts: ["example.org", "example.net"])
        let romeo = inside(server, "romeo@example.org/orchard")
        for payload in [remove, form("romeo", "a new password")] {
            #expect(romeo.refusal(server, "set", payload, to: "example.net") == "registration-required")
        }
        #expect(romeo.refusal(server, "get", empty, to: "example.net") == "service-unavailable")
        #expect(inside(server, "romeo@example.net/orchard").phase == .ready)
        await server.stop()
    }

    // MARK: Leaving

    @Test func `who removes the account hears so, then all its sessions end, and it is gone`() async throws {
        let server = try await server()
        let romeo = inside(server, "romeo@example.org/orchard")
        let other = inside(server, "romeo@example.org/garden")
        #expect(
            romeo.refusal(server, "set", "<query xmlns='jabber:iq:register'><remove/><username/></query>")
                == "bad-request")
        #expect(try romeo.ask(server, "set", remove) == nil)
        for client in [romeo, other] {
            #expect(client.phase == .offline)
            #expect(client.errors.last?.elements.first?.name == "not-authorized")
        }
        #expect(inside(server, "romeo@example.org/orchard").phase == .negotiating)
        await server.stop()
    }

    @Test func `contacts see the account leave for good`() async throws {
        let server = try await server()
        let romeo = inside(server, "romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        _ = try juliet.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")
        server.befriend(romeo, juliet)
        romeo.send("<iq type='set' id='r'>\(remove)</iq>")
        server.settle()
        let heard = juliet.inbox.filter { $0.name == "presence" }.map { $0[attribute: "type"] }
        #expect(
            heard == ["unavailable", "unsubscribe", "unsubscribed"]
                || heard == ["unavailable", "unsubscribed", "unsubscribe"])
        let roster = try juliet.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")
        #expect(roster?.elements.first?[attribute: "subscription"] == "none")
        await server.stop()
    }

    @Test func `line 34: nothing of a removed account is there for who takes its name`() async throws {
        let server = try await server()
        let romeo = inside(server, "romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        server.befriend(romeo, juliet)
        let note = "<query xmlns='jabber:iq:private'><a xmlns='urn:x'>secret</a></query>"
        let card = "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>"
        try romeo.ask(server, "set", note)
        try romeo.ask(server, "set", card)
        romeo.send("<presence type='unavailable'><status>gone</status></presence>")
        server.settle()
        juliet.send(message(to: "romeo@example.org", "for the old one"))
        server.settle()
        #expect(try romeo.ask(server, "set", remove) == nil)
        juliet.inbox = []
        try outside(server).ask(server, "set", form("romeo", "somebody else"))
        let heir = inside(server, "romeo@example.org/orchard", "somebody else")
        #expect(heir.phase == .ready)
        #expect(heir.takeBodies().isEmpty)
        #expect(try heir.ask(server, "get", note)?.elements == [Element("a", "urn:x")])
        #expect(heir.refusal(server, "get", "<vCard xmlns='vcard-temp'/>") == "item-not-found")
        #expect(try heir.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")?.elements.isEmpty == true)
        #expect(juliet.inbox.isEmpty)
        #expect(
            juliet.refusal(server, "get", "<query xmlns='jabber:iq:last'/>", to: "romeo@example.org") == "forbidden")
        await server.stop()
    }

    @Test func `a removal that the disk refuses removes nothing`() async throws {
        let server = try await server()
        let romeo = inside(server, "romeo@example.org/orchard")
        server.storage.set(.failing)
        #expect(romeo.refusal(server, "set", remove) == "resource-constraint")
        server.storage.set(.none)
        #expect(romeo.phase == .ready)
        #expect(inside(server, "romeo@example.org/garden").phase == .ready)
        await server.stop()
    }
}
