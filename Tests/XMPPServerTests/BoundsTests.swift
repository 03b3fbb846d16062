import Messages
import ModuleKit
import ModuleTesting
import Offline
import Ping
import Presence
import Roster
import Testing
import XMPPStream

@testable import XMPPServer

/// What one client can make the server hold.
@Suite struct BoundsTests {
    private static let modules = AcknowledgementTests.modules

    private func chat(_ to: String, _ id: Int, _ bytes: Int = 10) -> String {
        "<message to='\(to)' type='chat' id='\(id)'><body>\(String(repeating: "x", count: bytes))</body></message>"
    }

    /// Juliet, whose connection is gone and whose session waits.
    private func detached(_ server: TestServer, _ resource: String) throws -> TestClient {
        let juliet = try server.login("juliet@example.org/\(resource)", priority: -1, management: true)
        juliet.acknowledge()
        server.settle()
        juliet.cut()
        server.settle()
        return juliet
    }

    @Test(arguments: [false, true])
    func `an account that fills the disk's queue waits, and nobody else does`(_ isManaged: Bool) async throws {
        let server = try await TestServer(Self.modules, config: ["offline": AcknowledgementTests.limit(10_000)])
        let mallory = try server.login("mercutio@example.org/x", management: isManaged)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        romeo.inbox = []
        server.storage.set(.stalled)
        for number in 0..<2000 { mallory.send(chat("juliet@example.org", number, 2000)) }
        server.settle()
        #expect(!server.storage.isPressed)
        // No more than its share was taken from it.
        let received = try #require(await server.status("stanzas_received"))
        #expect(received < 700)
        romeo.send("<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>")
        romeo.send(chat("juliet@example.org", 1))
        romeo.send("<iq type='get' id='q' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>")
        server.settle()
        #expect(romeo.inbox.compactMap { $0[attribute: "id"] } == ["p", "q"])
        server.storage.set(.none)
        server.settle()
        server.advance(by: .seconds(1))
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.inbox.count { $0[attribute: "from"] == "mercutio@example.org/x" } == 2000)
        await server.stop()
    }

    @Test func `spilled messages count for the account's limit when nobody has them any more`() async throws {
        let server = try await TestServer(Self.modules, config: ["offline": AcknowledgementTests.limit(20)])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        for round in 0..<3 {
            _ = try detached(server, "phone\(round)")
            for number in 0..<50 { romeo.send(chat("juliet@example.org/phone\(round)", round * 100 + number)) }
            server.advance(by: .seconds(1000))
        }
        let refused = romeo.inbox.filter { $0[attribute: "type"] == "error" }
        #expect(refused.count == 130)
        #expect(refused.allSatisfy { $0.first("error", .client)?.first("service-unavailable", .stanzaErrors) != nil })
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.inbox.compactMap { $0[attribute: "id"] } == (0..<20).map { "\($0)" })
        await server.stop()
    }

    @Test func `what sessions have does not fill the account's spool`() async throws {
        let server = try await TestServer(Self.modules, config: ["offline": AcknowledgementTests.limit(20)])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let phone = try detached(server, "phone")
        for number in 0..<50 { romeo.send(chat("juliet@example.org/phone", number)) }
        // To a resource that is not there, with nobody else: kept.
        phone.options.priority = nil
        server.settle()
        romeo.send("<message to='mercutio@example.org' type='chat' id='other'><body>x</body></message>")
        server.settle()
        try romeo.expectNo()
        phone.logIn()
        server.settle()
        #expect(phone.inbox.count { $0.name == "message" } == 50)
        await server.stop()
    }

    @Test func `detached sessions hold no more than their part, and nothing of it is lost`() async throws {
        let kept = ["offline": AcknowledgementTests.limit(10_000)]
        let server = try await TestServer(Self.modules, config: kept, loops: 1) {
            $0.streamManagement.queueBytes = 64 << 10
            $0.streamManagement.detachedBytes = 1 << 20
        }
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        for number in 0..<10 { _ = try detached(server, "phone\(number)") }
        for number in 0..<10 {
            for part in 0..<12 { romeo.send(chat("juliet@example.org/phone\(number)", number * 100 + part, 4000)) }
            server.settle()
        }
        let evicted = try #require(await server.status("sessions_evicted"))
        #expect((6...9).contains(evicted))
        server.advance(by: .seconds(1000))
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(Set(juliet.inbox.compactMap { $0[attribute: "id"] }).count == 120)
        try romeo.expectNo()
        await server.stop()
    }

    @Test func `waiting messages larger than a session's queue are all delivered at login`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        for number in 0..<60 { romeo.send(chat("juliet@example.org", number, 150_000)) }
        server.settle()
        server.advance(by: .seconds(1))
        let juliet = try server.login("juliet@example.org/balcony", management: true)
        server.advance(by: .seconds(1))
        #expect(juliet.errors.isEmpty)
        #expect(juliet.inbox.compactMap { $0[attribute: "id"] } == (0..<60).map { "\($0)" })
        await server.stop()
    }

    @Test func `a client that asks and does not read is cut off`() async throws {
        let server = try await TestServer(Self.modules) { $0.limits.authenticated.unread = 64 << 10 }
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        romeo.isReading = false
        for _ in 0..<5000 { romeo.requestAcknowledgement() }
        server.settle()
        #expect(await server.status("sessions_detached") == 1)
        await server.stop()
    }

    @Test func `an answered request of the server leaves nothing behind`() {
        var requests = ServerRequests()
        for _ in 0..<1000 {
            let number = requests.makeNumber()
            requests.add(number, id: "m\(number)", .init(answer: { _ in }, timer: TimerToken(id: 0)))
            #expect(requests.remove(id: "m\(number)") != nil)
            #expect(requests.remove(number: number) == nil)
        }
        #expect(requests.isEmpty)
        #expect(Mirror(reflecting: requests).children.allSatisfy { ($0.value as? [Int: String])?.isEmpty ?? true })
    }

    @Test func `mail to other loops is paid for until they have handled it`() {
        var credit = MailCredit()
        var spent = 0
        while !credit.isSpent, spent < 10_000 {
            credit.spend(500, on: spent % 3)
            if !credit.takeTargets().isEmpty { #expect(credit.takeTargets().isEmpty) }
            spent += 1
        }
        // Not even two hundred stanzas of five hundred bytes.
        #expect((100..<200).contains(spent))
        for _ in 0..<3 { credit.checked() }
        #expect(!credit.isSpent)
    }

    @Test func `a client that outruns another loop is read more slowly`() async throws {
        // Of three accounts on two loops, two live on different ones.
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard")
        server.simulation.stallMail = true
        let text = String(repeating: " ", count: 500)
        for name in ["juliet", "mercutio"] {
            for number in 0..<1000 {
                romeo.send("<iq type='result' to='\(name)@example.org/x' id='\(number)'><a xmlns='b'>\(text)</a></iq>")
            }
        }
        server.settle()
        #expect(server.simulation.waitingMail < 600)
        server.simulation.stallMail = false
        server.settle()
        #expect(await server.status("stanzas_received") == 2001)
        await server.stop()
    }

    @Test func `no session has a queue without a bound for stanzas that wait`() async throws {
        let server = try await TestServer(Self.modules, config: ["offline": AcknowledgementTests.limit(10_000)])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        server.storage.set(.stalled)
        for number in 0..<5000 { romeo.send(chat("juliet@example.org", number)) }
        server.settle()
        let session = try #require(server.server.shards.flatMap { $0.sessions.values }.first)
        #expect(session.intake.held.count <= Intake.mostStanzas)
        #expect(session.isPaused)
        server.storage.set(.none)
        server.advance(by: .seconds(1))
        #expect(await server.status("stanzas_received") == 5001)
        await server.stop()
    }
}
