internal import ModuleKit

/// Maps and spools.
extension StorageContract {
    static let mapChecks: [StorageCheck] = [
        StorageCheck("a map keeps, replaces and drops values") { subject in
            let storage = subject.storage
            try expect(try await subject.value("a", 1, "k"), equals: nil)
            _ = try await storage.submit([.put("a", OwnerID(1), key: "k", value: [1])])
            _ = try await storage.submit([.put("a", OwnerID(1), key: "k", value: [])])
            try expect(try await subject.value("a", 1, "k"), equals: [])
            try expect(try await storage.submit([.delete("a", OwnerID(1), key: "k")]), equals: [.removed(1)])
            try expect(try await storage.submit([.delete("a", OwnerID(1), key: "k")]), equals: [.removed(0)])
            try expect(try await storage.submit([.delete("none", OwnerID(1), key: "k")]), equals: [.removed(0)])
            try expect(try await subject.value("a", 1, "k"), equals: nil)
        },
        StorageCheck("maps of other owners, names and kinds are apart") { subject in
            let storage = subject.storage
            let row = SpoolRow(id: 1, stamp: Timestamp(milliseconds: 0), stanza: [9])
            _ = try await storage.submit([
                .put("a", OwnerID(1), key: "k", value: [1]), .put("a", OwnerID(2), key: "k", value: [2]),
                .put("b", OwnerID(1), key: "k", value: [3]), .spool("a", OwnerID(1), row, limit: 9),
            ])
            try expect(try await storage.submit([.deleteAll("a", OwnerID(1))]), equals: [.removed(1)])
            try expect(try await subject.value("a", 1, "k"), equals: nil)
            try expect(try await subject.value("a", 2, "k"), equals: [2])
            try expect(try await subject.value("b", 1, "k"), equals: [3])
            try expect(try await subject.spoolIDs("a", 1), equals: [1])
        },
        StorageCheck("rows of the server's own are no account's, and outlive every account") { subject in
            let storage = subject.storage
            _ = try await storage.submit([.put("a", .server, key: "k", value: [1])])
            let made = try await storage.submit([
                .createAccount(host: "h", local: "l", created: Timestamp(milliseconds: 0), credentials: [])
            ])
            guard case .owner(let owner) = made.first else { return try expect(made, equals: []) }
            _ = try await storage.submit([.removeAccount(owner)])
            _ = try await storage.submit([.put("a", .server, key: "l", value: [2])])
            let keys = try await storage.read([.server]) { snapshot throws(StorageError) in
                try snapshot.entries("a", .server).map(\.key)
            }
            try expect(keys, equals: ["k", "l"])
            try expect(try await subject.value("a", owner.rawValue, "k"), equals: nil)
        },
        StorageCheck("a large value comes back whole") { subject in
            let value = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            _ = try await subject.storage.submit([.put("a", OwnerID(1), key: "k", value: value)])
            try expect(try await subject.value("a", 1, "k") == value, "a large value is another")
        },
        StorageCheck("the entries of a map come in the order of their bytes") { subject in
            let keys = ["z", "a", "", "ä", "a\u{308}", "Z", "aa", "\u{ff5e}", "😀", "a b", "\u{0}"]
            _ = try await subject.storage.submit(keys.map { .put("a", OwnerID(1), key: $0, value: Array($0.utf8)) })
            let found = try await subject.storage.read([OwnerID(1)]) { snapshot throws(StorageError) in
                try snapshot.entries("a", OwnerID(1)).map { [Array($0.key.utf8), $0.value] }
            }
            let sorted = keys.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) }
            try expect(found, equals: sorted.map { [$0, $0] })
        },
    ]

    static let spoolChecks: [StorageCheck] = [
        StorageCheck("a spool gives its rows by id, whole, in pages") { subject in
            let rows = [5, 1, 9, 3].map {
                SpoolRow(id: $0, stamp: Timestamp(milliseconds: $0 * 10), stanza: [UInt8]("<m\($0)/>".utf8))
            }
            _ = try await subject.storage.submit(rows.map { .spool("s", OwnerID(1), $0, limit: 10) })
            let sorted = rows.sorted { $0.id < $1.id }
            let (all, page, none, count, last) = try await subject.storage.read([OwnerID(1)]) {
                snapshot throws(StorageError) in
                (
                    try snapshot.spool("s", OwnerID(1), after: 0, limit: 10),
                    try snapshot.spool("s", OwnerID(1), after: 1, limit: 2),
                    try snapshot.spool("s", OwnerID(1), after: 9, limit: 2)
                        + snapshot.spool("s", OwnerID(1), after: 0, limit: 0)
                        + snapshot.spool("s", OwnerID(1), after: 0, limit: -1),
                    try snapshot.spoolCount("s", OwnerID(1)), try snapshot.spoolLastID("s", OwnerID(1))
                )
            }
            try expect(all, equals: sorted)
            try expect(page, equals: Array(sorted[1...2]))
            try expect(none, equals: [])
            try expect(count, equals: 4)
            try expect(last, equals: 9)
        },
        StorageCheck("a spool takes rows up to its limit, and again when some have gone") { subject in
            func add(_ ids: ClosedRange<Int64>, limit: Int) -> [Mutation] {
                ids.map {
                    .spool(
                        "s", OwnerID(1), SpoolRow(id: $0, stamp: Timestamp(milliseconds: 0), stanza: []), limit: limit)
                }
            }
            let storage = subject.storage
            try expect(try await storage.submit(add(1...4, limit: 3)), equals: [.done, .done, .done, .full])
            try expect(try await storage.submit(add(5...5, limit: 0)), equals: [.full])
            try expect(try await storage.submit([.unspool("s", OwnerID(1), ids: [2, 2, 77])]), equals: [.removed(1)])
            try expect(try await storage.submit(add(6...7, limit: 3)), equals: [.done, .full])
            try expect(try await subject.spoolIDs("s", 1), equals: [1, 3, 6])
            // A full spool does not spoil its batch.
            let mixed = add(8...8, limit: 3) + [.put("a", OwnerID(1), key: "k", value: [1])] + add(9...9, limit: 4)
            try expect(try await storage.submit(mixed), equals: [.full, .done, .done])
            try expect(try await subject.value("a", 1, "k"), equals: [1])
            try await subject.reopen()
            try expect(try await subject.storage.submit(add(10...10, limit: 4)), equals: [.full])
            try expect(try await subject.storage.submit([.unspoolAll("s", OwnerID(1))]), equals: [.removed(4)])
            try expect(try await subject.storage.submit(add(11...12, limit: 1)), equals: [.done, .full])
        },
        StorageCheck("the limit of a spool holds against many at once") { subject in
            let storage = subject.storage
            let done = try await withThrowingTaskGroup(of: Int.self) { group in
                for task in 0..<8 {
                    group.addTask {
                        var done = 0
                        for number in 0..<40 {
                            let row = SpoolRow(
                                id: Int64(task * 1_000 + number), stamp: Timestamp(milliseconds: 0), stanza: [1])
                            let outcomes = try await storage.submit([.spool("s", OwnerID(1), row, limit: 100)])
                            done += outcomes == [.done] ? 1 : 0
                        }
                        return done
                    }
                }
                return try await group.reduce(0, +)
            }
            try expect(done, equals: 100)
            try expect(try await subject.spoolIDs("s", 1).count, equals: 100)
        },
        StorageCheck("the same row again is done, also in a full spool; another one under its id fails") { subject in
            let row = SpoolRow(id: 1, stamp: Timestamp(milliseconds: 2), stanza: [3])
            let storage = subject.storage
            for _ in 0..<3 {
                try expect(try await storage.submit([.spool("s", OwnerID(1), row, limit: 1)]), equals: [.done])
            }
            try expect(try await storage.submit([.spool("s", OwnerID(2), row, limit: 9)]), equals: [.done])
            try expect(try await storage.submit([.spool("t", OwnerID(1), row, limit: 9)]), equals: [.done])
            var other = row
            other.stamp = Timestamp(milliseconds: 3)
            guard case .failure(.failed) = await storage.begin([.spool("s", OwnerID(1), other, limit: 9)]).result
            else { throw ContractViolation(description: "an id used twice did not fail") }
            try expect(try await subject.spoolIDs("s", 1), equals: [1])
            // The count did not suffer.
            let next = SpoolRow(id: 2, stamp: Timestamp(milliseconds: 2), stanza: [])
            try expect(try await storage.submit([.spool("s", OwnerID(1), next, limit: 2)]), equals: [.done])
        },
        StorageCheck("an empty spool has no rows and no last id") { subject in
            let (count, last) = try await subject.storage.read { snapshot throws(StorageError) in
                (try snapshot.spoolCount("s", OwnerID(1)), try snapshot.spoolLastID("s", OwnerID(1)))
            }
            try expect(count, equals: 0)
            try expect(last, equals: 0)
            try expect(try await subject.storage.submit([.unspoolAll("s", OwnerID(1))]), equals: [.removed(0)])
            try expect(try await subject.storage.submit([.unspool("s", OwnerID(1), ids: [1])]), equals: [.removed(0)])
        },
    ]
}
