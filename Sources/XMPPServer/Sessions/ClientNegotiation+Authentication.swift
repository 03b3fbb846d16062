import Logging
import ModuleKit
import XMPPStream

/// What the negotiation machine asks for while a client proves who it is.
extension ClientNegotiation {
    func perform(_ result: C2SNegotiation.AuthenticationResult) -> Directive {
        switch result {
        case .challenge(let element):
            transport.send(element)
            return .proceed
        case .lookUp(let request): return wait { self.attempt(request.account) { self.lookUp(request) } }
        case .check(let check): return wait { self.compare(check) }
        case .find(let account): return wait { self.find(account) }
        case .authenticated(let authenticated):
            if let attempt { server.throttle.succeeded(attempt) }
            attempt = nil
            self.authenticated = authenticated
            move(to: authenticated.account)
            return .stop
        case .rejected(let rejection):
            countRejection(rejection.failure)
            shard.log.notice(
                "authentication_failed",
                metadata: [
                    "account": "\(rejection.account?.description ?? "-")", "address": "\(transport.peer.address)",
                    "condition": "\(rejection.failure.condition.rawValue)",
                    "reason": "\(rejection.failure.cause?.rawValue ?? rejection.failure.condition.rawValue)",
                ])
            transport.send(rejection.element)
            if let error = rejection.closing {
                close(error)
                return .stop
            }
            return .proceed
        }
    }

    /// Runs `work`, which answers the machine now or later; until then the client's next element waits.
    func wait(_ work: () -> Void) -> Directive {
        isWaiting = true
        work()
        guard isWaiting else { return isOver && !isHandedOver ? .stop : .proceed }
        isHeld = true
        return .pause
    }

    /// The machine has its answer.
    func goOn() {
        isWaiting = false
        guard isHeld, !isOver else { return }
        isHeld = false
        transport.resumeReading()
    }

    private func answered(_ result: C2SNegotiation.AuthenticationResult?) {
        guard !isOver, let result else { return }
        // Another question keeps waiting by itself.
        switch result {
        case .lookUp(let request): attempt(request.account) { self.lookUp(request) }
        case .check(let check): compare(check)
        case .find(let account): find(account)
        case .challenge, .authenticated, .rejected:
            isWaiting = false
            let directive = perform(result)
            if case .proceed = directive { goOn() }
        }
    }

    private func lookUp(_ request: CredentialRequest) {
        let (loop, account) = (shard.loop, request.account)
        shard.storage.read([]) { snapshot throws(StorageError) in
            try snapshot.account(host: account.domain, local: account.local)
        } then: { [self] result in
            loop.post(.work { self.found(result, request) })
        }
    }

    private func found(_ result: Result<AccountRecord?, StorageError>, _ request: CredentialRequest) {
        guard !isOver else { return }
        switch result {
        case .success(let record):
            // The same work is done with keys of nobody, so that it takes as long.
            let list = CredentialList(stored: record?.credentials ?? CredentialList.nobody)
            let found = list.keys(request.hashes)
            let keys = record == nil ? [] : found
            let auth = shard.settings.auth[request.account.domain] ?? AuthConfig()
            credential = record.map { CredentialStamp(owner: $0.owner, generation: list.generation) }
            incomplete = record.flatMap { IncompleteCredentials($0, list, auth) }
            if keys.isEmpty, record != nil {
                // To the client it is a wrong password; the operator may want to know better.
                server.count(\.withoutKeys)
                shard.log.notice(
                    "keys_missing",
                    metadata: [
                        "account": "\(request.account)",
                        "hash": "\(request.hashes.map(\.rawValue).joined(separator: " "))",
                    ])
            }
            answered(machine.found(keys))
        case .failure(let error): failed(error)
        }
    }

    private func failed(_ error: StorageError) {
        shard.log.error("credential_lookup_failed", metadata: ["reason": "\(error)"])
        answered(machine.authenticationFailed())
    }

    /// Nobody's password is tried: what began before with some account's is over, and how this ends is not its end.
    private func find(_ account: BareJID) {
        giveUpAttempt()
        let loop = shard.loop
        shard.storage.read([]) { snapshot throws(StorageError) in
            try snapshot.account(host: account.domain, local: account.local)
        } then: { [self] result in
            loop.post(
                .work {
                    guard !self.isOver else { return }
                    switch result {
                    case .success(let record):
                        self.credential = record.map { CredentialStamp($0) }
                        self.answered(self.machine.foundAccount(record != nil))
                    case .failure(let error): self.failed(error)
                    }
                })
        }
    }

    private func compare(_ check: PasswordCheck) {
        let (loop, storage, incomplete) = (shard.loop, shard.storage, incomplete)
        self.incomplete = nil
        let isQueued = server.pool.run { [self] in
            let matches = check.matches()
            loop.post(.work { self.checked(matches) })
            if matches, let incomplete { incomplete.complete(by: check, in: storage) }
        }
        if !isQueued { answered(machine.authenticationFailed()) }
    }

    private func checked(_ matches: Bool) {
        guard !isOver else { return }
        answered(machine.checked(matches))
    }

    // MARK: Guessing

    /// Lets somebody try to be this account, perhaps not at once, perhaps not at all.
    private func attempt(_ account: BareJID, _ work: @escaping () -> Void) {
        giveUpAttempt()
        let (verdict, attempt) = server.throttle.begin(account, at: transport.peer.address, now: shard.loop.now)
        self.attempt = attempt
        switch verdict {
        case .proceed: work()
        case .wait(let delay):
            server.count(\.delayed)
            delayed = (work, shard.loop.schedule(after: delay, self, tag: Self.delayTag))
        case .refuse:
            server.count(\.throttled)
            answered(machine.authenticationFailed(.tooMany))
        }
    }

    func waitedLongEnough() {
        guard let (work, _) = delayed else { return }
        delayed = nil
        if !isOver { work() }
    }

    /// No password was compared in the end.
    func giveUpAttempt() {
        if let (_, timer) = delayed { shard.loop.cancel(timer) }
        delayed = nil
        if let attempt { server.throttle.abandoned(attempt, now: shard.loop.now) }
        attempt = nil
    }

    private func countRejection(_ failure: SASLFailure) {
        server.count(\.rejected)
        if [.invalidMechanism, .encryptionRequired].contains(failure.condition) { server.count(\.notOffered) }
        if failure.cause == .wrongPassword, let attempt {
            server.throttle.failed(attempt, now: shard.loop.now)
            self.attempt = nil
        }
        giveUpAttempt()
    }
}

extension SASLFailure {
    fileprivate static let tooMany = SASLFailure(
        .temporaryAuthFailure, text: "Too many failed logins; try again later.")
}

extension SASLFailure {
    /// RFC 6120 §6.5.11: the password was right, and another time it will do.
    static let crowded = SASLFailure(.temporaryAuthFailure, text: "Too many connections from your address.")
}
