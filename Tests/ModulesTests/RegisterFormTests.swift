import ModuleKit
import ModuleTesting
import Register
import Testing
import XMPPServer

/// XEP-0077 §4 to §6: data forms and redirection; and what a reload leaves of the counts.
@Suite struct RegisterFormTests: RegisterSuite {
    private func fields(_ name: String, _ password: String) -> String {
        "<username>\(name)</username><password>\(password)</password>"
    }

    private func form(_ pairs: KeyValuePairs<String, String>, kind: String = "submit") -> String {
        let fields = pairs.map { "<field var='\($0)'><value>\($1)</value></field>" }.joined()
        return "<x xmlns='jabber:x:data' type='\(kind)'>\(fields)</x>"
    }

    private func query(_ content: String) -> String { "<query xmlns='jabber:iq:register'>\(content)</query>" }

    // MARK: Forms

    @Test func `the form asks for what the elements ask for, and may be sent in instead`() async throws {
        let server = try await server()
        let stranger = outside(server)
        let answer = try #require(try stranger.ask(server, "get", empty))
        let form = try #require(try DataForm(in: XMLTree(answer).root))
        #expect(form.kind == .form)
        #expect(form.type == "jabber:iq:register")
        #expect(form.instructions == [answer.first("instructions", .register)?.text])
        #expect(form["username"]?.isRequired == true)
        #expect(form["username"]?.type == .textSingle)
        #expect(form["password"]?.isRequired == true)
        #expect(form["password"]?.type == .textPrivate)

        let filled = self.form(["FORM_TYPE": "jabber:iq:register", "username": "Bill", "password": "Calliope"])
        #expect(try stranger.ask(server, "set", query(filled)) == nil)
        let bill = inside(server, "bill@example.org/globe", "Calliope")
        #expect(bill.phase == .ready)
        // And the new password in the same way.
        let changed = self.form([
            "FORM_TYPE": "jabber:iq:register:changepassword", "username": "bill", "old_password": "Calliope",
            "password": "Melpomene",
        ])
        #expect(try bill.ask(server, "set", query(changed)) == nil)
        #expect(inside(server, "bill@example.org/theatre", "Melpomene").phase == .ready)
        await server.stop()
    }

    @Test func `the form counts if there are both`() async throws {
        let server = try await server()
        let both = fields("one", "long enough") + form(["username": "two", "password": "long enough"])
        #expect(outside(server).refusal(server, "set", query(both)) == nil)
        #expect(inside(server, "one@example.org/a", "long enough").phase == .negotiating)
        #expect(inside(server, "two@example.org/a", "long enough").phase == .ready)
        await server.stop()
    }

    @Test func `a form that says too little, too much or something else makes no account`() async throws {
        let server = try await server()
        let stranger = outside(server)
        let good: KeyValuePairs = ["username": "bill", "password": "long enough"]
        for (content, condition) in [
            (form(["username": "bill"]), "not-acceptable"),
            (form(["username": "bill", "password": ""]), "not-acceptable"),
            (form(["username": "admin", "password": "long enough"]), "not-acceptable"),
            (form(["FORM_TYPE": "urn:other", "username": "bill", "password": "long enough"]), "bad-request"),
            (form(good, kind: "cancel"), "bad-request"), (form(good, kind: "form"), "bad-request"),
            (form(good, kind: "nonsense"), "bad-request"), (form(good) + form(good), "bad-request"),
            (
                "<x xmlns='jabber:x:data' type='submit'><field var='username'><value>a</value><value>b</value></field>"
                    + "<field var='password'><value>long enough</value></field></x>", "not-acceptable"
            ),
        ] {
            #expect(stranger.refusal(server, "set", query(content)) == condition, "\(content)")
        }
        #expect(await server.status("register_made") == 0)
        #expect(stranger.refusal(server, "set", query(form(good))) == nil)
        await server.stop()
    }

    @Test func `a form that says something twice is not acceptable, whatever it says`() async throws {
        let server = try await server()
        let stranger = outside(server)
        let name = fields("bill", "long enough")
        let good: KeyValuePairs = ["username": "bill", "password": "long enough"]
        for content in [
            form(["username": "bill", "username": "bill", "password": "long enough"]),
            form(["username": "bill", "password": "long enough", "username": "mallory"]),
            form(["username": "bill", "password": "long enough", "password": "other than that"]),
            form(["username": "bill", "password": "long enough", "password": ""]),
            form(["username": "bill", "password": "long enough", "email": "a", "email": "b"]),
            form([
                "FORM_TYPE": "jabber:iq:register", "FORM_TYPE": "urn:other", "username": "b", "password": "long enough",
            ]),
            name + "<username>bill</username>", "<password>another one</password>" + name, name + "<password/>",
        ] {
            #expect(stranger.refusal(server, "set", query(content)) == "not-acceptable", "\(content)")
        }
        #expect(await server.status("register_made") == 0)
        // So is a new password.
        let romeo = inside(server, "romeo@example.org/orchard")
        let change = fields("romeo", "a new password") + "<password>a newer password</password>"
        #expect(romeo.refusal(server, "set", query(change)) == "not-acceptable")
        #expect(inside(server, "romeo@example.org/street").phase == .ready)
        // The form counts alone, beside elements of the same name.
        #expect(stranger.refusal(server, "set", query(fields("x", "y") + form(good))) == nil)
        await server.stop()
    }

