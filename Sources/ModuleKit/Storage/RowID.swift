public import XMPPCore

/// Ids of rows that come one after the other: of a spool, of an archive.
public enum RowID {
    /// The id of the next row: above the last one, and of this millisecond while the clock goes on, so that an id is
    /// not given twice when the last row is gone. Nil: there are no more.
    public static func next(after last: Int64, at now: Timestamp) -> Int64? {
        // Shifted by sixteen bits and still in range; later years count on from the last id.
        let milliseconds = min(max(now.milliseconds, 0), 1 << 46)
        guard last < .max else { return nil }
        return max(last + 1, milliseconds << 16)
    }
}
