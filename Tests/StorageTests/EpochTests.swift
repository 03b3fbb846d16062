import Foundation
import Glibc
import ModuleKit
import Testing

@testable import StorageSQL

/// An epoch is that of one database: it stays while the database goes on, and a copy in its place has another.
@Suite struct EpochTests {
    private let directory = TemporaryDirectory()
    private var path: String { directory.database }

    /// Opens the database, writes something, closes it.
    private func run(_ path: String? = nil) async throws -> StorageEpoch {
        let storage = try SQLStorage.open(SQLOptions(path: path ?? self.path))
        _ = try await storage.submit([.put("m", OwnerID(1), key: "k", value: [1])])
        let epoch = storage.epoch
        await storage.close()
        return epoch
    }

    private func restore(_ copy: String) throws {
        let restoration = try SQLStorage.restoration(of: copy, to: SQLOptions(path: path))
        try restoration.removeReplaced()
        try restoration.finish()
    }

    private func copyFile(_ from: String, over path: String) throws {
        try Data(contentsOf: URL(fileURLWithPath: from)).write(to: URL(fileURLWithPath: path), options: [])
    }

    @Test func `stays from one opening to the next`() async throws {
        let epoch = try await run()
        #expect(epoch.rawValue > 0)
        for _ in 0..<5 { #expect(try await run() == epoch) }
    }

    @Test func `stays when the process is killed`() async throws {
        let epoch = try await run()
        let storage = try SQLStorage.open(SQLOptions(path: path))
        _ = try await storage.submit([.put("m", OwnerID(1), key: "k", value: [2])])
        // As a kill would leave it: the database with its log and its lock file.
        let other = TemporaryDirectory()
        for suffix in ["", "-wal", ".lock"] {
            try FileManager.default.createDirectory(atPath: other.path + "/d", withIntermediateDirectories: true)
            try FileManager.default.copyItem(atPath: path + suffix, toPath: other.path + "/d/martlet.db" + suffix)
        }
        await storage.close()
        for suffix in ["", "-wal", ".lock"] {
            try copyFile(other.path + "/d/martlet.db" + suffix, over: path + suffix)
        }
        #expect(try await run() == epoch)
    }

    @Test func `is another one after a restore, each time`() async throws {
        var seen: Set = [try await run()]
        let copy = directory.path + "/copy"
        try SQLStorage.copy(path, to: copy)
        for _ in 0..<3 {
            try restore(copy)
            let epoch = try await run()
            #expect(seen.insert(epoch).inserted)
            #expect(try await run() == epoch)
        }
    }

    @Test(arguments: ["backup", "backup over it", "older file", "older file over it", "directory", "no lock file"])
    func `is another one when a file is put in the place`(_ kind: String) async throws {
        let first = try await run()
        let (copy, kept) = (directory.path + "/copy", directory.path + "/kept")
        switch kind {
        case "backup", "backup over it": try SQLStorage.copy(path, to: copy)
        default: try FileManager.default.copyItem(atPath: path, toPath: copy)
        }
        switch kind {
        case "directory":
            // Both files as they are, one more time.
            try FileManager.default.copyItem(atPath: path + ".lock", toPath: kept)
            #expect(unlink(path + ".lock") == 0)
            try FileManager.default.moveItem(atPath: kept, toPath: path + ".lock")
            #expect(rename(copy, path) == 0)
        case "no lock file": #expect(unlink(path + ".lock") == 0)
        default:
            #expect(try await run() == first)
            if kind.hasSuffix("over it") { try copyFile(copy, over: path) } else { #expect(rename(copy, path) == 0) }
        }
        let second = try await run()
        #expect(second != first)
        #expect(try await run() == second)
    }

    @Test func `is there after the migration of a database from before there were any`() async throws {
        let storage = try {
            var internals = SQLStorage.Internals()
            internals.migrations = Array(Schema.migrations.prefix(1))
            let file = try DatabaseFile(SQLOptions(path: path))
            try file.make(internals.migrations)
            return try SQLStorage.open(SQLOptions(path: path))
        }()
        let epoch = storage.epoch
        await storage.close()
        #expect(epoch.rawValue > 0)
        #expect(try await run() == epoch)
    }

    @Test func `is a new one, and the server starts, if the disk is full`() async throws {
        guard let small = SmallFileSystem(at: directory.path + "/small", bytes: 1 << 20) else { return }
        defer { small.unmount() }
        let path = small.path + "/martlet.db"
        let first = try await run(path)
        #expect(unlink(path + ".lock") == 0)
        // Room for the lock file and the index of the log, none for the log.
        try Data().write(to: URL(fileURLWithPath: path + ".lock"))
        try Data().write(to: URL(fileURLWithPath: small.path + "/filler"))
        let filler = try FileHandle(forWritingTo: URL(fileURLWithPath: small.path + "/filler"))
        while (try? filler.write(contentsOf: [UInt8](repeating: 0, count: 4096))) != nil {}
        let size = try filler.offset()
        try filler.truncate(atOffset: size - size % 4096 - 9 * 4096)
        try filler.close()
        let storage = try SQLStorage.open(SQLOptions(path: path))
        #expect(storage.epoch != first)
        #expect(storage.epoch.rawValue > 0)
        await storage.close()
    }

    @Test func `is short enough for whatever names it`() {
        #expect(StorageEpoch(.max).description.count == 13)
        #expect(StorageEpoch(35).description == "z")
    }
}
