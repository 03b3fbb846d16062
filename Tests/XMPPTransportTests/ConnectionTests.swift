import Glibc
import ModuleKit
import Testing
import XML
import XMPPCore
import XMPPServer

@testable import XMPPTransport

/// Everything that needs sockets, one after the other: some of it counts descriptors.
@Suite(.serialized) enum SocketTests {}

extension SocketTests {
    @Suite(.serialized) struct ConnectionTests {
        @Test func `a stream is opened, stanzas go both ways, and it ends in order`() async throws {
            let server = try await TestServer()
            let client = try server.connect()
            try client.openStream()
            let script = try server.script()
            script.perform { script in
                script.transport.send(message("1", "hello"))
                script.transport.send(message("2", "there"))
            }
            #expect(try client.receive(until: "there</body></message>").contains("hello"))
            try client.send("<iq id='a' type='get'/></stream:stream>")
            #expect(try client.receiveToEnd() == "</stream:stream>")
            #expect(script.journal.wait(for: .disconnected(clean: true)))
            #expect(
                script.journal.events == [
                    .opened(to: "localhost"), .element("iq", "a"), .ended, .disconnected(clean: true),
                ])
            #expect(script.peer.address == "127.0.0.1")
            #expect(server.isSilent())
            await server.group.shutdown()
        }

        @Test func `a peer that stops in the middle is not a clean end`() async throws {
            let server = try await TestServer()
            do {
                let client = try server.connect()
                try client.openStream()
                try client.send("<message id='half'")
            }
            #expect(try server.script().journal.wait(for: .disconnected(clean: false)))
            await server.group.shutdown()
        }

        @Test func `a peer that shuts its half down still gets what was sent to it`() async throws {
            let server = try await TestServer { script in
                script.onElement = { script, element in
                    script.transport.send(message("answer"))
                    return .proceed
                }
            }
            let client = try server.connect()
            try client.send(Client.header + "<iq id='q' type='get'/>")
            client.shutdownWriting()
            #expect(try client.receiveToEnd().hasSuffix("<message id='answer'><body/></message>"))
            #expect(try server.script().journal.wait(for: .disconnected(clean: false)))
            await server.group.shutdown()
        }

        @Test func `broken XML is told to the handler once, and ends the stream with its error`() async throws {
            let server = try await TestServer()
            let client = try server.connect()
            try client.openStream()
            try client.send("<a></b><c/>")
            let rest = try client.receiveToEnd()
            #expect(rest.contains("not-well-formed"))
            #expect(rest.hasSuffix("</stream:error></stream:stream>"))
            let events = try server.script().journal
            #expect(events.wait(for: .disconnected(clean: false)))
            #expect(events.events.filter { $0 == .failed("not-well-formed") }.count == 1)
            await server.group.shutdown()
        }

        enum Ending: CaseIterable {
            case closeInReceived, abortInReceived, closeTwice, abortThenClose, closeThenAbort
            case peerCloses, peerResets, closeAsPeerCloses
        }

        @Test(arguments: Ending.allCases)
        func `the handler hears the end exactly once`(_ ending: Ending) async throws {
            let server = try await TestServer { script in
                script.onElement = { script, _ in
                    let transport = script.transport
                    switch ending {
                    case .closeInReceived: transport.close(nil)
                    case .abortInReceived: transport.abort()
                    case .closeTwice:
                        transport.close(.conflict)
                        transport.close(nil)
                    case .abortThenClose:
                        transport.abort()
                        transport.close(nil)
                    case .closeThenAbort:
                        transport.close(nil)
                        transport.abort()
                    case .closeAsPeerCloses: transport.loop.defer_ { transport.close(nil) }
                    case .peerCloses, .peerResets: break
                    }
                    transport.send(message("too late"))
                    return .proceed
                }
            }
            do {
                let client = try server.connect()
                try client.openStream()
                try client.send("<iq id='1' type='get'/><iq id='2' type='get'/>")
                if ending == .peerResets { client.prepareReset() }
                let isServerFirst = ![.peerCloses, .peerResets, .closeAsPeerCloses].contains(ending)
                if isServerFirst { _ = try client.receiveToEnd() }
            }
            let journal = try server.script().journal
            #expect(journal.wait(for: .disconnected(clean: false)))
            #expect(server.isSilent())
            #expect(journal.events.filter { $0 == .disconnected(clean: false) }.count == 1)
            #expect(journal.events.last == .disconnected(clean: false))
            await server.group.shutdown()
        }

        @Test func `a peer that does not read is cut after a while`() async throws {
            let server = try await TestServer(configure: { $0.lingerTimeout = .milliseconds(300) })
            let client = try server.connect(receiveBuffer: 4096)
            try client.openStream()
            let script = try server.script()
            script.perform { script in
                for _ in 0..<200 { script.transport.send(message("x", String(repeating: "x", count: 100_000))) }
                script.transport.close(nil)
            }
            #expect(script.journal.wait(for: .disconnected(clean: false)))
            await server.group.shutdown()
        }

