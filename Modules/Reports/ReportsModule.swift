public import ModuleKit

/// XEP-0377: who blocks somebody may tell the operator why. Reports wait until an operator has dealt with them.
public struct ReportsModule: Module {
    public static let info = ModuleInfo(
        "reports",
        [.xep(377, version: "0.4.1", missing: "Reports are passed on to nobody; operators read them.")],
        needs: [BlockingService.self])

    public struct Options: ModuleOptions {
        var limits: ReportQueue.Limits

        public init(from section: inout ConfigSection) {
            limits = ReportQueue.Limits(
                all: section.int(
                    "limit", default: 1000, in: 1...100_000,
                    "Most reports that wait, of all hosts. Further ones are dropped; the address is blocked all the same."
                ),
                each: section.int("per_account", default: 20, in: 1...10_000, "Most of them of one account."),
                text: section.bytes(
                    "text", default: 4 << 10, in: 256...(64 << 10), "Bytes of a report's text that are kept."))
        }
    }

    private let options: Options
    private let queue: ReportQueue
    private let storage: any StorageBackend

    public init(_ options: Options, in host: HostContext) {
        self.options = options
        storage = host.storage
        queue = host.state.obtain(ReportQueue.self) { ReportQueue() }
        queue.load(from: storage)
    }

    public func install(on host: inout HostBuilder) {
        guard let blocking = host.find(BlockingService.self) else { return }
        host.feature(.reporting)
        for command in ReportCommands(queue: queue, storage: storage).all { host.command(command) }
        let received = host.counter("received", "Reports of users.")
        let dropped = host.counter("dropped", "Reports for which there was no room.")
        let (queue, storage, limits) = (queue, storage, options.limits)
        blocking.read = { item, address, account in
            guard let view = item.first("report", .reporting),
                let report = Report(
                    view, by: account.address, about: address, at: account.kernel.wallClock, longest: limits.text)
            else { return nil }
            guard let number = queue.number(for: report.reporter, limits) else {
                dropped.value += 1
                // The first try may have failed.
                queue.load(from: storage)
                return nil
            }
            return BlockNote(rows: queue.rows(number, report)) {
                received.value += 1
                queue.add(number, by: report.reporter)
            }
        }
    }
}
