import Logging
import ModuleKit

/// Cold accounts, loading and forgetting (DESIGN: cold accounts).
extension Shard {
    /// The account of this address, cold if nothing is known of it.
    func account(_ address: BareJID) -> LocalAccount {
        if let account = accounts[address] { return account }
        let account = LocalAccount(address, in: self)
        accounts[address] = account
        return account
    }

    /// An account for somebody who has none, until its session ends or `endTemporary` is called. False: somebody has
    /// the name.
    func makeTemporary(_ address: BareJID) -> Bool {
        guard accounts[address] == nil, !isStopping else { return false }
        accounts[address] = LocalAccount(address, in: self, isTemporary: true)
        return true
    }

    /// Frees the name, unless there is a session.
    func endTemporary(_ address: BareJID) {
        guard let account = accounts[address], account.isTemporary, account.sessionCount == 0 else { return }
        accounts[address] = nil
    }

    /// Calls back with the complete account, at once if it is resident; with nil if it could not be read.
    func whenResident(_ address: BareJID, _ body: @escaping (LocalAccount?) -> Void) {
        forgetChanged()
        let account = account(address)
        if account.isResident { return body(account) }
        guard account.wait(.work(body)) else { return body(nil) }
        load(account, for: nil)
    }

    /// One read job runs the loader of every module in one snapshot.
    func load(_ account: LocalAccount, for origin: BareJID?) {
        guard !account.isLoading, !account.isResident else { return }
        guard let table = world.hosts[account.address.domain], loadBudget.take(origin) else {
            account.loadFailed()
            accounts[account.address] = nil
            return
        }
        account.isLoading = true
        counts.loads += 1
        let (loaders, address) = (table.loaders, account.address)
        let (loop, link) = (loop, link)
        storage.read([]) { snapshot throws(StorageError) in
            var loaded = LoadedAccount()
            guard let record = try snapshot.account(host: address.domain, local: address.local) else { return loaded }
            loaded.owner = record.owner
            loaded.generation = CredentialStamp(record).generation
            for loader in loaders { loaded.installs.append(try loader.load(snapshot, record.owner)) }
            loaded.spoolCount = try snapshot.spoolCount(AccountSpool.store, record.owner)
            loaded.spoolLastID = loaded.spoolCount == 0 ? 0 : try snapshot.spoolLastID(AccountSpool.store, record.owner)
            return loaded
        } then: { result in
            loop.post(.work { link.shard?.loaded(address, result) })
        }
    }

    private func loaded(_ address: BareJID, _ result: Result<LoadedAccount, StorageError>) {
        guard let account = accounts[address] else { return }
        switch result {
        case .success(let loaded):
            account.loaded(loaded)
            if account.sessionCount == 0 { idleAccounts.append(account, now: loop.now) }
        case .failure(let error):
            counts.failedLoads += 1
            log.error("account_load_failed", metadata: ["account": "\(address)", "reason": "\(error)"])
            account.loadFailed()
            accounts[address] = nil
        }
    }

    /// Reads what these loaders bring of an account that has everything else.
    func complete(_ account: LocalAccount, _ loaders: [AccountLoader]) {
        guard let owner = account.owner else { return account.completed(nil) }
        let (loop, link, address) = (loop, link, account.address)
        storage.read([owner]) { snapshot throws(StorageError) in
            var installs: [Moved<(inout StateContainer) -> Void>] = []
            for loader in loaders { installs.append(try loader.load(snapshot, owner)) }
            return installs
        } then: { result in
            loop.post(
                .work {
                    guard let shard = link.shard, let account = shard.accounts[address], account.owner == owner
                    else { return }
                    switch result {
                    case .success(let installs): account.completed(installs)
                    case .failure(let error):
                        shard.counts.failedLoads += 1
                        shard.log.error(
                            "account_load_failed", metadata: ["account": "\(address)", "reason": "\(error)"])
                        account.completed(nil)
                    }
                })
        }
    }

    /// The address has become, or ceased to be, an account: what was known of it is wrong.
    func accountChanged(_ address: BareJID) {
        guard let account = accounts[address] else { return }
        for session in account.sessionList { session.close(.notAuthorized) }
        changedAccounts.insert(address)
        forgetChanged()
    }

    /// Now, or when nothing of them is under way any more.
    func forgetChanged() {
        guard !changedAccounts.isEmpty else { return }
        for address in changedAccounts {
            guard let account = accounts[address], !account.isEvictable else {
                accounts[address] = nil
                changedAccounts.remove(address)
                continue
            }
        }
    }

    /// Forgets accounts that nobody used for a while.
    func sweep() {
        idleAccounts.takeExpired(now: loop.now, most: settings.idleAccounts) { account in
            guard accounts[account.address] === account, account.sessionCount == 0 else { return true }
            guard account.isEvictable else {
                account.existingSpool?.delete([])
                return false
            }
            accounts[account.address] = nil
            return true
        }
    }
}

/// Accounts without a session, oldest first. An account may be in it more than once; what counts is that it is idle
/// when its turn comes.
struct IdleAccounts {
    private static let age: Duration = .seconds(60)
    private var list: [(account: LocalAccount, since: Instant)] = []

    var count: Int { list.count }

    mutating func append(_ account: LocalAccount, now: Instant) {
        list.append((account, now))
    }

    /// `forget` says whether the account is done with; otherwise it is kept for another round.
    mutating func takeExpired(now: Instant, most: Int, _ forget: (LocalAccount) -> Bool) {
        var kept: [(account: LocalAccount, since: Instant)] = []
        var taken = 0
        let excess = list.count - most
        for entry in list {
            guard taken < excess || entry.since.advanced(by: Self.age) < now else { break }
            taken += 1
            if !forget(entry.account) { kept.append((entry.account, now)) }
        }
        list.removeFirst(taken)
        list += kept
    }
}
