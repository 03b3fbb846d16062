import Glibc
import ModuleKit
import NIOConcurrencyHelpers
import Testing
import XML
import XMPPCore
import XMPPServer

@testable import XMPPTransport

extension SocketTests {
    @Suite(.serialized) struct RehomingTests {
        private let certificates = TestCertificates()

        /// Checks what one connection gets, sends numbered messages all the while, and moves now and then.
        private final class Traveller: @unchecked Sendable {
            let loops: [any Loop]
            let moves: Int
            private var random: SplitMix
            private(set) var moved = 0
            private(set) var expected = 0
            private(set) var faults = 0
            private var sent = 0
            private var isMoving = false

            init(_ loops: [any Loop], moves: Int, seed: UInt64) {
                (self.loops, self.moves, random) = (loops, moves, SplitMix(seed: seed))
            }

            func attach(to script: Script) {
                script.onElement = { [self] script, element in
                    if Int(element.root.attribute("id") ?? "") != expected { faults += 1 }
                    expected += 1
                    if isMoving { faults += 1 }
                    for _ in 0..<Int.random(in: 0...2, using: &random) { speak(script) }
                    guard moved < moves, Int.random(in: 0..<20, using: &random) == 0 else { return .proceed }
                    isMoving = true
                    let target = loops[Int.random(in: 0..<loops.count, using: &random)]
                    script.transport.rehome(to: target)
                    // What the handler answers does not matter: nothing may follow until it has moved.
                    return Bool.random(using: &random) ? .pause : .proceed
                }
                script.onRehomed = { [self] script in
                    isMoving = false
                    moved += 1
                    script.transport.loop.assertCurrent()
                    speak(script)
                }
            }

            private func speak(_ script: Script) {
                let size = Int.random(in: 0..<10, using: &random) == 0 ? 5000 : 20
                script.transport.send(message("\(sent)", String(repeating: "o", count: size)))
                sent += 1
            }
        }

        @Test(arguments: [false, true])
        func `moving under traffic in both directions loses and reorders nothing`(secured: Bool) async throws {
            let connections = 20
            let stanzas = 1500
            let moves = 30
            let travellers = NIOLockedValueBox<[Traveller]>([])
            let loops = NIOLockedValueBox<[any Loop]>([])
            let server = try await TestServer(loops: 3, secured ? .direct : .none, tls: certificates.context()) {
                script in
                travellers.withLockedValue { travellers in
                    let traveller = Traveller(
                        loops.withLockedValue { $0 }, moves: moves, seed: UInt64(travellers.count))
                    travellers.append(traveller)
                    traveller.attach(to: script)
                }
            }
            loops.withLockedValue { $0 = server.group.loops }
            let heard = Journal<Int>()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for index in 0..<connections {
                    let client = try server.connect()
                    group.addTask {
                        if secured { try client.startTLS() }
                        try client.openStream()
                        try Self.converse(client, stanzas, seed: UInt64(1000 + index))
                        heard.note(index)
                    }
                }
                try await group.waitForAll()
            }
            #expect(heard.events.count == connections)
            #expect(server.isSilent())
            for traveller in travellers.withLockedValue({ $0 }) {
                #expect(traveller.faults == 0)
                #expect(traveller.expected == stanzas)
                #expect(traveller.moved > moves / 2)
            }
            await server.group.shutdown()
        }

        /// Sends numbered stanzas in random pieces and checks the numbers of what comes back, to the end.
        private static func converse(_ client: Client, _ stanzas: Int, seed: UInt64) throws {
            var random = SplitMix(seed: seed)
            var bytes: [UInt8] = []
            for index in 0..<stanzas {
                let body = String(repeating: "i", count: Int.random(in: 0..<200, using: &random))
                bytes += Array("<message id='\(index)'><body>\(body)</body></message>".utf8)
            }
            bytes += Array("</stream:stream>".utf8)
            var next = 0
            func check(_ text: String) throws {
                for part in text.split(separator: "<message id='") {
                    guard let number = Int(part.prefix { $0 != "'" }) else { continue }
                    guard number == next else { throw Client.Failure(reason: "\(number) for \(next)") }
                    next += 1
                }
            }
            var rest = bytes[...]
            while !rest.isEmpty {
                let size = Int.random(in: 1...(Bool.random(using: &random) ? 80 : 4000), using: &random)
                try client.send(Array(rest.prefix(size)))
                rest = rest.dropFirst(size)
                while client.hasBytes { guard try client.receive() else { break } }
            }
            let text = try client.receiveToEnd()
            client.shutdownWriting()
            guard text.hasSuffix("</stream:stream>") else {
                throw Client.Failure(reason: "not ended: \(text.suffix(200))")
            }
            try check(text)
        }

