import Foundation
import ModuleKit
import Synchronization
import XMPPServer
import XMPPStream

/// Makes accounts from a file: reads a batch of lines, derives the keys of its passwords on all cores, stores it.
struct AccountImport {
    /// Accounts that are stored together.
    static let batchSize = 1000

    let file: String
    let accounts: any AccountAccess
    /// SCRAM iterations by host.
    let iterations: [String: Int]
    /// Hears of each line that made no account, as `file:line: reason`.
    let complain: (String) -> Void
    /// Hears how many accounts there are so far.
    var progress: (Int) -> Void = { _ in }

    struct Counts: Equatable {
        var created = 0
        var existed = 0
        var wrong = 0

        var description: String {
            "\(created) accounts imported, \(existed) existed already and stay as they are, \(wrong) lines are wrong"
        }
    }

    /// - Throws: `CommandError` if the file cannot be read or the accounts cannot be stored; what was stored before
    ///   stays, and a second run skips it.
    func run() async throws(CommandError) -> Counts {
        var source = try LineSource(file)
        let hosts = Set(iterations.keys)
        var counts = Counts()
        var batch: [(number: Int, line: ImportLine)] = []
        var number = 0
        while let bytes = try source.next() {
            number += 1
            switch ImportLine(bytes, hosts: hosts) {
            case .nothing: break
            case .wrong(let reason):
                counts.wrong += 1
                complain("\(file):\(number): \(reason)")
            case let line: batch.append((number, line))
            }
            if batch.count == Self.batchSize {
                try await store(batch, &counts)
                batch.removeAll(keepingCapacity: true)
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
            case .created: counts.created += 1
            case .exists:
                counts.existed += 1
                complain("\(file):\(entry.number): \(account.address) exists already")
            }
        }
        progress(counts.created)
    }

    /// On as many threads as there are cores; each takes the next line when it is done with one.
    private func derive(_ lines: [ImportLine]) -> [NewAccount] {
        let results = Mutex([NewAccount?](repeating: nil, count: lines.count))
        DispatchQueue.concurrentPerform(iterations: lines.count) { [iterations] index in
            let account: NewAccount
            switch lines[index] {
            case .password(let address, let password):
                let count = iterations[address.domain] ?? 10_000
                account = NewAccount(
                    address: address, credentials: PasswordKeys.derive(password, iterations: count) ?? [])
            case .keys(let address, let keys): account = NewAccount(address: address, credentials: keys)
            case .nothing, .wrong: return
            }
            results.withLock { $0[index] = account }
        }
        return results.withLock { $0.compactMap(\.self) }
    }
}
