public import ModuleKit

/// XEP-0202: tells the server's time. It counts in UTC wherever it stands, so nobody learns where that is.
public struct TimeModule: Module {
    public static let info = ModuleInfo("time", [.xep(202, version: "2.0")])

    public init(_ options: NoOptions, in host: HostContext) {}

    public func install(on host: inout HostBuilder) {
        host.feature(.time, at: [.host, .domain])
        host.iq(.get, .time, "time", at: [.host, .domain], from: .anyone) { request in
            var time = Element("time", .time)
            time.append(Element("tzo", .time, [:], "+00:00"))
            time.append(Element("utc", .time, [:], request.kernel.wallClock.description))
            return time
        }
    }
}
