import Foundation
import ModuleKit
import StorageSQL
import Testing
import XMPPServer

@testable import martlet

/// The data directory: only setup and restore make a database, and what is damaged or open to others is told.
@Suite struct `The data of a server` {
    private let directory: TemporaryDirectory
    private var config: String { directory.path + "/s/martlet.yml" }
    private var data: DataDirectory { DataDirectory(path: directory.path + "/s/data") }
    private let ending = ["--no-dns"]

    init() throws {
        directory = try TemporaryDirectory()
    }

    private func setUp() async {
        #expect(await Martlet.run(["setup", "localhost", "--dir", directory.path + "/s"]) == 0)
    }

    private func requirement() -> String {
        do throws(CommandError) {
            try data.requireDatabase()
            return ""
        } catch {
            #expect(error.exitCode == 69)
            return error.message
        }
    }

    private func accounts() async throws -> [String] {
        var options = SQLOptions(path: data.databasePath)
        options.makesMissing = false
        let storage = try SQLStorage.open(options)
        let found = try await storage.read([]) { snapshot throws(StorageError) in
            try snapshot.accounts(host: "localhost", after: "", limit: 100).map(\.local)
        }
        await storage.close()
        return found
    }

    private func add(_ name: String) async throws {
        let list = try TemporaryFile("\(name)@localhost secret\n")
        #expect(await Martlet.run(["account", "import", list.path, "-c", config]) == 0)
    }

    // MARK: What is missing

    @Test func `is complete after setup, and accounts can be added at once`() async throws {
        await setUp()
        #expect(await Martlet.run(["check", "-c", config] + ending) == 0)
        try await add("romeo")
        #expect(try await accounts() == ["romeo"])
    }

