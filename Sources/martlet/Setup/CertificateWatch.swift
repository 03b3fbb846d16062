import COpenSSL
import Foundation
import Logging
import Synchronization
import XMPPServer
import XMPPStream

/// Looks at the certificates again and again: one that is about to expire is logged every day, and `status` shows the
/// first that will.
final class CertificateWatch: Sendable {
    /// From so many days before its end on a certificate is worth a line in the log.
    static let notice = 14
    private static let interval = Duration.seconds(12 * 3600)

    struct Expiry: Sendable, Equatable {
        var host: String
        var time: time_t

        func days(from now: time_t) -> Int { Int((Double(time - now) / 86_400).rounded(.down)) }
    }

    private let config: Mutex<ServerConfig>
    /// When they were last looked at, soonest first.
    private let found = Mutex<[Expiry]>([])
    private let log: Logger
    private let task = Mutex<Task<Void, Never>?>(nil)

    init(_ config: ServerConfig, log: Logger) {
        self.config = Mutex(config)
        self.log = log
    }

    /// - Parameter expiries: what the config's certificates say now.
    func begin(_ expiries: [Expiry]) {
        tell(expiries)
        task.withLock { task in
            task = Task { [weak self] in
                while (try? await Task.sleep(for: Self.interval)) != nil {
                    guard let config = self?.config.withLock({ $0 }) else { return }
                    let expiries = await FileWork.run { Self.expiries(config) }
                    self?.tell(expiries)
                }
            }
        }
    }

    func end() {
        task.withLock { $0?.cancel() }
    }

    func use(_ config: ServerConfig, _ expiries: [Expiry]) {
        self.config.withLock { $0 = config }
        tell(expiries)
    }

    private func tell(_ expiries: [Expiry], now: time_t = time(nil)) {
        found.withLock { $0 = expiries }
        for expiry in expiries where expiry.days(from: now) < Self.notice {
            log.warning(
                "certificate_expires",
                metadata: [
                    "host": "\(expiry.host)", "days": "\(expiry.days(from: now))", "at": "\(Self.date(expiry.time))",
                ])
        }
    }

    /// Reads the certificates. Soonest first; those that cannot be read are left out.
    static func expiries(_ config: ServerConfig) -> [Expiry] {
        config.hosts.compactMap { host in
            host.certificate.flatMap { CertificateCheck.expiry($0) }.map { Expiry(host: host.name, time: $0) }
        }.sorted { ($0.time, $0.host) < ($1.time, $1.host) }
    }

    /// For `status`.
    var rows: [[String]] {
        guard let first = found.withLock({ $0.first }) else { return [] }
        let days = first.days(from: time(nil))
        return [["certificate_expires_first", "\(Self.date(first.time)) \(first.host) (\(days) days)"]]
    }

    static func date(_ time: time_t) -> String {
        var (time, parts) = (time, tm())
        guard gmtime_r(&time, &parts) != nil else { return "-" }
        return String(format: "%04d-%02d-%02d", Int(parts.tm_year) + 1900, Int(parts.tm_mon) + 1, Int(parts.tm_mday))
    }
}

extension CertificateCheck {
    /// Of all files that a config names for its certificates: another one when there is something new in them.
    static func digest(_ config: ServerConfig) -> [UInt8] {
        var bytes: [UInt8] = []
        var paths: Set<String> = []
        for files in config.hosts.compactMap(\.certificate) {
            for path in [files.certificate, files.key] + (files.authorities.map { [$0] } ?? [])
            where paths.insert(path).inserted {
                let content = (try? BoundedFile.read(path, limit: 1 << 20)).map { Array($0) } ?? []
                bytes += Array(path.utf8) + Crypto.hash(.sha256, content)
            }
        }
        return Crypto.hash(.sha256, bytes)
    }

    /// When the certificate ends; nil if it cannot be read.
    static func expiry(_ files: CertificateFiles) -> time_t? {
        guard case .success(let certificate) = read(files.certificate, { PEM_read_bio_X509($0, nil, nil, nil) }) else {
            return nil
        }
        defer { X509_free(certificate) }
        var parts = tm()
        guard ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) == 1 else { return nil }
        return timegm(&parts)
    }
}
