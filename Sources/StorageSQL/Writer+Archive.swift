internal import ModuleKit

/// The archive: one body, a reference for each owner.
extension Writer {
    func archive(
        _ store: Int64, _ references: [(owner: OwnerID, id: Int64, with: String)], _ stamp: Timestamp,
        _ stanza: [UInt8]
    ) throws(StorageError) -> MutationOutcome {
        guard !references.isEmpty else { return .done }
        var references = references
        // Backwards, so that removing one leaves the places of those to come; nearly always everybody is there.
        for index in references.indices.reversed() where try isGone(references[index].owner) {
            references.remove(at: index)
        }
        guard !references.isEmpty else { throw .noSuchOwner }

        rows.addBody.bind(store, at: 1)
        rows.addBody.bind(stamp.milliseconds, at: 2)
        rows.addBody.bind(Int64(references.count), at: 3)
        try rows.addBody.bind(ReferenceList.encode(references), at: 4)
        try rows.addBody.run(bytes: stanza, at: 5)
        let body = lastID
        try added(body)

        var added = 0
        rows.addReference.bind(store, at: 2)
        rows.addReference.bind(stamp.milliseconds, at: 4)
        rows.addReference.bind(body, at: 6)
        for reference in references {
            rows.addReference.bind(reference.owner.rawValue, at: 1)
            rows.addReference.bind(reference.id, at: 3)
            try rows.addReference.bind(reference.with, at: 5)
            try rows.addReference.run()
            if changes == 1 {
                added += 1
            } else if try !isArchived(store, reference, stamp, stanza) {
                throw .failed("archive id \(reference.id) of owner \(reference.owner) is used twice")
            }
        }
        if added < references.count { try setRemaining(body, added) }
        return .done
    }

    /// Whether exactly this row is there already; see `isStored` of the spool.
    private func isArchived(
        _ store: Int64, _ reference: (owner: OwnerID, id: Int64, with: String), _ stamp: Timestamp, _ stanza: [UInt8]
    ) throws(StorageError) -> Bool {
        rows.sameReference.bind(reference.owner.rawValue, at: 1)
        rows.sameReference.bind(store, at: 2)
        rows.sameReference.bind(reference.id, at: 3)
        defer { rows.sameReference.reset() }
        return try rows.sameReference.step() && rows.sameReference.integer(0) == stamp.milliseconds
            && rows.sameReference.text(1).utf8.elementsEqual(reference.with.utf8)
            && rows.sameReference.bytes(2) == stanza
    }

    private func setRemaining(_ body: Int64, _ count: Int) throws(StorageError) {
        guard count > 0 else {
            rows.deleteBody.bind(body, at: 1)
            return try rows.deleteBody.run()
        }
        rows.setRemaining.bind(body, at: 1)
        rows.setRemaining.bind(Int64(count), at: 2)
        try rows.setRemaining.run()
    }

    private func deleteReference(
        _ owner: Int64, _ store: Int64, _ id: Int64, _ body: Int64
    ) throws(StorageError) -> Int {
        try forgetPeer(owner, store, id, body)
        rows.deleteReference.bind(owner, at: 1)
        rows.deleteReference.bind(store, at: 2)
        rows.deleteReference.bind(id, at: 3)
        rows.deleteReference.bind(body, at: 4)
        try rows.deleteReference.run()
        return changes
    }

    // MARK: One archive

    private typealias Reference = (store: Int64, id: Int64, body: Int64)

    func trim(
        _ store: Int64, _ owner: OwnerID, _ expired: Range<Timestamp>, _ keep: Int, _ limit: Int
    ) throws(StorageError) -> MutationOutcome {
        rows.oldest.bind(owner.rawValue, at: 1)
        rows.oldest.bind(store, at: 2)
        rows.oldest.bind(Int64(min(max(limit, 0), 10_000)), at: 3)
        var found: [Reference] = []
        var old = 0
        while try rows.oldest.step() {
            found.append((store, rows.oldest.integer(0), rows.oldest.integer(1)))
            if expired.contains(Timestamp(milliseconds: rows.oldest.integer(2))) { old = found.count }
        }
        rows.oldest.reset()
        let excess = try newestBeyond(keep, store, owner)
        let dropped = found.enumerated().filter { $0.offset < old || $0.element.id <= excess }.map(\.element)
        for reference in dropped { try drop(reference, of: owner) }
        return .removed(dropped.count)
    }

    /// The id of the newest row but so many; below all ids: there are no more.
    private func newestBeyond(_ keep: Int, _ store: Int64, _ owner: OwnerID) throws(StorageError) -> Int64 {
        guard keep < .max else { return .min }
        rows.newestBeyond.bind(owner.rawValue, at: 1)
        rows.newestBeyond.bind(store, at: 2)
        rows.newestBeyond.bind(Int64(max(0, keep)), at: 3)
        defer { rows.newestBeyond.reset() }
        return try rows.newestBeyond.step() ? rows.newestBeyond.integer(0) : .min
    }

    /// A body goes with its last reference.
    private func drop(_ reference: Reference, of owner: OwnerID) throws(StorageError) {
        guard try deleteReference(owner.rawValue, reference.store, reference.id, reference.body) > 0 else { return }
        rows.remaining.bind(reference.body, at: 1)
        let count = try rows.remaining.step() ? Int(rows.remaining.integer(0)) : 0
        rows.remaining.reset()
        try setRemaining(reference.body, count &- 1)
    }

    func sweepReferences(_ owner: OwnerID, limit: Int) throws(StorageError) -> Int {
        rows.sweepReferences.bind(owner.rawValue, at: 1)
        rows.sweepReferences.bind(Int64(limit), at: 2)
        var found: [Reference] = []
        while try rows.sweepReferences.step() {
            let row = rows.sweepReferences
            found.append((row.integer(0), row.integer(1), row.integer(2)))
        }
        rows.sweepReferences.reset()
        for reference in found { try drop(reference, of: owner) }
        return found.count
    }
}

/// How a body remembers who refers to it: owner and id, 8 bytes each, low byte first.
enum ReferenceList {
    static func encode(_ references: [(owner: OwnerID, id: Int64, with: String)]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(references.count * 16)
        for reference in references {
            withUnsafeBytes(of: reference.owner.rawValue.littleEndian) { bytes.append(contentsOf: $0) }
            withUnsafeBytes(of: reference.id.littleEndian) { bytes.append(contentsOf: $0) }
        }
        return bytes
    }

    /// What is damaged at the end is left out.
    static func decode(_ bytes: [UInt8]) -> [(owner: Int64, id: Int64)] {
        bytes.withUnsafeBytes { buffer in
            (0..<buffer.count / 16).map { index in
                (
                    Int64(littleEndian: buffer.loadUnaligned(fromByteOffset: index * 16, as: Int64.self)),
                    Int64(littleEndian: buffer.loadUnaligned(fromByteOffset: index * 16 + 8, as: Int64.self))
                )
            }
        }
    }
}
