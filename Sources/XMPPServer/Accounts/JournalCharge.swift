import ModuleKit

/// What one account has waiting for the disk, wherever it is kept. Over its share its sessions wait before their next
/// stanza that has to be kept; nobody else does (DESIGN: back-pressure is charged to who causes it).
struct JournalCharge {
    /// About four hundred messages of the usual size.
    static let share = 1 << 20
    /// What a row costs beside its bytes.
    static let row = 2048

    private var bytes = 0
    private(set) var isOver = false

    mutating func add(_ change: Int) {
        bytes = max(0, bytes + change)
        if bytes > Self.share { isOver = true } else if bytes <= Self.share / 2 { isOver = false }
    }
}

extension Shard {
    func submit(
        _ batch: [Mutation], bytes: Int, chargedTo sender: BareJID?,
        then: @escaping (Result<[MutationOutcome], StorageError>) -> Void
    ) {
        let weight = bytes + batch.count * JournalCharge.row
        charge(sender, weight)
        let (loop, link, held) = (loop, link, Confined(then))
        storage.submit(batch) { result in
            loop.post(
                .work {
                    link.shard?.charge(sender, -weight)
                    held.value(result)
                })
        }
    }

    /// Charges rows to the account that sent what is in them, at its home.
    func charge(_ sender: BareJID?, _ bytes: Int) {
        guard let sender, case .local(let home) = office.directory.lookup(sender) else { return }
        if home == loopIndex {
            accounts[sender]?.charge(bytes)
        } else {
            office.loops[home].post(.charge(sender, bytes))
        }
    }
}
