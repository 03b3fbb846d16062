internal import Glibc

/// What runs, and on what.
public enum Build {
    public static let name = "Martlet"
    public static let version = "0.1.0"

    /// Name and release of the system's kernel, such as `Linux 6.1.0`.
    public static let operatingSystem: String = {
        var names = utsname()
        guard uname(&names) == 0 else { return "Linux" }
        func text<Field>(_ field: Field) -> String {
            withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        }
        return "\(text(names.sysname)) \(text(names.release))"
    }()
}
