internal import ModuleKit

/// Accounts, their removal, and names of all sorts.
extension StorageContract {
    private static func create(_ local: String, _ host: String = "example.org", _ keys: [[UInt8]] = []) -> Mutation {
        .createAccount(host: host, local: local, created: Timestamp(milliseconds: 42), credentials: keys)
    }

    /// Something of this owner in every kind of store.
    private static func everywhere(_ owner: OwnerID, id: Int64 = 1) -> [Mutation] {
        let stamp = Timestamp(milliseconds: id)
        return [
            .put("m", owner, key: "\(id)", value: [1]),
            .spool("s", owner, SpoolRow(id: id, stamp: stamp, stanza: [1]), limit: 10_000),
            .archive("x", [(owner: owner, id: id, with: "w")], stamp: stamp, stanza: [1]),
        ]
    }

    /// How many rows of this owner are seen, per kind.
    private static func counts(_ subject: StorageSubject, _ owner: OwnerID) async throws -> [Int] {
        try await subject.storage.read([owner]) { snapshot throws(StorageError) in
            [
                try snapshot.entries("m", owner).count, try snapshot.spoolCount("s", owner),
                try snapshot.archive("x", owner, ArchiveQuery(limit: 1_000)).count,
            ]
        }
    }

    static let accountChecks: [StorageCheck] = [
        StorageCheck("an account is made once for each name and host") { subject in
            let storage = subject.storage
            let keys: [[UInt8]] = [[1, 2, 3], [], [UInt8](repeating: 7, count: 300)]
            let outcomes = try await storage.submit([
                create("juliet", "a.org", keys), create("juliet", "a.org"), create("juliet", "b.org"),
            ])
            guard case .owner(let first) = outcomes[0], case .owner(let second) = outcomes[2] else {
                throw ContractViolation(description: "createAccount yielded \(outcomes)")
            }
            try expect(outcomes[1], equals: .exists)
            try expect(first != second, "two accounts have one number")
            let (found, other, none) = try await storage.read { snapshot throws(StorageError) in
                (
                    try snapshot.account(host: "a.org", local: "juliet"),
                    try snapshot.account(host: "b.org", local: "juliet"),
                    try snapshot.account(host: "b.org", local: "romeo")
                )
            }
            let expected = AccountRecord(
                owner: first, host: "a.org", local: "juliet", created: Timestamp(milliseconds: 42), credentials: keys)
            try expect(found, equals: expected)
            try expect(other?.owner, equals: second)
            try expect(none == nil, "an account is there that nobody made")
            let changed: [Mutation] = [.setCredentials(first, [[9]]), .setCredentials(OwnerID(999), [[8]])]
            try expect(try await storage.submit(changed), equals: [.done, .done])
            let after = try await storage.read([first]) { snapshot throws(StorageError) in
                try snapshot.account(host: "a.org", local: "juliet")
            }
            try expect(after?.credentials, equals: [[9]])
        },
        StorageCheck("credentials are replaced only where they are what they were thought to be") { subject in
            let storage = subject.storage
            let owner = try await storage.makeAccount("romeo")
            let (old, new): ([[UInt8]], [[UInt8]]) = ([[1], [], [2, 3]], [[4]])
            func credentials() async throws -> [[UInt8]]? {
                try await storage.read([owner]) { snapshot throws(StorageError) in
                    try snapshot.account(host: "example.org", local: "romeo")?.credentials
                }
            }
            _ = try await storage.submit([.setCredentials(owner, old)])
            for wrong in [[[1], [2, 3]], [[1], [], [2, 3], []], [], [[1, 2, 3]]] as [[[UInt8]]] {
                let outcome = try await storage.submit([.replaceCredentials(owner, wrong, with: new)])
                try expect(outcome, equals: [.done])
                try expect(try await credentials(), equals: old)
            }
            let changes: [Mutation] = [
                .replaceCredentials(owner, old, with: new), .replaceCredentials(owner, old, with: [[5]]),
                .replaceCredentials(OwnerID(999), new, with: [[6]]),
            ]
            try expect(try await storage.submit(changes), equals: [.done, .done, .done])
            try expect(try await credentials(), equals: new)
        },
        StorageCheck("accounts are listed by name, in pages, and counted") { subject in
            let names = ["c", "a", "é", "b", "aa", "😀"]
            _ = try await subject.storage.submit(names.map { create($0) } + [create("other", "b.org")])
            let (first, second, none, counts) = try await subject.storage.read { snapshot throws(StorageError) in
                (
                    try snapshot.accounts(host: "example.org", after: "", limit: 4).map(\.local),
                    try snapshot.accounts(host: "example.org", after: "c", limit: 4).map(\.local),
                    try snapshot.accounts(host: "example.org", after: "😀", limit: 4)
                        + snapshot.accounts(host: "none", after: "", limit: 4)
                        + snapshot.accounts(host: "example.org", after: "", limit: -1),
                    [try snapshot.accountCount(host: "example.org"), try snapshot.accountCount(host: "none")]
                )
            }
            try expect(first, equals: ["a", "aa", "b", "c"])
            try expect(second, equals: ["é", "😀"])
            try expect(none, equals: [])
            try expect(counts, equals: [6, 0])
        },
        StorageCheck("hosts with accounts are found one after the other") { subject in
            let names = ["b.org", "a.org", "é.org", "a.b.org"]
            let outcomes = try await subject.storage.submit(
                names.map { create("romeo", $0) } + [create("juliet", "a.org")])
            func hosts() async throws -> [String] {
                try await subject.storage.read { snapshot throws(StorageError) in
                    var hosts: [String] = []
                    while let next = try snapshot.host(after: hosts.last ?? "") { hosts.append(next) }
                    return hosts
                }
            }
            try expect(try await hosts(), equals: ["a.b.org", "a.org", "b.org", "é.org"])
            // The last account of a host takes it along.
            let gone = [0, 1].compactMap { if case .owner(let owner) = outcomes[$0] { owner } else { nil } }
            _ = try await subject.storage.submit(gone.map { .removeAccount($0) })
            try expect(try await hosts(), equals: ["a.b.org", "a.org", "é.org"])
        },
        StorageCheck("a thousand accounts in a batch") { subject in
            for round in 0..<3 {
                let outcomes = try await subject.storage.submit((0..<1_000).map { create("user\(round * 500 + $0)") })
                let known = outcomes.count { $0 == .exists }
                try expect(known, equals: round == 0 ? 0 : 500)
            }
            let count = try await subject.storage.read { snapshot throws(StorageError) in
                try snapshot.accountCount(host: "example.org")
            }
            try expect(count, equals: 2_000)
        },
        StorageCheck("a removed account is gone from every store at once, and its name is free") { subject in
            let storage = subject.storage
            let (first, second) = (try await storage.makeAccount("a"), try await storage.makeAccount("b"))
            for id in 1...40 as ClosedRange<Int64> {
                _ = try await storage.submit(everywhere(first, id: id) + everywhere(second, id: id))
            }
            // A body that both share stays for the other.
            _ = try await storage.submit([
                .archive(
                    "x", [(owner: first, id: 100, with: "b"), (owner: second, id: 100, with: "a")],
                    stamp: Timestamp(milliseconds: 100), stanza: [1])
            ])
            try expect(try await storage.submit([.removeAccount(first)]), equals: [.done])
            try expect(try await counts(subject, first), equals: [0, 0, 0])
            let third = try await storage.makeAccount("a")
            try expect(third != first, "a number was used again")
            try expect(try await counts(subject, third), equals: [0, 0, 0])
            // Once more, as after a crash, and for one that never was.
            try expect(
                try await storage.submit([.removeAccount(first), .removeAccount(OwnerID(4_711))]),
                equals: [.done, .done])
            try await subject.reopen()
            try expect(try await counts(subject, first), equals: [0, 0, 0])
            try expect(try await counts(subject, second), equals: [40, 40, 41])
            let names = try await subject.storage.read { snapshot throws(StorageError) in
                try snapshot.accounts(host: "example.org", after: "", limit: 9)
            }
            try expect(names.map(\.owner), equals: [third, second])
        },
        StorageCheck("a row for a removed account fails its batch, and nobody takes it for stored") { subject in
            let storage = subject.storage
            let (owner, other) = (try await storage.makeAccount("a"), try await storage.makeAccount("b"))
            _ = try await storage.submit(everywhere(owner))
            _ = storage.begin([.removeAccount(owner)])
            for mutation in everywhere(owner, id: 2) {
                // Alone, behind what would be stored, and beside what another batch stores in the same commit.
                for batch in [[mutation], [.put("m", other, key: "k", value: [1]), mutation]] {
                    let before = storage.begin([.put("m", other, key: "before", value: [2])])
                    let result = await storage.begin(batch).result
                    try expect(result == .failure(.noSuchOwner), "\(mutation) gave \(result)")
                    try expect(await before.result == .success([.done]), "another batch failed as well")
                }
            }
            try expect(try await counts(subject, owner), equals: [0, 0, 0])
            try expect(try await counts(subject, other), equals: [1, 0, 0])
            try await subject.reopen()
            let result = await subject.storage.begin(everywhere(owner, id: 2)).result
            try expect(result == .failure(.noSuchOwner), "after a restart it gave \(result)")
        },
        StorageCheck("what is dropped for a removed account is gone already, and others keep what they share") {
            subject in
            let storage = subject.storage
            let owner = try await storage.makeAccount("a")
            _ = try await storage.submit(everywhere(owner))
            _ = storage.begin([.removeAccount(owner)])
            let late: [Mutation] = [
                .delete("m", owner, key: "1"), .deleteAll("m", owner), .unspool("s", owner, ids: [1]),
                .unspoolAll("s", owner), .setCredentials(owner, [[1]]),
                .archive(
                    "x", [(owner: owner, id: 3, with: "w"), (owner: OwnerID(50_000), id: 3, with: "v")],
                    stamp: Timestamp(milliseconds: 3), stanza: [1]),
            ]
            try expect(
                try await storage.submit(late),
                equals: [.removed(0), .removed(0), .removed(0), .removed(0), .done, .done])
            try expect(try await counts(subject, owner), equals: [0, 0, 0])
            try expect(try await subject.archiveIDs("x", 50_000), equals: [3])
            try await subject.reopen()
            try expect(try await counts(subject, owner), equals: [0, 0, 0])
        },
        StorageCheck("a number is never used again, not even the last one after a restart") { subject in
            var seen: Set<OwnerID> = []
            for round in 0..<5 {
                let owner = try await subject.storage.makeAccount("a")
                try expect(seen.allSatisfy { $0 < owner }, "number \(owner) came after a higher one")
                seen.insert(owner)
                _ = try await subject.storage.submit([.removeAccount(owner)])
                if round % 2 == 0 { try await subject.reopen() }
            }
        },
    ]

