import ModuleKit
import ModuleTesting
import StorageMemory
import Testing
import XMPPStream

@testable import XMPPServer

/// BAD-INPUTS 15: what guessing passwords costs, and whom.
@Suite struct LoginThrottleTests {
    private static let romeo = BareJID("romeo@example.org")!
    private static let here = "192.0.2.1"
    private static let there = "192.0.2.2"

    private static func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

    private static func account(_ number: Int) -> BareJID { BareJID("user\(number)@example.org") ?? romeo }

    private let throttle = LoginThrottle(
        LimitsConfig.FailedLogins(
            free: 3, freePerAddress: 6, delay: .seconds(4), refuse: 8, refusePerAddress: 12, forget: .seconds(60)))

    /// One failure; what it was answered with.
    @discardableResult
    private func fail(
        _ account: BareJID = romeo, at address: String = here, _ now: Int64 = 0
    ) -> LoginThrottle.Verdict {
        let (verdict, attempt) = throttle.begin(account, at: address, now: Self.at(now))
        if let attempt { throttle.failed(attempt, now: Self.at(now)) }
        return verdict
    }

    private func next(_ account: BareJID = romeo, at address: String = here, _ now: Int64 = 0) -> LoginThrottle.Verdict
    {
        let (verdict, attempt) = throttle.begin(account, at: address, now: Self.at(now))
        if let attempt { throttle.abandoned(attempt, now: Self.at(now)) }
        return verdict
    }

    @Test func `the first failures are free, then each waits twice as long, then none is tried`() {
        let expected: [LoginThrottle.Verdict] = [
            .proceed, .proceed, .proceed, .wait(.milliseconds(500)), .wait(.seconds(1)), .wait(.seconds(2)),
            .wait(.seconds(4)), .wait(.seconds(4)), .refuse, .refuse,
        ]
        #expect(expected.map { _ in fail() } == expected)
    }

    @Test func `a stranger's failures are nothing to the owner at another address`() {
        for _ in 0..<20 { fail() }
        #expect(next() == .refuse)
        #expect(next(at: Self.there) == .proceed)
    }

    @Test func `failures of one address count for all accounts together`() {
        let expected: [LoginThrottle.Verdict] =
            (0..<6).map { _ in .proceed } + [.wait(.milliseconds(500)), .wait(.seconds(1)), .wait(.seconds(2))]
            + [.wait(.seconds(4)), .wait(.seconds(4)), .wait(.seconds(4)), .refuse]
        #expect(expected.indices.map { fail(Self.account($0)) } == expected)
        #expect(next(Self.account(99), at: Self.there) == .proceed)
    }

    @Test func `an IPv6 address is its network, and one mapped from IPv4 is that one`() {
        for _ in 0..<8 { fail(at: "2001:db8:1:2::1") }
        #expect(next(at: "2001:db8:1:2:ffff:ffff:ffff:ffff") == .refuse)
        #expect(next(at: "2001:db8:1:3::1") == .proceed)
        for _ in 0..<8 { fail(at: "192.0.2.9") }
        #expect(next(at: "::ffff:192.0.2.9") == .refuse)
    }

    @Test func `the right password ends it for that account there, not for the address`() throws {
        for _ in 0..<6 { fail() }
        let attempt = try #require(throttle.begin(Self.romeo, at: Self.here, now: Self.at(0)).1)
        throttle.succeeded(attempt)
        #expect(next() == .wait(.milliseconds(500)))
        // Six failures of the address are left: another one is the seventh.
        #expect(fail() == .wait(.milliseconds(500)))
        #expect(next() == .wait(.seconds(1)))
    }

    @Test func `attempts at the same time wait as those in turn do`() {
        let verdicts = (0..<9).map { _ in throttle.begin(Self.romeo, at: Self.here, now: Self.at(0)).0 }
        #expect(verdicts[..<3].allSatisfy { $0 == .proceed })
        #expect(verdicts[3] == .wait(.milliseconds(500)))
        #expect(verdicts[8] == .refuse)
    }

