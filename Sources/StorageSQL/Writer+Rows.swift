internal import ModuleKit

/// Maps, spools, accounts.
extension Writer {
    func put(_ store: Int64, _ owner: OwnerID, _ key: String, _ value: [UInt8]) throws(StorageError) -> MutationOutcome
    {
        rows.put.bind(owner.rawValue, at: 1)
        rows.put.bind(store, at: 2)
        try rows.put.bind(key, at: 3)
        try rows.put.run(bytes: value, at: 4)
        return .done
    }

    func delete(_ store: Int64, _ owner: OwnerID, _ key: String) throws(StorageError) -> MutationOutcome {
        rows.delete.bind(owner.rawValue, at: 1)
        rows.delete.bind(store, at: 2)
        try rows.delete.bind(key, at: 3)
        try rows.delete.run()
        return .removed(changes)
    }

    func deleteAll(_ store: Int64, _ owner: OwnerID) throws(StorageError) -> MutationOutcome {
        rows.deleteAll.bind(owner.rawValue, at: 1)
        rows.deleteAll.bind(store, at: 2)
        try rows.deleteAll.run()
        return .removed(changes)
    }

    // MARK: Spool

    func spool(_ key: SpoolKey, _ row: SpoolRow, _ limit: Int) throws(StorageError) -> MutationOutcome {
        let count = try spoolCount(key)
        guard count < limit else { return try isStored(key, row) ? .done : .full }
        rows.spool.bind(key.owner.rawValue, at: 1)
        rows.spool.bind(key.store, at: 2)
        rows.spool.bind(row.id, at: 3)
        rows.spool.bind(row.stamp.milliseconds, at: 4)
        try rows.spool.run(bytes: row.stanza, at: 5)
        if changes == 1 {
            setSpoolCount(key, count + 1)
        } else if try !isStored(key, row) {
            throw .failed("spool id \(row.id) of owner \(key.owner) is used twice")
        }
        return .done
    }

    /// Whether exactly this row is there already: a batch may come again after a commit of which nobody knew whether
    /// it had happened.
    private func isStored(_ key: SpoolKey, _ row: SpoolRow) throws(StorageError) -> Bool {
        rows.sameSpool.bind(key.owner.rawValue, at: 1)
        rows.sameSpool.bind(key.store, at: 2)
        rows.sameSpool.bind(row.id, at: 3)
        defer { rows.sameSpool.reset() }
        return try rows.sameSpool.step() && rows.sameSpool.integer(0) == row.stamp.milliseconds
            && rows.sameSpool.bytes(1) == row.stanza
    }

    func unspool(_ key: SpoolKey, _ ids: [Int64]) throws(StorageError) -> MutationOutcome {
        var count = 0
        rows.unspool.bind(key.owner.rawValue, at: 1)
        rows.unspool.bind(key.store, at: 2)
        for id in ids {
            rows.unspool.bind(id, at: 3)
            try rows.unspool.run()
            count += changes
        }
        changeSpoolCount(key, by: -count)
        return .removed(count)
    }

    func unspoolAll(_ key: SpoolKey) throws(StorageError) -> MutationOutcome {
        rows.unspoolAll.bind(key.owner.rawValue, at: 1)
        rows.unspoolAll.bind(key.store, at: 2)
        try rows.unspoolAll.run()
        let count = changes
        setSpoolCount(key, 0)
        return .removed(count)
    }

    // MARK: Accounts

    func createAccount(
        _ host: String, _ local: String, _ created: Timestamp, _ credentials: [[UInt8]]
    ) throws(StorageError) -> MutationOutcome {
        try rows.createAccount.bind(host, at: 1)
        try rows.createAccount.bind(local, at: 2)
        rows.createAccount.bind(created.milliseconds, at: 3)
        let isNew = try rows.createAccount.runUnlessKnown(bytes: CredentialList.encode(credentials), at: 4)
        guard isNew else { return .exists }
        let owner = OwnerID(lastID)
        noteCreated(owner)
        return .owner(owner)
    }

    /// Frees the name and hides the rows; deleting them is the sweeper's work.
    func removeAccount(_ owner: OwnerID) throws(StorageError) -> MutationOutcome {
        rows.addTombstone.bind(owner.rawValue, at: 1)
        try rows.addTombstone.run()
        rows.deleteAccount.bind(owner.rawValue, at: 1)
        try rows.deleteAccount.run()
        noteRemoved(owner)
        return .done
    }

    /// Deletes up to `limit` rows of a removed account, in one transaction. The count below the limit: it was the rest,
    /// and the tombstone went with it.
    func sweep(_ owner: OwnerID, limit: Int) throws(StorageError) -> Int {
        try transaction { () throws(StorageError) in
            var count = 0
            for statement in [rows.sweepMap, rows.sweepSpool] where count < limit {
                statement.bind(owner.rawValue, at: 1)
                statement.bind(Int64(limit - count), at: 2)
                try statement.run()
                count += changes
            }
            if count < limit { count += try sweepReferences(owner, limit: limit - count) }
            if count < limit {
                rows.deleteTombstone.bind(owner.rawValue, at: 1)
                try rows.deleteTombstone.run()
            }
            return count
        }
    }
}

/// How a list of credentials lies in its column: each as its length in 4 bytes, low one first, and its bytes.
enum CredentialList {
    static func encode(_ credentials: [[UInt8]]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(credentials.reduce(0) { $0 + 4 + $1.count })
        for credential in credentials {
            let count = UInt32(truncatingIfNeeded: credential.count)
            withUnsafeBytes(of: count.littleEndian) { bytes.append(contentsOf: $0) }
            bytes.append(contentsOf: credential)
        }
        return bytes
    }

    /// Nil: damaged.
    static func decode(_ bytes: [UInt8]) -> [[UInt8]]? {
        var credentials: [[UInt8]] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            guard rest.count >= 4 else { return nil }
            let count = rest.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
            rest = rest.dropFirst(4)
            guard rest.count >= count else { return nil }
            credentials.append(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        return credentials
    }
}
