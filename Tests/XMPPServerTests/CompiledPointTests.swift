import Messages
import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// What a test's module does at `arriving`, made of its options.
protocol ArrivingStep: Module where Options == NoOptions {
    static var name: String { get }
    static var stage: Stage { get }
    static var interest: Interest { get }
    static var after: [String] { get }
}

extension ArrivingStep {
    static var info: ModuleInfo { ModuleInfo(name) }
    static var stage: Stage { .rewrite }
    static var interest: Interest { .message }
    static var after: [String] { [] }

    /// Adds its name to the message.
    func install(on host: inout HostBuilder) {
        host.arriving.add(Self.stage, on: Self.interest, after: Self.after) { event in
            let mark = Element("x", "urn:test:mark", ["by": Self.name])
            event.envelope = Envelope(event.envelope.stanza.appending(mark), receipt: event.envelope.receipt)
            return .next
        }
    }
}

struct First: ArrivingStep {
    static let name = "first"
    init(_ options: NoOptions, in host: HostContext) {}
}

struct Second: ArrivingStep {
    static let name = "second"
    static let after = ["first"]
    init(_ options: NoOptions, in host: HostContext) {}
}

struct Early: ArrivingStep {
    static let name = "early"
    static let stage = Stage.admit
    init(_ options: NoOptions, in host: HostContext) {}
}

struct Tied: ArrivingStep {
    static let name = "tied"
    init(_ options: NoOptions, in host: HostContext) {}
}

struct OnlyIQ: ArrivingStep {
    static let name = "only-iq"
    static let interest = Interest.iq
    init(_ options: NoOptions, in host: HostContext) {}
}

struct OnlyReceipts: ArrivingStep {
    static let name = "only-receipts"
    static let stage = Stage.record
    static let interest = Interest.message.with(.receipts)
    init(_ options: NoOptions, in host: HostContext) {}
}

struct Left: ArrivingStep {
    static let name = "left"
    static let after = ["right"]
    init(_ options: NoOptions, in host: HostContext) {}
}

struct Right: ArrivingStep {
    static let name = "right"
    static let after = ["left"]
    init(_ options: NoOptions, in host: HostContext) {}
}

@Suite struct CompiledPointTests {
    /// The names of the steps that a message has passed.
    private func marks(_ modules: [any Module.Type], of payload: String = "") async throws -> [String] {
        let server = try await TestServer([MessagesModule.self] + modules)
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.send("<message to='romeo@example.org/orchard' type='chat'><body>x</body>\(payload)</message>")
        server.settle()
        let found = romeo.inbox.first?.elements.compactMap { $0[attribute: "by"] } ?? []
        await server.stop()
        return found
    }

    private func refusal(_ modules: [any Module.Type]) async throws -> String {
        do {
            let server = try await TestServer([MessagesModule.self] + modules)
            await server.stop()
            return ""
        } catch let errors as ConfigErrors {
            return errors.description
        }
    }

    @Test func `steps run by stage, then after whom they say`() async throws {
        #expect(try await marks([Second.self, First.self, Early.self]) == ["early", "first", "second"])
        #expect(try await marks([Early.self, First.self, Second.self]) == ["early", "first", "second"])
    }

    @Test func `after a module that is not there is no constraint`() async throws {
        #expect(try await marks([Second.self]) == ["second"])
    }

    @Test func `a tie that nobody decided is refused`() async throws {
        #expect(try await refusal([First.self, Tied.self]).contains("nothing says whether first or tied goes first"))
    }

    @Test func `steps that can never meet need no order`() async throws {
        #expect(try await marks([First.self, OnlyIQ.self]) == ["first"])
    }

    @Test func `a circle is refused`() async throws {
        #expect(try await refusal([Left.self, Right.self]).contains("in a circle: left, right"))
    }

    @Test func `a step is called for what it is interested in, and for nothing else`() async throws {
        #expect(try await marks([OnlyReceipts.self]) == [])
        let receipt = "<request xmlns='urn:xmpp:receipts'/>"
        #expect(try await marks([OnlyReceipts.self], of: receipt) == ["only-receipts"])
        // The usual case is one AND that says no.
        #expect(!OnlyIQ.interest.wants(Stanza(Element("message", .client))))
        #expect(OnlyIQ.interest.wants(Stanza(Element("iq", .client, ["type": "get", "id": "1"]))))
    }
}
