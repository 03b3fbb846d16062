#include "include/CSQLiteVFS.h"
#include "overlay.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A handle: ours, followed in the same allocation by the one of the system's file system.
typedef struct File {
    sqlite3_file base;
    /// NULL for files that may be lost anyway, such as temporary ones: passed through.
    Overlay *overlay;
    sqlite3_file *real;
} File;

static sqlite3_vfs *real_vfs(sqlite3_vfs *vfs) {
    return vfs->pAppData;
}

static sqlite3_file *real_file(sqlite3_file *file) {
    return ((File *)file)->real;
}

// Files

static int file_close(sqlite3_file *file) {
    File *handle = (File *)file;
    if (handle->overlay) overlay_close(handle->overlay, handle->real);
    handle->overlay = NULL;
    return handle->real->pMethods->xClose(handle->real);
}

static int file_read(sqlite3_file *file, void *bytes, int count, sqlite3_int64 offset) {
    File *handle = (File *)file;
    if (!handle->overlay) return handle->real->pMethods->xRead(handle->real, bytes, count, offset);
    return overlay_read(handle->overlay, handle->real, bytes, count, offset);
}

static int file_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset) {
    File *handle = (File *)file;
    if (!handle->overlay) return handle->real->pMethods->xWrite(handle->real, bytes, count, offset);
    return overlay_write(handle->overlay, handle->real, bytes, count, offset);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
    File *handle = (File *)file;
    if (!handle->overlay) return handle->real->pMethods->xTruncate(handle->real, size);
    return overlay_truncate(handle->overlay, size);
}

/// A slow disk: each sync takes up to MARTLET_TEST_SYNC_MS milliseconds, if that is set.
static void wait_for_disk(void) {
    static _Thread_local unsigned int state = 2463534242u;
    const char *most = getenv("MARTLET_TEST_SYNC_MS");
    long milliseconds = most ? strtol(most, NULL, 10) : 0;
    if (milliseconds <= 0 || milliseconds > 10000) return;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    usleep((useconds_t)(state % (unsigned long)(milliseconds + 1)) * 1000);
}

static int file_sync(sqlite3_file *file, int flags) {
    File *handle = (File *)file;
    wait_for_disk();
    if (!handle->overlay) return handle->real->pMethods->xSync(handle->real, flags);
    return overlay_sync(handle->overlay, handle->real, flags);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size) {
    File *handle = (File *)file;
    if (!handle->overlay) return handle->real->pMethods->xFileSize(handle->real, size);
    *size = overlay_size(handle->overlay);
    return SQLITE_OK;
}

static int file_lock(sqlite3_file *file, int level) {
    return real_file(file)->pMethods->xLock(real_file(file), level);
}

static int file_unlock(sqlite3_file *file, int level) {
    return real_file(file)->pMethods->xUnlock(real_file(file), level);
}

static int file_check_reserved(sqlite3_file *file, int *result) {
    return real_file(file)->pMethods->xCheckReservedLock(real_file(file), result);
}

/// Hints about size and mapping would change the file behind our back.
static int file_control(sqlite3_file *file, int operation, void *argument) {
    if (operation == SQLITE_FCNTL_SIZE_HINT || operation == SQLITE_FCNTL_CHUNK_SIZE) return SQLITE_OK;
    if (operation == SQLITE_FCNTL_MMAP_SIZE) return SQLITE_NOTFOUND;
    return real_file(file)->pMethods->xFileControl(real_file(file), operation, argument);
}

static int file_sector_size(sqlite3_file *file) {
    return real_file(file)->pMethods->xSectorSize(real_file(file));
}

static int file_characteristics(sqlite3_file *file) {
    return real_file(file)->pMethods->xDeviceCharacteristics(real_file(file));
}

// The log's index is shared memory that any opener rebuilds after a crash: the system's own will do.

static int file_shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **address) {
    return real_file(file)->pMethods->xShmMap(real_file(file), region, size, extend, address);
}

static int file_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
    return real_file(file)->pMethods->xShmLock(real_file(file), offset, count, flags);
}

static void file_shm_barrier(sqlite3_file *file) {
    real_file(file)->pMethods->xShmBarrier(real_file(file));
}

static int file_shm_unmap(sqlite3_file *file, int remove) {
    return real_file(file)->pMethods->xShmUnmap(real_file(file), remove);
}

/// Version 2: no memory mapping of the database, which would go past us.
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

// The file system

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *outFlags) {
    File *handle = (File *)file;
    memset(handle, 0, sizeof(File));
    handle->real = (sqlite3_file *)(handle + 1);
    int code = real_vfs(vfs)->xOpen(real_vfs(vfs), name, handle->real, flags, outFlags);
    if (code != SQLITE_OK) return code;

    const int kept = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL;
    if (name && (flags & kept)) {
        handle->overlay = overlay_open(name, handle->real);
        if (!handle->overlay) {
            handle->real->pMethods->xClose(handle->real);
            return SQLITE_CANTOPEN;
        }
    }
    handle->base.pMethods = &methods;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int syncDirectory) {
    return real_vfs(vfs)->xDelete(real_vfs(vfs), name, syncDirectory);
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *result) {
    return real_vfs(vfs)->xAccess(real_vfs(vfs), name, flags, result);
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *name, int count, char *result) {
    return real_vfs(vfs)->xFullPathname(real_vfs(vfs), name, count, result);
}

static int vfs_randomness(sqlite3_vfs *vfs, int count, char *bytes) {
    return real_vfs(vfs)->xRandomness(real_vfs(vfs), count, bytes);
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds) {
    return real_vfs(vfs)->xSleep(real_vfs(vfs), microseconds);
}

static int vfs_current_time(sqlite3_vfs *vfs, double *time) {
    return real_vfs(vfs)->xCurrentTime(real_vfs(vfs), time);
}

static int vfs_last_error(sqlite3_vfs *vfs, int count, char *text) {
    return real_vfs(vfs)->xGetLastError(real_vfs(vfs), count, text);
}

static int vfs_current_time_64(sqlite3_vfs *vfs, sqlite3_int64 *time) {
    return real_vfs(vfs)->xCurrentTimeInt64(real_vfs(vfs), time);
}

int martlet_vfs_register(void) {
    static sqlite3_vfs vfs;
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    int code = sqlite3_initialize();
    if (code != SQLITE_OK) return code;
    pthread_mutex_lock(&mutex);
    sqlite3_vfs *real = sqlite3_vfs_find("unix");
    if (!real || real->iVersion < 2) {
        code = SQLITE_ERROR;
    } else if (!sqlite3_vfs_find("dropunsynced")) {
        vfs.iVersion = 2;
        vfs.szOsFile = (int)sizeof(File) + real->szOsFile;
        vfs.mxPathname = real->mxPathname;
        vfs.zName = "dropunsynced";
        vfs.pAppData = real;
        vfs.xOpen = vfs_open;
        vfs.xDelete = vfs_delete;
        vfs.xAccess = vfs_access;
        vfs.xFullPathname = vfs_full_path;
        vfs.xRandomness = vfs_randomness;
        vfs.xSleep = vfs_sleep;
        vfs.xCurrentTime = vfs_current_time;
        vfs.xGetLastError = vfs_last_error;
        vfs.xCurrentTimeInt64 = vfs_current_time_64;
        code = sqlite3_vfs_register(&vfs, 0);
    }
    pthread_mutex_unlock(&mutex);
    return code;
}
