import Foundation
import Glibc
import ModuleKit
import Testing

@testable import StorageSQL

/// BAD-INPUTS 37, as far as a database is concerned: what is not whole, not ours or newer is refused with the reason,
/// and nothing of it is touched.
@Suite struct OpeningTests {
    private let directory = TemporaryDirectory()

    /// The reason why it is refused.
    private func refusal(_ change: (inout SQLOptions) -> Void = { _ in }) async throws -> StorageError? {
        do throws(StorageError) {
            let storage = try SQLStorage.open(directory.options(change))
            await storage.close()
            return nil
        } catch {
            return error
        }
    }

    /// A closed database with an account and as many rows in each kind of store.
    private func fill(rows: Int64 = 200) async throws {
        let storage = try SQLStorage.open(directory.options())
        var batch: [Mutation] = [
            .createAccount(host: "h", local: "a", created: Timestamp(milliseconds: 1), credentials: [[1, 2, 3]])
        ]
        for id in 1...rows {
            let filler = [UInt8](repeating: UInt8(id % 256), count: 1_000)
            let stamp = Timestamp(milliseconds: id)
            batch += [
                spooled(id, stanza: filler), .put("m", OwnerID(id % 10), key: "\(id)", value: filler),
                .archive("x", [(owner: OwnerID(1), id: id, with: "w")], stamp: stamp, stanza: filler),
            ]
        }
        _ = try await storage.submit(batch)
        await storage.close()
    }

    private func isDamaged(_ error: StorageError?, _ text: String) -> Bool {
        guard case .damaged(let reason) = error else { return false }
        return reason.contains(text)
    }

    @Test func `a new database is private, complete and in WAL with full syncs`() async throws {
        let storage = try SQLStorage.open(directory.options())
        let attributes = try FileManager.default.attributesOfItem(atPath: directory.database)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        #expect(!FileManager.default.fileExists(atPath: directory.database + ".new"))
        #expect(FileManager.default.fileExists(atPath: directory.database + "-wal"))
        await storage.close()
        // A clean stop leaves no log.
        #expect(!FileManager.default.fileExists(atPath: directory.database + "-wal"))
        #expect(try directory.value("PRAGMA journal_mode") == "wal")
        #expect(try directory.value("PRAGMA application_id") == Schema.applicationID)
        #expect(try directory.value("PRAGMA user_version") == Schema.migrations.count)
    }

    @Test func `every table has a primary key`() async throws {
        try await fill()
        let without: Int? = try directory.value(
            """
            SELECT count(*) FROM sqlite_schema s WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
            AND NOT EXISTS (SELECT 1 FROM pragma_table_info(s.name) WHERE pk > 0)
            """)
        #expect(without == 0)
    }

    @Test func `a database is opened once at a time, and again when it is closed`() async throws {
        let storage = try SQLStorage.open(directory.options())
        let error = try await refusal()
        #expect(error == .failed("\(directory.database) is in use by another process"))
        #expect(SQLStorage.isInUse(directory.options()))
        await storage.close()
        #expect(!SQLStorage.isInUse(directory.options()))
        #expect(try await refusal() == nil)
    }

    @Test func `a storage that is let go without being closed commits, and gives the database back`() async throws {
        let (reports, path) = (Reports(), directory.database)
        do {
            let storage = try SQLStorage.open(directory.options { $0.report = { reports.add($0) } })
            storage.submit([spooled(1)]) { _ in }
        }
        // It closes on a thread of its own.
        while try await refusal() == .failed("\(path) is in use by another process") { await Task.yield() }
        let storage = try SQLStorage.open(directory.options())
        #expect(try await storage.spoolIDs() == [1])
        await storage.close()
    }

    @Test(arguments: ["not a database", "SQLite format 3", String(repeating: "x", count: 10_000)])
    func `a file that is no database is refused and left alone`(_ content: String) async throws {
        try directory.write(Data(content.utf8))
        #expect(isDamaged(try await refusal(), "is not an SQLite database"))
        #expect(try directory.read() == Data(content.utf8))
    }

    @Test func `an empty file is refused: a database was there`() async throws {
        try directory.write(Data())
        #expect(isDamaged(try await refusal(), "is empty"))
    }

    @Test func `a missing database whose log is there is refused`() async throws {
        try directory.write(Data([1]), to: "martlet.db-wal")
        #expect(isDamaged(try await refusal(), "is missing, but its log"))
    }

