import ModuleKit
import Synchronization

/// Puts the changes of one account in a line. May be called from every thread.
final class AccountTurns: Sendable {
    typealias Work = @Sendable (_ done: @escaping @Sendable () -> Void) -> Void

    /// More that wait for one account are refused.
    static let most = 100

    /// The work that waits, by the account of the work under way.
    private let waiting = Mutex<[BareJID: [Work]]>([:])

    /// Begins now, or when everything before it is done. False: too much waits.
    func take(_ address: BareJID, _ work: @escaping Work) -> Bool {
        let verdict: Bool? = waiting.withLock { waiting in
            guard let others = waiting[address] else {
                waiting[address] = []
                return true
            }
            guard others.count < Self.most else { return nil }
            waiting[address] = others + [work]
            return false
        }
        if verdict == true { begin(address, work) }
        return verdict != nil
    }

    private func begin(_ address: BareJID, _ work: Work) {
        work { [self] in
            let next: Work? = waiting.withLock { waiting in
                guard let first = waiting[address]?.first else {
                    waiting[address] = nil
                    return nil
                }
                waiting[address]?.removeFirst()
                return first
            }
            if let next { begin(address, next) }
        }
    }
}
