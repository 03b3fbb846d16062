import GRDB
import GRDBSQLite
import ModuleKit
import Testing

@testable import StorageSQL

/// What SQLite makes of the statements.
@Suite struct StatementTests {
    private let directory = TemporaryDirectory()

    @Test(arguments: [false, true])
    func `no statement walks a table`(_ isAnalyzed: Bool) async throws {
        await (try SQLStorage.open(directory.options())).close()
        if isAnalyzed {
            // What SQLite learns about a small table must not lead it astray when it is large.
            try directory.execute("INSERT INTO store VALUES (1, 1, 'a'), (2, 1, 'b'); ANALYZE")
        }
        try directory.direct { database in
            let connection = try Connection(database)
            _ = try WriterStatements(connection)
            _ = try SQLSnapshot(connection)
            var statement = sqlite3_next_stmt(connection.handle, nil)
            var texts: [String] = []
            while let current = statement {
                texts.append(String(cString: sqlite3_sql(current)))
                statement = sqlite3_next_stmt(connection.handle, current)
            }
            #expect(texts.count > 35)
            for text in texts {
                let plan = try connection.prepare("EXPLAIN QUERY PLAN " + text)
                while try plan.step() {
                    let step = plan.text(3)
                    // The tombstones are to be seen all; there are hardly ever any. `sqlite_sequence` has one row.
                    guard !step.contains("tombstone"), !step.contains("sqlite_sequence") else { continue }
                    #expect(!step.hasPrefix("SCAN"), "\(step) in \(text)")
                    #expect(!step.contains("TEMP B-TREE"), "\(step) in \(text)")
                }
            }
            connection.finalizeStatements()
        }
    }
}
