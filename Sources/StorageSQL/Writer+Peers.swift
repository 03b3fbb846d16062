internal import ModuleKit

/// Which rows of an archive are with whom: built behind the commits, in steps between them, by a cursor that walks the
/// bodies in the order in which they came. How far it is stands beside what it has built.
extension Writer {
    /// What is known of the cursor; nil: not yet asked.
    struct PeerCursor {
        /// Bodies up to this one have been looked at.
        var position: Int64
        /// The newest body.
        var last: Int64

        /// Bodies that have not been looked at, at most.
        var backlog: Int64 { max(0, last &- position) }
    }

    func peerCursor() throws(StorageError) -> PeerCursor {
        if let known = knownPeerCursor { return known }
        defer {
            rows.cursor.reset()
            rows.newestBody.reset()
        }
        let position = try rows.cursor.step() ? rows.cursor.integer(0) : 0
        let last = try rows.newestBody.step() ? rows.newestBody.integer(0) : 0
        let cursor = PeerCursor(position: position, last: last)
        knownPeerCursor = cursor
        return cursor
    }

    /// A body was written. When the newest one has been dropped its number comes again, and has to be looked at again.
    func added(_ body: Int64) throws(StorageError) {
        var cursor = try peerCursor()
        if body <= cursor.position {
            cursor.position = body - 1
            try move(to: cursor.position)
        }
        cursor.last = max(cursor.last, body)
        knownPeerCursor = cursor
    }

    /// Looks at some bodies, in a transaction of its own.
    func indexPeers(limit: Int) throws(StorageError) {
        do throws(StorageError) {
            try transaction { () throws(StorageError) in try goOn(limit) }
        } catch {
            knownPeerCursor = nil
            throw error
        }
    }

    private func goOn(_ limit: Int) throws(StorageError) {
        var cursor = try peerCursor()
        rows.unindexed.bind(cursor.position, at: 1)
        rows.unindexed.bind(Int64(limit), at: 2)
        var bodies: [(id: Int64, store: Int64, references: [UInt8])] = []
        while try rows.unindexed.step() {
            bodies.append((rows.unindexed.integer(0), rows.unindexed.integer(1), rows.unindexed.bytes(2)))
        }
        rows.unindexed.reset()
        for body in bodies {
            for (owner, id) in ReferenceList.decode(body.references) {
                guard let peer = try peer(owner, body.store, id, body.id) else { continue }
                rows.addPeer.bind(owner, at: 1)
                rows.addPeer.bind(body.store, at: 2)
                try rows.addPeer.bind(peer, at: 3)
                rows.addPeer.bind(id, at: 4)
                try rows.addPeer.run()
            }
        }
        cursor.position = bodies.count < limit ? max(cursor.last, bodies.last?.id ?? 0) : bodies.last?.id ?? 0
        try move(to: cursor.position)
        knownPeerCursor = cursor
    }

    private func move(to position: Int64) throws(StorageError) {
        rows.setCursor.bind(position, at: 1)
        try rows.setCursor.run()
    }

    /// Of a row that is there; without the resource.
    private func peer(
        _ owner: Int64, _ store: Int64, _ id: Int64, _ body: Int64
    ) throws(StorageError) -> String? {
        rows.peer.bind(owner, at: 1)
        rows.peer.bind(store, at: 2)
        rows.peer.bind(id, at: 3)
        rows.peer.bind(body, at: 4)
        defer { rows.peer.reset() }
        return try rows.peer.step() ? rows.peer.text(0).withoutResource : nil
    }

    /// The row is about to be dropped.
    func forgetPeer(_ owner: Int64, _ store: Int64, _ id: Int64, _ body: Int64) throws(StorageError) {
        guard try body <= peerCursor().position, let peer = try peer(owner, store, id, body) else { return }
        rows.deletePeer.bind(owner, at: 1)
        rows.deletePeer.bind(store, at: 2)
        try rows.deletePeer.bind(peer, at: 3)
        rows.deletePeer.bind(id, at: 4)
        try rows.deletePeer.run()
    }
}

extension String {
    /// Of an address.
    var withoutResource: String {
        utf8.firstIndex(of: UInt8(ascii: "/")).map { String(self[..<$0]) } ?? self
    }
}