        @Test func `moving to the loop where it is only tells so`() async throws {
            let server = try await TestServer(loops: 1) { script in
                script.onElement = { script, element in
                    if element.root.attribute("id") == "go" { script.transport.rehome(to: script.transport.loop) }
                    return .proceed
                }
            }
            let client = try server.connect()
            try client.openStream()
            try client.send("<iq id='go'/><iq id='after'/>")
            let journal = try server.script().journal
            #expect(journal.wait(for: .element("iq", "after")))
            #expect(journal.events.suffix(3) == [.element("iq", "go"), .rehomed(loop: 0), .element("iq", "after")])
            await server.group.shutdown()
        }

        /// A server whose connections move to the other loop at `<iq id='go'/>`.
        private func movingServer(
            secured: Bool = false, before: @escaping @Sendable (Script) -> Void = { _ in },
            after: @escaping @Sendable (Script) -> Void = { _ in }
        ) async throws -> TestServer {
            let loops = NIOLockedValueBox<[any Loop]>([])
            let server = try await TestServer(loops: 2, secured ? .direct : .none, tls: certificates.context()) {
                script in
                script.onRehomed = after
                script.onElement = { script, element in
                    guard element.root.attribute("id") == "go" else { return .proceed }
                    before(script)
                    let here = script.transport.loop.index
                    script.transport.rehome(to: loops.withLockedValue { $0[1 - here] })
                    return .pause
                }
            }
            loops.withLockedValue { $0 = server.group.loops }
            return server
        }

