public import ModuleKit

/// XEP-0092: tells which software runs.
public struct VersionModule: Module {
    public static let info = ModuleInfo("version", [.xep(92, version: "1.1")])

    public struct Options: ModuleOptions {
        var showsSystem: Bool

        public init(from section: inout ConfigSection) {
            showsSystem = section.bool(
                "show_system", default: false,
                "Also tell name and release of the operating system; attackers like to know them.")
        }
    }

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        host.feature(.version, at: [.host, .domain])
        host.iq(.get, .version, "query", at: [.host, .domain], from: .anyone) { _ in answer }
    }

    private var answer: Element {
        var query = Element("query", .version)
        query.append(Element("name", .version, [:], Build.name))
        query.append(Element("version", .version, [:], Build.version))
        // XEP-0092 §5: only where the operator wants it.
        if options.showsSystem { query.append(Element("os", .version, [:], Build.operatingSystem)) }
        return query
    }
}
