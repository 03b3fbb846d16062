import Foundation
import ModuleKit
import StorageSQL
import Testing
import XMPPServer

@testable import martlet

/// Backups and their way back: what has the name is whole, and what is not whole is said to be so.
@Suite struct `A backup` {
    private let place: SetUpPlace
    private var directory: TemporaryDirectory { place.directory }
    private var config: String { place.config }
    private var data: DataDirectory { place.data }
    private let ending = ["--no-dns"]

    init() throws {
        place = try SetUpPlace()
    }

    private func setUp() async throws {
        await place.setUp()
        try await place.add("romeo")
    }

    private func names(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path).sorted()
    }

    private func isThere(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    private func write(_ text: String, _ path: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }

    // MARK: Restoring

    private func backUp() async -> String {
        let copy = directory.path + "/copy"
        #expect(await Martlet.run(["backup", copy, "-c", config]) == 0)
        return copy
    }

    private func restore(_ copy: String, _ flags: String...) async -> Int32 {
        await Martlet.run(["restore", copy, "-c", config] + flags)
    }

    @Test func `comes back from a backup, secret included`() async throws {
        try await setUp()
        let secret = try data.secret.read()
        let copy = await backUp()
        try FileManager.default.removeItem(atPath: data.path)
        #expect(await restore(copy) == 0)
        #expect(try await place.accounts() == ["romeo"])
        #expect(try data.secret.read() == secret)
        #expect(Permissions.warnings(data) == [])
        #expect(await Martlet.run(["check", "-c", config] + ending) == 0)
    }

    @Test func `is never overwritten: what was there is kept aside, its log too`() async throws {
        try await setUp()
        let copy = await backUp()
        try await place.add("juliet")
        #expect(await restore(copy) == 3)
        // The log of another database, as a server leaves one that was killed.
        try Data("not of the backup".utf8).write(to: URL(fileURLWithPath: data.databasePath + "-wal"))
        #expect(await restore(copy, "--force") == 0)
        #expect(!FileManager.default.fileExists(atPath: data.databasePath + "-wal"))
        #expect(try await place.accounts() == ["romeo"])
        let names = try FileManager.default.contentsOfDirectory(atPath: data.path)
        let aside = try #require(names.first { $0.hasPrefix("replaced-") })
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: "\(data.path)/\(aside)").sorted()
                == ["martlet.db", "martlet.db-wal", "secret"])
        #expect(!names.contains { $0.contains(".restored") })
    }

    @Test func `is brought back where only a log was left`() async throws {
        try await setUp()
        let copy = await backUp()
        unlink(data.databasePath)
        try Data("left over".utf8).write(to: URL(fileURLWithPath: data.databasePath + "-wal"))
        #expect(await restore(copy) == 3)
        #expect(await restore(copy, "--force") == 0)
        #expect(try await place.accounts() == ["romeo"])
    }

    @Test(arguments: ["empty", "foreign", "damaged", "newer", "missing", "secret"])
    func `is left alone by a backup that is no good`(_ kind: String) async throws {
        try await setUp()
        let copy = await backUp()
        let path = copy + "/martlet.db"
        switch kind {
        case "missing": unlink(path)
        case "empty": truncate(path, 0)
        case "secret": try Data([1]).write(to: URL(fileURLWithPath: copy + "/secret"))
        default:
            let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
            // The application's number, the schema's number, or a page of rows.
            try handle.seek(toOffset: kind == "foreign" ? 68 : kind == "newer" ? 60 : 8192)
            try handle.write(contentsOf: [UInt8](repeating: 0x77, count: kind == "damaged" ? 16_384 : 4))
            try handle.close()
        }
        #expect(await restore(copy, "--force") != 0)
        #expect(try await place.accounts() == ["romeo"])
        let names = try FileManager.default.contentsOfDirectory(atPath: data.path)
        #expect(!names.contains { $0.hasPrefix("replaced-") || $0.contains(".restored") })
    }

    @Test func `is not replaced under a running server`() async throws {
        try await setUp()
        let copy = await backUp()
        let lock = try data.lock()
        #expect(await restore(copy, "--force") == 69)
        withExtendedLifetime(lock) {}
    }

    // MARK: What is not whole

    /// Why it is not restored.
    private func refusal(_ copy: String) -> String {
        let work = Restoration(of: copy, to: data, isForced: true, now: Timestamp(milliseconds: 0))
        do throws(CommandError) {
            return try work.run()
        } catch {
            return error.message
        }
    }

    @Test(arguments: [
        ("PRAGMA optimize", "", 0), ("DROP TABLE spool", "spool is missing", 69),
        ("DROP TABLE account", "account is missing", 69), ("PRAGMA user_version = 0", "no tables", 69),
    ])
    func `without its tables is refused by restore, check, account and backup`(
        _ damage: String, _ reason: String, _ code: Int32
    ) async throws {
        try await setUp()
        let copy = await backUp()
        for path in [copy + "/martlet.db", data.databasePath] {
            try SQL.execute(damage, path)
        }
        if code != 0 { #expect(refusal(copy).contains(reason)) }
        #expect(await restore(copy, "--force") == code)
        #expect(await Martlet.run(["check", "-c", config] + ending) == code)
        if code != 0 {
            // It opens the database as `serve` does.
            #expect(await Martlet.run(["account", "list", "-c", config]) == code)
            #expect(await Martlet.run(["backup", directory.path + "/second", "-c", config]) == code)
            #expect(!isThere(directory.path + "/second"))
        }
    }

    @Test func `that did not end has another name, is no backup, and goes with the next one`() async throws {
        try await setUp()
        let copy = await backUp()
        let partial = directory.path + "/yesterday" + PartialDirectory.suffix
        try FileManager.default.copyItem(atPath: copy, toPath: partial)
        #expect(refusal(partial).contains("is no backup: one that did not end has left it"))
        // One that is being filled is left alone, and so is what somebody else has put into such a directory.
        let other = try PartialDirectory.make(directory.path + "/now")
        let foreign = directory.path + "/foreign" + PartialDirectory.suffix
        try FileManager.default.createDirectory(atPath: foreign, withIntermediateDirectories: false)
        try write("mine", foreign + "/notes")
        #expect(try Backup(of: data).write(to: directory.path + "/today") == [partial])
        #expect(
            try names(directory.path) == [
                "copy", "foreign" + PartialDirectory.suffix, "now" + PartialDirectory.suffix, "s", "today",
            ])
        #expect(try names(directory.path + "/today") == ["martlet.db", "secret"])
        try other.finish()
        #expect(throws: CommandError.exists("\(directory.path)/now exists already")) {
            try Backup(of: data).write(to: directory.path + "/now")
        }
        #expect(throws: CommandError.self) { try Backup(of: data).write(to: partial) }
    }

    @Test func `that cannot be finished leaves nothing`() async throws {
        try await setUp()
        let copy = directory.path + "/copy"
        #expect(truncate(data.databasePath, 0) == 0)
        #expect(await Martlet.run(["backup", copy, "-c", config]) == 69)
        #expect(try names(directory.path) == ["s"])
    }

    @Test func `without its secret, or copied by halves, is refused with what is missing`() async throws {
        try await setUp()
        let copy = await backUp()
        try FileManager.default.moveItem(atPath: copy + "/secret", toPath: directory.path + "/secret")
        #expect(refusal(copy).contains("\(copy)/secret is missing, so that the backup is not whole"))
        #expect(try await place.accounts() == ["romeo"])
        try FileManager.default.moveItem(atPath: directory.path + "/secret", toPath: copy + "/secret")
        try write("hot", copy + "/martlet.db-journal")
        #expect(refusal(copy).contains("martlet.db-journal says that copying it did not end"))
        unlink(copy + "/martlet.db-journal")
        #expect(refusal(copy).hasPrefix("the database was restored"))
    }

    // MARK: A restore that was killed

    @Test func `is restored once more where the first attempt was killed`() async throws {
        try await setUp()
        let copy = await backUp()
        // As a kill leaves it before the database has its name: in an empty place, and over other data.
        for isFresh in [true, false] {
            if isFresh { try FileManager.default.removeItem(atPath: data.path) }
            try data.create()
            unlink(data.databasePath)
            try write("half", data.databasePath + SQLRestoration.suffix)
            try write("half", data.newSecret.path)
            #expect(throws: CommandError.self) { try data.requireDatabase() }
            for command in [["serve"], ["check"] + ending, ["setup", "--data"], ["account", "list"]] {
                #expect(await Martlet.run(command + ["-c", config]) == 69)
            }
            do throws(CommandError) {
                try data.requireDatabase()
            } catch {
                #expect(error.message.contains("a restore did not end. Run it again: `martlet restore DIRECTORY`"))
            }
            #expect(await restore(copy) == 0)
            #expect(try await place.accounts() == ["romeo"])
            #expect(try !names(data.path).contains { $0.contains(".restored") })
        }
    }

    @Test func `keeps the old secret with the old database`() async throws {
        try await setUp()
        let copy = await backUp()
        let old = try data.requireSecret()
        try data.secret.replace(with: [UInt8](repeating: 7, count: SecretFile.length))
        #expect(await restore(copy, "--force") == 0)
        #expect(try data.requireSecret() == old)
        let aside = try #require(try names(data.path).first { $0.hasPrefix("replaced-") })
        // The log is empty: reading the database for the backup made it.
        #expect(try names("\(data.path)/\(aside)") == ["martlet.db", "martlet.db-wal", "secret"])
        let kept = SecretFile(path: "\(data.path)/\(aside)/secret")
        #expect(try kept.read() == [UInt8](repeating: 7, count: SecretFile.length))
        // It is a backup itself.
        #expect(await restore("\(data.path)/\(aside)", "--force") == 0)
        #expect(try data.requireSecret() == [UInt8](repeating: 7, count: SecretFile.length))
    }

    @Test func `can be restored twice in one moment`() async throws {
        try await setUp()
        let copy = await backUp()
        let now = Timestamp(milliseconds: 1_800_000_000_000)
        for _ in 0..<3 { _ = try Restoration(of: copy, to: data, isForced: true, now: now).run() }
        #expect(
            try names(data.path).filter { $0.hasPrefix("replaced-") } == [
                "replaced-2027-01-15T080000Z", "replaced-2027-01-15T080000Z-2", "replaced-2027-01-15T080000Z-3",
            ])
    }
}