        @Test func `a slow reader shows as pending bytes, and writing goes on when it has read`() async throws {
            let server = try await TestServer { script in
                script.onWritable = { script in
                    #expect(script.transport.pendingBytes < 16 * 1024)
                }
            }
            let client = try server.connect(receiveBuffer: 16 * 1024)
            try client.openStream()
            let script = try server.script()
            let pending = Journal<Int>()
            let count = 300
            script.perform { script in
                for index in 0..<count {
                    script.transport.send(message("\(index)", String(repeating: "y", count: 50_000)))
                }
                script.transport.loop.defer_ { script.transport.notifyWhenWritable() }
            }
            script.perform { script in
                pending.note(script.transport.pendingBytes)
            }
            try #require(pending.wait { !$0.isEmpty })
            #expect(pending.events[0] > 1_000_000)
            #expect(!script.journal.events.contains(.writable))
            for index in 0..<count {
                let text = try client.receive(until: "</message>")
                #expect(text.hasPrefix("<message id='\(index)'>"))
            }
            #expect(script.journal.wait(for: .writable))
            script.perform { pending.note($0.transport.pendingBytes) }
            try #require(pending.wait { $0.count == 2 })
            #expect(pending.events[1] == 0)
            #expect(script.journal.events.filter { $0 == .writable }.count == 1)
            await server.group.shutdown()
        }

        @Test func `whoever can write already is told so at once`() async throws {
            let server = try await TestServer()
            let client = try server.connect()
            try client.openStream()
            try server.script().perform { $0.transport.notifyWhenWritable() }
            #expect(try server.script().journal.wait(for: .writable))
            await server.group.shutdown()
        }

        @Test(arguments: [false, true])
        func `pausing loses and reorders nothing`(secured: Bool) async throws {
            let certificates = TestCertificates()
            let tls = try certificates.context()
            let server = try await TestServer(secured ? .direct : .none, tls: tls) { script in
                script.onElement = { script, element in
                    let number = Int(element.root.attribute("id") ?? "") ?? 0
                    let transport = script.transport
                    switch number % 4 {
                    case 0: return .proceed
                    case 1:
                        transport.resumeReading()
                        return .pause
                    case 2:
                        transport.loop.defer_ { transport.resumeReading() }
                        return .pause
                    default:
                        script.perform { script in
                            script.transport.loop.defer_ { script.transport.resumeReading() }
                        }
                        return .pause
                    }
                }
            }
            let client = try server.connect()
            if secured { try client.startTLS() }
            try client.openStream()
            var random = SplitMix(seed: 7)
            let count = 5000
            var bytes: [UInt8] = []
            for index in 0..<count { bytes += Array("<message id='\(index)'><body>\(index)</body></message>".utf8) }
            var rest = bytes[...]
            while !rest.isEmpty {
                let size = Int.random(in: 1...(Bool.random(using: &random) ? 60 : 6000), using: &random)
                try client.send(Array(rest.prefix(size)))
                rest = rest.dropFirst(size)
            }
            // The end comes while the handler pauses, and must not overtake what was sent before.
            client.shutdownWriting()
            let journal = try server.script().journal
            #expect(journal.wait { $0.last == .disconnected(clean: false) })
            let numbers = journal.events.compactMap { event -> Int? in
                if case .element(_, let id) = event { Int(id) } else { nil }
            }
            #expect(numbers.count == count)
            #expect(zip(numbers, 0...).allSatisfy { $0 == $1 })
            await server.group.shutdown()
        }

        @Test func `a paused handler leaves the bytes in the kernel`() async throws {
            let server = try await TestServer { script in
                script.onElement = { _, _ in .pause }
            }
            let client = try server.connect()
            try client.openStream()
            let script = try server.script()
            try client.send("<message id='0'/>")
            #expect(script.journal.wait(for: .element("message", "0")))
            // More than the kernel holds can only be sent when the server reads; so it must not all go out.
            var limit = timeval(tv_sec: 0, tv_usec: 300_000)
            setsockopt(client.descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            let filler = Array(
                ("<message id='1'><body>" + String(repeating: "z", count: 9000) + "</body></message>").utf8)
            #expect(throws: Client.Failure.self) {
                for _ in 0..<4000 { try client.send(filler) }
            }
            let held = Journal<Int>()
            script.perform { held.note(($0.transport as? Connection)?.held.count ?? -1) }
            #expect(held.wait { !$0.isEmpty })
            #expect(held.events[0] <= 2 * 16 * 1024)
            await server.group.shutdown()
        }

