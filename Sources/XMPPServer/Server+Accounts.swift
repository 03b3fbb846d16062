public import ModuleKit

/// Accounts that come and go while the server runs.
extension Server {
    /// Makes an account, derives its keys, and tells the modules.
    public func createAccount(_ address: BareJID, password: String) async throws(AccountError) {
        let result: Result<Void, AccountError> = await withCheckedContinuation { continuation in
            registry.create(address, password: password, for: nil) { continuation.resume(returning: $0) }
        }
        try result.get()
    }

    /// Ends the account's sessions as well.
    public func setPassword(_ password: String, of address: BareJID) async throws(AccountError) {
        let result: Result<Void, AccountError> = await withCheckedContinuation { continuation in
            registry.setPassword(password, of: address, keeping: nil) { continuation.resume(returning: $0) }
        }
        try result.get()
    }

    /// Its sessions end, then the modules hear of it.
    public func removeAccount(_ address: BareJID) async throws(AccountError) {
        let result: Result<Void, AccountError> = await withCheckedContinuation { continuation in
            registry.remove(address) { continuation.resume(returning: $0) }
        }
        try result.get()
    }

    /// The same for simulations, in which nothing may wait.
    package func removeAccount(_ address: BareJID, then: @escaping @Sendable (Result<Void, AccountError>) -> Void) {
        registry.remove(address, then: then)
    }

    /// The account was made, durably, by somebody else: nothing old is believed of the address, and the modules hear of
    /// it.
    public func accountCreated(_ address: BareJID) {
        let shard = shards[office.home(of: address)]
        shard.loop.post(.work { shard.accountCreated(address) })
    }
}

/// What was in memory of an account before its rows went; looked at on its home loop only.
struct DepartingAccount: Sendable {
    let account: Confined<LocalAccount>
}

extension Shard {
    func accountCreated(_ address: BareJID) {
        forget(address)
        guard world.hosts[address.domain]?.accountCreated.isEmpty == false else { return }
        whenResident(address) { account in
            guard let account, account.exists else { return }
            for handler in account.table?.accountCreated ?? [] { handler(account) }
        }
    }

    /// Reads what the modules will want to know of an account when it is gone. Nil: none of them asks.
    func prepareRemoval(of address: BareJID, then: @escaping @Sendable (DepartingAccount?) -> Void) {
        guard world.hosts[address.domain]?.accountRemoved.isEmpty == false else { return then(nil) }
        whenResident(address) { account in
            then(account.map { DepartingAccount(account: Confined($0)) })
        }
    }

    /// - Parameter departing: the account as it was when its removal began, if a module wants to know.
    func accountRemoved(_ address: BareJID, _ owner: OwnerID, _ departing: LocalAccount?) {
        // The address may have another account by now, which stays.
        let known = accounts[address].flatMap { $0.owner == owner ? $0 : nil }
        if known != nil || accounts[address]?.exists != true { forget(address) }
        guard let account = known ?? departing, account.exists else { return }
        for handler in account.table?.accountRemoved ?? [] { handler(account) }
    }

    /// Who is in by the old password goes, but for the one who changed it.
    func passwordChanged(_ address: BareJID, _ generation: UInt32, keeping session: SessionRef?) {
        guard let account = accounts[address] else { return }
        account.passwordChanged(generation)
        for other in account.sessionList where other.ref != session { other.close(.notAuthorized) }
    }
}
