import ArgumentParser
import CLoadShims
import Glibc

@main
struct MartletLoad: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet-load",
        abstract: "Loads an XMPP server, or the byte relay, and tells what that cost it.",
        discussion: """
            Every mode prints its result twice: as key=value pairs and as one line of JSON. With --pid the CPU and
            memory are those of the server's processes.
            """,
        subcommands: [
            Chat.self, OpenLoop.self, Idle.self, Login.self, Befriend.self, Offline.self, Memory.self, Accounts.self,
        ])
}

extension Settings.Security: ExpressibleByArgument, CaseIterable {
    static var allCases: [Self] { [.none, .starttls, .direct] }
}

extension Settings.Acknowledgement: ExpressibleByArgument, CaseIterable {
    static var allCases: [Self] { [.each, .asked] }
}

/// The options that say who connects to what; every mode that connects has them.
struct TargetOptions: ParsableArguments {
    @Option(help: "The server's IPv4 address.")
    var address = "127.0.0.1"

    @Option(help: "The server's port.")
    var port: UInt16 = 5222

    @OptionGroup var names: NameOptions

    @Option(help: "Number of users.")
    var users = 100

    @Option(help: "Number of the first user.")
    var firstUser = 0

    @Option(help: "none, starttls or direct.")
    var tls = Settings.Security.none

    @Flag(help: "SASL PLAIN instead of SCRAM.")
    var plain = false

    @Flag(help: "Stream management: enabled by every user, with <r/> behind each message.")
    var sm = false

    @Option(help: "With --sm, send <a/>: each (burst of stanzas) or asked.")
    var ack = Settings.Acknowledgement.each

    @Flag(help: "The server is martlet-relay.")
    var relay = false

    @Option(help: "Ids of the server's processes, divided by commas: what is measured.")
    var pid = ""

    @Flag(help: "Every user asks for its roster before its presence.")
    var roster = false

    @Option(help: "Use only every so manieth account.")
    var stride = 1

    @Option(help: "Threads of the generator.")
    var threads = 1

    @Option(help: "Source addresses, from 127.1.0.1 on; 0: leave it to the system.")
    var sources = 200

    @Option(help: "Logins under way at a time, per thread.")
    var concurrency = 50

    @Option(help: "Seconds that logins, or waiting for what is missing, may take.")
    var patience = 120.0

    @Option(help: "What the report calls this run.")
    var label = ""

    var settings: Settings {
        var settings = Settings()
        settings.address = address
        settings.port = port
        settings.host = names.host
        settings.prefix = names.prefix
        settings.password = names.password
        settings.security = tls
        settings.plain = plain
        settings.streamManagement = sm && !relay
        settings.acknowledgement = ack
        settings.relay = relay
        settings.sources = sources
        settings.concurrency = concurrency
        settings.patience = patience
        settings.roster = roster
        settings.stride = max(1, stride)
        return settings
    }

    func probe() throws -> ServerProbe {
        try ServerProbe(pid.split(separator: ",").map { Int($0) ?? -1 })
    }

    func crew(_ settings: Settings) throws -> Crew {
        try Crew(settings, first: firstUser, count: users, threads: threads)
    }

    /// A report with what is the same for every mode.
    func report(_ mode: String) -> Report {
        var report = Report(mode)
        if !label.isEmpty { report["label"] = label }
        report.set("users", users)
        report["tls"] = tls.rawValue
        report.set("sm", sm && !relay)
        report.set("relay", relay)
        return report
    }

    func validate() throws {
        guard users > 0, firstUser >= 0, firstUser % 2 == 0 else {
            throw ValidationError("--users must be positive, --first-user even")
        }
        guard relay == false || tls == .none else { throw ValidationError("the relay has no TLS") }
        signal(SIGPIPE, SIG_IGN)
        let descriptors = load_raise_descriptor_limit()
        guard users + 32 < Int(clamping: descriptors) else {
            throw ValidationError("this process may open \(descriptors) descriptors only")
        }
    }
}

struct NameOptions: ParsableArguments {
    @Option(help: "The XMPP host of the accounts.")
    var host = "localhost"

    @Option(help: "The users are called PREFIX0, PREFIX1, ...")
    var prefix = "u"

    @Option(help: "Their password.")
    var password = "martlet-load"
}