    @Test func `an attempt that came to nothing does not count`() {
        for _ in 0..<100 { #expect(next() == .proceed) }
        #expect(throttle.entries == (0, 0))
    }

    @Test func `failures are forgotten by halves`() {
        for _ in 0..<8 { fail() }
        #expect(next(59) == .refuse)
        // Of eight, four are left; of eight at the address as well.
        #expect(next(60) == .wait(.seconds(1)))
        #expect(next(120) == .proceed)
    }

    private func next(_ now: Int64) -> LoginThrottle.Verdict { next(Self.romeo, at: Self.here, now) }

    @Test func `what is remembered is bounded, and the last ones stay`() {
        let throttle = LoginThrottle(LimitsConfig.FailedLogins(free: 1, refuse: 1, refusePerAddress: 1, entries: 100))
        for number in 0..<1000 {
            let address = "192.0.\(number / 200).\(number % 200)"
            guard let attempt = throttle.begin(Self.romeo, at: address, now: Self.at(0)).1 else {
                Issue.record("refused")
                return
            }
            throttle.failed(attempt, now: Self.at(0))
            #expect(throttle.entries.accounts <= 100)
            #expect(throttle.entries.networks <= 100)
        }
        #expect(throttle.begin(Self.romeo, at: "192.0.4.199", now: Self.at(0)).0 == .refuse)
        #expect(throttle.begin(Self.romeo, at: "192.0.4.160", now: Self.at(0)).0 == .refuse)
        #expect(throttle.begin(Self.romeo, at: "192.0.0.0", now: Self.at(0)).0 == .proceed)
    }

    // MARK: In the server

    private func server(_ limits: LimitsConfig.FailedLogins) async throws -> TestServer {
        try await TestServer([]) { $0.limits.failedLogins = limits }
    }

    private func attempt(_ server: TestServer, _ mechanism: TestClient.Mechanism, password: String) -> TestClient {
        var options = TestClient.Options()
        options.mechanism = mechanism
        options.password = password
        let client = server.client("romeo@example.org/orchard", options)
        client.logIn()
        server.settle()
        return client
    }

    @Test(arguments: [TestClient.Mechanism.plain, .scramSHA256])
    func `a login after failures is answered late, and is a login`(_ mechanism: TestClient.Mechanism) async throws {
        let server = try await server(LimitsConfig.FailedLogins(free: 2))
        for _ in 0..<2 {
            #expect(attempt(server, mechanism, password: "wrong").errors.map(\.name) == ["failure"])
        }
        let romeo = attempt(server, mechanism, password: "secret")
        #expect(romeo.phase == .negotiating)
        #expect(romeo.errors == [])
        server.advance(by: .milliseconds(400))
        #expect(romeo.phase == .negotiating)
        server.advance(by: .milliseconds(300))
        #expect(romeo.phase == .ready)
        #expect(await server.status("logins_delayed") == 1)
        #expect(await server.status("logins_rejected") == 2)
        // From then on nobody waits.
        #expect(attempt(server, mechanism, password: "secret").phase == .ready)
        await server.stop()
    }

    @Test func `after too many failures no password is looked at, until they are forgotten`() async throws {
        let server = try await server(LimitsConfig.FailedLogins(free: 1, delay: .zero, refuse: 3, forget: .seconds(60)))
        for _ in 0..<3 { _ = attempt(server, .plain, password: "wrong") }
        let romeo = attempt(server, .plain, password: "secret")
        #expect(romeo.errors.first?.first("temporary-auth-failure", .sasl) != nil)
        #expect(await server.status("logins_throttled") == 1)
        server.advance(by: .seconds(61))
        #expect(attempt(server, .plain, password: "secret").phase == .ready)
        await server.stop()
    }

    @Test func `a connection that goes while it waits leaves nothing behind`() async throws {
        let server = try await server(LimitsConfig.FailedLogins(free: 1))
        _ = attempt(server, .plain, password: "wrong")
        let romeo = attempt(server, .plain, password: "wrong")
        #expect(romeo.errors == [])
        romeo.cut()
        server.advance(by: .seconds(10))
        #expect(server.counts.sessions == 0)
        // The first one may try again.
        #expect(await server.status("connections_without_session") == 1)
        #expect(server.server.throttle.entries == (1, 1))
        await server.stop()
    }

    @Test func `BAD-INPUTS 15: a login as somebody else forgives no failures with the account begun before`()
        async throws
    {
        let server = try await TestServer([]) { config in
            config.limits.failedLogins = LimitsConfig.FailedLogins(free: 1, delay: .zero, refuse: 3)
            for index in config.hosts.indices { config.hosts[index].auth.mechanisms = AuthConfig.usual + [.anonymous] }
        }
        for _ in 0..<2 { _ = attempt(server, .plain, password: "wrong") }
        var options = TestClient.Options()
        options.staysOutside = true
        let stranger = server.client("stranger@example.org/x", options)
        stranger.logIn()
        server.settle()
        // RFC 6120 §6.4.2: the second one takes the place of the first.
        let first = Base64.encode(Array("n,,n=romeo,r=abc".utf8))
        stranger.sendRaw("<auth xmlns='\(Namespace.sasl.uri)' mechanism='SCRAM-SHA-256'>\(first)</auth>")
        stranger.sendRaw("<auth xmlns='\(Namespace.sasl.uri)' mechanism='ANONYMOUS'/>")
        server.settle()
        #expect(await server.status("logins_out_of_turn") == 1)
        #expect(await server.status("logins") == 1)
        _ = attempt(server, .plain, password: "wrong")
        let romeo = attempt(server, .plain, password: "secret")
        #expect(romeo.errors.first?.first("temporary-auth-failure", .sasl) != nil)
        await server.stop()
    }

    @Test func `a login by a mechanism whose keys the account lacks is a wrong password to the client`() async throws {
        let server = try await TestServer([], accounts: [])
        let salt = Array("saltsaltsaltsalt".utf8)
        let password = try #require(PreparedPassword("secret"))
        let old = ScramCredential(deriving: .sha1, from: password, iterations: 1, salt: salt)
        server.memory.submit([
            .createAccount(
                host: "example.org", local: "romeo", created: Timestamp(milliseconds: 0),
                credentials: [Array(old.text.utf8)])
        ]) { _ in }
        server.settle()
        let romeo = attempt(server, .scramSHA512, password: "secret")
        #expect(romeo.errors.first?.first("not-authorized", .sasl) != nil)
        #expect(await server.status("logins_without_keys") == 1)
        #expect(attempt(server, .scramSHA1, password: "secret").phase == .ready)
        #expect(attempt(server, .scramSHA512, password: "secret").phase == .negotiating)
        // Who brings the password itself brings the keys that are missing.
        #expect(attempt(server, .plain, password: "wrong").phase == .negotiating)
        #expect(attempt(server, .scramSHA512, password: "secret").phase == .negotiating)
        #expect(attempt(server, .plain, password: "secret").phase == .ready)
        for mechanism in [TestClient.Mechanism.scramSHA512, .scramSHA256, .scramSHA1, .plain] {
            #expect(attempt(server, mechanism, password: "secret").phase == .ready)
        }
        let memory = server.memory
        let stored = await server.pump {
            try? await memory.read([]) { snapshot throws(StorageError) in
                try snapshot.account(host: "example.org", local: "romeo")?.credentials
            }
        }
        let list = CredentialList(stored: stored ?? [])
        #expect(Set(list.credentials.map(\.keys.hash)) == Set(HashFunction.allCases))
        #expect(list.credentials.count == 3)
        #expect(list.credentials.first { $0.keys.hash == .sha1 }?.keys == old)
        await server.stop()
    }
}
