import Foundation
import Synchronization
import XMPPServer
import XMPPStream
import XMPPTransport

/// The open ports of the server, each with the part of the config that it was opened for.
final class Listeners: Sendable {
    private struct Open: Sendable {
        var config: ListenerConfig
        var options: ListenerOptions
        var listener: Listener

        /// `127.0.0.1:5222`, `[::1]:5223`.
        var name: String { Listeners.name(options.address, listener.port) }
    }

    private static func name(_ address: String, _ port: Int) -> String {
        address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
    }

    private let group: TransportGroup
    private let server: Server
    private let opened = Mutex<[Open]>([])

    init(_ group: TransportGroup, _ server: Server) {
        self.group = group
        self.server = server
    }

    /// For `status`.
    var rows: [[String]] {
        let counts = opened.withLock { $0.map(\.listener.counts) }
        return [
            ["proxies_refused", String(counts.reduce(0) { $0 + $1.strangers })],
            ["proxy_headers_refused", String(counts.reduce(0) { $0 + $1.announcementsRefused })],
        ]
    }

    var names: [String] { opened.withLock { $0.map(\.name) } }

    /// Opens every listener of the config.
    ///
    /// - Throws: `ListenerFailure` for the first that cannot be opened.
    func open(_ config: ServerConfig, _ tls: TLSContext?) async throws {
        for listener in config.listeners {
            let open = try await open(listener, config, tls)
            opened.withLock { $0 += open }
        }
    }

    private func open(
        _ listener: ListenerConfig, _ config: ServerConfig, _ tls: TLSContext?
    ) async throws -> [Open] {
        let mode = TLSMode(rawValue: listener.tls.rawValue) ?? .required
        var open: [Open] = []
        for options in Self.options(listener, config) {
            let server = server
            do {
                let port = try await group.listen(options, tls: mode == .none ? nil : tls) { transport in
                    server.accept(transport, tls: mode)
                }
                open.append(Open(config: listener, options: options, listener: port))
            } catch {
                for other in open { await other.listener.close() }
                throw error
            }
        }
        return open
    }

    private static func options(_ listener: ListenerConfig, _ config: ServerConfig) -> [ListenerOptions] {
        addresses(listener.address).map { address in
            ListenerOptions(
                address: address, port: listener.port,
                security: security(TLSMode(rawValue: listener.tls.rawValue) ?? .required),
                handshakeTimeout: config.limits.unauthenticated.timeout,
                limits: config.limits.unauthenticated.elements.xml, proxies: listener.proxies,
                lostTimeout: config.limits.lost)
        }
    }

    /// `*` is both families where the machine has them; with one socket, unless the system keeps them apart.
    private static func addresses(_ address: String) -> [String] {
        guard address == "*" else { return [address] }
        let probe = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
        guard probe >= 0 else { return ["0.0.0.0"] }
        close(probe)
        let areApart = (try? String(contentsOfFile: "/proc/sys/net/ipv6/bindv6only", encoding: .utf8))?.first == "1"
        return areApart ? ["::", "0.0.0.0"] : ["::"]
    }

    private static func security(_ mode: TLSMode) -> ListenerOptions.Security {
        switch mode {
        case .required, .optional: .startTLS
        case .none: .none
        case .direct: .direct
        }
    }

    // MARK: Reload

    /// What would become of the ports.
    struct Plan {
        /// Ports that are not open yet, and those that are open with other options.
        var new: [ListenerConfig]
        var restarted: [ListenerConfig]
        /// Open ports that the config no longer has as they are.
        var gone: [ListenerConfig]

        var steps: [ReloadStep] {
            new.map { ReloadStep("listen \($0.address):\($0.port)", .applied) }
                + restarted.map { ReloadStep("listen \($0.address):\($0.port)", .needsListenerRestart) }
                + gone.filter { gone in !restarted.contains { $0.clashes(with: gone) } }
                .map { ReloadStep("listen \($0.address):\($0.port)", .applied) }
        }
    }

    func plan(_ config: ServerConfig) -> Plan {
        let open = opened.withLock { $0 }
        func isOpen(_ listener: ListenerConfig) -> Bool {
            open.contains { $0.config == listener && Self.options(listener, config).contains($0.options) }
        }
        let wanted = config.listeners.filter { !isOpen($0) }
        var gone: [ListenerConfig] = []
        for port in open where !(config.listeners.contains(port.config) && isOpen(port.config)) {
            if !gone.contains(port.config) { gone.append(port.config) }
        }
        let restarted = wanted.filter { listener in
            listener.port != 0 && gone.contains { $0.clashes(with: listener) }
        }
        return Plan(new: wanted.filter { !restarted.contains($0) }, restarted: restarted, gone: gone)
    }

    /// Looks whether the system would let the ports of a plan be opened, without anybody being able to connect.
    ///
    /// - Throws: the first that it would not.
    func probe(_ plan: Plan, _ config: ServerConfig) throws(PortProbe.Refusal) {
        for listener in plan.new + plan.restarted {
            for options in Self.options(listener, config) {
                guard let reason = PortProbe.refusal(address: options.address, port: options.port) else { continue }
                // We have it ourselves, and close it first.
                if reason == EADDRINUSE, plan.restarted.contains(listener) { continue }
                let name = Self.name(options.address, options.port)
                throw PortProbe.Refusal(description: "\(name): \(systemError(reason))")
            }
        }
    }

    /// Opens what nobody has open yet: what can fail goes first.
    ///
    /// - Throws: `ListenerFailure`; nothing is open then that was not before.
    func openNew(_ plan: Plan, _ config: ServerConfig, _ tls: TLSContext?) async throws {
        var new: [Open] = []
        do {
            for listener in plan.new { new += try await open(listener, config, tls) }
        } catch {
            for port in new { await port.listener.close() }
            throw error
        }
        opened.withLock { $0 += new }
    }

    /// Takes back what `openNew` did.
    func closeNew(_ plan: Plan) async {
        let closing = opened.withLock { opened in
            defer { opened.removeAll { plan.new.contains($0.config) } }
            return opened.filter { plan.new.contains($0.config) }
        }
        for port in closing { await port.listener.close() }
    }

    /// Closes what the config no longer has, and opens anew what has other options. Gives the ports that could not be;
    /// in their place those are open again that were.
    func finish(_ plan: Plan, _ config: ServerConfig, _ tls: TLSContext?) async -> [String] {
        let closing = opened.withLock { opened in
            let closing = opened.filter { plan.gone.contains($0.config) }
            opened.removeAll { plan.gone.contains($0.config) }
            return closing
        }
        for port in closing { await port.listener.close() }
        var failures: [String] = []
        for listener in plan.restarted {
            do {
                let open = try await open(listener, config, tls)
                opened.withLock { $0 += open }
            } catch {
                var isBack = false
                for before in closing where before.config.clashes(with: listener) {
                    guard let open = try? await open(before.config, config, tls) else { continue }
                    opened.withLock { $0 += open }
                    isBack = true
                }
                failures.append("\(error) (\(isBack ? "open as before" : "closed now"))")
            }
        }
        if let tls { opened.withLock { $0.forEach { $0.listener.use(tls) } } }
        return failures
    }
}
