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
        let secret = scram ? SCRAM.credential(names.password, rounds: iterations) : names.password
        for number in firstUser..<(firstUser + max(0, users)) {
            fputs("\(names.prefix)\(number)@\(names.host) \(secret)\n", file)
        }
        guard fclose(file) == 0 else { throw LoadFailure("cannot write \(writeAccounts)") }
    }
}
