import Foundation
import GRDB
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
