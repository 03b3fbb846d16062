import ModuleKit
import Synchronization

/// Lets what is done to one account be done one after the other, from whatever thread it comes.
final class AccountTurns: Sendable {
    typealias Work = @Sendable (_ done: @escaping @Sendable () -> Void) -> Void

    /// More that wait for one account are refused.
    static let most = 100

    /// What waits, by the account that something is being done to.
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
