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
        let account = account(address)
        if account.isResident { return body(account) }
        guard account.wait(.work(body)) else { return body(nil) }
        load(account, for: nil)
    }

    /// One read job runs the loader of every module in one snapshot.
    func load(_ account: LocalAccount, for origin: BareJID?) {
        guard !account.isLoading, !account.isResident else { return }
        let table = world.hosts[account.address.domain]
        // Messages of the account that left are still on their way to the store; they are part of what is read.
        if table != nil, departing[account.address] != nil { return }
        guard let table, loadBudget.take(origin) else {
            accounts[account.address] = nil
            return account.loadFailed()
        }
        account.isLoading = true
        counts.loads += 1
        let (loaders, address) = (table.loaders, account.address)
        let (loop, link, confined) = (loop, link, Confined(account))
        storage.read([]) { snapshot throws(StorageError) in
            // Everything is read for nobody as well, so that the time of an answer does not tell whether there is the account.
            let record = try snapshot.account(host: address.domain, local: address.local)
            let owner = record?.owner ?? .nobody
            var loaded = LoadedAccount()
            loaded.owner = record?.owner
            loaded.generation = record.map { CredentialStamp($0).generation } ?? 0
            for loader in loaders { loaded.installs.append(try loader.load(snapshot, owner)) }
            loaded.spoolCount = try snapshot.spoolCount(AccountSpool.store, owner)
            loaded.spoolLastID = loaded.spoolCount == 0 ? 0 : try snapshot.spoolLastID(AccountSpool.store, owner)
            return loaded
        } then: { result in
            loop.post(.work { link.shard?.loaded(confined.value, result) })
        }
    }

    private func loaded(_ account: LocalAccount, _ result: Result<LoadedAccount, StorageError>) {
        guard !account.hasLeft else { return }
        switch result {
        case .success(let loaded):
            account.loaded(loaded)
            if account.sessionCount == 0 { becameIdle(account) }
        case .failure(let error):
            counts.failedLoads += 1
            log.error("account_load_failed", metadata: ["account": "\(account.address)", "reason": "\(error)"])
            account.loadFailed()
            accounts[account.address] = nil
        }
    }

    /// Reads what these loaders bring of an account that has everything else.
    func complete(_ account: LocalAccount, _ loaders: [AccountLoader]) {
        guard let owner = account.owner else { return account.completed(nil) }
        let (loop, link, confined) = (loop, link, Confined(account))
        storage.read([owner]) { snapshot throws(StorageError) in
            var installs: [Moved<(inout StateContainer) -> Void>] = []
            for loader in loaders { installs.append(try loader.load(snapshot, owner)) }
            return installs
        } then: { result in
            loop.post(
                .work {
                    let account = confined.value
                    guard let shard = link.shard, !account.hasLeft else { return }
                    switch result {
                    case .success(let installs): account.completed(installs)
                    case .failure(let error):
                        shard.counts.failedLoads += 1
                        shard.log.error(
                            "account_load_failed", metadata: ["account": "\(account.address)", "reason": "\(error)"])
                        account.completed(nil)
                    }
                })
        }
    }

    /// The address has become an account, or is none any more: it starts cold, and the account that was known leaves.
    func forget(_ address: BareJID) {
        reroute(leave(address, telling: .notAuthorized), to: address)
    }

    /// The account that is known of the address leaves the table at once. Its sessions end; what they leave is under way
    /// apart from the address.
    ///
    /// - Returns: what waited for it to be read, which is still for the address.
    func leave(_ address: BareJID, telling error: StreamError) -> [LocalAccount.Waiting] {
        guard let account = accounts[address] else { return [] }
        for session in account.sessionList { session.close(error) }
        if accounts[address] === account { accounts[address] = nil }
        let waiting = account.leave()
        if account.existingSpool?.isWriting == true { departing[address, default: []].append(account) }
        return waiting
    }

    /// An account that left has nothing on its way to the store any more: the next one of its address may be read.
    func departed(_ account: LocalAccount) {
        let address = account.address
        departing[address]?.removeAll { $0 === account }
        guard departing[address]?.isEmpty == true else { return }
        departing[address] = nil
        if let next = accounts[address], !next.isResident { load(next, for: nil) }
    }

    func reroute(_ waiting: [LocalAccount.Waiting], to address: BareJID) {
        for item in waiting {
            switch item {
            case .envelope(let envelope): arrive(address, envelope)
            case .work(let work): whenResident(address, work)
            }
        }
    }

    /// It is kept for a while, if it is not too much with all others.
    func becameIdle(_ account: LocalAccount) {
        idleAccounts.append(account, now: loop.now)
        guard idleAccounts.bytes > settings.idleBytes, !sweepsSoon else { return }
        // Not now: the caller may still need the account.
        sweepsSoon = true
        loop.defer_ { [self] in sweep() }
    }

    /// Forgets accounts that nobody used for a while, and more of them if all together are too large.
    func sweep() {
        idleAccounts.takeExpired(now: loop.now, most: settings.idleBytes) { account in
            guard accounts[account.address] === account, account.sessionCount == 0 else { return true }
            guard account.isEvictable else {
                account.existingSpool?.delete([])
                return false
            }
            accounts[account.address] = nil
            return true
        }
        // Where nothing can be forgotten yet there is no use in looking again before the next round.
        sweepsSoon = idleAccounts.bytes > settings.idleBytes
    }
}

/// Accounts without a session, each once, oldest first. An account is looked at when its turn comes.
struct IdleAccounts {
    private static let age: Duration = .seconds(60)

    private struct Entry {
        let account: LocalAccount
        let since: Instant
        /// As it was then; most are forgotten before they grow.
        let bytes: Int
    }

    private var list: [Entry] = []
    private(set) var bytes = 0

    var count: Int { list.count }

    mutating func append(_ account: LocalAccount, now: Instant) {
        account.idleSince = now
        guard !account.isInIdleList else { return }
        account.isInIdleList = true
        let entry = Entry(account: account, since: now, bytes: account.byteCount)
        list.append(entry)
        bytes += entry.bytes
    }

    /// `forget` says whether the account is done with; otherwise it is kept for another round.
    ///
    /// - Parameter most: the bytes of those that stay.
    mutating func takeExpired(now: Instant, most: Int, _ forget: (LocalAccount) -> Bool) {
        var kept: [LocalAccount] = []
        var taken = 0
        for entry in list {
            let isTooMuch = bytes > most
            guard isTooMuch || entry.since.advanced(by: Self.age) < now else { break }
            taken += 1
            bytes -= entry.bytes
            let account = entry.account
            account.isInIdleList = false
            // It was used in between.
            let isYoung = now <= account.idleSince.advanced(by: Self.age)
            if !isTooMuch && isYoung || !forget(account) { kept.append(account) }
        }
        list.removeFirst(taken)
        for account in kept { append(account, now: now) }
    }
}
