import Logging
import ModuleKit

/// Hosts of equal config share their modules' instances and tables.
struct HostGroup: Sendable {
    let hosts: [String]
    let config: [ModuleConfig]
    /// In the order of the standard list.
    let modules: [any Module]

    func info(_ module: any Module) -> ModuleInfo { type(of: module).info }
}

/// From config to running modules: decode, check, build, compile; all errors at once.
struct ModuleLoader {
    let types: [any Module.Type]
    let context: HostContext
    let file: String

    /// Makes the instances; those of an unchanged group are taken over from `old`.
    func load(_ hosts: [HostConfig], keeping old: [HostGroup] = []) async throws(ConfigErrors) -> [HostGroup] {
        let report = ConfigReport(file: file)
        var groups: [HostGroup] = []
        for host in hosts where !groups.contains(where: { $0.hosts.contains(host.name) }) {
            let names = hosts.filter { $0.modules == host.modules }.map(\.name)
            if let same = old.first(where: { $0.config == host.modules }) {
                groups.append(HostGroup(hosts: names, config: host.modules, modules: same.modules))
            } else {
                groups.append(await make(host, for: names, report))
            }
        }
        try report.finish()
        return groups
    }

    private func make(_ host: HostConfig, for names: [String], _ report: ConfigReport) async -> HostGroup {
        var found: [(order: Int, config: ModuleConfig)] = []
        for config in host.modules {
            if let order = types.firstIndex(where: { $0.info.name == config.name }) {
                found.append((order, config))
            } else {
                report.error(line: config.line, key: config.path, "there is no such module")
            }
        }
        found.sort { $0.order < $1.order }
        for lack in ModuleInfo.lacks(of: found.map { types[$0.order].info }, among: types.map { $0.info }) {
            guard let config = found.first(where: { $0.config.name == lack.module })?.config else { continue }
            report.note(lack, line: config.line, key: config.path)
        }
        var modules: [any Module] = []
        for (order, config) in found {
            if let module = await make(types[order], config, report) { modules.append(module) }
        }
        return HostGroup(hosts: names, config: host.modules, modules: modules)
    }

    private func make<Made: Module>(
        _ type: Made.Type, _ config: ModuleConfig, _ report: ConfigReport
    ) async -> (any Module)? {
        var section = report.section(config.node, path: config.path)
        let options = Made.Options(from: &section)
        do {
            return try await Made(options, in: context)
        } catch {
            report.error(line: config.line, key: config.path, "cannot start: \(error)")
            return nil
        }
    }

    /// The tables of one loop.
    static func world(_ groups: [HostGroup], generation: Int, on kernel: any Kernel, problems: inout [String]) -> World
    {
        var hosts: [String: HostTable] = [:]
        var domains: [String: DomainTable] = [:]
        for group in groups {
            var builder = HostBuilder(kernel: kernel, hosts: group.hosts)
            builder.begin("kernel")
            installSession(on: &builder)
            for module in group.modules {
                builder.begin(group.info(module).name)
                module.install(on: &builder)
            }
            let names = Set(group.modules.map { group.info($0).name })
            let table = HostTable(builder, modules: names, problems: &problems)
            for host in group.hosts {
                hosts[host] = table
                for domain in table.domains {
                    let name = "\(domain.prefix).\(host)"
                    if domains[name] != nil || group.hosts.contains(name) {
                        problems.append("\(domain.module): the domain \(name) is taken")
                    }
                    let common = table.iq.all.filter { $0.targets.contains(.domain) }
                    domains[name] = DomainTable(
                        domain, domain: name, common: common, features: table.disco[.domain]?.features ?? [],
                        problems: &problems)
                }
            }
        }
        return World(generation: generation, hosts: hosts, domains: domains)
    }

    /// COMPAT(libraries from before RFC 6121, 2026-11): they ask for a session after binding (RFC 3921 §3) and leave when
    /// they are refused. Binding made it already.
    private static func installSession(on host: inout HostBuilder) {
        var feature = Element("session", .session)
        feature.append(Element("optional", .session))
        host.streamFeature(feature)
        host.iq(.set, .session, "session", at: [.host, .account], from: .ownAccount) { _ in nil }
    }
}
