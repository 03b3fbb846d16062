internal import ModuleKit

/// The operator's commands for reports.
struct ReportCommands: Sendable {
    let queue: ReportQueue
    let storage: any StorageBackend

    var all: [Command] {
        let number = CommandArgument("number", "the report's number, as reports list shows it")
        return [
            Command("reports list", "List what users reported when they blocked somebody.") {
                _ throws(CommandError) in try await list()
            },
            Command("reports show", "Show one report.", [number]) { input throws(CommandError) in
                try await show(input)
            },
            Command("reports close", "Remove a report that has been dealt with.", [number]) {
                input throws(CommandError) in try await close(input)
            },
        ]
    }

    private func list() async throws(CommandError) -> CommandOutput {
        let rows: [(number: Int, value: [UInt8])]
        do {
            rows = try await storage.read([.server]) { snapshot throws(StorageError) in
                try snapshot.entries(ReportQueue.store, .server).compactMap { entry in
                    Int(entry.key).map { (number: $0, value: entry.value) }
                }
            }
        } catch {
            throw .unavailable("the database cannot be read: \(error)")
        }
        return .table(
            columns: ["number", "time", "reporter", "reported", "reason", "text"],
            rows: rows.sorted { $0.number < $1.number }.map { number, value in
                guard let report = Report(stored: value) else { return ["\(number)", "", "", "", "", "unreadable"] }
                return [
                    "\(number)", "\(report.time)", "\(report.reporter)", "\(report.reported)", report.shortReason,
                    report.text.split(whereSeparator: \.isNewline).first.map { String($0.prefix(60)) } ?? "",
                ]
            })
    }

    private func show(_ input: CommandInput) async throws(CommandError) -> CommandOutput {
        let number = try number(input)
        let bytes: [UInt8]?
        do {
            bytes = try await storage.read([.server]) { snapshot throws(StorageError) in
                try snapshot.value(ReportQueue.store, .server, key: String(number))
            }
        } catch {
            throw .unavailable("the database cannot be read: \(error)")
        }
        guard let bytes else { throw Self.none(number) }
        guard let report = Report(stored: bytes) else { throw CommandError("report \(number) is unreadable") }
        var lines = [
            "number: \(number)", "time: \(report.time)", "reporter: \(report.reporter)",
            "reported: \(report.reported)", "reason: \(report.reason)",
            "may be passed on to the reported domain: \(report.mayGoToOrigin ? "yes" : "no")",
            "may be passed on to others: \(report.mayGoToOthers ? "yes" : "no")",
        ]
        lines += report.stanzas.map { "message, as the reporter says: \($0.id) by \($0.by)" }
        if !report.text.isEmpty { lines += ["", report.text] }
        return .text(lines.joined(separator: "\n"))
    }

    private func close(_ input: CommandInput) async throws(CommandError) -> CommandOutput {
        let number = try number(input)
        let outcomes: [MutationOutcome]
        do {
            outcomes = try await storage.submit([.delete(ReportQueue.store, .server, key: String(number))])
        } catch {
            throw .unavailable("the database cannot be written: \(error)")
        }
        guard outcomes.first != .removed(0) else { throw Self.none(number) }
        queue.remove(number)
        return .done("report \(number) was closed")
    }

    private func number(_ input: CommandInput) throws(CommandError) -> Int {
        let text = input.arguments["number"] ?? ""
        guard let number = Int(text) else { throw .usage("\(text.quotedForPrint) is no number of a report") }
        return number
    }

    private static func none(_ number: Int) -> CommandError { .notFound("there is no report \(number)") }
}

extension Report {
    /// Without the namespace that all usual reasons have.
    fileprivate var shortReason: String {
        let prefix = "urn:xmpp:reporting:"
        return reason.hasPrefix(prefix) ? String(reason.dropFirst(prefix.count)) : reason
    }
}
