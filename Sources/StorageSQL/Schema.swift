internal import GRDB
internal import ModuleKit

/// The tables, and how they came to be what they are.
///
/// The archive keeps one body per stanza and one reference per owner, in the order they came: clustered by account it
/// cost 51 µs a row at 16 a batch, this way 19. `archive_reference` has no index by `peer`: that one index
/// doubled the price of a message (30 → 60 µs at 16 a batch, 21 → 41 at 128). `archive_peer` is that index, built
/// behind the commits by a cursor that walks the bodies (`Writer+Peers`).
enum Schema {
    /// `PRAGMA application_id`: "Mrtl".
    static let applicationID: Int64 = 0x4d72_746c

    /// Migrations by the version they lead to, ascending from 1. Once released, one is never changed.
    static let migrations: [String] = [
        """
        CREATE TABLE account (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            host TEXT NOT NULL,
            local TEXT NOT NULL,
            created INTEGER NOT NULL,
            credentials BLOB NOT NULL,
            UNIQUE (host, local)
        ) STRICT;
        CREATE TABLE tombstone (
            owner INTEGER PRIMARY KEY
        ) STRICT;
        CREATE TABLE store (
            id INTEGER PRIMARY KEY,
            kind INTEGER NOT NULL,
            name TEXT NOT NULL,
            UNIQUE (kind, name)
        ) STRICT;
        CREATE TABLE map (
            owner INTEGER NOT NULL,
            store INTEGER NOT NULL,
            key TEXT NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (owner, store, key)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE spool (
            sequence INTEGER PRIMARY KEY,
            owner INTEGER NOT NULL,
            store INTEGER NOT NULL,
            id INTEGER NOT NULL,
            stamp INTEGER NOT NULL,
            stanza BLOB NOT NULL,
            UNIQUE (owner, store, id)
        ) STRICT;
        CREATE TABLE archive_body (
            id INTEGER PRIMARY KEY,
            store INTEGER NOT NULL,
            stamp INTEGER NOT NULL,
            remaining INTEGER NOT NULL,
            "references" BLOB NOT NULL,
            stanza BLOB NOT NULL
        ) STRICT;
        CREATE INDEX archive_body_by_stamp ON archive_body (store, stamp);
        CREATE TABLE archive_reference (
            owner INTEGER NOT NULL,
            store INTEGER NOT NULL,
            id INTEGER NOT NULL,
            stamp INTEGER NOT NULL,
            peer TEXT NOT NULL,
            body INTEGER NOT NULL,
            PRIMARY KEY (owner, store, id)
        ) STRICT, WITHOUT ROWID;
        """,
        // Zeros are for a database that nobody has opened (see `Lineage`).
        """
        CREATE TABLE lineage (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            epoch INTEGER NOT NULL,
            opened INTEGER NOT NULL
        ) STRICT;
        INSERT INTO lineage (id, epoch, opened) VALUES (1, 0, 0);
        """,
        // Archives lose rows by their owner's order, so nobody asks for bodies by their age. `peer` in the new table is
        // without a resource; `body` is the last one that has been looked at.
        """
        DROP INDEX archive_body_by_stamp;
        CREATE TABLE archive_peer (
            owner INTEGER NOT NULL,
            store INTEGER NOT NULL,
            peer TEXT NOT NULL,
            id INTEGER NOT NULL,
            PRIMARY KEY (owner, store, peer, id)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE archive_cursor (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            body INTEGER NOT NULL
        ) STRICT;
        INSERT INTO archive_cursor (id, body) VALUES (1, 0);
        """,
    ]

    /// Brings the database to the newest version, each step whole or not at all. Gives the version it had.
    ///
    /// - Throws: `.damaged` if the database is newer than these migrations.
    static func migrate(_ connection: Connection, _ migrations: [String] = migrations) throws(StorageError) -> Int {
        let version = Int(try connection.number("PRAGMA user_version"))
        guard version >= 0, version <= migrations.count else { throw tooNew(version, migrations) }
        for step in version..<migrations.count {
            try connection.execute("BEGIN IMMEDIATE")
            do throws(StorageError) {
                try connection.execute(migrations[step])
                try connection.execute("PRAGMA user_version = \(step + 1)")
                try connection.execute("PRAGMA application_id = \(applicationID)")
                try connection.execute("COMMIT")
            } catch {
                if connection.isInTransaction { try? connection.execute("ROLLBACK") }
                throw error
            }
        }
        return version
    }

    /// Looks whether what is there is what the migrations up to its version made, before anything is done with it.
    /// Gives the version, 1 or more.
    ///
    /// - Throws: `.damaged`, with the table that is missing. A database gets its name when it is complete: one without
    ///   a version has lost its content, and must not become an empty one.
    static func examine(_ connection: Connection, _ migrations: [String] = migrations) throws(StorageError) -> Int {
        let version = Int(try connection.number("PRAGMA user_version"))
        guard version > 0 else { throw .damaged("the schema is damaged: there is none, and so no tables") }
        guard version <= migrations.count else { throw tooNew(version, migrations) }
        try verify(connection, Array(migrations.prefix(version)))
        return version
    }

    private static func tooNew(_ version: Int, _ migrations: [String]) -> StorageError {
        .damaged(
            """
            the database has schema \(version), this Martlet knows schemas up to \(migrations.count): \
            it was written by a newer one
            """)
    }

    /// Compares what is there with what the migrations make. What an operator added beside it does not matter.
    static func verify(_ connection: Connection, _ migrations: [String] = migrations) throws(StorageError) {
        let found = try definitions(connection)
        for (name, definition) in try expected(migrations) where found[name] != definition {
            let state = found[name] == nil ? "is missing" : "is not as Martlet made it"
            throw .damaged("the schema is damaged: \(name) \(state)")
        }
    }

    private static func expected(_ migrations: [String]) throws(StorageError) -> [String: String] {
        do {
            return try DatabaseQueue().inDatabase { database in
                let connection = try Connection(database)
                for migration in migrations { try connection.execute(migration) }
                return try definitions(connection)
            }
        } catch {
            throw StorageError(error)
        }
    }

    /// Definitions of tables and indexes by name.
    private static func definitions(_ connection: Connection) throws(StorageError) -> [String: String] {
        let query = try connection.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
        defer { connection.finalizeStatements() }
        var definitions: [String: String] = [:]
        while try query.step() { definitions[query.text(0)] = query.text(1) }
        return definitions
    }
}
