import ModuleKit
import ModuleTesting
import Testing

@testable import XMPPServer

/// What a server held goes with it.
@Suite struct LeakTests {
    private final class Watched {
        weak var session: ClientSession?
        weak var account: LocalAccount?
        weak var shard: Shard?
        weak var server: Server?
    }

    private func run(_ management: Bool, _ watched: Watched) async throws {
        let server = try await TestServer(AcknowledgementTests.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: management)
        let juliet = try server.login("juliet@example.org/balcony", management: management)
        romeo.send("<message to='juliet@example.org' type='chat'><body>x</body></message>")
        server.settle()
        juliet.cut()
        server.settle()
        romeo.send("<message to='juliet@example.org/balcony' type='chat'><body>x</body></message>")
        server.settle()
        juliet.logIn()
        server.settle()
        romeo.send("<message to='mercutio@example.org' type='chat'><body>x</body></message>")
        server.settle()
        juliet.cut()
        server.settle()
        watched.session = server.server.shards.flatMap { $0.sessions.values }.first
        watched.account = watched.session?.localAccount
        watched.shard = watched.session?.shard
        watched.server = server.server
        await server.stop()
    }

    @Test(arguments: [true, false])
    func `nothing of a server that has stopped is left`(_ management: Bool) async throws {
        let watched = Watched()
        try await run(management, watched)
        #expect(watched.session == nil)
        #expect(watched.account == nil)
        #expect(watched.shard == nil)
        #expect(watched.server == nil)
    }
}
