import ModuleKit
import NIOConcurrencyHelpers
import Testing
import XML
import XMPPCore
import XMPPServer

@testable import XMPPTransport

extension SocketTests {
    @Suite(.serialized) struct ReceiptTests {
        private final class Sink: ReceiptSink {
            let closed = Journal<UInt64>()

            func closed(_ receipt: Receipt.Name) {
                closed.note(receipt.sequence)
            }

            func receipt(_ sequence: UInt64) -> Receipt {
                Receipt(.taken, of: SessionRef(loop: 0, id: 1), sequence: sequence, to: self)
            }
        }

        @Test func `receipts are let go in order, when the kernel has the bytes and not before`() async throws {
            let server = try await TestServer()
            let client = try server.connect(receiveBuffer: 8192)
            try client.openStream()
            let sink = Sink()
            let script = try server.script()
            let count: UInt64 = 200
            script.perform { script in
                for index in 1...count {
                    let stanza = Stanza(message("\(index)", String(repeating: "r", count: 50_000)))
                    script.transport.send(stanza, receipt: sink.receipt(index))
                }
                #expect(sink.closed.events.isEmpty)
            }
            server.passTurn()
            server.passTurn()
            #expect(sink.closed.events.count < count)
            for index in 1...count { #expect(try client.receive(until: "</message>").contains("id='\(index)'")) }
            #expect(sink.closed.wait { $0.count == count })
            #expect(sink.closed.events == Array(1...count))
            await server.group.shutdown()
        }

        @Test(arguments: [false, true])
        func `what was not written is not let go before the handler has heard of the end`(reset: Bool) async throws {
            let sink = Sink()
            let closedBefore = NIOLockedValueBox<[UInt64]>([])
            let server = try await TestServer { script in
                script.onDisconnected = { script in
                    closedBefore.withLockedValue { $0 = sink.closed.events }
                    script.transport.send(Stanza(message("late")), receipt: nil)
                }
            }
            let count: UInt64 = 100
            do {
                let client = try server.connect(receiveBuffer: 8192)
                try client.openStream()
                if reset { client.prepareReset() }
                try server.script().perform { script in
                    for index in 1...count {
                        let stanza = Stanza(message("\(index)", String(repeating: "r", count: 100_000)))
                        script.transport.send(stanza, receipt: sink.receipt(index))
                    }
                }
                server.passTurn()
                try server.script().perform { script in
                    if !reset { script.transport.abort() }
                    script.transport.send(Stanza(message("stray")), receipt: sink.receipt(count + 1))
                }
                server.passTurn()
            }
            #expect(try server.script().journal.wait(for: .disconnected(clean: false)))
            #expect(closedBefore.withLockedValue { $0.count } < 100)
            #expect(!closedBefore.withLockedValue { $0.contains(count + 1) })
            // Afterwards they go: nobody is left to be told anything else.
            #expect(sink.closed.wait { $0.count == Int(count) + 1 })
            await server.group.shutdown()
        }
    }
}
