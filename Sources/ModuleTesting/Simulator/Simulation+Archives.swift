internal import ModuleKit
internal import StorageMemory
internal import Synchronization
internal import XMPPCore

/// Compares the archives with the model when a simulation has ended.
extension Simulation {
    private static let store: StoreName = "archive"

    /// - **Archives.** A message is in an archive once or not at all. Where nothing goes wrong, it is in the archives of
    ///   both sides, in the order in which it was sent, unless it was refused; then it is in neither.
    func checkArchives() {
        server.settle()
        let isCalm = !model.hasFaults && !model.isUnsettled
        for name in Self.accounts {
            guard let account = BareJID("\(name)@example.org") else { continue }
            let ids = archived(name)
            var places: [String: Int] = [:]
            for (place, id) in ids.enumerated() {
                guard let message = model.messages[id] else { continue }
                if places.updateValue(place, forKey: id) != nil, !message.isResent {
                    model.violate("\(id) is twice in the archive of \(name)")
                }
            }
            guard isCalm else { continue }
            for message in model.messages.values where message.sender.account == account || message.recipient == account
            {
                guard message.isAccepted, !message.isResent, !message.isLostInFlight else { continue }
                let isThere = places[message.id] != nil
                if message.isBounced, isThere {
                    model.violate("\(message.id) was refused and is in the archive of \(name)")
                }
                let isKept = !message.deliveries.isEmpty && !message.isBounced
                if isKept, !isThere { model.violate("\(message.id) is not in the archive of \(name)") }
            }
            checkOrder(places, name)
        }
    }

    /// Those of one session to one address.
    private func checkOrder(_ places: [String: Int], _ name: String) {
        var latest: [String: (number: Int, id: String)] = [:]
        for (id, _) in places.sorted(by: { $0.value < $1.value }) {
            guard let message = model.messages[id], !message.isResent else { continue }
            let pair = "\(message.sender.number) \(message.to)"
            if let before = latest[pair], before.number > message.number {
                model.violate("\(id) is behind \(before.id) in the archive of \(name)")
            }
            latest[pair] = (message.number, id)
        }
    }

    /// The ids of the messages in the archive of this account, in its order.
    private func archived(_ name: String) -> [String] {
        let found = Mutex<[[UInt8]]>([])
        server.memory.read([]) { snapshot throws(StorageError) in
            guard let account = try snapshot.account(host: "example.org", local: name) else { return [] }
            var rows: [[UInt8]] = []
            var last = Int64.min
            while true {
                let page = try snapshot.archive(Self.store, account.owner, ArchiveQuery(after: last, limit: 1000))
                rows += page.map(\.stanza)
                guard let end = page.last?.id else { return rows }
                last = end
            }
        } then: { (result: Swift.Result<[[UInt8]], StorageError>) in
            found.withLock { $0 = (try? result.get()) ?? [] }
        }
        server.settle()
        return found.withLock { $0 }.compactMap { bytes in
            (try? XMLTree(parsing: String(decoding: bytes, as: UTF8.self)))?.root.attribute("id")
        }
    }
}
