public import ModuleKit

/// Everything of `martlet.yml` but the modules' own options, which each module reads from its `ModuleConfig`.
///
/// Two configs are equal when the same server comes of them; a reload compares them part by part. Nothing here opens a
/// file: paths are absolute and unchecked.
public struct ServerConfig: Sendable, Equatable {
    /// As errors name it.
    public var file: String
    /// At least one; names canonical, each once.
    public var hosts: [HostConfig]
    /// The data directory.
    public var data: String
    public var log: LogConfig
    /// Event loops; nil: one per core.
    public var loops: Int?
    /// At least one.
    public var listeners: [ListenerConfig]
    public var limits: LimitsConfig
    public var streamManagement: StreamManagementConfig
    public var accounts: AccountsConfig

    /// What the file cannot know: where it lies and which names are domains.
    public struct Surroundings {
        /// Absolute; paths in the file are relative to it.
        public var directory: String
        /// The canonical form of a domain (RFC 7622 §3.2), or nil.
        public var canonicalDomain: (String) -> String?

        public init(directory: String, canonicalDomain: @escaping (String) -> String?) {
            self.directory = directory
            self.canonicalDomain = canonicalDomain
        }

        func absolute(_ path: String) -> String {
            if path.hasPrefix("/") { return path }
            return directory.hasSuffix("/") ? directory + path : directory + "/" + path
        }
    }

    /// Reads the whole file but the modules' sections. Errors and warnings are in the section's report; if there is an
    /// error, the value made is of no use.
    public init(from section: inout ConfigSection, in surroundings: Surroundings) {
        file = section.report.file
        let names = Self.hostNames(&section, surroundings)
        data = surroundings.absolute(
            section.string(
                "data", default: "data",
                "Directory of everything the server keeps: database, lock, control socket. Relative to this file."))
        var log = section.section("log", "What is written to standard error, one line per event.")
        self.log = LogConfig(from: &log)
        loops = section.int("loops", in: 1...256, "Event loops, each a thread. One per core unless set.")
        let errorsBefore = section.report.errors.count
        var listen = section.sections("listen", most: 100, isRequired: true, "The ports that clients connect to.")
        listeners = listen.indices.map { ListenerConfig(from: &listen[$0]) }
        let areListenersRight = section.report.errors.count == errorsBefore
        Self.refuseTwice(listeners, listen)
        var limits = section.section("limits", "What one client may cost.")
        self.limits = LimitsConfig(from: &limits)
        var management = section.section("stream_management", "Stream management (XEP-0198).")
        streamManagement = StreamManagementConfig(from: &management)
        var accounts = section.section("accounts", "What the server keeps of accounts in memory.")
        self.accounts = AccountsConfig(from: &accounts)
        // What a listener needs is only known if it can be read.
        hosts = Self.hosts(&section, names, surroundings, areListenersRight ? listeners : [])
    }

    private static func hostNames(
        _ section: inout ConfigSection, _ surroundings: Surroundings
    ) -> [(name: String, written: String, line: Int)] {
        let doc = "The domains that this server is responsible for."
        if section.isDescribing {
            _ = section.strings("hosts", isRequired: true, doc)
            return []
        }
        var names: [(name: String, written: String, line: Int)] = []
        var known: Set<String> = []
        for item in section.items("hosts", most: 10_000, isRequired: true) ?? [] {
            let path = "hosts[\(item.index)]"
            guard let name = surroundings.canonicalDomain(item.text) else {
                section.report.error(line: item.line, key: path, "\"\(item.text)\" is not a valid domain name")
                continue
            }
            guard known.insert(name).inserted else {
                section.report.error(
                    line: item.line, key: path, "\"\(item.text)\" is the same host as another one here")
                continue
            }
            names.append((name, item.text, item.line))
        }
        return names
    }

    private static func refuseTwice(_ listeners: [ListenerConfig], _ sections: [ConfigSection]) {
        for (index, listener) in listeners.enumerated() where listener.port != 0 {
            guard let first = listeners[..<index].firstIndex(where: { $0.clashes(with: listener) }) else { continue }
            sections[index].error("port", "port \(listener.port) is taken by listen[\(first)]")
        }
    }

