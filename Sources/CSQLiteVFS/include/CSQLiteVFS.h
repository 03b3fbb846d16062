// A SQLite file system for tests and crash trials, registered under the name "dropunsynced".
//
// What SQLite writes to a database, its log or its journal stays in this process's memory until SQLite asks for it to
// be synced; only then does it reach the file. So killing the process loses what losing power would lose, which
// kill -9 alone never does: without this the kernel keeps unsynced writes.

#ifndef MARTLET_CSQLITEVFS_H
#define MARTLET_CSQLITEVFS_H

/// What a file under a directory does wrong.
enum martlet_vfs_fault {
    martlet_vfs_healthy = 0,
    /// Writes fail as on a full disk.
    martlet_vfs_full = 1,
    /// Syncs fail, and what was to be synced is not.
    martlet_vfs_failing_sync = 2,
    /// Syncs wait until the fault is taken away.
    martlet_vfs_stalled = 3,
    /// Reads fail as from a dying disk.
    martlet_vfs_failing_read = 4,
    /// Writes to the database itself fail as on a full disk; its log can be written.
    martlet_vfs_database_full = 5
};

/// Registers the file system; can be called again. Returns an SQLite result code, 0 for success.
int martlet_vfs_register(void);

/// Sets the fault of all files whose path begins with this prefix; at most 64 prefixes have one at a time. Returns 0
/// when there is no room.
int martlet_vfs_set_fault(const char *prefix, enum martlet_vfs_fault fault);

/// The power fails for all open files whose path begins with this prefix: what was not synced is gone, and the open
/// files answer nothing but errors. With a seed other than 0, a random part of what was not synced does reach the
/// disk, in no order, as it would.
void martlet_vfs_power_cut(const char *prefix, unsigned int seed);

#endif
