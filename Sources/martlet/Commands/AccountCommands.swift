import ArgumentParser
import Foundation
import ModuleKit
import XMPPServer

struct Accounts: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "account",
        abstract: "Add, remove and list accounts, and set their passwords.",
        discussion: "Has the running server do it; if none runs, does it on the database.",
        subcommands: [
            AddAccount.self, RemoveAccount.self, SetPassword.self, ShowAccount.self, ListAccounts.self,
            ExportAccounts.self,
            ImportAccounts.self,
        ])

    /// Calls `body` with the accounts of the server that runs on the config's data directory, else with those in its
    /// database, under the directory's lock.
    static func access<Result>(
        _ option: ConfigOption, _ body: (any AccountAccess, ServerConfig) async throws -> Result
    ) async throws -> Result {
        let config = try option.load().config
        let directory = DataDirectory(path: config.data)
        let client = ControlClient(directory: directory)
        if client.isServerRunning { return try await body(RemoteAccounts(client: client), config) }
        try directory.requireDatabase()
        let lock = try directory.lock()
        let accounts = OfflineAccounts(
            storage: try Wiring.openStorage(config), hosts: config.hosts,
            now: LineLogHandler.wallClock, lock: lock)
        directory.giveToOwner()
        do {
            let result = try await body(accounts, config)
            await accounts.close()
            return result
        } catch {
            await accounts.close()
            throw error
        }
    }

    /// Before the database is opened: nobody else could use it while somebody thinks of a password. What is wrong with
    /// the config is told first.
    ///
    /// - Throws: also for the account's own name or address, which whoever guesses tries first.
    static func newPassword(for address: BareJID, _ option: ConfigOption) throws -> String {
        _ = try option.load()
        let password = try Terminal.newPassword(for: address.description)
        guard !address.isSpelled(by: password) else {
            throw CommandError.usage("the password is the account's own name; choose another one")
        }
        return password
    }

    static func address(_ text: String) throws(CommandError) -> BareJID {
        guard let address = BareJID(text), !address.local.isEmpty else {
            throw .usage("\(text.quotedForPrint) is not an address like user@example.org")
        }
        return address
    }
}

private let addressHelp = ArgumentHelp("The account's address.", valueName: "user@host")

struct AddAccount: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Make an account.",
        discussion: "Asks for the password, or reads a line of standard input if that is no terminal.")
    @Argument(help: addressHelp) var address: String
    @OptionGroup var config: ConfigOption

    func run() async throws {
        let address = try Accounts.address(address)
        let password = try Accounts.newPassword(for: address, config)
        try await Accounts.access(config) { accounts, _ in
            Terminal.show(try await accounts.add(address, password: password))
        }
    }
}

struct RemoveAccount: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Remove an account with all that is kept for it.", aliases: ["delete"])
    @Argument(help: addressHelp) var address: String
    @OptionGroup var config: ConfigOption

    func run() async throws {
        let address = try Accounts.address(address)
        try await Accounts.access(config) { accounts, _ in
            Terminal.show(try await accounts.remove(address))
        }
    }
}

struct SetPassword: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "password", abstract: "Set the password of an account.",
        discussion: "Asks for it, or reads a line of standard input if that is no terminal.")
    @Argument(help: addressHelp) var address: String
    @OptionGroup var config: ConfigOption

    func run() async throws {
        let address = try Accounts.address(address)
        let password = try Accounts.newPassword(for: address, config)
        try await Accounts.access(config) { accounts, _ in
            Terminal.show(try await accounts.setPassword(password, of: address))
        }
    }
}

struct ShowAccount: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Tell when an account was made and which keys it has.",
        discussion: "Ends with 2 if there is no such account.")
    @Argument(help: addressHelp) var address: String
    @Flag(help: "Print it as JSON.") var json = false
    @OptionGroup var config: ConfigOption

    func run() async throws {
        let address = try Accounts.address(address)
        try await Accounts.access(config) { accounts, _ in
            try Terminal.show(try await accounts.show(address), asJSON: json)
        }
    }
}

struct ListAccounts: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List accounts, one address a line.")
    @Argument(help: "Only those of this host.") var host: String?
    @Flag(help: "Print them as JSON.") var json = false
    @OptionGroup var config: ConfigOption

    func run() async throws {
        try await Accounts.access(config) { accounts, _ in
            let list = try await accounts.list(host: host)
            guard json, case .text(let text) = list else { return Terminal.show(list) }
            let rows = text.split(separator: "\n").map { [String($0)] }
            try Terminal.show(.table(columns: ["address"], rows: rows), asJSON: true)
        }
    }
}

struct ExportAccounts: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write accounts with the keys of their passwords, as `account import` reads them.",
        discussion: """
            Whoever has the keys cannot log in with them, but can try passwords at leisure: keep the file secret.
            """)
    @Argument(help: "Only those of this host.") var host: String?
    @OptionGroup var config: ConfigOption

    func run() async throws {
        try await Accounts.access(config) { accounts, _ in
            Terminal.show(try await accounts.export(host: host))
        }
    }
}

struct ImportAccounts: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Make accounts from a file of `address password` lines.",
        discussion: """
            In place of a password a line may have ready keys: SCRAM-SHA-256$iterations:salt$stored-key:server-key, the \
            last three in Base64; one such field for each hash, apart by spaces. Who has no keys for a hash that the host \
            offers is named: many clients could not log in. Lines that start with # are comments; an address that does stands in \
            double quotes. Accounts that exist stay as they are. Accounts whose password is their own name are made, and named. Ends with 1 if a line is wrong; the others are imported \
            all the same.
            """)
    @Argument(help: "The file; - for standard input.") var file: String
    @OptionGroup var config: ConfigOption

    func run() async throws {
        let counts = try await Accounts.access(config) { accounts, config in
            let auth = config.hosts.map { ($0.name, $0.auth) }
            var work = AccountImport(
                file: file, accounts: accounts, auth: Dictionary(auth, uniquingKeysWith: { first, _ in first }),
                complain: Terminal.writeError)
            if isatty(STDERR_FILENO) == 1 { work.progress = { Terminal.writeError("\($0) …") } }
            return try await work.run()
        }
        print(counts.description)
        if counts.wrong > 0 { throw ExitCode(1) }
    }
}
