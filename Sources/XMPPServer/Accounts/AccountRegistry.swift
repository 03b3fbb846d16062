import Logging
import ModuleKit
import Synchronization
import XMPPStream

/// The accounts of the running server: what modules and the operator's commands do to them. Keys are derived on the
/// pool, rows written through the journal, and the home loop of the account hears of it.
final class AccountRegistry: AccountService {
    private let storage: any StorageBackend
    private let pool: any WorkExecutor
    private let office: PostOffice
    private let shared: Mutex<(hosts: [HostConfig], links: [ShardLink])>
    private let turns = AccountTurns()

    init(storage: any StorageBackend, pool: any WorkExecutor, office: PostOffice, hosts: [HostConfig]) {
        self.storage = storage
        self.pool = pool
        self.office = office
        shared = Mutex((hosts, []))
    }

    var hosts: [HostConfig] {
        get { shared.withLock { $0.hosts } }
        set { shared.withLock { $0.hosts = newValue } }
    }

    /// One per loop; set before anything runs.
    var links: [ShardLink] {
        get { shared.withLock { $0.links } }
        set { shared.withLock { $0.links = newValue } }
    }

    func create(
        _ address: BareJID, password: String, for peer: PeerInfo?,
        then: @escaping @Sendable (Result<Void, AccountError>) -> Void
    ) {
        derive(password, for: address, else: then) { [self] keys in
            atHome(of: address) { shard in
                let creation = Mutation.createAccount(
                    host: address.domain, local: address.local, created: shard.wallClock,
                    credentials: CredentialList().replaced(by: keys).stored)
                shard.storage.submit([creation]) { result in
                    switch result {
                    case .success(let outcomes):
                        guard case .owner = outcomes.first else { return then(.failure(.exists)) }
                        self.atHome(of: address) { shard in
                            shard.log.notice(
                                "account_created",
                                metadata: ["account": "\(address)", "address": "\(peer?.address ?? "-")"])
                            shard.accountCreated(address)
                        }
                        then(.success(()))
                    case .failure(let error): then(.failure(.storage(error)))
                    }
                }
            }
        }
    }

    func setPassword(
        _ password: String, of address: BareJID, keeping session: SessionRef?,
        then: @escaping @Sendable (Result<Void, AccountError>) -> Void
    ) {
        derive(password, for: address, else: then) { [self] keys in
            // One after the other, so that no two passwords are of one generation.
            let isTaken = turns.take(address) { done in
                self.setKeys(keys, of: address, keeping: session) { result in
                    done()
                    then(result)
                }
            }
            if !isTaken { then(.failure(.busy)) }
        }
    }

    private func setKeys(
        _ keys: [ScramCredential], of address: BareJID, keeping session: SessionRef?,
        then: @escaping @Sendable (Result<Void, AccountError>) -> Void
    ) {
        let next: @Sendable (AccountRecord) -> CredentialList = {
            CredentialList(stored: $0.credentials).replaced(by: keys)
        }
        change(address, { .setCredentials($0.owner, next($0).stored) }) { result in
            if case .success(let record) = result {
                self.atHome(of: address) { shard in
                    shard.log.notice("password_changed", metadata: ["account": "\(address)"])
                    shard.passwordChanged(address, next(record).generation, keeping: session)
                }
            }
            then(result.map { _ in })
        }
    }

    func remove(_ address: BareJID, then: @escaping @Sendable (Result<Void, AccountError>) -> Void) {
        atHome(of: address) { [self] shard in
            shard.prepareRemoval(of: address) { departing in
                self.change(address, { .removeAccount($0.owner) }) { result in
                    // The answer first: what follows ends the session that it goes to.
                    then(result.map { _ in })
                    guard case .success(let record) = result else { return }
                    self.atHome(of: address) { shard in
                        shard.log.notice("account_removed", metadata: ["account": "\(address)"])
                        shard.accountRemoved(address, record.owner, departing?.account.value)
                    }
                }
            }
        }
    }

    // MARK: Steps

    private func derive(
        _ password: String, for address: BareJID, else failed: @escaping @Sendable (Result<Void, AccountError>) -> Void,
        then: @escaping @Sendable ([ScramCredential]) -> Void
    ) {
        guard let host = hosts.first(where: { $0.name == address.domain }), !address.local.isEmpty else {
            return failed(.failure(.noSuchHost))
        }
        let isQueued = pool.run {
            guard let keys = PasswordKeys.derive(password, host.auth) else {
                return failed(.failure(.passwordNotAllowed))
            }
            then(keys)
        }
        if !isQueued { failed(.failure(.busy)) }
    }

    /// Hands on the account as it was before.
    private func change(
        _ address: BareJID, _ mutation: @escaping @Sendable (AccountRecord) -> Mutation,
        then: @escaping @Sendable (Result<AccountRecord, AccountError>) -> Void
    ) {
        storage.read([]) { snapshot throws(StorageError) in
            try snapshot.account(host: address.domain, local: address.local)
        } then: { [storage] result in
            switch result {
            case .success(nil): then(.failure(.notFound))
            case .success(let record?):
                storage.submit([mutation(record)]) { result in
                    switch result {
                    case .success: then(.success(record))
                    case .failure(let error): then(.failure(.storage(error)))
                    }
                }
            case .failure(let error): then(.failure(.storage(error)))
            }
        }
    }

    private func atHome(of address: BareJID, _ work: @escaping @Sendable (Shard) -> Void) {
        let home = office.home(of: address)
        let links = links
        guard links.indices.contains(home) else { return }
        let link = links[home]
        office.loops[home].post(.work { if let shard = link.shard { work(shard) } })
    }
}
