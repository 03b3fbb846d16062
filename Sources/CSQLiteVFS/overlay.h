// The unsynced writes of one file, shared by all its open handles.

#ifndef MARTLET_OVERLAY_H
#define MARTLET_OVERLAY_H

#include <pthread.h>
#include <sqlite3.h>

#define BLOCK_SIZE 4096

typedef struct Block {
    sqlite3_int64 number;
    struct Block *next;
    unsigned char bytes[BLOCK_SIZE];
} Block;

typedef struct Overlay {
    struct Overlay *next;
    char *path;
    int references;
    /// After a power cut.
    int dead;
    /// Size of the file as SQLite sees it.
    sqlite3_int64 size;
    /// How much of the file on disk still counts: what is behind was cut off, though not yet on disk.
    sqlite3_int64 valid;
    Block **buckets;
    unsigned int bucketCount;
    unsigned int blockCount;
    pthread_mutex_t mutex;
} Overlay;

/// The overlay of this path, made on first use; NULL: no memory. `real` is asked for the size on disk.
Overlay *overlay_open(const char *path, sqlite3_file *real);
/// Gives up one reference; the last one writes what is left (the system would, in time) and frees.
void overlay_close(Overlay *overlay, sqlite3_file *real);

int overlay_read(Overlay *overlay, sqlite3_file *real, void *bytes, int count, sqlite3_int64 offset);
int overlay_write(Overlay *overlay, sqlite3_file *real, const void *bytes, int count, sqlite3_int64 offset);
int overlay_truncate(Overlay *overlay, sqlite3_int64 size);
int overlay_sync(Overlay *overlay, sqlite3_file *real, int flags);
sqlite3_int64 overlay_size(Overlay *overlay);

#endif
