internal import ModuleKit

/// Archives.
extension StorageContract {
    /// An archive of owner 1 with ids 10, 20 … 100: stamps as the ids, the peers `a` and `b` in turn.
    private static func fill(_ subject: StorageSubject) async throws {
        for number in 1...10 as ClosedRange<Int64> {
            _ = try await subject.storage.submit([
                .archive(
                    "x", [(owner: OwnerID(1), id: number * 10, with: number % 2 == 0 ? "b" : "a")],
                    stamp: Timestamp(milliseconds: number * 10), stanza: [UInt8(number)])
            ])
        }
    }

    private static func stamp(_ milliseconds: Int64) -> Timestamp {
        Timestamp(milliseconds: milliseconds)
    }

    static let archiveChecks: [StorageCheck] = [
        StorageCheck("one body is found in the archive of each of its owners") { subject in
            let storage = subject.storage
            let outcomes = try await storage.submit([
                .archive(
                    "x", [(owner: OwnerID(1), id: 5, with: "juliet@b"), (owner: OwnerID(2), id: 6, with: "romeo@a")],
                    stamp: stamp(77), stanza: [1, 2, 3]),
                .archive("x", [], stamp: stamp(78), stanza: [4]),
            ])
            try expect(outcomes, equals: [.done, .done])
            let (first, second, other) = try await storage.read([OwnerID(1), OwnerID(2)]) {
                snapshot throws(StorageError) in
                (
                    try snapshot.archive("x", OwnerID(1), ArchiveQuery()),
                    try snapshot.archive("x", OwnerID(2), ArchiveQuery()),
                    try snapshot.archive("y", OwnerID(1), ArchiveQuery())
                        + snapshot.archive("x", OwnerID(3), ArchiveQuery())
                )
            }
            try expect(first, equals: [ArchiveRow(id: 5, stamp: stamp(77), with: "juliet@b", stanza: [1, 2, 3])])
            try expect(second, equals: [ArchiveRow(id: 6, stamp: stamp(77), with: "romeo@a", stanza: [1, 2, 3])])
            try expect(other, equals: [])
        },
        StorageCheck("pages forward and backward are the first and the last rows, ascending") { subject in
            try await fill(subject)
            func page(_ query: ArchiveQuery) async throws -> [Int64] { try await subject.archiveIDs("x", 1, query) }
            try expect(try await page(ArchiveQuery(limit: 3)), equals: [10, 20, 30])
            try expect(try await page(ArchiveQuery(after: 30, limit: 3)), equals: [40, 50, 60])
            try expect(try await page(ArchiveQuery(after: 35, limit: 2)), equals: [40, 50])
            try expect(try await page(ArchiveQuery(after: 100)), equals: [])
            try expect(try await page(ArchiveQuery(direction: .backward, limit: 3)), equals: [80, 90, 100])
            try expect(try await page(ArchiveQuery(before: 80, direction: .backward, limit: 3)), equals: [50, 60, 70])
            try expect(try await page(ArchiveQuery(before: 10, direction: .backward)), equals: [])
            try expect(try await page(ArchiveQuery(after: 20, before: 60)), equals: [30, 40, 50])
            try expect(
                try await page(ArchiveQuery(after: 20, before: 60, direction: .backward, limit: 2)), equals: [40, 50])
            try expect(try await page(ArchiveQuery(after: .max)), equals: [])
            try expect(try await page(ArchiveQuery(before: .min)), equals: [])
        },
        StorageCheck("the filters of an archive hold together") { subject in
            try await fill(subject)
            func page(_ query: ArchiveQuery) async throws -> [Int64] { try await subject.archiveIDs("x", 1, query) }
            try expect(try await page(ArchiveQuery(with: "a")), equals: [10, 30, 50, 70, 90])
            try expect(try await page(ArchiveQuery(with: "nobody")), equals: [])
            try expect(try await page(ArchiveQuery(with: "%")), equals: [])
            try expect(try await page(ArchiveQuery(with: "")), equals: [])
            try expect(try await page(ArchiveQuery(start: stamp(80))), equals: [80, 90, 100])
            try expect(try await page(ArchiveQuery(end: stamp(20))), equals: [10, 20])
            try expect(try await page(ArchiveQuery(start: stamp(20), end: stamp(40))), equals: [20, 30, 40])
            try expect(try await page(ArchiveQuery(start: stamp(41), end: stamp(40))), equals: [])
            let far = ArchiveQuery(start: stamp(.min), end: stamp(.max))
            try expect(try await page(far).count, equals: 10)
            let narrow = ArchiveQuery(
                with: "b", start: stamp(30), end: stamp(90), after: 40, direction: .backward, limit: 1)
            try expect(try await page(narrow), equals: [80])
        },
        StorageCheck("an address without a resource is that of all its resources") { subject in
            let storage = subject.storage
            let peers = ["r@a", "r@a/1", "r@a/2", "r@a/", "r@ab", "r@a0", "q@a/1", "r@a.b/1"]
            for (index, peer) in peers.enumerated() {
                let reference = (owner: OwnerID(1), id: Int64(index + 1), with: peer)
                _ = try await storage.submit([.archive("x", [reference], stamp: stamp(1), stanza: [])])
            }
            func page(_ query: ArchiveQuery) async throws -> [Int64] { try await subject.archiveIDs("x", 1, query) }
            try expect(try await page(ArchiveQuery(with: "r@a")), equals: [1, 2, 3, 4])
            try expect(try await page(ArchiveQuery(with: "r@a/1")), equals: [2])
            try expect(try await page(ArchiveQuery(with: "r@a/")), equals: [4])
            try expect(
                try await page(ArchiveQuery(with: "r@a", direction: .backward, limit: 2)), equals: [3, 4])
        },
        StorageCheck("ids, counts and ends are those of the rows") { subject in
            try await fill(subject)
            let queries = [
                ArchiveQuery(), ArchiveQuery(with: "a", limit: 2), ArchiveQuery(direction: .backward, limit: 3),
                ArchiveQuery(start: stamp(20), end: stamp(60), after: 30), ArchiveQuery(with: "nobody"),
            ]
            for query in queries {
                let (rows, ids, count, few) = try await subject.storage.read([OwnerID(1)]) {
                    snapshot throws(StorageError) in
                    var whole = query
                    whole.limit = 1000
                    return (
                        try snapshot.archive("x", OwnerID(1), query), try snapshot.archiveIDs("x", OwnerID(1), query),
                        try snapshot.archiveCount("x", OwnerID(1), query, most: 1000)
                            - snapshot.archive("x", OwnerID(1), whole).count,
                        try snapshot.archiveCount("x", OwnerID(1), query, most: 1)
                    )
                }
                try expect(ids, equals: rows.map(\.id))
                try expect(count, equals: 0)
                try expect(few, equals: min(1, rows.count))
            }
            let (extent, none) = try await subject.storage.read([OwnerID(1)]) { snapshot throws(StorageError) in
                (try snapshot.archiveExtent("x", OwnerID(1)), try snapshot.archiveExtent("y", OwnerID(1)))
            }
            try expect(extent?.oldest, equals: .init(id: 10, stamp: stamp(10)))
            try expect(extent?.newest, equals: .init(id: 100, stamp: stamp(100)))
            try expect(none, equals: nil)
        },
        StorageCheck("trimming drops the oldest rows and leaves no hole") { subject in
            let storage = subject.storage
            // The third stamp is that of a clock that was wrong.
            let stamps: [Int64] = [10, 20, 1, 30, 40, 50]
            for (index, milliseconds) in stamps.enumerated() {
                let references = [
                    (owner: OwnerID(1), id: Int64(index + 1), with: "a"),
                    (owner: OwnerID(2), id: Int64(index + 1), with: "b"),
                ]
                _ = try await storage.submit([.archive("x", references, stamp: stamp(milliseconds), stanza: [1])])
            }
            func trim(_ before: Int64, keep: Int, limit: Int) async throws -> [MutationOutcome] {
                try await storage.submit([
                    .trimArchive("x", OwnerID(1), from: stamp(5), before: stamp(before), keep: keep, limit: limit)
                ])
            }
            func ids(_ owner: Int64) async throws -> [Int64] {
                try await subject.archiveIDs("x", owner, ArchiveQuery())
            }
            try expect(try await trim(10, keep: .max, limit: 9), equals: [.removed(0)])
            try expect(try await trim(31, keep: .max, limit: 3), equals: [.removed(2)])
            try expect(try await ids(1), equals: [3, 4, 5, 6])
            // What was stamped wrong goes with what is behind it.
            try expect(try await trim(31, keep: .max, limit: 9), equals: [.removed(2)])
            try expect(try await ids(1), equals: [5, 6])
            try expect(try await trim(0, keep: 1, limit: 9), equals: [.removed(1)])
            try expect(try await trim(0, keep: 0, limit: 9), equals: [.removed(1)])
            try expect(try await ids(1), equals: [])
            try expect(try await ids(2), equals: [1, 2, 3, 4, 5, 6])
        },
        StorageCheck("the limit of a page is within 1 and 1000") { subject in
            let batch: [Mutation] = (1...1_100).map {
                .archive("x", [(owner: OwnerID(1), id: $0, with: "w")], stamp: stamp($0), stanza: [])
            }
            _ = try await subject.storage.submit(batch)
            for (limit, count) in [(0, 1), (-5, 1), (1_000, 1_000), (.max, 1_000), (.min, 1)] {
                try expect(try await subject.archiveIDs("x", 1, ArchiveQuery(limit: limit)).count, equals: count)
            }
        },
        StorageCheck("an archive row again is done; another one under its id fails") { subject in
            let storage = subject.storage
            func row(_ with: String, _ bytes: [UInt8], second: Int64) -> Mutation {
                .archive(
                    "x", [(owner: OwnerID(1), id: 1 as Int64, with: with), (owner: OwnerID(2), id: second, with: "w")],
                    stamp: stamp(1), stanza: bytes)
            }
            _ = try await storage.submit([row("w", [1], second: 1)])
            try expect(try await storage.submit([row("w", [1], second: 1)]), equals: [.done])
            for other in [row("v", [1], second: 1), row("w", [2], second: 1), row("w", [2], second: 7)] {
                guard case .failure(.failed) = await storage.begin([other]).result else {
                    throw ContractViolation(description: "an archive id used twice did not fail")
                }
            }
            // The first reference is there, the second is new: only that one is added.
            try expect(try await storage.submit([row("w", [1], second: 2)]), equals: [.done])
            try expect(try await subject.archiveIDs("x", 1), equals: [1])
            try expect(try await subject.archiveIDs("x", 2), equals: [1, 2])
        },
    ]
}
