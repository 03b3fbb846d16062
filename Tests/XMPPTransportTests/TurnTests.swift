import Dispatch
import ModuleKit
import Testing
import XMPPCore
import XMPPServer

@testable import XMPPTransport

extension SocketTests {
    /// The work of one turn of a loop, before it looks after its sockets.
    @Suite(.serialized) struct TurnTests {
        private func message(_ id: Int, _ bytes: Int) -> Stanza {
            Stanza(XMPPTransportTests.message("\(id)", String(repeating: "l", count: bytes)))
        }

        @Test(arguments: [ListenerOptions.Security.none, .direct])
        func `large stanzas for many connections are spread over turns, each in its place`(
            _ security: ListenerOptions.Security
        ) async throws {
            let certificates = TestCertificates()
            let tls = security == .direct ? try certificates.context() : nil
            let server = try await TestServer(loops: 1, security, tls: tls)
            let clients = try (0..<20).map { _ in try server.connect() }
            for client in clients {
                if tls != nil { try client.startTLS() }
                try client.openStream()
            }
            #expect(server.scripts.wait { $0.count == clients.count })
            let (pending, rendered) = (Journal<Int>(), Journal<Int>())
            let scripts = server.scripts.events
            scripts[0].perform { _ in
                let (first, second) = (message(1, 200_000), message(2, 200_000))
                for script in scripts { script.transport.send(first, receipt: nil) }
                for script in scripts { script.transport.send(second, receipt: nil) }
                // Behind what is put off, on some of them.
                for script in scripts.dropFirst(10) {
                    script.transport.sendRequest()
                    script.transport.send(message(3, 10), receipt: nil)
                }
                for script in scripts {
                    pending.note(script.transport.pendingBytes)
                    rendered.note((script.transport as? Connection)?.output?.bytes.count ?? 0)
                }
                scripts[19].transport.close(nil)
            }
            // All of it counts, rendered or not; and one turn renders its share.
            #expect(pending.wait { $0.count == 20 && $0.allSatisfy { $0 > 400_000 } })
            #expect(rendered.wait { $0.count == 20 } && rendered.events.reduce(0, +) < 2 << 20)
            for (index, client) in clients.enumerated() {
                var text = try client.receive(until: "</message>")
                text += try client.receive(until: "</message>")
                if index >= 10 { text += try client.receive(until: "</message>") }
                let ids = text.matches(of: /<message id='(.)'/).map { String($0.1) }
                #expect(ids == (index >= 10 ? ["1", "2", "3"] : ["1", "2"]))
            }
            #expect(try clients[19].receiveToEnd() == "</stream:stream>")
            await server.group.shutdown()
        }

        @Test func `much that is to do does not keep the sockets waiting`() async throws {
            let server = try await TestServer(loops: 1)
            let client = try server.connect()
            try client.openStream()
            let script = try server.script()
            let rounds = Journal<Int>()
            // Each piece of work leaves the next one, as a store does that answers at once.
            @Sendable func work(_ number: Int, _ script: Script) {
                rounds.note(number)
                let end = ContinuousClock.now + .milliseconds(2)
                while ContinuousClock.now < end {}
                guard number < 1000, !script.journal.events.contains(.element("iq", "a")) else { return }
                script.perform { work(number + 1, $0) }
            }
            script.perform { work(0, $0) }
            try client.send("<iq id='a' type='get'/>")
            #expect(script.journal.wait(for: .element("iq", "a")))
            #expect(rounds.events.count < 500)
            await server.group.shutdown()
        }

        @Test func `work that is put off and mail from another thread do not keep the sockets waiting`() async throws {
            let server = try await TestServer(loops: 1)
            let client = try server.connect()
            try client.openStream()
            let script = try server.script()
            let loop = server.group.loops[0]
            let rounds = Journal<Int>()
            let reader = DispatchQueue(label: "reader")
            @Sendable func isOver() -> Bool {
                rounds.events.count >= 1000 || script.journal.events.contains(.element("iq", "9"))
            }
            @Sendable func work() {
                rounds.note(0)
                let end = ContinuousClock.now + .milliseconds(2)
                while ContinuousClock.now < end {}
            }
            // What is read comes as mail, and leaves what is to be read next for a later turn.
            @Sendable func read() {
                reader.async {
                    loop.post(
                        .work {
                            work()
                            if !isOver() { loop.later { read() } }
                        })
                }
            }
            script.perform { _ in
                read()
                read()
            }
            #expect(rounds.wait { $0.count > 10 })
            for number in 0..<10 {
                let before = rounds.events.count
                try client.send("<iq id='\(number)' type='get'/>")
                #expect(script.journal.wait(for: .element("iq", "\(number)")))
                #expect(rounds.events.count - before < 20)
            }
            await server.group.shutdown()
        }
    }
}
