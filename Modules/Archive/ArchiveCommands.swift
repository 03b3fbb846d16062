internal import ModuleKit

/// The operator's commands for one account's archive.
struct ArchiveCommands: Sendable {
    let storage: any StorageBackend

    private static let address = CommandArgument("address", "the account")
    /// Rows that one step drops.
    private static let rows = 500

    var all: [Command] {
        [
            Command("archive show", "How much is in an account's archive", [Self.address]) {
                input throws(CommandError) in
                try await show(input)
            },
            Command(
                "archive purge", "Empty an account's archive",
                [
                    Self.address,
                    CommandArgument("before", "drop only what is older: 2026-01-31T00:00:00Z", isOptional: true),
                ]
            ) { input throws(CommandError) in
                try await purge(input)
            },
        ]
    }

    private func show(_ input: CommandInput) async throws(CommandError) -> CommandOutput {
        let (address, owner) = try await owner(input)
        let found = try await storing { () async throws(StorageError) in
            try await storage.read([owner]) { snapshot throws(StorageError) in
                (
                    try snapshot.archiveExtent(AccountArchive.store, owner),
                    try snapshot.archiveCount(AccountArchive.store, owner, ArchiveQuery(), most: .max)
                )
            }
        }
        guard let extent = found.0 else { return .text("The archive of \(address) is empty.") }
        return .table(
            columns: ["messages", "oldest", "newest"],
            rows: [["\(found.1)", "\(extent.oldest.stamp)", "\(extent.newest.stamp)"]])
    }

    private func purge(_ input: CommandInput) async throws(CommandError) -> CommandOutput {
        let (address, owner) = try await owner(input)
        var before: Timestamp?
        if let text = input.arguments["before"] {
            guard let time = Timestamp(text) else { throw .usage("\(text.quotedForPrint) is no time") }
            before = time
        }
        let step = Mutation.trimArchive(
            AccountArchive.store, owner, from: .firstPlausible, before: before ?? .firstPlausible,
            keep: before == nil ? 0 : .max, limit: Self.rows)
        var dropped = 0
        while true {
            let outcome = try await storing { () async throws(StorageError) in try await storage.submit([step]) }
            guard case .removed(let count)? = outcome.first else { break }
            dropped += count
            if count < Self.rows { break }
        }
        return .done("\(dropped) messages dropped from the archive of \(address)")
    }

    private func owner(_ input: CommandInput) async throws(CommandError) -> (BareJID, OwnerID) {
        let text = input.arguments["address"] ?? ""
        guard let address = BareJID(text), !address.local.isEmpty else {
            throw .usage("\(text.quotedForPrint) is no address of an account")
        }
        let record = try await storing { () async throws(StorageError) in
            try await storage.read { snapshot throws(StorageError) in
                try snapshot.account(host: address.domain, local: address.local)
            }
        }
        guard let record else { throw .notFound("there is no account \(address)") }
        return (address, record.owner)
    }

    private func storing<Value>(
        _ body: () async throws(StorageError) -> Value
    ) async throws(CommandError) -> Value {
        do {
            return try await body()
        } catch {
            throw .unavailable("the database cannot do it: \(error)")
        }
    }
}
