internal import ModuleKit

/// The statements of the writer, prepared once.
struct WriterStatements {
    let findStore, addStore: Statement
    let put, delete, deleteAll: Statement
    let spool, sameSpool, countSpool, unspool, unspoolAll: Statement
    let addBody, addReference, sameReference, setRemaining, deleteBody: Statement
    let unindexed, peer, addPeer, deletePeer, cursor, setCursor, newestBody: Statement
    let deleteReference, oldest, newestBeyond: Statement
    let createAccount, setCredentials, replaceCredentials, hasAccount, lastOwner: Statement
    let addTombstone, deleteAccount, tombstones, deleteTombstone: Statement
    let sweepMap, sweepSpool, sweepReferences, remaining: Statement

    init(_ connection: Connection) throws(StorageError) {
        findStore = try connection.prepare("SELECT id FROM store WHERE kind = ?1 AND name = ?2")
        addStore = try connection.prepare("INSERT INTO store (kind, name) VALUES (?1, ?2)")

        put = try connection.prepare(
            """
            INSERT INTO map (owner, store, key, value) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (owner, store, key) DO UPDATE SET value = excluded.value
            """)
        delete = try connection.prepare("DELETE FROM map WHERE owner = ?1 AND store = ?2 AND key = ?3")
        deleteAll = try connection.prepare("DELETE FROM map WHERE owner = ?1 AND store = ?2")

        spool = try connection.prepare(
            """
            INSERT INTO spool (owner, store, id, stamp, stanza) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (owner, store, id) DO NOTHING
            """)
        sameSpool = try connection.prepare(
            "SELECT stamp, stanza FROM spool WHERE owner = ?1 AND store = ?2 AND id = ?3")
        countSpool = try connection.prepare("SELECT count(*) FROM spool WHERE owner = ?1 AND store = ?2")
        unspool = try connection.prepare("DELETE FROM spool WHERE owner = ?1 AND store = ?2 AND id = ?3")
        unspoolAll = try connection.prepare("DELETE FROM spool WHERE owner = ?1 AND store = ?2")

        addBody = try connection.prepare(
            """
            INSERT INTO archive_body (store, stamp, remaining, "references", stanza) VALUES (?1, ?2, ?3, ?4, ?5)
            """)
        addReference = try connection.prepare(
            """
            INSERT INTO archive_reference (owner, store, id, stamp, peer, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT (owner, store, id) DO NOTHING
            """)
        sameReference = try connection.prepare(
            """
            SELECT r.stamp, r.peer, b.stanza FROM archive_reference r CROSS JOIN archive_body b ON b.id = r.body
            WHERE r.owner = ?1 AND r.store = ?2 AND r.id = ?3
            """)
        setRemaining = try connection.prepare("UPDATE archive_body SET remaining = ?2 WHERE id = ?1")
        deleteBody = try connection.prepare("DELETE FROM archive_body WHERE id = ?1")
        deleteReference = try connection.prepare(
            "DELETE FROM archive_reference WHERE owner = ?1 AND store = ?2 AND id = ?3 AND body = ?4")

        unindexed = try connection.prepare(
            """
            SELECT id, store, "references" FROM archive_body WHERE id > ?1 ORDER BY id LIMIT ?2
            """)
        peer = try connection.prepare(
            "SELECT peer FROM archive_reference WHERE owner = ?1 AND store = ?2 AND id = ?3 AND body = ?4")
        addPeer = try connection.prepare(
            "INSERT INTO archive_peer (owner, store, peer, id) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")
        deletePeer = try connection.prepare(
            "DELETE FROM archive_peer WHERE owner = ?1 AND store = ?2 AND peer = ?3 AND id = ?4")
        cursor = try connection.prepare("SELECT body FROM archive_cursor WHERE id = 1")
        setCursor = try connection.prepare("UPDATE archive_cursor SET body = ?1 WHERE id = 1")
        newestBody = try connection.prepare("SELECT max(id) FROM archive_body")
        oldest = try connection.prepare(
            "SELECT id, body, stamp FROM archive_reference WHERE owner = ?1 AND store = ?2 ORDER BY id LIMIT ?3")
        newestBeyond = try connection.prepare(
            """
            SELECT id FROM archive_reference WHERE owner = ?1 AND store = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3
            """)

        // Without `ON CONFLICT`, which would use up a number each time.
        createAccount = try connection.prepare(
            "INSERT INTO account (host, local, created, credentials) VALUES (?1, ?2, ?3, ?4)")
        setCredentials = try connection.prepare("UPDATE account SET credentials = ?2 WHERE id = ?1")
        replaceCredentials = try connection.prepare(
            "UPDATE account SET credentials = ?2 WHERE id = ?1 AND credentials = ?3")
        hasAccount = try connection.prepare("SELECT 1 FROM account WHERE id = ?1")
        lastOwner = try connection.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'account'")

        addTombstone = try connection.prepare("INSERT INTO tombstone (owner) VALUES (?1) ON CONFLICT DO NOTHING")
        deleteAccount = try connection.prepare("DELETE FROM account WHERE id = ?1")
        tombstones = try connection.prepare("SELECT owner FROM tombstone ORDER BY owner")
        deleteTombstone = try connection.prepare("DELETE FROM tombstone WHERE owner = ?1")

        sweepMap = try connection.prepare(
            """
            DELETE FROM map WHERE (owner, store, key) IN
            (SELECT owner, store, key FROM map WHERE owner = ?1 LIMIT ?2)
            """)
        sweepSpool = try connection.prepare(
            "DELETE FROM spool WHERE sequence IN (SELECT sequence FROM spool WHERE owner = ?1 LIMIT ?2)")
        sweepReferences = try connection.prepare(
            "SELECT store, id, body FROM archive_reference WHERE owner = ?1 LIMIT ?2")
        remaining = try connection.prepare("SELECT remaining FROM archive_body WHERE id = ?1")
    }
}
