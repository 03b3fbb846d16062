import ModuleKit

/// What is sent in bulk to one client.
extension ClientSession {
    func paced(_ next: @escaping () -> Bool) {
        guard !hasEnded else { return }
        paced.append(next)
        if paced.count == 1 { pace() }
    }

    /// One portion, if the client has taken what was sent before; the next one follows when the loop has looked after
    /// others.
    func pace() {
        guard !isPacing, let next = paced.first, hasRoom else { return }
        let hasMore = next()
        if !hasMore, !paced.isEmpty { paced.removeFirst() }
        guard !paced.isEmpty else { return endIfDone() }
        isPacing = true
        shard.loop.later { [self] in
            isPacing = false
            pace()
        }
    }
}
