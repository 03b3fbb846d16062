import Foundation
import ModuleKit
import XMPPServer

/// What others on the machine may read or change and should not. Warnings, not errors: a server that stopped starting
/// after somebody's `chmod` would be worse, and some keys are shared with a group on purpose.
enum Permissions {
    /// Of the data directory and what is in it, a line each; what is not there is no matter.
    static func warnings(_ data: DataDirectory) -> [String] {
        var warnings: [String] = []
        if let mode = mode(data.path), mode & 0o077 != 0 {
            warnings.append("\(data.path) is open to others (mode \(text(mode))): chmod 700")
            // In a directory that is closed nobody reaches them.
            for path in [data.databasePath, data.databasePath + "-wal"] {
                if let mode = self.mode(path), mode & 0o077 != 0 { warnings.append(readable(path, mode)) }
            }
        }
        if let mode = mode(data.secret.path), mode & 0o077 != 0 { warnings.append(readable(data.secret.path, mode)) }
        return warnings
    }

    /// Of the config file and of the keys that it names.
    static func check(_ config: ServerConfig, into report: ConfigReport) {
        if let mode = mode(report.file), mode & 0o002 != 0 {
            report.warning(line: 0, key: "", "everybody may change this file (mode \(text(mode))): chmod 644")
        }
        var seen: Set<String> = []
        for host in config.hosts {
            guard let files = host.certificate, seen.insert(files.key).inserted, let mode = mode(files.key) else {
                continue
            }
            // A group is what other servers on the machine share a key by.
            guard mode & 0o007 != 0 || mode & 0o020 != 0 else { continue }
            report.warning(
                line: files.line, key: "tls.key", "\(files.key) is open to others (mode \(text(mode))): chmod 640")
        }
    }

    private static func readable(_ path: String, _ mode: mode_t) -> String {
        "\(path) is open to others (mode \(text(mode))): chmod 600"
    }

    private static func mode(_ path: String) -> mode_t? {
        var file = stat()
        return stat(path, &file) == 0 ? file.st_mode & 0o777 : nil
    }

    private static func text(_ mode: mode_t) -> String { String(mode, radix: 8) }
}
