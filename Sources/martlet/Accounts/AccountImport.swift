import Foundation
import ModuleKit
import Synchronization
import XMPPServer
import XMPPStream

/// Makes accounts from a file: reads a batch of lines, derives the keys of its passwords on all cores, stores it.
struct AccountImport {
    /// Accounts that are stored together, and bytes of their lines: a running server takes 4 MiB at once.
    static let batchSize = 1000
    private static let batchBytes = 1 << 20

    let file: String
    let accounts: any AccountAccess
    /// How passwords are kept, by host.
    let auth: [String: AuthConfig]
    /// Hears of each line that made no account, or one that not every client can log in to, as `file:line: reason`.
    let complain: (String) -> Void
    /// Hears how many accounts there are so far.
    var progress: (Int) -> Void = { _ in }

    struct Counts: Equatable {
        var created = 0
        var existed = 0
        var wrong = 0
        /// Made, and of no use to clients that take the strongest mechanism.
        var incomplete = 0
        /// Made, with the account's own name as the password. Keys do not show it.
        var guessable = 0

        var description: String {
            "\(created) accounts imported, \(existed) existed already and stay as they are, \(wrong) lines are wrong"
                + (incomplete == 0 ? "" : ", \(incomplete) have not all keys that are offered")
                + (guessable == 0 ? "" : ", \(guessable) have their own name as the password")
        }
    }

    /// - Throws: `CommandError` if the file cannot be read or the accounts cannot be stored; what was stored before
    ///   stays, and a second run skips it.
    func run() async throws(CommandError) -> Counts {
        var source = try LineSource(file)
        let hosts = Set(auth.keys)
        var counts = Counts()
        var batch: [(number: Int, line: ImportLine)] = []
        var (number, batchBytes) = (0, 0)
        // Two ways to write a name can be one address (RFC 7622): the first line has it, and the others are told of.
        var lineOf: [BareJID: Int] = [:]
        while let bytes = try source.next() {
            number += 1
            switch ImportLine(bytes, hosts: hosts) {
            case .nothing: break
            case .wrong(let reason):
                counts.wrong += 1
                complain("\(file):\(number): \(reason)")
            case let line:
                if let address = line.address, let first = lineOf.updateValue(number, forKey: address) {
                    lineOf[address] = first
                    counts.wrong += 1
                    complain("\(file):\(number): \(address) is the same account as that of line \(first)")
                } else {
                    batch.append((number, line))
                    batchBytes += bytes.count
                }
            }
            if batch.count == Self.batchSize || batchBytes >= Self.batchBytes {
                try await store(batch, &counts)
                batch.removeAll(keepingCapacity: true)
                batchBytes = 0
            }
        }
        if !batch.isEmpty { try await store(batch, &counts) }
        return counts
    }

    private func store(_ batch: [(number: Int, line: ImportLine)], _ counts: inout Counts) async throws(CommandError) {
        let made = derive(batch.map(\.line))
        let outcomes = try await accounts.create(made)
        for (entry, (account, outcome)) in zip(batch, zip(made, outcomes)) {
            switch outcome {
            case .created:
                counts.created += 1
                complainOfMissingKeys(account, entry.number, &counts)
                complainOfGuessable(entry.line, entry.number, &counts)
            case .exists:
                counts.existed += 1
                complain("\(file):\(entry.number): \(account.address) exists already")
            }
        }
        progress(counts.created)
    }

    /// Where one account lacks keys mostly all do: the first ones are told of, the others are counted.
    static let mostNamed = 20

    /// Many clients try the strongest mechanism and no other.
    private func complainOfMissingKeys(_ account: NewAccount, _ number: Int, _ counts: inout Counts) {
        let wanted = auth[account.address.domain]?.hashes ?? []
        let missing = wanted.filter { hash in !account.credentials.contains { $0.hash == hash } }
        guard !missing.isEmpty else { return }
        counts.incomplete += 1
        guard counts.incomplete <= Self.mostNamed else { return }
        let names = missing.map(\.rawValue).joined(separator: ", ")
        complain(
            "\(file):\(number): \(account.address) has no keys for \(names), which the host offers (auth.hashes): "
                + "clients that take the strongest mechanism cannot log in")
    }

    /// People who move to this server keep their passwords, and are not locked out by a rule that they never heard of.
    private func complainOfGuessable(_ line: ImportLine, _ number: Int, _ counts: inout Counts) {
        guard case .password(let address, let password) = line, address.isSpelled(by: password) else { return }
        counts.guessable += 1
        guard counts.guessable <= Self.mostNamed else { return }
        complain(
            "\(file):\(number): \(address) has its own name as the password: `martlet account password` sets another")
    }

    /// On as many threads as there are cores; each takes the next line when it is done with one.
    private func derive(_ lines: [ImportLine]) -> [NewAccount] {
        let results = Mutex([NewAccount?](repeating: nil, count: lines.count))
        DispatchQueue.concurrentPerform(iterations: lines.count) { [auth] index in
            let account: NewAccount
            switch lines[index] {
            case .password(let address, let password):
                let auth = auth[address.domain] ?? AuthConfig()
                account = NewAccount(
                    address: address, credentials: PasswordKeys.derive(password, auth) ?? [])
            case .keys(let address, let keys): account = NewAccount(address: address, credentials: keys)
            case .nothing, .wrong: return
            }
            results.withLock { $0[index] = account }
        }
        return results.withLock { $0.compactMap(\.self) }
    }
}
