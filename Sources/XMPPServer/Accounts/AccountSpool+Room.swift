import ModuleKit

/// When a spool was full and looked through, and who waits for that.
struct Room {
    /// The oldest rows, among which the expired ones are.
    static let looked = 50
    /// Whoever writes to a full spool has it read no more often than this.
    static let pause = Duration.seconds(60)
    /// Messages that wait for one look.
    static let most = 100

    var last: Instant?
    /// Not empty while somebody looks.
    var waiting: [(Bool) -> Void] = []
}

/// Room in a spool that is full. Messages are looked at when somebody comes for them; of an account that nobody comes to,
/// those that have expired and those that cannot be read would keep new ones out.
extension AccountSpool {
    /// Takes out what nobody will ever get. What is submitted afterwards comes behind it.
    ///
    /// - Parameter then: told whether there was anything.
    func makeRoom(_ then: @escaping (Bool) -> Void) {
        let now = shard.loop.now
        guard room.waiting.isEmpty else {
            return room.waiting.count < Room.most ? room.waiting.append(then) : then(false)
        }
        guard let owner = account.owner, room.last.map({ $0.advanced(by: Room.pause) <= now }) ?? true else {
            return then(false)
        }
        room.last = now
        room.waiting.append(then)
        let (loop, held) = (shard.loop, Confined(account))
        shard.storage.read([owner]) { snapshot throws(StorageError) in
            try snapshot.spool(Self.store, owner, after: .min, limit: Room.looked)
        } then: { [self] result in
            loop.post(.work { self.looked(result, in: held.value) })
        }
    }

    /// - Parameter account: kept alive by the read.
    private func looked(_ result: Result<[SpoolRow], StorageError>, in account: LocalAccount) {
        let isThere = takeOut((try? result.get()) ?? [])
        let waiting = room.waiting
        room.waiting = []
        for then in waiting { then(isThere) }
        departIfDone()
    }

    private func takeOut(_ rows: [SpoolRow]) -> Bool {
        let free = rows.filter { !leased.contains($0.id) }
        let expired = free.filter(isExpired)
        // Leased, so that nobody is sent them meanwhile, and deleted at once: others are waiting.
        leased.formUnion(expired.map(\.id))
        deleteAtOnce(expired.map(\.id))
        let unreadable = free.filter { !isExpired($0) && shard.stanzaReader.read($0.stanza) == nil }
        for row in unreadable { setAside(row) }
        return !expired.isEmpty || !unreadable.isEmpty
    }
}
