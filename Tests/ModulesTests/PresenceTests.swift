import ModuleKit
import ModuleTesting
import Testing

@Suite struct PresenceTests {
    @Test func `contacts see each other come and go`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        server.befriend(romeo, juliet)
        juliet.end()
        server.settle()
        try romeo.expect("<presence from='juliet@example.org/balcony' type='unavailable'/>")
        let again = try server.login("juliet@example.org/chamber", priority: 3)
        try romeo.expect("<presence from='juliet@example.org/chamber'><priority>3</priority></presence>")
        try again.expect("<presence from='romeo@example.org/orchard'><priority>0</priority></presence>")
        again.cut()
        server.settle()
        try romeo.expect("<presence from='juliet@example.org/chamber' type='unavailable'/>")
        await server.stop()
    }

    @Test func `strangers see nothing`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        juliet.sendPresence(4)
        server.settle()
        try romeo.expectNo("presence")
        romeo.send("<presence to='juliet@example.org' type='probe'/>")
        server.settle()
        try romeo.expectNo("presence")
        await server.stop()
    }

    @Test func `a subscription survives a crash of the process`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        server.befriend(romeo, juliet)
        let next = try await TestServer(standardModules, memory: server.crash())
        let romeoAgain = try next.login("romeo@example.org/orchard")
        _ = try next.login("juliet@example.org/balcony")
        try romeoAgain.expect("<presence from='juliet@example.org/balcony'><priority>0</priority></presence>")
        await next.stop()
    }

    @Test func `directed presence is taken back when the session ends`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        romeo.send("<presence to='juliet@example.org/balcony'/>")
        server.settle()
        try juliet.expect("<presence from='romeo@example.org/orchard'/>")
        romeo.cut()
        server.settle()
        try juliet.expect("<presence from='romeo@example.org/orchard' type='unavailable'/>")
        await server.stop()
    }

    @Test func `a request waits for a contact that is not there`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send("<presence to='juliet@example.org' type='subscribe'/>")
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony")
        try juliet.expect("<presence from='romeo@example.org' type='subscribe'/>")
        await server.stop()
    }
}
