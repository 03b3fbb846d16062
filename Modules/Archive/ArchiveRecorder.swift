internal import ModuleKit

/// Puts messages into the archives of those who send and get them (XEP-0313 §5.1.1).
///
/// Sender and addressee may live on two loops. The sender's loop gives the id in the sender's archive, and the row
/// travels with the message; the addressee's loop adds its own and has both written with one body. So a message that is
/// refused over there is in no archive. Delivery does not wait for the disk; the sender's acknowledgement does.
struct ArchiveRecorder {
    let contacts: (any ContactService)?
    let habit: ArchivePreferences.Habit
    let recorded: Counter
    let unrecorded: Counter

    // MARK: The sender's archive

    func sent(_ event: inout Received) -> Verdict {
        let (stanza, account) = (event.envelope.stanza, event.session.account)
        // What the account sends to itself is recorded where it arrives, once.
        guard stanza.classification.isArchivable, let to = stanza.to, to.bare != account.address,
            let owner = account.owner, let archive = account.state[AccountArchive.self],
            wants(to, archive, account), let id = archive.makeID(at: account.kernel.wallClock)
        else { return .next }
        let (stamp, reference) = (account.kernel.wallClock, (owner: owner, id: id, with: to.description))
        func row(_ stanza: [UInt8]) -> Mutation {
            .archive(AccountArchive.store, [reference], stamp: stamp, stanza: stanza)
        }
        let (sent, tombstone, mark) = (row(stanza.stored), row([]), ArchiveMark(id))
        archive.opened(id)
        let (home, held) = (account.kernel.home, Confined((account, archive, self)))
        let receipt = event.envelope.receipt
        event.envelope.shared = SharedChange([sent], mark: mark) { outcome in
            home.perform { kernel in
                let (account, archive, recorder) = held.value
                switch outcome {
                // Its addressee keeps no archive here, and has not refused it.
                case .untaken: recorder.write(sent, for: account, receipt, on: kernel)
                // A device that knows the id finds its place: an id that is gone is the end of the archive to some.
                case .refused where mark.isTold: recorder.write(tombstone, for: account, receipt, on: kernel)
                default: break
                }
                archive.closed(id)
            }
        }
        return .next
    }

    /// - Parameter receipt: held until the row is on disk.
    private func write(_ row: Mutation, for account: any Account, _ receipt: Receipt?, on kernel: any Kernel) {
        kernel.submit([row], bytes: row.stanzaBytes, chargedTo: account.address) { result in
            withExtendedLifetime(receipt) { self.count(result, 1) }
        }
    }

    // MARK: The addressee's

    func arrived(_ event: inout Arriving) -> Verdict {
        let (stanza, account) = (event.envelope.stanza, event.account)
        guard stanza.classification.isArchivable, let owner = account.owner,
            let archive = account.state[AccountArchive.self], let from = stanza.from,
            !stanza.isArchived(by: account.address), wants(from, archive, account),
            let id = archive.makeID(at: account.kernel.wallClock)
        else { return .next }
        var references = [(owner: owner, id: id, with: from.description)]
        var (stamp, bytes) = (account.kernel.wallClock, [UInt8]())
        let shared = event.envelope.shared.flatMap { $0.mark == nil ? nil : $0 }
        if case .archive(_, let theirs, let since, let stanza)? = shared?.mutations.first {
            references = theirs + references
            (stamp, bytes) = (since, stanza)
            event.envelope.shared = nil
        } else {
            bytes = stanza.stored
        }
        let (receipt, count) = (event.envelope.receipt, references.count)
        account.kernel.submit(
            [.archive(AccountArchive.store, references, stamp: stamp, stanza: bytes)], bytes: bytes.count,
            chargedTo: from.bare
        ) { result in
            self.count(result, count)
            if case .success = result { shared?.end(.committed) } else { shared?.end(.failed) }
            // Those who deliver it hold the receipt as well: in the archive alone it is not where every client looks.
            withExtendedLifetime(receipt) {}
        }
        event.envelope.stanza = stanza.appending(.archiveID(String(id), by: account.address))
        return .next
    }

    private func count(_ result: Result<[MutationOutcome], StorageError>, _ rows: Int) {
        switch result {
        case .success: recorded.value += rows
        // The account went meanwhile, and its archive with it.
        case .failure(.noSuchOwner): break
        case .failure: unrecorded.value += rows
        }
    }

    private func wants(_ peer: JID, _ archive: AccountArchive, _ account: any Account) -> Bool {
        guard archive.preferences != nil || habit != .always else { return true }
        return (archive.preferences ?? ArchivePreferences(habit)).wants(peer) {
            contacts?.isContact(peer.bare, of: account) ?? false
        }
    }
}

extension Stanza {
    /// It carries the id that this archive gave it: it is routed once more. No client can put such an id on it.
    fileprivate func isArchived(by archive: BareJID) -> Bool {
        guard namespaces & Namespace.stanzaID.bit != 0 else { return false }
        let address = archive.description
        if appended.contains(where: { $0.isNamed("stanza-id", .stanzaID) && $0[attribute: "by"] == address }) {
            return true
        }
        return root.children.contains { $0.isNamed("stanza-id", .stanzaID) && $0.attribute("by") == address }
    }
}

extension Mutation {
    fileprivate var stanzaBytes: Int {
        if case .archive(_, _, _, let stanza) = self { stanza.count } else { 0 }
    }
}
