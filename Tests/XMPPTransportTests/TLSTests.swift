import COpenSSL
import Glibc
import ModuleKit
import Testing
import XML
import XMPPCore
import XMPPServer

@testable import XMPPTransport

extension SocketTests {
    @Suite(.serialized) struct TLSTests {
        private let certificates = TestCertificates()

        /// Answers `<starttls/>` as the negotiation does, and notes what the transport knows once TLS stands.
        private static func upgrade(_ script: Script) {
            script.onElement = { script, element in
                if element.root.name == "starttls" {
                    script.transport.send(Element("proceed", .tls))
                    script.transport.startTLS()
                }
                return .proceed
            }
        }

        @Test func `STARTTLS secures the stream, and the next thing is a new header`() async throws {
            let server = try await TestServer(.startTLS, tls: certificates.context()) { Self.upgrade($0) }
            let client = try server.connect()
            try client.openStream()
            let script = try server.script()
            #expect(script.transport.tls == nil)
            #expect(script.transport.channelBinding(.tlsExporter) == nil)
            try client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            try client.receive(until: "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            try client.startTLS()
            try client.openStream()
            try client.send("<iq id='secret'/>")
            #expect(script.journal.wait(for: .element("iq", "secret")))
            #expect(
                script.journal.events == [
                    .opened(to: "localhost"), .element("starttls", ""), .secured, .opened(to: "localhost"),
                    .element("iq", "secret"),
                ])
            let info = Journal<TLSInfo?>()
            script.perform { info.note($0.transport.tls) }
            #expect(info.wait { !$0.isEmpty })
            #expect(info.events[0]?.version == "TLSv1.3")
            #expect(info.events[0]?.cipher == "TLS_AES_128_GCM_SHA256")
            #expect(info.events[0]?.serverName == "localhost")
            #expect(server.listener.counts.handshakes == 1)
            await server.group.shutdown()
        }

