import Foundation
import ModuleKit
import StorageSQL
import Testing
import XMPPServer

@testable import martlet

/// The data directory: only setup and restore make a database, and what is damaged or open to others is told.
@Suite struct `The data of a server` {
    private let place: SetUpPlace
    private var directory: TemporaryDirectory { place.directory }
    private var config: String { place.config }
    private var data: DataDirectory { place.data }
    private let ending = ["--no-dns"]

    init() throws {
        place = try SetUpPlace()
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

    // MARK: What is missing

    @Test func `is complete after setup, and accounts can be added at once`() async throws {
        await place.setUp()
        #expect(await Martlet.run(["check", "-c", config] + ending) == 0)
        try await place.add("romeo")
        #expect(try await place.accounts() == ["romeo"])
    }

    @Test func `is not begun anew when its database is gone`() async throws {
        await place.setUp()
        try await place.add("romeo")
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
        await place.setUp()
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

    // MARK: The secret, and who may read what

    @Test(arguments: [0, 31, 33, 2_000_000])
    func `has a secret of the right length or is refused`(_ length: Int) async throws {
        await place.setUp()
        let secret = Data(repeating: 1, count: length)
        try secret.write(to: URL(fileURLWithPath: data.secret.path))
        for command in [["serve"], ["check"] + ending] {
            #expect(await Martlet.run(command + ["-c", config]) == 69)
        }
        // It is not replaced unasked.
        #expect(try Data(contentsOf: URL(fileURLWithPath: data.secret.path)) == secret)
        unlink(data.secret.path)
        for command in [["serve"], ["check"] + ending, ["backup", directory.path + "/copy"]] {
            #expect(await Martlet.run(command + ["-c", config]) == 69)
        }
        #expect(throws: CommandError.self) { try data.requireSecret() }
        // Only when it is asked for is another one made, and the database stays.
        let before = try Data(contentsOf: URL(fileURLWithPath: data.databasePath))
        #expect(await Martlet.run(["setup", "--data", "-c", config]) == 0)
        #expect(await Martlet.run(["check", "-c", config] + ending) == 0)
        #expect(try data.requireSecret().count == 32)
        #expect(try Data(contentsOf: URL(fileURLWithPath: data.databasePath)) == before)
        #expect(await Martlet.run(["setup", "--data", "-c", config]) == 3)
    }

    @Test func `is told of when others may read it`() async throws {
        await place.setUp()
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
