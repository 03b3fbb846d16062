public import ModuleKit

/// Accounts that come and go while the server runs. Whoever changes the rows says so here.
extension Server {
    /// The account was made, durably: nothing old is believed of the address, and the modules hear of it.
    public func accountCreated(_ address: BareJID) {
        let shard = shards[office.home(of: address)]
        shard.loop.post(.work { shard.accountCreated(address) })
    }

    /// Reads what the modules will want to know of an account when it is gone. Nil: none of them asks.
    public func prepareRemoval(of address: BareJID) async -> DepartingAccount? {
        let shard = shards[office.home(of: address)]
        return await withCheckedContinuation { continuation in
            shard.loop.post(
                .work {
                    guard shard.world.hosts[address.domain]?.accountRemoved.isEmpty == false else {
                        return continuation.resume(returning: nil)
                    }
                    shard.whenResident(address) { account in
                        continuation.resume(returning: account.map { DepartingAccount(account: Confined($0)) })
                    }
                })
        }
    }

    /// The account was removed, durably: its sessions end, then the modules hear of it.
    public func accountRemoved(_ address: BareJID, _ departing: DepartingAccount?) {
        let shard = shards[office.home(of: address)]
        shard.loop.post(.work { shard.accountRemoved(address, departing?.account.value) })
    }
}

/// What was in memory of an account before its rows went; looked at on its home loop only.
public struct DepartingAccount: Sendable {
    let account: Confined<LocalAccount>
}

extension Shard {
    func accountCreated(_ address: BareJID) {
        accountChanged(address)
        guard world.hosts[address.domain]?.accountCreated.isEmpty == false else { return }
        announce(address, isLastAttempt: false)
    }

    /// A read that had begun before the account was there finds none; the next one does.
    private func announce(_ address: BareJID, isLastAttempt: Bool) {
        whenResident(address) { [link] account in
            guard let shard = link.shard, let account else { return }
            if account.exists {
                for handler in account.table?.accountCreated ?? [] { handler(account) }
            } else if !isLastAttempt {
                shard.accountChanged(address)
                shard.loop.defer_ { shard.announce(address, isLastAttempt: true) }
            }
        }
    }

    func accountRemoved(_ address: BareJID, _ departing: LocalAccount?) {
        // It may have been forgotten and read again meanwhile.
        let account = accounts[address].flatMap { $0.isResident && $0.exists ? $0 : nil } ?? departing
        accountChanged(address)
        guard let account, account.exists else { return }
        for handler in account.table?.accountRemoved ?? [] { handler(account) }
    }
}