        @Test(arguments: ["<iq id='injected'/>", " <a/>", "\u{16}\u{03}\u{01}"])
        func `clear bytes behind starttls end the stream without an answer`(injected: String) async throws {
            let server = try await TestServer(.startTLS, tls: certificates.context()) { Self.upgrade($0) }
            let client = try server.connect()
            try client.openStream()
            try client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + injected)
            #expect(try client.receiveToEnd() == "")
            let journal = try server.script().journal
            #expect(journal.wait(for: .disconnected(clean: false)))
            #expect(
                journal.events == [
                    .opened(to: "localhost"), .element("starttls", ""), .disconnected(clean: false),
                ])
            #expect(server.listener.counts.injections == 1)
            await server.group.shutdown()
        }

        @Test func `with TLS from the first byte the handler hears of the handshake first`() async throws {
            let server = try await TestServer(.direct, tls: certificates.context())
            let client = try server.connect()
            #expect(try server.script().journal.events.isEmpty)
            try client.startTLS(applicationProtocol: "xmpp-client")
            #expect(client.chosenProtocol == "xmpp-client")
            try client.openStream()
            let script = try server.script()
            try client.send("<iq id='1'/></stream:stream>")
            #expect(try client.receiveToEnd() == "</stream:stream>")
            client.shutdownWriting()
            #expect(script.journal.wait(for: .disconnected(clean: true)))
            #expect(script.journal.events.first == .secured)
            #expect(server.isSilent())
            await server.group.shutdown()
        }

        @Test func `another application protocol is refused, and none is accepted`() async throws {
            let server = try await TestServer(.direct, tls: certificates.context())
            #expect(throws: Client.Failure.self) {
                try server.connect().startTLS(applicationProtocol: "http/1.1")
            }
            let client = try server.connect()
            try client.startTLS()
            try client.openStream()
            #expect(client.chosenProtocol == "")
            #expect(server.listener.counts.handshakeFailures == 1)
            await server.group.shutdown()
        }

        @Test func `each host shows its own certificate, and who names none or another gets the first`() async throws {
            let context = try TLSContext([
                certificates.make("one", hosts: ["one.example", "www.one.example"]),
                certificates.make("two", hosts: ["two.example"]),
            ])
            let server = try await TestServer(.direct, tls: context)
            let expected: [(String?, String)] = [
                ("one.example", "one"), ("TWO.example", "two"), ("www.one.example", "one"), (nil, "one"),
                ("three.example", "one"),
            ]
            for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
                for (name, certificate) in expected {
                    let client = try server.connect()
                    try client.startTLS(serverName: name, version: version)
                    #expect(client.serverCertificateName == certificate)
                    try client.openStream()
                }
            }
            await server.group.shutdown()
        }

        @Test func `the addressed host decides about the certificate when the client names none`() async throws {
            let context = try TLSContext([
                certificates.make("one", hosts: ["one.example"]), certificates.make("localhost", hosts: ["localhost"]),
            ])
            let server = try await TestServer(.startTLS, tls: context) { Self.upgrade($0) }
            let client = try server.connect()
            try client.openStream()
            try client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            try client.receive(until: "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            try client.startTLS(serverName: nil)
            #expect(client.serverCertificateName == "localhost")
            await server.group.shutdown()
        }

        @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
        func `the addressed host's certificate is shown although the handshake names another host`(
            version: CInt
        ) async throws {
            let context = try TLSContext([
                certificates.make("one", hosts: ["one.example"]),
                certificates.make("two", hosts: ["b\u{FC}cher.example", "xn--bcher-kva.example"]),
            ])
            let server = try await TestServer(.startTLS, tls: context) { Self.upgrade($0) }
            let expected = [
                ("ONE.example", "xn--bcher-kva.example", "one"), ("B\u{FC}cher.example", "one.example", "two"),
                ("xn--bcher-kva.example", "one.example", "two"),
                // A host that has no certificate leaves it to the handshake.
                ("three.example", "xn--bcher-kva.example", "two"), ("no domain", "one.example", "one"),
            ]
            for (addressed, named, certificate) in expected {
                let client = try server.connect()
                try client.openStream(to: addressed)
                try client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
                try client.receive(until: "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
                try client.startTLS(serverName: named, version: version)
                #expect(client.serverCertificateName == certificate)
            }
            await server.group.shutdown()
        }

        @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
        func `both ends see the same channel bindings`(version: CInt) async throws {
            let server = try await TestServer(.direct, tls: certificates.context())
            let client = try server.connect()
            try client.startTLS(version: version)
            try client.openStream()
            let seen = Journal<[UInt8]?>()
            try server.script().perform { script in
                seen.note(script.transport.channelBinding(.tlsExporter))
                seen.note(script.transport.channelBinding(.tlsServerEndPoint))
            }
            #expect(seen.wait { $0.count == 2 })
            #expect(seen.events[0] == client.exporter)
            #expect(seen.events[1] == client.endPoint)
            #expect(Set(client.exporter).count > 4)
            await server.group.shutdown()
        }

        @Test func `new certificates serve new handshakes, and streams that stand go on`() async throws {
            let server = try await TestServer(
                .direct, tls: TLSContext([certificates.make("one", hosts: ["localhost"])]))
            let old = try server.connect()
            try old.startTLS()
            try old.openStream()
            server.listener.use(try TLSContext([certificates.make("two", hosts: ["localhost"])]))
            let new = try server.connect()
            try new.startTLS()
            #expect(new.serverCertificateName == "two")
            try old.send("<iq id='still'/>")
            #expect(try server.script().journal.wait(for: .element("iq", "still")))
            let binding = Journal<[UInt8]?>()
            try server.script().perform { binding.note($0.transport.channelBinding(.tlsServerEndPoint)) }
            #expect(binding.wait { !$0.isEmpty })
            #expect(binding.events[0] == old.endPoint)
            await server.group.shutdown()
        }

        @Test func `TLS before version 1 point 2 is refused`() async throws {
            let server = try await TestServer(.direct, tls: certificates.context())
            #expect(throws: Client.Failure.self) {
                try server.connect().startTLS(version: TLS1_1_VERSION)
            }
            await server.group.shutdown()
        }

        @Test func `what is not TLS, or half of it, is cut and costs no handshake`() async throws {
            let server = try await TestServer(.direct, tls: certificates.context()) { _ in
            } configure: {
                $0.handshakeTimeout = .milliseconds(200)
            }
            let clear = try server.connect()
            try clear.send(Client.header)
            #expect(try clear.receiveToEnd() == "")
            let half = try server.connect()
            try half.send([22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3])
            let silent = try server.connect()
            #expect(try half.receiveToEnd() == "")
            #expect(try silent.receiveToEnd() == "")
            #expect(server.isSilent())
            #expect(server.listener.counts.handshakeTimeouts == 2)
            #expect(server.listener.counts.handshakeFailures == 1)
            for script in server.scripts.events {
                #expect(script.journal.events == [.disconnected(clean: false)])
            }
            await server.group.shutdown()
        }

        @Test func `a hello in pieces is put together`() async throws {
            let server = try await TestServer(.direct, tls: certificates.context())
            let client = try server.connect()
            var segment: CInt = 88
            setsockopt(client.descriptor, CInt(IPPROTO_TCP), TCP_MAXSEG, &segment, 4)
            try client.startTLS()
            try client.openStream()
            await server.group.shutdown()
        }

        @Test func `a client that has to say hello twice may do so`() async throws {
            let server = try await TestServer(.direct, tls: certificates.context())
            let client = try server.connect()
            // Its first hello has a key for P-521 only, which the server does not want.
            try client.startTLS(groups: "P-521:P-384")
            try client.openStream()
            #expect(server.listener.counts.handshakes == 1)
            await server.group.shutdown()
        }

        @Test func `renegotiation is refused`() async throws {
            let server = try await TestServer(.direct, tls: certificates.context())
            let client = try server.connect()
            try client.startTLS(version: TLS1_2_VERSION)
            try client.openStream()
            #expect(!client.renegotiate())
            await server.group.shutdown()
        }

        @Test func `a peer that only ever updates its key is cut`() async throws {
            let server = try await TestServer(.direct, tls: certificates.context())
            let client = try server.connect()
            try client.startTLS(version: TLS1_3_VERSION)
            try client.openStream()
            for _ in 0..<100 { #expect(client.updateKey()) }
            try client.send("<iq id='fine'/>")
            #expect(try server.script().journal.wait(for: .element("iq", "fine")))
            var updates = 0
            while updates < 100_000, client.updateKey() { updates += 1 }
            #expect(updates < 100_000)
            #expect(try server.script().journal.wait(for: .disconnected(clean: false)))
            await server.group.shutdown()
        }

        @Test func `large stanzas in both directions pass whole`() async throws {
            let server = try await TestServer(.direct, tls: certificates.context()) { script in
                script.onElement = { script, element in
                    script.transport.send(element.root.element)
                    return .proceed
                }
            } configure: {
                $0.limits = XMLLimits(maxElementBytes: 2_000_000, maxTokenBytes: 1_000_000)
            }
            let client = try server.connect()
            try client.startTLS()
            try client.openStream()
            for size in [1, 100, 16_383, 16_384, 16_385, 70_000, 500_000] {
                let body = String(repeating: "k", count: size)
                try client.send("<message id='\(size)'><body>\(body)</body></message>")
                #expect(
                    try client.receive(until: "</message>") == "<message id='\(size)'><body>\(body)</body></message>")
            }
            await server.group.shutdown()
        }

        @Test func `files that cannot be used are named with the reason`() throws {
            let one = certificates.make("one", hosts: ["one"])
            let two = certificates.make("two", hosts: ["two"])
            func failure(_ chain: String, _ key: String) -> TLSContext.Failure? {
                #expect(throws: TLSContext.Failure.self) {
                    try TLSContext([one, .init(hosts: ["x"], chainFile: chain, keyFile: key)])
                }
            }
            let missing = certificates.folder + "/missing.pem"
            #expect(failure(missing, one.keyFile)?.description == "\(missing): No such file or directory")
            #expect(failure(one.chainFile, missing)?.description == "\(missing): No such file or directory")
            #expect(failure(certificates.folder, one.keyFile)?.reason == "not a file")
            #expect(failure(one.keyFile, one.keyFile)?.reason.hasPrefix("not a certificate chain in PEM") == true)
            #expect(failure(one.chainFile, one.chainFile)?.reason.hasPrefix("not an unencrypted private key") == true)
            #expect(failure(one.chainFile, two.keyFile)?.reason == "not the key of the certificate in \(one.chainFile)")
            #expect(throws: TLSContext.Failure.self) { try TLSContext([]) }
            for (file, reason) in [
                (missing, "No such file or directory"), (certificates.folder, "not a file"),
                (one.keyFile, "holds no certificate in PEM"),
            ] {
                var asking = two
                asking.clients = TLSContext.Clients(host: "two", authoritiesFile: file)
                let failure = #expect(throws: TLSContext.Failure.self) { try TLSContext([one, asking]) }
                #expect(failure?.description == "\(file): \(reason)")
            }
        }
    }
}
