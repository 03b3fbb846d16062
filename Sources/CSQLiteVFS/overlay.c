#include "overlay.h"
#include "include/CSQLiteVFS.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAULT_COUNT 64

typedef struct Fault {
    char *prefix;
    enum martlet_vfs_fault fault;
} Fault;

// All overlays and faults; `tableMutex` is taken before an overlay's own mutex, never after.
static pthread_mutex_t tableMutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t faultChanged = PTHREAD_COND_INITIALIZER;
static Overlay *overlays;
static Fault faults[FAULT_COUNT];

static int has_prefix(const char *path, const char *prefix) {
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

/// Whether it is a log or a journal rather than the database.
static int is_log(const char *path) {
    size_t length = strlen(path);
    return (length > 4 && strcmp(path + length - 4, "-wal") == 0)
        || (length > 8 && strcmp(path + length - 8, "-journal") == 0);
}

static enum martlet_vfs_fault fault_locked(const char *path) {
    for (int index = 0; index < FAULT_COUNT; index++) {
        if (faults[index].prefix && has_prefix(path, faults[index].prefix)) return faults[index].fault;
    }
    return martlet_vfs_healthy;
}

static enum martlet_vfs_fault fault_of(const char *path) {
    pthread_mutex_lock(&tableMutex);
    enum martlet_vfs_fault fault = fault_locked(path);
    pthread_mutex_unlock(&tableMutex);
    return fault;
}

int martlet_vfs_set_fault(const char *prefix, enum martlet_vfs_fault fault) {
    int done = 0;
    int vacant = -1;
    pthread_mutex_lock(&tableMutex);
    for (int index = 0; index < FAULT_COUNT && !done; index++) {
        if (!faults[index].prefix) {
            if (vacant < 0) vacant = index;
        } else if (strcmp(faults[index].prefix, prefix) == 0) {
            faults[index].fault = fault;
            if (fault == martlet_vfs_healthy) {
                free(faults[index].prefix);
                faults[index].prefix = NULL;
            }
            done = 1;
        }
    }
    if (!done && fault == martlet_vfs_healthy) {
        done = 1;
    } else if (!done && vacant >= 0) {
        faults[vacant].prefix = strdup(prefix);
        faults[vacant].fault = fault;
        done = faults[vacant].prefix != NULL;
    }
    pthread_cond_broadcast(&faultChanged);
    pthread_mutex_unlock(&tableMutex);
    return done;
}

// Blocks

static Block *find_block(Overlay *overlay, sqlite3_int64 number) {
    if (!overlay->bucketCount) return NULL;
    Block *block = overlay->buckets[(sqlite3_uint64)number % overlay->bucketCount];
    while (block && block->number != number) block = block->next;
    return block;
}

static int grow_buckets(Overlay *overlay) {
    unsigned int count = overlay->bucketCount ? overlay->bucketCount * 2 : 64;
    Block **buckets = calloc(count, sizeof(Block *));
    if (!buckets) return 0;
    for (unsigned int index = 0; index < overlay->bucketCount; index++) {
        Block *block = overlay->buckets[index];
        while (block) {
            Block *next = block->next;
            Block **bucket = &buckets[(sqlite3_uint64)block->number % count];
            block->next = *bucket;
            *bucket = block;
            block = next;
        }
    }
    free(overlay->buckets);
    overlay->buckets = buckets;
    overlay->bucketCount = count;
    return 1;
}

static void drop_blocks(Overlay *overlay) {
    for (unsigned int index = 0; index < overlay->bucketCount; index++) {
        while (overlay->buckets[index]) {
            Block *block = overlay->buckets[index];
            overlay->buckets[index] = block->next;
            free(block);
        }
    }
    overlay->blockCount = 0;
}

/// Reads what is on disk and still counts; the rest of the buffer becomes zero.
static int read_valid(Overlay *overlay, sqlite3_file *real, void *bytes, int count, sqlite3_int64 offset) {
    sqlite3_int64 available = overlay->valid > offset ? overlay->valid - offset : 0;
    int length = available < count ? (int)available : count;
    memset((unsigned char *)bytes + length, 0, (size_t)(count - length));
    if (length == 0) return SQLITE_OK;
    int code = real->pMethods->xRead(real, bytes, length, offset);
    return code == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : code;
}

/// The block of this number, with what the file holds there; NULL: no memory or the file cannot be read.
static Block *obtain_block(Overlay *overlay, sqlite3_file *real, sqlite3_int64 number) {
    Block *block = find_block(overlay, number);
    if (block) return block;
    if (overlay->blockCount >= overlay->bucketCount && !grow_buckets(overlay)) return NULL;
    block = malloc(sizeof(Block));
    if (!block) return NULL;
    if (read_valid(overlay, real, block->bytes, BLOCK_SIZE, number * BLOCK_SIZE) != SQLITE_OK) {
        free(block);
        return NULL;
    }
    block->number = number;
    Block **bucket = &overlay->buckets[(sqlite3_uint64)number % overlay->bucketCount];
    block->next = *bucket;
    *bucket = block;
    overlay->blockCount++;
    return block;
}

// Life of an overlay

Overlay *overlay_open(const char *path, sqlite3_file *real) {
    pthread_mutex_lock(&tableMutex);
    Overlay *overlay = overlays;
    while (overlay && (overlay->dead || strcmp(overlay->path, path) != 0)) overlay = overlay->next;
    if (overlay) {
        overlay->references++;
    } else if ((overlay = calloc(1, sizeof(Overlay)))) {
        overlay->path = strdup(path);
        if (!overlay->path || real->pMethods->xFileSize(real, &overlay->size) != SQLITE_OK) {
            free(overlay->path);
            free(overlay);
            pthread_mutex_unlock(&tableMutex);
            return NULL;
        }
        overlay->valid = overlay->size;
        overlay->references = 1;
        pthread_mutex_init(&overlay->mutex, NULL);
        overlay->next = overlays;
        overlays = overlay;
    }
    pthread_mutex_unlock(&tableMutex);
    return overlay;
}

static int flush_locked(Overlay *overlay, sqlite3_file *real);

void overlay_close(Overlay *overlay, sqlite3_file *real) {
    pthread_mutex_lock(&tableMutex);
    int last = --overlay->references == 0;
    if (last) {
        Overlay **link = &overlays;
        while (*link != overlay) link = &(*link)->next;
        *link = overlay->next;
        if (!overlay->dead && fault_locked(overlay->path) == martlet_vfs_healthy) flush_locked(overlay, real);
    }
    pthread_mutex_unlock(&tableMutex);
    if (!last) return;
    drop_blocks(overlay);
    pthread_mutex_destroy(&overlay->mutex);
    free(overlay->buckets);
    free(overlay->path);
    free(overlay);
}

// Reading and writing

int overlay_read(Overlay *overlay, sqlite3_file *real, void *bytes, int count, sqlite3_int64 offset) {
    if (fault_of(overlay->path) == martlet_vfs_failing_read) return SQLITE_IOERR_READ;
    pthread_mutex_lock(&overlay->mutex);
    int code = overlay->dead ? SQLITE_IOERR_READ : read_valid(overlay, real, bytes, count, offset);
    sqlite3_int64 end = offset + count;
    for (sqlite3_int64 at = offset; code == SQLITE_OK && at < end;) {
        sqlite3_int64 number = at / BLOCK_SIZE;
        int start = (int)(at - number * BLOCK_SIZE);
        int length = BLOCK_SIZE - start;
        if (length > end - at) length = (int)(end - at);
        Block *block = overlay->blockCount ? find_block(overlay, number) : NULL;
        if (block) memcpy((unsigned char *)bytes + (at - offset), block->bytes + start, (size_t)length);
        at += length;
    }
    if (code == SQLITE_OK && end > overlay->size) code = SQLITE_IOERR_SHORT_READ;
    pthread_mutex_unlock(&overlay->mutex);
    return code;
}

int overlay_write(Overlay *overlay, sqlite3_file *real, const void *bytes, int count, sqlite3_int64 offset) {
    enum martlet_vfs_fault fault = fault_of(overlay->path);
    if (fault == martlet_vfs_full || (fault == martlet_vfs_database_full && !is_log(overlay->path))) return SQLITE_FULL;
    pthread_mutex_lock(&overlay->mutex);
    int code = overlay->dead ? SQLITE_IOERR_WRITE : SQLITE_OK;
    sqlite3_int64 end = offset + count;
    for (sqlite3_int64 at = offset; code == SQLITE_OK && at < end;) {
        sqlite3_int64 number = at / BLOCK_SIZE;
        int start = (int)(at - number * BLOCK_SIZE);
        int length = BLOCK_SIZE - start;
        if (length > end - at) length = (int)(end - at);
        Block *block = obtain_block(overlay, real, number);
        if (block) {
            memcpy(block->bytes + start, (const unsigned char *)bytes + (at - offset), (size_t)length);
        } else {
            code = SQLITE_IOERR_NOMEM;
        }
        at += length;
    }
    if (code == SQLITE_OK && end > overlay->size) overlay->size = end;
    pthread_mutex_unlock(&overlay->mutex);
    return code;
}

int overlay_truncate(Overlay *overlay, sqlite3_int64 size) {
    pthread_mutex_lock(&overlay->mutex);
    int code = overlay->dead ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
    if (code == SQLITE_OK) {
        if (overlay->valid > size) overlay->valid = size;
        overlay->size = size;
        for (unsigned int index = 0; index < overlay->bucketCount; index++) {
            Block **link = &overlay->buckets[index];
            while (*link) {
                Block *block = *link;
                sqlite3_int64 start = block->number * BLOCK_SIZE;
                if (start >= size) {
                    *link = block->next;
                    free(block);
                    overlay->blockCount--;
                    continue;
                }
                if (start + BLOCK_SIZE > size) {
                    memset(block->bytes + (size - start), 0, (size_t)(start + BLOCK_SIZE - size));
                }
                link = &block->next;
            }
        }
    }
    pthread_mutex_unlock(&overlay->mutex);
    return code;
}

sqlite3_int64 overlay_size(Overlay *overlay) {
    pthread_mutex_lock(&overlay->mutex);
    sqlite3_int64 size = overlay->size;
    pthread_mutex_unlock(&overlay->mutex);
    return size;
}

// Syncing

static int by_number(const void *left, const void *right) {
    const Block *const *first = left;
    const Block *const *second = right;
    return ((*first)->number > (*second)->number) - ((*first)->number < (*second)->number);
}

/// How much of a block belongs to the file.
static int used_length(const Overlay *overlay, const Block *block) {
    sqlite3_int64 length = overlay->size - block->number * BLOCK_SIZE;
    return length > BLOCK_SIZE ? BLOCK_SIZE : (int)length;
}

/// Writes everything to the file, in the order of the file, and forgets it.
static int flush_locked(Overlay *overlay, sqlite3_file *real) {
    sqlite3_int64 onDisk = 0;
    int code = real->pMethods->xFileSize(real, &onDisk);
    if (code == SQLITE_OK && onDisk > overlay->valid) code = real->pMethods->xTruncate(real, overlay->valid);
    if (code != SQLITE_OK || !overlay->blockCount) return code;

    Block **sorted = malloc(overlay->blockCount * sizeof(Block *));
    if (!sorted) return SQLITE_IOERR_NOMEM;
    unsigned int count = 0;
    for (unsigned int index = 0; index < overlay->bucketCount; index++) {
        for (Block *block = overlay->buckets[index]; block; block = block->next) sorted[count++] = block;
    }
    qsort(sorted, count, sizeof(Block *), by_number);
    for (unsigned int index = 0; index < count && code == SQLITE_OK; index++) {
        Block *block = sorted[index];
        code = real->pMethods->xWrite(
            real, block->bytes, used_length(overlay, block), block->number * BLOCK_SIZE);
    }
    free(sorted);
    if (code == SQLITE_OK) {
        drop_blocks(overlay);
        overlay->valid = overlay->size;
    }
    return code;
}

int overlay_sync(Overlay *overlay, sqlite3_file *real, int flags) {
    pthread_mutex_lock(&tableMutex);
    while (fault_locked(overlay->path) == martlet_vfs_stalled) pthread_cond_wait(&faultChanged, &tableMutex);
    enum martlet_vfs_fault fault = fault_locked(overlay->path);
    pthread_mutex_unlock(&tableMutex);
    if (fault == martlet_vfs_failing_sync) return SQLITE_IOERR_FSYNC;

    pthread_mutex_lock(&overlay->mutex);
    int code = overlay->dead ? SQLITE_IOERR_FSYNC : flush_locked(overlay, real);
    pthread_mutex_unlock(&overlay->mutex);
    return code == SQLITE_OK ? real->pMethods->xSync(real, flags) : code;
}

// Power

static unsigned int next_random(unsigned int *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/// Lets a random half of the blocks reach the file, as a system does that had begun to write.
static void write_some(Overlay *overlay, unsigned int *state) {
    int file = open(overlay->path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    for (unsigned int index = 0; index < overlay->bucketCount; index++) {
        for (Block *block = overlay->buckets[index]; block; block = block->next) {
            if (next_random(state) & 1) continue;
            ssize_t written = pwrite(
                file, block->bytes, (size_t)used_length(overlay, block), block->number * BLOCK_SIZE);
            (void)written;
        }
    }
    close(file);
}

void martlet_vfs_power_cut(const char *prefix, unsigned int seed) {
    unsigned int state = seed;
    pthread_mutex_lock(&tableMutex);
    for (Overlay *overlay = overlays; overlay; overlay = overlay->next) {
        if (!has_prefix(overlay->path, prefix)) continue;
        pthread_mutex_lock(&overlay->mutex);
        if (seed && !overlay->dead) write_some(overlay, &state);
        drop_blocks(overlay);
        overlay->dead = 1;
        pthread_mutex_unlock(&overlay->mutex);
    }
    pthread_cond_broadcast(&faultChanged);
    pthread_mutex_unlock(&tableMutex);
}