    @Test(arguments: [0, 0x1234_5678])
    func `the database of another program is refused and left alone`(_ identity: Int) async throws {
        try directory.execute("PRAGMA application_id = \(identity); CREATE TABLE note (text)")
        let before = try directory.read()
        #expect(isDamaged(try await refusal(), "is a database of another program (application id \(identity))"))
        #expect(try directory.read() == before)
    }

    @Test func `a newer schema is refused and left alone`() async throws {
        try await fill()
        try directory.execute("PRAGMA user_version = 99")
        let before = try directory.read()
        #expect(isDamaged(try await refusal(), "has schema 99"))
        #expect(try directory.read() == before)
    }

    @Test(arguments: [
        "DROP TABLE spool", "DROP TABLE archive_cursor", "ALTER TABLE map ADD COLUMN more INTEGER",
        "ALTER TABLE account RENAME COLUMN host TO domain",
    ])
    func `a damaged schema is refused`(_ damage: String) async throws {
        try await fill()
        try directory.execute(damage)
        #expect(isDamaged(try await refusal(), "the schema is damaged"))
    }

    @Test func `what an operator adds does no harm`() async throws {
        try await fill()
        try directory.execute("CREATE INDEX mine ON account (created); ANALYZE")
        #expect(try await refusal() == nil)
    }

    @Test(arguments: [4_096, 100_000, 8_192 + 17])
    func `a file that was cut off is refused`(_ size: Int) async throws {
        try await fill()
        try directory.write(try directory.read().prefix(size))
        #expect(isDamaged(try await refusal(), "martlet.db"))
    }

    @Test func `a damaged page hurts those whose rows it holds, is named, and nobody else`() async throws {
        try await fill()
        var data = try directory.read()
        let page: Int = try #require(
            try directory.value("SELECT pageno FROM dbstat WHERE name = 'archive_body' AND pagetype = 'leaf' LIMIT 1"))
        data.replaceSubrange((page - 1) * 4_096..<page * 4_096, with: repeatElement(0x55, count: 4_096))
        try directory.write(data)