        @Test func `limits apply from the next bytes on`() async throws {
            let server = try await TestServer { script in
                script.onElement = { script, element in
                    if element.root.attribute("id") == "raise" { script.transport.limits = .authenticated }
                    return .proceed
                }
            }
            let big = "<message id='big'><body>" + String(repeating: "b", count: 20_000) + "</body></message>"
            let first = try server.connect()
            try first.openStream()
            try first.send(big)
            #expect(try first.receiveToEnd().contains("policy-violation"))
            let second = try server.connect()
            try second.openStream()
            try second.send("<iq id='raise'/>")
            #expect(try server.script(1).journal.wait(for: .element("iq", "raise")))
            try second.send(big)
            #expect(try server.script(1).journal.wait(for: .element("message", "big")))
            await server.group.shutdown()
        }

        @Test func `a stream can be restarted, with bytes already behind the restart`() async throws {
            let server = try await TestServer { script in
                script.onElement = { script, element in
                    if element.root.name == "auth" { script.transport.restart() }
                    return .proceed
                }
            }
            let client = try server.connect()
            try client.send(Client.header + "<auth/>" + Client.header + "<iq id='after'/>")
            let journal = try server.script().journal
            #expect(journal.wait(for: .element("iq", "after")))
            #expect(journal.events.filter { $0 == .opened(to: "localhost") }.count == 2)
            await server.group.shutdown()
        }

        @Test func `ten thousand connections leave no object behind`() async throws {
            let server = try await TestServer()
            for round in 0..<100 {
                var clients: [Client] = []
                for _ in 0..<100 { clients.append(try server.connect()) }
                for (index, client) in clients.enumerated() {
                    switch (index + round) % 5 {
                    case 0: try client.send("<stre")
                    case 1: try client.openStream()
                    case 2: client.prepareReset()
                    case 3:
                        try client.openStream()
                        try client.send("</stream:stream>")
                    default: break
                    }
                }
            }
            #expect(server.isSilent())
            // Some were reset before they were accepted.
            #expect(server.listener.counts.accepted > 7000)
            await server.group.shutdown()
        }

        @Test func `a silent connection holds no output, no parser and no bytes`() async throws {
            let server = try await TestServer(loops: 1) { script in
                script.onElement = { script, element in
                    script.transport.send(element.root.element)
                    return .proceed
                }
            }
            let client = try server.connect()
            try client.openStream()
            for index in 0..<50 {
                try client.send("<message id='\(index)'/>")
                try client.receive(until: "<message id='\(index)'/>")
            }
            let held = Journal<Bool>()
            let option = Journal<CInt>()
            try server.script().perform { script in
                guard let connection = script.transport as? Connection else { return }
                connection.rest()
                held.note(connection.output == nil && connection.backlog == nil && connection.held.capacity == 0)
                held.note(connection.nioLoop.resources.parsers.idleCount > 0)
                var value: CInt = 0
                var size = socklen_t(MemoryLayout<CInt>.size)
                getsockopt(connection.descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &value, &size)
                option.note(value)
            }
            #expect(option.wait { !$0.isEmpty })
            #expect(held.events == [true, true])
            // Nobody sets it per connection: it comes from the listening socket.
            #expect(option.events == [1])
            await server.group.shutdown()
        }

        @Test func `more connections than wait for the end of a turn are all written to`() async throws {
            let server = try await TestServer(loops: 1)
            let clients = try (0..<1500).map { _ in try server.connect() }
            for client in clients { try client.openStream() }
            #expect(server.scripts.wait { $0.count == clients.count })
            for round in 0..<3 {
                for script in server.scripts.events {
                    script.perform { $0.transport.send(message("\(round)")) }
                }
            }
            for client in clients {
                let text = try client.receive(until: "<message id='2'><body/></message>")
                #expect(text.contains("<message id='0'><body/></message><message id='1'>"))
            }
            await server.group.shutdown()
        }

        @Test func `shutting down tells every handler`() async throws {
            let server = try await TestServer()
            let clients = try (0..<20).map { _ in try server.connect() }
            for client in clients { try client.openStream() }
            #expect(server.scripts.wait { $0.count == 20 })
            await server.group.shutdown()
            for script in server.scripts.events {
                #expect(script.journal.events.last == .disconnected(clean: false))
            }
        }

        @Test func `a port that is taken is refused with its reason`() async throws {
            let server = try await TestServer()
            let port = server.listener.port
            await #expect(throws: ListenerFailure(address: "127.0.0.1", port: port, reason: "Address already in use")) {
                _ = try await server.group.listen(ListenerOptions(address: "127.0.0.1", port: port, security: .none)) {
                    Script($0)
                }
            }
            await #expect(throws: ListenerFailure.self) {
                _ = try await server.group.listen(ListenerOptions(address: "localhost", port: 0, security: .none)) {
                    Script($0)
                }
            }
            await server.group.shutdown()
        }
    }
}
