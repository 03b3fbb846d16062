import ModuleKit

/// What one session may have on its way to other loops: a client that outruns them is read more slowly.
///
/// With each half of the credit a check goes to the loops that the mail went to, behind that mail, and comes back behind
/// what they said to it. Until it is back, only the other half may be spent.
struct MailCredit {
    /// Half of what may be on its way; a stanza weighs what it occupies.
    private static let half = 64 << 10
    /// Mail occupies this beside its stanza.
    private static let overhead = 256

    private var spent = 0
    /// Loops that mail went to since the last check.
    private var targets: [Int] = []
    /// Checks that are not back.
    private var checks = 0

    var isSpent: Bool { checks > 0 && spent >= Self.half }

    mutating func spend(_ bytes: Int, on target: Int) {
        spent += bytes + Self.overhead
        if !targets.contains(target) { targets.append(target) }
    }

    /// The loops that a check goes to now; none: it is not time for one.
    mutating func takeTargets() -> [Int] {
        guard spent >= Self.half, checks == 0 else { return [] }
        defer { targets.removeAll(keepingCapacity: true) }
        spent = 0
        checks = targets.count
        return targets
    }

    mutating func checked() {
        checks = max(0, checks - 1)
    }
}

extension Shard {
    /// Mail to other loops that `work` causes is charged to the session.
    func charging(_ session: ClientSession, _ work: () -> Void) {
        charged = session
        work()
        charged = nil
        checkCredit(of: session)
    }

    /// Sends mail with a stanza to another loop.
    func post(_ mail: Mail, _ stanza: Stanza, to home: Int) {
        charged?.intake.credit.spend(stanza.byteCount, on: home)
        office.loops[home].post(mail)
    }

    private func checkCredit(of session: ClientSession) {
        for home in session.intake.credit.takeTargets() { office.loops[home].post(.check(session.ref)) }
    }

    /// The other loop has handled what came before the check.
    func creditChecked(_ session: SessionRef) {
        guard let session = sessions[session.id] else { return }
        session.intake.credit.checked()
        checkCredit(of: session)
        session.goOn()
    }
}
