import Logging
import ModuleKit
import ModuleTesting
import StorageMemory
import Testing
import XMPPServer
import XMPPStream

@testable import XMPPTransport

/// The kernel behind a real port with TLS from the first byte.
private struct DirectServer {
    let group = TransportGroup(loops: 2)
    let server: Server
    let listener: Listener

    init(_ tls: TLSContext, handshakeTimeout: Duration = .seconds(30), connections: Int) async throws {
        var config = try ModuleTesting.TestServer.config(["localhost"], [])
        config.limits.unauthenticated.connections = connections
        let server = try await Server.start(
            config: config, storage: MemoryStorage(), secret: [1], modules: [], loops: group.loops,
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        self.server = server
        let options = ListenerOptions(
            address: "127.0.0.1", port: 0, security: .direct, handshakeTimeout: handshakeTimeout)
        listener = try await group.listen(options, tls: tls) { server.accept($0, tls: .direct) }
    }

    func status(_ name: String) async throws -> String? {
        guard case .table(_, let rows) = try await server.run("status", CommandInput()) else { return nil }
        return rows.first { $0[0] == name }?[1]
    }

    /// Asks until the server says so, at most for a while; each question goes through every loop.
    func says(_ name: String, _ value: String) async throws -> Bool {
        let deadline = ContinuousClock.now + .seconds(20)
        while try await status(name) != value {
            guard ContinuousClock.now < deadline else { return false }
        }
        return true
    }

    func stop() async {
        await server.stop()
        await group.shutdown()
    }
}

extension SocketTests {
    @Suite(.serialized) struct AdmissionTests {
        private let certificates = TestCertificates()

        @Test func `with direct TLS a connection counts before its handshake, and no longer when that fails`()
            async throws
        {
            let direct = try await DirectServer(certificates.context(), connections: 2)
            var clients = [try Client(port: direct.listener.port), try Client(port: direct.listener.port)]
            #expect(try await direct.says("connections_without_session", "2"))
            #expect(try Client(port: direct.listener.port).receiveToEnd() == "")
            #expect(try await direct.says("connections_refused", "1"))
            // No hello at all, and none that goes on.
            try clients[0].send("<stream:stream>")
            #expect(try await direct.says("connections_without_session", "1"))
            clients = []
            #expect(try await direct.says("connections_without_session", "0"))
            let client = try Client(port: direct.listener.port)
            try client.startTLS()
            try client.openStream()
            #expect(try await direct.status("connections_without_session") == "1")
            await direct.stop()
        }

        @Test func `a handshake that takes too long no longer counts`() async throws {
            let direct = try await DirectServer(
                certificates.context(), handshakeTimeout: .milliseconds(200), connections: 1)
            let client = try Client(port: direct.listener.port)
            #expect(try client.receiveToEnd() == "")
            #expect(try await direct.says("connections_without_session", "0"))
            #expect(direct.listener.counts.handshakeTimeouts == 1)
            await direct.stop()
        }
    }
}
