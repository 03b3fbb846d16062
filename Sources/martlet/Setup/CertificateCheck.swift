import CIDN2
import COpenSSL
import Foundation
import ModuleKit
import XMPPServer
import XMPPTransport

/// Looks at the certificates that a config names, before anything listens: can they be read, do key and certificate
/// belong together, are they of this day and of this host.
enum CertificateCheck {
    /// Errors for what keeps the server from starting, warnings for what clients will complain of.
    static func check(_ config: ServerConfig, into report: ConfigReport) {
        check(config, into: report, now: time(nil))
    }

    static func check(_ config: ServerConfig, into report: ConfigReport, now: time_t) {
        // Hosts may share their files; OpenSSL need not read them a thousand times.
        var loaded: [CertificateFiles] = []
        for host in config.hosts {
            // Without the name of a file the path is that of the config's directory; that was said already.
            guard let files = host.certificate, !files.certificate.hasSuffix("/"), !files.key.hasSuffix("/") else {
                continue
            }
            let errors = report.errors.count
            check(files, host: host.name, into: report, now: now)
            guard report.errors.count == errors, !loaded.contains(files) else { continue }
            load(files, host: host.name, into: report)
            loaded.append(files)
        }
    }

    /// What only OpenSSL knows: whether the whole chain can be read, and whether the key is long enough for it.
    private static func load(_ files: CertificateFiles, host: String, into report: ConfigReport) {
        let clients = files.authorities.map { TLSContext.Clients(host: host, authoritiesFile: $0) }
        do {
            _ = try TLSContext([
                TLSContext.Certificate(
                    hosts: [host], chainFile: files.certificate, keyFile: files.key, clients: clients)
            ])
        } catch {
            let isKey = error.file == files.key && error.file != files.certificate
            let key = error.file == files.authorities ? "tls.client_authorities" : isKey ? "tls.key" : "tls.certificate"
            report.error(line: files.line, key: key, "\(error.file) cannot be used: \(error.reason)")
        }
    }

    private static func check(_ files: CertificateFiles, host: String, into report: ConfigReport, now: time_t) {
        func error(_ key: String, _ reason: String) { report.error(line: files.line, key: key, reason) }
        func warning(_ reason: String) { report.warning(line: files.line, key: "tls.certificate", reason) }

        let certificate = read(files.certificate) { PEM_read_bio_X509($0, nil, nil, nil) }
        let key = read(files.key) { PEM_read_bio_PrivateKey($0, nil, refusePassphrase, nil) }
        defer {
            if case .success(let certificate) = certificate { X509_free(certificate) }
            if case .success(let key) = key { EVP_PKEY_free(key) }
        }
        if let authorities = files.authorities {
            switch read(authorities, { PEM_read_bio_X509($0, nil, nil, nil) }) {
            case .success(let first): X509_free(first)
            case .failure(let reason):
                error("tls.client_authorities", "\(authorities) \(reason.text("holds no certificate in PEM form"))")
            }
        }
        if case .failure(let reason) = certificate {
            error("tls.certificate", "\(files.certificate) \(reason.text("holds no certificate in PEM form"))")
        }
        if case .failure(let reason) = key {
            error("tls.key", "\(files.key) \(reason.text("holds no key in PEM form, or one with a passphrase"))")
        }
        guard case .success(let certificate) = certificate else { return }
        if case .success(let key) = key, X509_check_private_key(certificate, key) != 1 {
            error("tls.key", "\(files.key) is not the key of \(files.certificate)")
        }
        var moment = now
        if X509_cmp_time(X509_get0_notAfter(certificate), &moment) < 0 { warning("\(files.certificate) has expired") }
        if X509_cmp_time(X509_get0_notBefore(certificate), &moment) > 0 {
            warning("\(files.certificate) is not valid yet")
        }
        if !host.isEmpty, !covers(certificate, host) { warning("\(files.certificate) is not for \(host)") }
    }

    enum Reason: Error {
        case unreadable(String)
        case unusable

        func text(_ unusable: String) -> String {
            switch self {
            case .unreadable(let reason): reason
            case .unusable: unusable
            }
        }
    }

    static func read(
        _ path: String, _ parse: (OpaquePointer) -> OpaquePointer?
    ) -> Result<OpaquePointer, Reason> {
        var information = stat()
        // Reading a pipe would wait for whoever writes into it.
        if stat(path, &information) == 0, information.st_mode & S_IFMT == S_IFIFO {
            return .failure(.unreadable("cannot be read: it is a pipe"))
        }
        let data: Data
        do {
            data = try BoundedFile.read(path, limit: 1 << 20)
        } catch {
            return .failure(.unreadable(error.description))
        }
        let bytes = Array(data)
        guard let memory = BIO_new_mem_buf(bytes, Int32(bytes.count)) else { return .failure(.unusable) }
        defer {
            BIO_free(memory)
            ERR_clear_error()
        }
        return bytes.withUnsafeBytes { _ in parse(memory).map { .success($0) } ?? .failure(.unusable) }
    }

    private static func covers(_ certificate: OpaquePointer, _ host: String) -> Bool {
        if let address = SelfSignedCertificate.address(host) { return X509_check_ip_asc(certificate, address, 0) == 1 }
        var ascii: UnsafeMutablePointer<CChar>?
        guard idn2_to_ascii_8z(host, &ascii, Int32(IDN2_NONTRANSITIONAL.rawValue)) == IDN2_OK.rawValue, let ascii else {
            return true
        }
        defer { idn2_free(ascii) }
        return X509_check_host(certificate, ascii, strlen(ascii), UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT), nil) == 1
    }
}

/// Without it OpenSSL would ask on the terminal.
private let refusePassphrase:
    @convention(c) (UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?) ->
        Int32 = { _, _, _, _ in -1 }
