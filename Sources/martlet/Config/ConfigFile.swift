import Foundation
import ModuleKit
import XMPPServer

/// `martlet.yml`, read and found to be right.
struct ConfigFile {
    let config: ServerConfig
    /// What the file may say but should not; told at every start.
    let warnings: [ConfigProblem]

    /// Checks the options of the modules that a config names: records an error for a module that does not exist.
    typealias ModuleCheck = (_ module: ModuleConfig, _ report: ConfigReport) -> Void

    /// What else is to be looked at beside the text, certificates for example. Told of a config that may be wrong.
    typealias FurtherCheck = (_ config: ServerConfig, _ report: ConfigReport) -> Void

    /// Reads and checks a file.
    ///
    /// - Throws: everything that is wrong with it, at once.
    static func load(_ path: String, further: FurtherCheck = { _, _ in }) throws(ConfigErrors) -> ConfigFile {
        try parse(text(of: path), file: path, further: further)
    }

    static func parse(
        _ text: String, file: String, checkModules: ModuleCheck = StandardModules.check,
        further: FurtherCheck = { _, _ in }
    ) throws(ConfigErrors) -> ConfigFile {
        let report = ConfigReport(file: file)
        let root = YAMLReader.read(text, into: report)
        // Without a tree there is only one thing to say; options that miss in nothing are no news.
        if root.value == .map([]), !report.errors.isEmpty { throw ConfigErrors(report.errors) }
        var section = report.section(root)
        let surroundings = ServerConfig.Surroundings(directory: directory(of: file)) { BareJID.domain($0)?.domain }
        let config = ServerConfig(from: &section, in: surroundings)
        for module in config.hosts.flatMap(\.modules) { checkModules(module, report) }
        for host in config.hosts { StandardModules.checkNeeds(host, report) }
        further(config, report)
        try report.finish()
        return ConfigFile(config: config, warnings: report.warnings)
    }

    /// The data directory that a file names, right or wrong as the rest of it may be: whoever wants to stop or ask a
    /// running server must not have to mend its config first.
    ///
    /// - Throws: `ConfigErrors` if the file cannot be read.
    static func dataDirectory(_ path: String) throws(ConfigErrors) -> DataDirectory {
        let root = YAMLReader.read(try text(of: path), into: ConfigReport(file: path))
        var name = "data"
        if case .scalar(let text, _) = root["data"]?.value, !text.isEmpty { name = text }
        return DataDirectory(path: name.hasPrefix("/") ? name : "\(directory(of: path))/\(name)")
    }

    /// Where the config lies if nobody says: `$MARTLET_CONFIG`, else `./martlet.yml` if it is there, else
    /// `/etc/martlet/martlet.yml`.
    static var defaultPath: String {
        if let path = ProcessInfo.processInfo.environment["MARTLET_CONFIG"], !path.isEmpty { return path }
        return FileManager.default.fileExists(atPath: "martlet.yml") ? "martlet.yml" : "/etc/martlet/martlet.yml"
    }

    static func directory(of file: String) -> String {
        URL(fileURLWithPath: file).standardizedFileURL.deletingLastPathComponent().path
    }

    private static func text(of path: String) throws(ConfigErrors) -> String {
        func failure(_ reason: String) -> ConfigErrors {
            ConfigErrors([ConfigProblem(file: path, line: 0, key: "", reason: reason)])
        }
        let data: Data
        do {
            data = try BoundedFile.read(path, limit: YAMLReader.largestFile)
        } catch {
            throw failure(error.description)
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            let valid = String(decoding: data, as: UTF8.self)
            let line = 1 + valid.prefix { $0 != "\u{FFFD}" }.count { $0.isNewline }
            throw ConfigErrors([ConfigProblem(file: path, line: line, key: "", reason: "is not UTF-8")])
        }
        return text
    }
}

/// Reads whole files of bounded size.
enum BoundedFile {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// - Throws: why the file cannot be read, or that it is larger than `limit`.
    static func read(_ path: String, limit: Int) throws(Failure) -> Data {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(description: "cannot be read: \(systemError())") }
        defer { close(descriptor) }
        var data = Data()
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Foundation.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Failure(description: "cannot be read: \(systemError())") }
            guard count > 0 else { return data }
            guard data.count + count <= limit else {
                throw Failure(description: "is larger than \(limit >> 20) MiB")
            }
            data.append(contentsOf: chunk[..<count])
        }
    }
}

/// The last error of the C library, in its words.
func systemError(_ number: Int32 = errno) -> String { String(cString: strerror(number)) }