        /// The kernel answers when the move is over, so that the modules of the account's loop may say no.
        @Test(arguments: [false, true], [false, true])
        func `a restart and bytes behind it survive the move`(secured: Bool, isLate: Bool) async throws {
            let nothing: @Sendable (Script) -> Void = { _ in }
            let succeed: @Sendable (Script) -> Void = { script in
                script.transport.send(Element("success", .sasl))
                script.transport.restart()
            }
            let server = try await movingServer(
                secured: secured, before: isLate ? nothing : succeed, after: isLate ? succeed : nothing)
            let client = try server.connect()
            if secured { try client.startTLS() }
            try client.openStream()
            try client.send("<iq id='go'/>" + Client.header + "<iq id='bind'/>")
            try client.receive(until: "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            let journal = try server.script().journal
            #expect(journal.wait(for: .element("iq", "bind")))
            let home = try server.script().transport.loop.index
            let heard: [Heard] = [
                .opened(to: "localhost"), .element("iq", "go"), .rehomed(loop: home), .opened(to: "localhost"),
                .element("iq", "bind"),
            ]
            #expect(journal.events == (secured ? [.secured] : []) + heard)
            #expect(server.listener.counts.live == 1)
            await server.group.shutdown()
        }

        @Test func `what a peer said before it died in the move is heard, and then its end`() async throws {
            for round in 0..<50 {
                let server = try await movingServer()
                do {
                    let client = try server.connect()
                    try client.openStream()
                    if round % 2 == 0 { client.prepareReset() }
                    try client.send("<iq id='go'/><iq id='last'/>")
                    if round % 3 == 0 { try client.send("<iq id='later'/>") }
                }
                let journal = try server.script().journal
                #expect(journal.wait(for: .disconnected(clean: false)))
                #expect(journal.events.last == .disconnected(clean: false))
                if journal.events.contains(.element("iq", "go")) {
                    #expect(journal.events.contains(.element("iq", "last")))
                }
                #expect(server.isSilent())
                await server.group.shutdown()
            }
        }

        @Test func `closing during a move closes after it`() async throws {
            let server = try await movingServer { script in
                let transport = script.transport
                transport.loop.defer_ { transport.close(.conflict) }
            }
            let client = try server.connect()
            try client.openStream()
            try client.send("<iq id='go'/>")
            #expect(try client.receiveToEnd().contains("conflict"))
            client.shutdownWriting()
            #expect(try server.script().journal.wait(for: .disconnected(clean: false)))
            await server.group.shutdown()
        }

        @Test func `a move waits until what was sent before is written`() async throws {
            let server = try await movingServer { script in
                for index in 0..<40 {
                    script.transport.send(message("\(index)", String(repeating: "w", count: 100_000)))
                }
            }
            let client = try server.connect(receiveBuffer: 8192)
            try client.openStream()
            try client.send("<iq id='go'/><iq id='after'/>")
            for index in 0..<40 { #expect(try client.receive(until: "</message>").contains("id='\(index)'")) }
            #expect(try server.script().journal.wait(for: .element("iq", "after")))
            await server.group.shutdown()
        }

        @Test func `without a descriptor a move is tried again, and in the end gives the stream up`() async throws {
            let server = try await movingServer()
            let lucky = try server.connect()
            try lucky.openStream()
            let unlucky = try server.connect()
            try unlucky.openStream()
            let limit = Descriptors.takeAway()
            try lucky.send("<iq id='go'/><iq id='after'/>")
            #expect(try server.script(0).journal.wait(for: .element("iq", "go")))
            server.passTurn()
            Descriptors.restore(limit)
            #expect(try server.script(0).journal.wait(for: .element("iq", "after")))

            _ = Descriptors.takeAway()
            try unlucky.send("<iq id='go'/><iq id='after'/>")
            let end = try unlucky.receiveToEnd()
            Descriptors.restore(limit)
            #expect(end.contains("resource-constraint"))
            unlucky.shutdownWriting()
            #expect(try server.script(1).journal.wait(for: .disconnected(clean: false)))
            await server.group.shutdown()
        }

        @Test func `when there is no descriptor at all, accepting goes on as soon as there is one`() async throws {
            let server = try await TestServer()
            // The one that is left is the client's.
            let limit = Descriptors.leave(1)
            let client = try server.connect()
            try client.send(Client.header)
            server.passTurn()
            Descriptors.restore(limit)
            try client.receive(until: "<stream:stream")
            #expect(server.listener.counts.accepted == 1)
            await server.group.shutdown()
        }

        @Test func `connections are refused while descriptors are left for other work`() async throws {
            let server = try await TestServer()
            let first = try server.connect()
            try first.openStream()
            // The next one would be the first to take from the reserve of 64.
            let limit = Descriptors.leave(63)
            DescriptorLimit.update()
            let refused = try server.connect()
            #expect(try refused.receiveToEnd() == "")
            Descriptors.restore(limit)
            DescriptorLimit.update()
            let second = try server.connect()
            try second.openStream()
            #expect(server.listener.counts.refused >= 1)
            try first.send("<iq id='still'/>")
            #expect(try server.script().journal.wait(for: .element("iq", "still")))
            await server.group.shutdown()
        }
    }
}

/// The limit of open descriptors, played with.
enum Descriptors {
    private static let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)

    /// The lowest free one.
    private static func lowestFree() -> rlim_t {
        let descriptor = dup(0)
        close(descriptor)
        return rlim_t(max(0, descriptor))
    }

    /// Leaves so many descriptors; gives the old limit.
    static func leave(_ count: Int) -> rlim_t {
        var limit = rlimit()
        getrlimit(resource, &limit)
        let old = limit.rlim_cur
        limit.rlim_cur = lowestFree() + rlim_t(count)
        setrlimit(resource, &limit)
        return old
    }

    static func takeAway() -> rlim_t { leave(0) }

    static func restore(_ old: rlim_t) {
        var limit = rlimit()
        getrlimit(resource, &limit)
        limit.rlim_cur = old
        setrlimit(resource, &limit)
    }
}

extension Client {
    /// Whether something has come that was not read.
    var hasBytes: Bool {
        var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return Glibc.poll(&poll, 1, 0) > 0
    }
}