    // MARK: Elsewhere

    @Test func `who makes accounts on the web sends strangers there, and takes none here`() async throws {
        let page = "https://example.org/register?a=1&amp;b=2"
        let server = try await server(["redirect": "https://example.org/register?a=1&b=2"])
        let stranger = outside(server)
        let answer = try #require(try stranger.ask(server, "get", empty))
        #expect(answer.elements.map(\.name) == ["instructions", "x"])
        #expect(answer.elements.first?.text.contains("https://example.org/register?a=1&b=2") == true)
        let link = answer.first("x", Namespace("jabber:x:oob"))?.first("url", Namespace("jabber:x:oob"))
        #expect(link?.text == page.replacing("&amp;", with: "&"))
        #expect(stranger.refusal(server, "set", query(fields("bill", "long enough"))) == "not-allowed")
        // Who has an account changes its password as before.
        let romeo = inside(server, "romeo@example.org/orchard")
        #expect(romeo.refusal(server, "set", query(fields("romeo", "a new password"))) == nil)
        await server.stop()
    }

    @Test func `the instructions of the operator stand beside the page`() async throws {
        let server = try await server([
            "redirect": "https://example.org/register", "instructions": "Ask at the desk.", "create": "false",
        ])
        let answer = try outside(server).ask(server, "get", empty)
        #expect(answer?.first("instructions", .register)?.text == "Ask at the desk.")
        await server.stop()
    }

    @Test(arguments: ["example.org/register", "https://", "javascript:alert(1)", "https://example.org/a b"])
    func `a page that is no page is an error of the config`(_ page: String) async throws {
        await #expect(throws: ConfigErrors.self) { _ = try await server(["redirect": page]) }
    }

    // MARK: Who comes without a name

    @Test func `who is anonymous is not registered`() async throws {
        let server = try await TestServer(Self.modules) { config in
            for index in config.hosts.indices { config.hosts[index].auth.mechanisms = AuthConfig.usual + [.anonymous] }
        }
        var options = TestClient.Options()
        options.mechanism = .anonymous
        let stranger = server.client("anybody@example.org/home", options)
        stranger.logIn()
        server.settle()
        try #require(stranger.phase == .ready)
        for address in ["example.org", nil] {
            #expect(stranger.refusal(server, "get", empty, to: address) == "service-unavailable")
            #expect(stranger.refusal(server, "set", query("<remove/>"), to: address) == "registration-required")
        }
        #expect(stranger.phase == .ready)
        await server.stop()
    }

    // MARK: Reload

    /// The standard modules, and `register` with other options.
    private func reload(_ server: TestServer, _ pairs: KeyValuePairs<String, String>) async throws {
        try await server.reload(
            Self.modules.map {
                ModuleConfig(name: $0.info.name, node: $0 == RegisterModule.self ? options(pairs) : .empty)
            })
    }

    @Test func `line 34: a reload forgets no attempt, whatever it changes`() async throws {
        let server = try await server(["per_address": "2"])
        func attempt(_ name: String) -> String? {
            outside(server).refusal(server, "set", query(fields(name, "long enough")))
        }
        #expect(attempt("a1") == nil)
        #expect(attempt("a2") == nil)
        #expect(attempt("a3") == "resource-constraint")
        try await reload(server, ["per_address": "2", "instructions": "Welcome."])
        #expect(attempt("a3") == "resource-constraint")
        try await reload(server, ["per_address": "2", "interval": "2h"])
        #expect(attempt("a3") == "resource-constraint")
        try await reload(server, ["per_address": "3"])
        #expect(attempt("a3") == nil)
        #expect(attempt("a4") == "resource-constraint")
        // Nor does it help that the module was gone for a while.
        try await server.reload(standardModules.map { ModuleConfig(name: $0.info.name) })
        try await reload(server, ["per_address": "3"])
        #expect(attempt("a4") == "resource-constraint")
        server.advance(by: .seconds(3601))
        #expect(attempt("a4") == nil)
        await server.stop()
    }

    @Test func `a reload forgets no change of a password`() async throws {
        let server = try await server(["per_address": "1"])
        let romeo = inside(server, "romeo@example.org/orchard")
        #expect(romeo.refusal(server, "set", query(fields("romeo", "a new password"))) == nil)
        try await reload(server, ["per_address": "1", "shortest": "9"])
        #expect(romeo.refusal(server, "set", query(fields("romeo", "a newer password"))) == "resource-constraint")
        await server.stop()
    }
}