    /// Each host reads `tls`, `auth` and `modules` of the file with its part of `host_config` laid over them.
    private static func hosts(
        _ section: inout ConfigSection, _ names: [(name: String, written: String, line: Int)],
        _ surroundings: Surroundings, _ listeners: [ListenerConfig]
    ) -> [HostConfig] {
        if section.isDescribing {
            _ = HostConfig(name: "", from: &section, surroundings)
            _ = section.entries(
                "host_config", "For one host: `tls`, `auth` and `modules`, laid over those of all hosts.")
            return []
        }
        let common = HostConfig.keys.compactMap { key in
            section.node(key).map { ConfigEntry(key, line: $0.line, $0) }
        }
        let known = Set(names.map(\.name))
        var overridesOf: [String: ConfigNode] = [:]
        // Without a host nothing can be said of what is for one.
        for entry in section.entries("host_config", "") where !names.isEmpty {
            let path = "host_config.\(entry.key)"
            guard let name = surroundings.canonicalDomain(entry.key), known.contains(name) else {
                let near = names.map(\.written).nearest(to: entry.key).map { ", did you mean \"\($0)\"?" } ?? ""
                section.report.error(line: entry.line, key: path, "this host is not in `hosts`\(near)")
                continue
            }
            switch entry.node.value {
            case .map, .null: overridesOf[name] = entry.node
            case .scalar, .list:
                section.report.error(line: entry.line, key: path, "expected a section of `key: value` lines")
            }
        }
        // Whoever has the hosts wrong is told of the rest all the same; what is made is of no use then.
        let read = names.isEmpty ? [(name: "", written: "", line: section.line)] : names
        return read.map { host in
            let above = overridesOf[host.name] ?? .empty
            let scope = "host_config.\(host.written)"
            let node = ConfigNode(line: host.line, .map(common)).overlaid(with: above, scope: scope)
            var section = section.report.section(node)
            let config = HostConfig(name: host.name, from: &section, surroundings)
            if !names.isEmpty, config.certificate == nil, !section.has("tls"),
                let index = listeners.firstIndex(where: { $0.tls != .none })
            {
                let user = "listen[\(index)] (tls: \(listeners[index].tls.rawValue))"
                section.report.error(
                    line: host.line, key: "tls", "is missing: \(host.written) needs a certificate for \(user)")
            }
            return config
        }
    }
}

/// One virtual host, with what all hosts share merged in.
public struct HostConfig: Sendable, Equatable {
    /// Canonical.
    public var name: String
    /// Nil only when no listener speaks TLS.
    public var certificate: CertificateFiles?
    public var auth: AuthConfig
    /// By name, each once: their order in the file means nothing.
    public var modules: [ModuleConfig]

    static let keys = ["tls", "auth", "modules"]

    init(name: String, from section: inout ConfigSection, _ surroundings: ServerConfig.Surroundings) {
        self.name = name
        let hasTLS = section.has("tls") || section.isDescribing
        var tls = section.section("tls", "The certificate that clients see.")
        certificate = hasTLS ? CertificateFiles(from: &tls, surroundings) : nil
        var auth = section.section("auth", "How clients prove who they are.")
        self.auth = AuthConfig(from: &auth, hasAuthorities: certificate?.authorities != nil)
        let doc = "The modules that run, each with its options; `false` takes one out for a host."
        let path = section.path(of: "modules")
        modules = section.entries("modules", doc).filter { !$0.node.isSwitchedOff }.map { entry in
            ModuleConfig(
                name: entry.key, node: entry.node, path: "\(entry.scope ?? path).\(entry.key)", line: entry.line)
        }.sorted { $0.name < $1.name }
    }
}

/// A module's name and its section, still to be decoded by the module:
/// `Options(from: &report.section(module.node, path: module.path))`.
public struct ModuleConfig: Sendable, Equatable {
    public var name: String
    public var node: ConfigNode
    /// Where errors say it stands.
    public var path: String
    public var line: Int

    public init(name: String, node: ConfigNode = .empty, path: String? = nil, line: Int = 0) {
        self.name = name
        self.node = node
        self.path = path ?? "modules.\(name)"
        self.line = line
    }

    public static func == (left: ModuleConfig, right: ModuleConfig) -> Bool {
        left.name == right.name && left.node == right.node
    }
}

/// PEM files; the certificate's with its chain behind it.
public struct CertificateFiles: Sendable, Equatable {
    public var certificate: String
    public var key: String
    /// Those who sign the certificates that clients may log in with.
    public var authorities: String?
    /// Line of the config where they are named; does not count when two are compared.
    public var line: Int

    public init(certificate: String, key: String, authorities: String? = nil, line: Int = 0) {
        self.certificate = certificate
        self.key = key
        self.authorities = authorities
        self.line = line
    }

    public static func == (left: CertificateFiles, right: CertificateFiles) -> Bool {
        left.certificate == right.certificate && left.key == right.key && left.authorities == right.authorities
    }

    init(from section: inout ConfigSection, _ surroundings: ServerConfig.Surroundings) {
        certificate = surroundings.absolute(
            section.requiredString("certificate", "PEM file: the certificate, then the chain up to the authority."))
        key = surroundings.absolute(section.requiredString("key", "PEM file: the private key, without a passphrase."))
        authorities = section.string(
            "client_authorities",
            "PEM file: the authorities whose certificates clients may log in with (SASL EXTERNAL). A certificate says "
                + "whose it is by its id-on-xmppAddr. Unless set, clients are not asked for one."
        ).map(surroundings.absolute)
        line = section.line
    }
}
