import Glibc
import ModuleKit
import Testing
import XMPPServer

@testable import XMPPTransport

extension SocketTests {
    /// Listeners behind a proxy, and what the kernel is asked to find out about connections.
    @Suite(.serialized) struct ProxyTests {
        private static let local = AddressRange("127.0.0.1")
        private static let elsewhere = AddressRange("10.0.0.0/8")

        private func server(
            _ range: AddressRange? = Self.local, _ security: ListenerOptions.Security = .none, tls: TLSContext? = nil,
            timeout: Duration = .seconds(30)
        ) async throws -> TestServer {
            try await TestServer(
                security, tls: tls,
                configure: { options in
                    options.proxies = [range].compactMap(\.self)
                    options.handshakeTimeout = timeout
                })
        }

        @Test(arguments: [false, true])
        func `the handler sees the address that the proxy announces, and the bytes behind it`(
            _ isTogether: Bool
        )
            async throws
        {
            let server = try await server()
            let client = try server.connect()
            let header = "PROXY TCP4 192.0.2.77 127.0.0.1 4711 5222\r\n"
            if isTogether {
                try client.send(header + Client.header)
                try client.receive(until: "<stream:stream")
            } else {
                for byte in header.utf8 { try client.send([byte]) }
                try client.openStream()
            }
            let script = try server.script()
            #expect(script.peer == PeerInfo(address: "192.0.2.77", port: 4711))
            try client.send("</stream:stream>")
            #expect(script.journal.wait(for: .disconnected(clean: true)))
            #expect(server.listener.counts.announcementsRefused == 0)
            await server.group.shutdown()
        }

        @Test func `version 2 goes before TLS`() async throws {
            let certificates = TestCertificates()
            let server = try await server(.init("127.0.0.0/8"), .direct, tls: certificates.context())
            let client = try server.connect()
            let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]
            try client.send(signature + [0x21, 0x11, 0, 12, 192, 0, 2, 78, 127, 0, 0, 1, 0x10, 0x01, 0x14, 0x67])
            try client.startTLS()
            try client.openStream()
            #expect(try server.script().peer == PeerInfo(address: "192.0.2.78", port: 0x1001))
            await server.group.shutdown()
        }

        @Test func `a health check of the proxy has the proxy's own address`() async throws {
            let server = try await server()
            let client = try server.connect()
            try client.send("PROXY UNKNOWN\r\n")
            try client.openStream()
            #expect(try server.script().peer.address == "127.0.0.1")
            await server.group.shutdown()
        }

        @Test func `whoever is not listed is cut off before a byte is read`() async throws {
            let server = try await server(Self.elsewhere)
            let client = try server.connect()
            // The end may come before it is sent.
            try? client.send("PROXY TCP4 192.0.2.77 127.0.0.1 4711 5222\r\n" + Client.header)
            #expect(try client.receiveToEnd() == "")
            #expect(server.listener.counts.strangers == 1)
            #expect(server.scripts.events.isEmpty)
            await server.group.shutdown()
        }

        @Test(arguments: [
            Client.header, "PROXY TCP4 192.0.2.77 127.0.0.1 4711 99999\r\n",
            "PROXY TCP4 192.0.2.77" + String(repeating: "x", count: 5000),
        ])
        func `who begins with anything else gets no handler and no answer`(_ text: String) async throws {
            let server = try await server()
            let client = try server.connect()
            try client.send(text)
            #expect(try client.receiveToEnd() == "")
            #expect(server.listener.counts.announcementsRefused == 1)
            #expect(server.scripts.events.isEmpty)
            #expect(server.isSilent())
            await server.group.shutdown()
        }

        @Test func `half a header and nothing more ends when its time is over`() async throws {
            let server = try await server(timeout: .milliseconds(200))
            let client = try server.connect()
            try client.send("PROXY TCP4 192.0")
            #expect(try client.receiveToEnd() == "")
            #expect(server.listener.counts.announcementsRefused == 1)
            #expect(server.isSilent())
            await server.group.shutdown()
        }

        @Test func `a proxy that goes away without a word leaves nothing`() async throws {
            let server = try await server()
            for _ in 0..<20 {
                let client = try server.connect()
                try client.send("PROXY ")
                client.shutdownWriting()
                #expect(try client.receiveToEnd() == "")
            }
            #expect(server.isSilent())
            #expect(server.scripts.events.isEmpty)
            await server.group.shutdown()
        }

        // MARK: The kernel's part

        @Test func `an accepted socket is probed, and its unacknowledged bytes have a deadline`() async throws {
            let server = try await TestServer(configure: { $0.lostTimeout = .seconds(600) })
            let client = try server.connect()
            try client.openStream()
            let answers = Journal<[CInt]>()
            try server.script().perform { script in
                let descriptor = (script.transport as? Connection)?.descriptor ?? -1
                let options = [
                    (SOL_SOCKET, SO_KEEPALIVE), (CInt(IPPROTO_TCP), TCP_KEEPIDLE), (CInt(IPPROTO_TCP), TCP_KEEPINTVL),
                    (CInt(IPPROTO_TCP), TCP_USER_TIMEOUT),
                ]
                answers.note(
                    options.map { level, name in
                        var (value, size) = (CInt(-1), socklen_t(MemoryLayout<CInt>.size))
                        getsockopt(descriptor, level, name, &value, &size)
                        return value
                    })
            }
            #expect(answers.wait(for: [1, 300, 50, 600_000]))
            await server.group.shutdown()
        }

        @Test func `white space is sent when it is asked for, and not behind what is under way`() async throws {
            let server = try await TestServer()
            let client = try server.connect()
            try client.openStream()
            try server.script().perform { script in
                script.transport.keepAlive()
                script.transport.keepAlive()
                script.transport.close(nil)
            }
            #expect(try client.receiveToEnd() == " </stream:stream>")
            await server.group.shutdown()
        }
    }
}
