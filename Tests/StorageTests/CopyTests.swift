import Foundation
import Glibc
import ModuleKit
import Testing

@testable import StorageSQL

@Suite struct `A copy of a database` {
    private let directory = TemporaryDirectory()
    private var copy: String { directory.database + ".copy" }

    private func fill() async throws -> SQLStorage {
        let storage = try SQLStorage.open(directory.options())
        let filler = [UInt8](repeating: 7, count: 1_000)
        _ = try await storage.submit(
            [.createAccount(host: "h", local: "a", created: Timestamp(milliseconds: 1), credentials: [[1]])]
                + (1...100).map { .put("m", OwnerID(1), key: "\($0)", value: filler) })
        return storage
    }

    private func refusal() -> StorageError? {
        do throws(StorageError) {
            try SQLStorage.copy(directory.database, to: copy)
            return nil
        } catch {
            return error
        }
    }

    @Test func `is private and whole, also of one that is in use`() async throws {
        let storage = try await fill()
        #expect(refusal() == nil)
        await storage.close()
        let attributes = try FileManager.default.attributesOfItem(atPath: copy)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        #expect(!FileManager.default.fileExists(atPath: copy + "-wal"))
        let opened = try SQLStorage.open(SQLOptions(path: copy))
        let found = try await opened.read([]) { snapshot throws(StorageError) in
            try snapshot.account(host: "h", local: "a")
        }
        #expect(found != nil)
        await opened.close()
        // Another one is never overwritten.
        #expect(refusal() != nil)
        #expect(FileManager.default.fileExists(atPath: copy))
    }

    @Test(arguments: ["empty", "foreign", "damaged", "missing"])
    func `is not made of what is lost, damaged or not ours`(_ kind: String) async throws {
        await (try await fill()).close()
        let path = directory.database
        switch kind {
        case "empty": #expect(truncate(path, 0) == 0)
        case "missing": #expect(unlink(path) == 0)
        case "foreign":
            let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
            try handle.seek(toOffset: 68)
            try handle.write(contentsOf: [1, 2, 3, 4])
            try handle.close()
        default:
            // Pages of rows, behind those of the schema.
            let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
            let size = try handle.seekToEnd()
            try handle.seek(toOffset: size / 2 / 4096 * 4096)
            try handle.write(contentsOf: [UInt8](repeating: 0xff, count: 8192))
            try handle.close()
        }
        let error = try #require(refusal())
        if kind != "missing" {
            guard case .damaged = error else {
                Issue.record("\(error)")
                return
            }
        }
        #expect(!FileManager.default.fileExists(atPath: copy))
    }
}