    /// BAD-INPUTS 36.
    static let nameChecks: [StorageCheck] = [
        StorageCheck("names are what their bytes are: quotes, wildcards, NUL, emoji, combining characters") { subject in
            let names = [
                "'", "\"", "''", "\\'", ";", "'; DROP TABLE account; --", "\" OR \"\"=\"", "%", "_", "%%", "a_c", "abc",
                "a%", "?1", ":a", "@a", "$a", "\u{0}", "a\u{0}", "a\u{0}b", "a", "A", " ", " a", "a ", "\n", "é",
                "e\u{301}", "Å", "\u{212b}", "A\u{30a}", "ﬁ", "fi", "ß", "ss", "İ", "i\u{307}", "😀", "👩‍👩‍👧‍👦",
                "\u{10ffff}", "\u{feff}", "\u{202e}abc", "NULL", "1", "01", "1.0", "x'41'",
                String(repeating: "ü", count: 511), String(repeating: "\u{301}", count: 100),
            ]
            let storage = subject.storage
            var batch: [Mutation] = names.map { create($0) } + names.map { create("a", "host" + $0) }
            for (index, name) in names.enumerated() {
                let id = Int64(index + 1)
                batch.append(.put("m", OwnerID(1), key: name, value: [UInt8(index)]))
                batch.append(
                    .archive(
                        "x", [(owner: OwnerID(1), id: id, with: name)], stamp: Timestamp(milliseconds: id),
                        stanza: Array(name.utf8)))
            }
            let outcomes = try await storage.submit(batch)
            let owners = Set(outcomes.prefix(names.count * 2))
            try expect(owners.count, equals: names.count * 2, "two names are one account")
            try expect(!outcomes.contains(.exists), "two names are one account")
            try await subject.reopen()
            for (index, name) in names.enumerated() {
                let (value, rows, account, host) = try await subject.storage.read([OwnerID(1)]) {
                    snapshot throws(StorageError) in
                    (
                        try snapshot.value("m", OwnerID(1), key: name),
                        try snapshot.archive("x", OwnerID(1), ArchiveQuery(with: name)),
                        try snapshot.account(host: "example.org", local: name),
                        try snapshot.account(host: "host" + name, local: "a")
                    )
                }
                try expect(value, equals: [UInt8(index)], "key \(name.debugDescription)")
                try expect(rows.map(\.id), equals: [Int64(index + 1)], "peer \(name.debugDescription)")
                try expect(rows.map { Array($0.with.utf8) }, equals: [Array(name.utf8)])
                try expect(account.map { Array($0.local.utf8) }, equals: Array(name.utf8))
                try expect(account.map { .owner($0.owner) }, equals: outcomes[index], "name \(name.debugDescription)")
                try expect(host.map { .owner($0.owner) }, equals: outcomes[names.count + index])
            }
            for (index, name) in names.enumerated() where index % 2 == 0 {
                let outcome = try await subject.storage.submit([.delete("m", OwnerID(1), key: name)])
                try expect(outcome, equals: [.removed(1)])
            }
            try expect(try await subject.keys("m", 1).count, equals: names.count / 2)
        },
        StorageCheck("stores may be named like anything") { subject in
            let names = ["a", "a'b", "a\"b", "%", "_", "map", "account", "sqlite_schema", "", "--", "😀"]
            for (index, name) in names.enumerated() {
                _ = try await subject.storage.submit([
                    .put(StoreName(name), OwnerID(1), key: "k", value: [UInt8(index)])
                ])
            }
            for (index, name) in names.enumerated() {
                try expect(try await subject.value(StoreName(name), 1, "k"), equals: [UInt8(index)])
            }
        },
    ]
}
