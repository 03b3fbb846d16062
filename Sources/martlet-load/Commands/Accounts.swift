import ArgumentParser
import Glibc

/// Writes the accounts that the other modes use, for `martlet account import`.
struct Accounts: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Writes the users' accounts, one `address password` per line.",
        discussion: """
            With --scram the lines hold SCRAM-SHA-256 keys with one salt for all, so that neither an import nor the
            generator has to derive a key per account. To a server a login with them costs the same.
            """)

    @OptionGroup var names: NameOptions

    @Option(help: "Number of users.")
    var users = 100

    @Option(help: "Number of the first user.")
    var firstUser = 0

    @Flag(help: "Ready SCRAM-SHA-256 keys instead of passwords.")
    var scram = false

    @Option(help: "Iterations of the keys.")
    var iterations: Int32 = 10_000

    @Option(help: "The file; - is standard output.")
    var writeAccounts = "-"

    func run() throws {
        guard let file = writeAccounts == "-" ? fdopen(dup(1), "w") : fopen(writeAccounts, "w") else {
            throw LoadFailure("cannot write \(writeAccounts): \(String(cString: strerror(errno)))")
        }
        let secret = scram ? keys() : names.password
        for number in firstUser..<(firstUser + max(0, users)) {
            fputs("\(names.prefix)\(number)@\(names.host) \(secret)\n", file)
        }
        guard fclose(file) == 0 else { throw LoadFailure("cannot write \(writeAccounts)") }
    }

    private func keys() -> String {
        let mechanism = SCRAM.Mechanism.sha256
        let salt = Array("martlet-load-salt".utf8)
        let salted = mechanism.salted(names.password, salt: salt, rounds: iterations)
        let stored = mechanism.hash(mechanism.keyed(salted, Array("Client Key".utf8)))
        let server = mechanism.keyed(salted, Array("Server Key".utf8))
        return "SCRAM-SHA-256$\(iterations):\(Base64.encode(salt))$\(Base64.encode(stored)):\(Base64.encode(server))"
    }
}
