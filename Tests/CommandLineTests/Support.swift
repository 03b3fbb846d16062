import Foundation
import GRDB
import ModuleKit
import StorageSQL
import Testing
import XMPPServer

@testable import martlet

/// A file that is gone with the test.
final class TemporaryFile {
    let path: String

    init(_ text: String) throws {
        path = NSTemporaryDirectory() + "martlet-test-" + UUID().uuidString
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        // As a key has to be.
        chmod(path, 0o600)
    }

    deinit { unlink(path) }
}

/// A directory that is gone with the test.
final class TemporaryDirectory {
    let path: String

    init(_ name: String = "") throws {
        path = NSTemporaryDirectory() + "martlet-test-" + UUID().uuidString + name
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// The place of a server as `setup` makes it, gone with the test.
struct SetUpPlace {
    let directory: TemporaryDirectory
    var config: String { directory.path + "/s/martlet.yml" }
    var data: DataDirectory { DataDirectory(path: directory.path + "/s/data") }

    init() throws {
        directory = try TemporaryDirectory()
    }

    func setUp() async {
        #expect(await Martlet.run(["setup", "localhost", "--dir", directory.path + "/s"]) == 0)
    }

    func accounts() async throws -> [String] {
        var options = SQLOptions(path: data.databasePath)
        options.makesMissing = false
        let storage = try SQLStorage.open(options)
        let found = try await storage.read([]) { snapshot throws(StorageError) in
            try snapshot.accounts(host: "localhost", after: "", limit: 100).map(\.local)
        }
        await storage.close()
        return found
    }

    func add(_ name: String) async throws {
        let list = try TemporaryFile("\(name)@localhost secret\n")
        #expect(await Martlet.run(["account", "import", list.path, "-c", config]) == 0)
    }
}

enum HostConfigs {
    static let localhost: HostConfig = {
        let text = "hosts: [localhost]\nlisten: [{port: 1, tls: none}]\nauth: {iterations: 4096}"
        // Right by the tests of the config.
        return try! ConfigFile.parse(text, file: "martlet.yml").config.hosts[0]
    }()
}

/// Changes that an operator makes to a database by hand.
enum SQL {
    static func execute(_ text: String, _ path: String) throws {
        let queue = try DatabaseQueue(path: path)
        try queue.inDatabase { try $0.execute(sql: text) }
        try queue.close()
    }
}