    @Test func `is not begun anew when its database is gone`() async throws {
        await setUp()
        try await add("romeo")
        unlink(data.databasePath)
        #expect(requirement().contains("martlet.db is missing, though a server has run here: restore a backup"))
        for command in [["serve"], ["check"] + ending, ["account", "list"]] {
            #expect(await Martlet.run(command + ["-c", config]) == 69)
        }
        #expect(!FileManager.default.fileExists(atPath: data.databasePath))
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: data.databasePath + "-wal"))
        #expect(requirement().contains("its log \(data.databasePath)-wal is there"))
        #expect(await Martlet.run(["serve", "-c", config]) == 69)
        #expect(await Martlet.run(["setup", "--data", "-c", config]) == 69)
    }

    @Test func `is not made where somebody has mistyped its place`() async throws {
        await setUp()
        let text = try String(contentsOfFile: config, encoding: .utf8)
        try (text + "\ndata: dta\n").write(toFile: config, atomically: false, encoding: .utf8)
        for command in [["serve"], ["check"] + ending, ["account", "list"]] {
            #expect(await Martlet.run(command + ["-c", config]) == 69)
        }
        #expect(!FileManager.default.fileExists(atPath: directory.path + "/s/dta"))
        // Asked for, it is made, and only once.
        #expect(await Martlet.run(["setup", "--data", "-c", config]) == 0)
        #expect(await Martlet.run(["check", "-c", config] + ending) == 0)
        #expect(await Martlet.run(["setup", "--data", "-c", config]) == 3)
    }

    @Test(arguments: [[], ["localhost"], ["localhost", "--data"], ["--data", "--dir", "/nowhere"]])
    func `is not set up by half a command`(_ arguments: [String]) async throws {
        #expect(await Martlet.run(["setup"] + arguments) == 64)
    }

    @Test func `tells of a new database in the log`() {
        #expect(SQLReport.migrated(from: 0, to: 1).description == "new database, schema 1")
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
        await setUp()
        try await add("romeo")
        let secret = try data.secret.read()
        let copy = await backUp()
        try FileManager.default.removeItem(atPath: data.path)
        #expect(await restore(copy) == 0)
        #expect(try await accounts() == ["romeo"])
        #expect(try data.secret.read() == secret)
        #expect(Permissions.warnings(data) == [])
        #expect(await Martlet.run(["check", "-c", config] + ending) == 0)
    }

    @Test func `is never overwritten: what was there is kept aside, its log too`() async throws {
        await setUp()
        try await add("romeo")
        let copy = await backUp()
        try await add("juliet")
        #expect(await restore(copy) == 3)
        // The log of another database, as a server leaves one that was killed.
        try Data("not of the backup".utf8).write(to: URL(fileURLWithPath: data.databasePath + "-wal"))
        #expect(await restore(copy, "--force") == 0)
        #expect(!FileManager.default.fileExists(atPath: data.databasePath + "-wal"))
        #expect(try await accounts() == ["romeo"])
        let names = try FileManager.default.contentsOfDirectory(atPath: data.path)
        let aside = try #require(names.first { $0.hasPrefix("replaced-") })
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: "\(data.path)/\(aside)").sorted()
                == ["martlet.db", "martlet.db-wal"])
        #expect(!names.contains { $0.contains(".restored") })
    }

    @Test func `is brought back where only a log was left`() async throws {
        await setUp()
        try await add("romeo")
        let copy = await backUp()
        unlink(data.databasePath)
        try Data("left over".utf8).write(to: URL(fileURLWithPath: data.databasePath + "-wal"))
        #expect(await restore(copy) == 3)
        #expect(await restore(copy, "--force") == 0)
        #expect(try await accounts() == ["romeo"])
    }

    @Test(arguments: ["empty", "foreign", "damaged", "newer", "missing", "secret"])
    func `is left alone by a backup that is no good`(_ kind: String) async throws {
        await setUp()
        try await add("romeo")
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
        #expect(try await accounts() == ["romeo"])
        let names = try FileManager.default.contentsOfDirectory(atPath: data.path)
        #expect(!names.contains { $0.hasPrefix("replaced-") || $0.contains(".restored") })
    }

    @Test func `is not replaced under a running server`() async throws {
        await setUp()
        let copy = await backUp()
        let lock = try data.lock()
        #expect(await restore(copy, "--force") == 69)
        withExtendedLifetime(lock) {}
    }

    // MARK: The secret, and who may read what

    @Test(arguments: [0, 31, 33, 2_000_000])
    func `has a secret of the right length or is refused`(_ length: Int) async throws {
        await setUp()
        let secret = Data(repeating: 1, count: length)
        try secret.write(to: URL(fileURLWithPath: data.secret.path))
        for command in [["serve"], ["check"] + ending] {
            #expect(await Martlet.run(command + ["-c", config]) == 69)
        }
        // It is not replaced unasked.
        #expect(try Data(contentsOf: URL(fileURLWithPath: data.secret.path)) == secret)
        unlink(data.secret.path)
        #expect(await Martlet.run(["check", "-c", config] + ending) == 0)
        #expect(try data.secret.readOrMake().count == 32)
    }

    @Test func `is told of when others may read it`() async throws {
        await setUp()
        chmod(data.secret.path, 0o640)
        #expect(Permissions.warnings(data) == ["\(data.secret.path) is open to others (mode 640): chmod 600"])
        chmod(data.path, 0o755)
        chmod(data.databasePath, 0o644)
        #expect(Permissions.warnings(data).count == 3)
        let key = directory.path + "/s/key.pem"
        chmod(key, 0o640)
        #expect(try ConfigFile.load(config, further: ConfigFile.lookAround).warnings == [])
        chmod(key, 0o644)
        chmod(config, 0o666)
        let warnings = try ConfigFile.load(config, further: ConfigFile.lookAround).warnings.map(\.reason)
        #expect(warnings.count == 2)
        #expect(warnings.contains("\(key) is open to others (mode 644): chmod 640"))
        // It is a warning: a server that stops starting would be worse.
        #expect(await Martlet.run(["check", "-c", config] + ending) == 0)
    }
}
