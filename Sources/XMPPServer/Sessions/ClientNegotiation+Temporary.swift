import ModuleKit
import XMPPStream

/// Resuming a session of an account that has no name to come back under: each anonymous login gives another one
/// (XEP-0175), so the id of such a session has its name in it. The id is a secret that only its client knows, and only
/// who has logged in without a name may use it.
extension ClientNegotiation {
    /// A way to another account's loop and, if there is nothing to resume, back again.
    enum Trip {
        case resuming(ResumeRequest, BareJID)
        case returning(ResumeRequest)
    }

    /// Looks for the session where its account lives.
    func resume(_ request: ResumeRequest, of other: BareJID) {
        trip = .resuming(request, other)
        travel(to: other)
    }

    private func travel(to account: BareJID) {
        let home = server.office.loops[server.office.home(of: account)]
        guard home !== shard.loop else { return arrived() }
        stopTimer()
        transport.rehome(to: home)
    }

    /// On the loop that the trip was to.
    func arrived() {
        switch trip {
        case .resuming(let request, let other): resumeHere(request, other)
        case .returning(let request):
            trip = nil
            refuseResume(request)
        case nil: break
        }
    }

    private func resumeHere(_ request: ResumeRequest, _ other: BareJID) {
        let account = shard.accounts[other].flatMap { $0.isTemporary ? $0 : nil }
        guard let session = account?.resumable(request.previd), machine.resumed() else {
            trip = .returning(request)
            return temporary.map { travel(to: $0) } ?? arrived()
        }
        trip = nil
        freeTemporary()
        resume(session, h: request.h)
    }

    private func refuseResume(_ request: ResumeRequest) {
        if let answer = machine.refuseResume(.itemNotFound) { transport.send(answer) }
        goOn()
    }

    /// The name goes back, from whatever loop this is.
    func freeTemporary() {
        guard let account = temporary else { return }
        temporary = nil
        let home = server.shards[server.office.home(of: account)]
        home.loop.post(.work { home.endTemporary(account) })
    }
}

/// The ids under which sessions can be resumed.
enum ResumeID {
    static func make(for account: LocalAccount) -> String {
        let secret = Base64.encode(Crypto.random(18))
        return account.isTemporary ? "\(secret).\(account.address.local)" : secret
    }

    /// The temporary account that the id names; nil: none.
    static func account(in id: String, at domain: String) -> BareJID? {
        guard id.utf8.count <= 128, let dot = id.firstIndex(of: "."),
            let local = JID.prepared(local: String(id[id.index(after: dot)...]))
        else { return nil }
        return BareJID(canonicalLocal: local, domain: domain)
    }
}
