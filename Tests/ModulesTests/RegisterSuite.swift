import ModuleKit
import ModuleTesting
import Register

/// What the suites of `register` begin with.
protocol RegisterSuite {}

extension RegisterSuite {
    static var modules: [any Module.Type] { standardModules + [RegisterModule.self] }
    var empty: String { "<query xmlns='jabber:iq:register'/>" }

    func server(_ pairs: KeyValuePairs<String, String> = [:]) async throws -> TestServer {
        try await TestServer(Self.modules, config: ["register": options(pairs)])
    }

    /// A client on an encrypted stream that has not authenticated.
    func outside(_ server: TestServer, from peer: String = "192.0.2.1") -> TestClient {
        var options = encrypted()
        options.staysOutside = true
        options.peer = peer
        return come(server, "stranger@example.org/x", options)
    }

    /// One that logs in, if it can.
    func inside(_ server: TestServer, _ address: String, _ password: String = "secret") -> TestClient {
        var options = encrypted()
        options.password = password
        return come(server, address, options)
    }

    private func come(_ server: TestServer, _ address: String, _ options: TestClient.Options) -> TestClient {
        let client = server.client(address, options)
        client.logIn()
        server.settle()
        return client
    }
}