        let storage = try SQLStorage.open(directory.options())
        await #expect(throws: StorageError.self) {
            try await storage.read([OwnerID(1)]) { snapshot throws(StorageError) in
                try snapshot.archive("x", OwnerID(1), ArchiveQuery(limit: 1_000))
            }
        }
        #expect(try await storage.spoolIDs().count == 200)
        _ = try await storage.submit([spooled(201)])
        #expect(try await storage.spoolIDs().count == 201)
        await storage.close()
        // Looking at every page finds it at the start.
        #expect(isDamaged(try await refusal { $0.verification = .full }, "is damaged"))
    }

    @Test func `any single page damaged is an error or none, never more`() async throws {
        try await fill(rows: 40)
        let whole = try directory.read()
        for page in 0..<whole.count / 4_096 {
            var data = whole
            // The header stays, so that it is ours; its tree does not.
            let start = page == 0 ? 100 : page * 4_096
            for index in start..<(page + 1) * 4_096 { data[index] = UInt8(truncatingIfNeeded: index &* 167 &+ page) }
            try directory.write(data)
            guard let storage = try? SQLStorage.open(directory.options { $0.durability = .none }) else { continue }
            for owner in 0..<4 as Range<Int64> {
                _ = try? await storage.submit([
                    spooled(1_000 + owner, owner), .removeAccount(OwnerID(owner)),
                    .trimArchive(
                        "x", OwnerID(owner), from: Timestamp(milliseconds: .min), before: Timestamp(milliseconds: 100),
                        keep: 3, limit: 50),
                    .archive(
                        "x", [(owner: OwnerID(owner), id: 1_000 + owner, with: "w")], stamp: Timestamp(milliseconds: 1),
                        stanza: [1]),
                ])
                _ = try? await storage.read([OwnerID(owner)]) { snapshot throws(StorageError) in
                    _ = try snapshot.entries("m", OwnerID(owner))
                    _ = try snapshot.archive("x", OwnerID(owner), ArchiveQuery(limit: 1_000))
                    _ = try snapshot.accounts(host: "h", after: "", limit: 100)
                    _ = try snapshot.spool("offline", OwnerID(owner), after: 0, limit: 1_000)
                }
            }
            await storage.close()
        }
    }

    @Test func `a damaged row is an error for its owner and no trap`() async throws {
        try await fill()
        try directory.execute("UPDATE account SET credentials = x'ff000000'")
        try directory.execute("UPDATE archive_body SET \"references\" = x'0102', remaining = -9223372036854775808")
        try directory.execute("UPDATE spool SET stanza = x'', stamp = -9223372036854775808")
        let storage = try SQLStorage.open(directory.options())
        let damage = StorageError.damaged("the credentials of account 1 are damaged")
        await #expect(throws: damage) {
            try await storage.read { snapshot throws(StorageError) in try snapshot.account(host: "h", local: "a") }
        }
        #expect(try await storage.spoolIDs().count == 200)
        let outcome = try await storage.submit([
            .trimArchive(
                "x", OwnerID(1), from: Timestamp(milliseconds: .min), before: Timestamp(milliseconds: .max), keep: 0,
                limit: 0),
            .removeAccount(OwnerID(1)),
        ])
        #expect(outcome == [.removed(0), .done])
        await storage.close()
    }

    @Test func `a file that must not be written is refused`() async throws {
        try await fill()
        guard protect(true) else { return }
        let error = try await refusal()
        #expect(protect(false))
        guard case .failed = error else {
            Issue.record("opened, or refused for another reason: \(String(describing: error))")
            return
        }
        #expect(try await refusal() == nil)
    }

    /// Makes the database one that nobody may write, not even root. False: that cannot be done here.
    private func protect(_ isProtected: Bool) -> Bool {
        guard geteuid() == 0 else { return chmod(directory.database, isProtected ? 0o444 : 0o600) == 0 }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/chattr")
        process.arguments = [isProtected ? "+i" : "-i", directory.database]
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    @Test func `a disk that is read-only is named`() async throws {
        guard let small = SmallFileSystem(at: directory.path + "/small", bytes: 1 << 20) else { return }
        defer { small.unmount() }
        let path = small.path + "/martlet.db"
        #expect(try await refusal { $0.path = path } == nil)
        small.makeReadOnly()
        guard case .failed(let reason) = try await refusal({ $0.path = path }) else {
            Issue.record("opened")
            return
        }
        #expect(reason.contains("Read-only file system"))
    }

    @Test func `a directory that is not there is named`() async throws {
        let error = try await refusal { $0.path = directory.path + "/none/martlet.db" }
        guard case .failed(let reason) = error else {
            Issue.record("opened")
            return
        }
        #expect(reason.contains("No such file or directory"))
    }

    @Test func `paths with odd characters work, with either file system`() async throws {
        for vfs in [nil, "dropunsynced"] {
            for name in ["a b", "ü?x=1", "100%", "q'u\"o;te", "file:x", "#", "&vfs=none"] {
                let path = directory.path + "/" + name + (vfs ?? "")
                let storage = try SQLStorage.open(directory.options { ($0.path, $0.vfs) = (path, vfs) })
                _ = try await storage.submit([spooled(1)])
                #expect(try await storage.spoolIDs() == [1])
                await storage.close()
                #expect(FileManager.default.fileExists(atPath: path))
            }
        }
    }

    // MARK: Migrations

    @Test func `a migration is whole or not at all, and goes on at the next start`() async throws {
        try await fill()
        let reports = Reports()
        let options = directory.options { $0.report = { reports.add($0) } }
        var internals = SQLStorage.Internals()
        internals.migrations += ["CREATE TABLE extra (id INTEGER PRIMARY KEY)"]
        internals.migrations += ["CREATE TABLE other (id INTEGER PRIMARY KEY); CREATE TABLE extra (id)"]
        #expect(throws: StorageError.self) { try SQLStorage.open(options, internals) }
        // The first step is done; of the second, which failed half-way, nothing is left.
        let count = Schema.migrations.count
        #expect(try directory.value("PRAGMA user_version") == count + 1)
        #expect(try directory.value("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'") == 1)
        #expect(try directory.value("SELECT count(*) FROM sqlite_schema WHERE name = 'other'") == 0)
        internals.migrations[count + 1] = "CREATE TABLE other (id INTEGER PRIMARY KEY)"
        let storage = try SQLStorage.open(options, internals)
        #expect(try await storage.spoolIDs().count == 200)
        await storage.close()
        #expect(reports.all.contains(.migrated(from: count + 1, to: count + 2)))
    }

    @Test func `what is left of a start that was killed while it made the database is no obstacle`() async throws {
        for suffix in ["", "-journal", "-wal"] { try directory.write(Data("half".utf8), to: "martlet.db.new" + suffix) }
        let storage = try SQLStorage.open(directory.options())
        _ = try await storage.submit([spooled(1)])
        await storage.close()
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted()
                == ["martlet.db", "martlet.db.lock"])
    }
}
