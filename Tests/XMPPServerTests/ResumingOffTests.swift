import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// `stream_management.resume: 0s`.
@Suite struct ResumingOffTests {
    @Test func `where nobody is waited for, stream management has no id, and a session ends with its connection`()
        async throws
    {
        let server = try await TestServer([]) { $0.streamManagement.resume = .zero }
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        #expect(romeo.isManaged)
        #expect(romeo.resumeID == nil)
        romeo.cut()
        server.settle()
        #expect(server.counts.sessions == 0)
        await server.stop()
    }
}
