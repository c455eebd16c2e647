/* Records what a process does to the files below one directory, in order, with every byte, so that the disk can be put
 * together again as a power cut would have left it at any point. Preloaded into the process (LD_PRELOAD); reading is
 * not recorded and nothing is changed.
 *
 * POWERCUT_DIR              the directory, absolute and without links
 * POWERCUT_TRACE            the file that is appended to; not below that directory
 * POWERCUT_DROP_FDATASYNC   if set: fdatasync of files with this in their path is not recorded, as if the process had
 *                           never asked for it
 *
 * An event is a line of decimal numbers and two lengths, then the bytes of two paths, then data:
 *
 *     KIND THREAD INODE OFFSET LENGTH PATH_LENGTH OTHER_PATH_LENGTH DATA_LENGTH \n PATH OTHER_PATH DATA
 *
 *     C PATH INODE      a new empty file           W INODE OFFSET DATA   written
 *     M PATH            a new directory            T INODE LENGTH        cut or extended to LENGTH
 *     R PATH OTHER      renamed                    S PATH INODE LENGTH   begins to sync, as number LENGTH
 *     U PATH            removed                    E LENGTH              that sync has ended well
 *                                                  OFFSET of S is 1 for fsync, 0 for fdatasync
 *     F INODE OFFSET LENGTH   sync_file_range: no barrier, a disk may keep it in its cache
 *     X PATH            something that this recorder cannot describe; PATH is its name
 *
 * Changes happen under one lock together with their event, so the order in the trace is the order on the disk,
 * whichever threads they come from. Syncs are not under it: what comes between S and E may or may not be synced. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DESCRIPTORS = 65536 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *dir;
static const char *drop;
static size_t dir_len;
static int trace = -1;
static unsigned long syncs;
/* Which descriptors are of files or directories below the directory. Guarded by the lock. */
static unsigned char is_ours[DESCRIPTORS];

static void die(const char *what) {
    static const char text[] = "record: cannot go on: ";
    ssize_t ignored = syscall(SYS_write, 2, text, sizeof text - 1);
    ignored = syscall(SYS_write, 2, what, strlen(what));
    ignored = syscall(SYS_write, 2, "\n", 1);
    (void)ignored;
    abort();
}

static void start(void) {
    const char *path = getenv("POWERCUT_TRACE");
    const char *below = getenv("POWERCUT_DIR");
    if (!path || !below) return;
    trace = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (trace < 0) die("the trace cannot be opened");
    drop = getenv("POWERCUT_DROP_FDATASYNC");
    dir_len = strlen(below);
    dir = below;
}

static void enter(void) {
    pthread_once(&once, start);
    pthread_mutex_lock(&lock);
}

static void leave(void) {
    int kept = errno;
    pthread_mutex_unlock(&lock);
    errno = kept;
}

/* One event; the lock is held. */
static void event(char kind, ino_t inode, off64_t offset, off64_t length, const char *path, const char *other,
                  const void *data, size_t data_len) {
    int kept = errno;
    char line[256];
    size_t path_len = path ? strlen(path) : 0, other_len = other ? strlen(other) : 0;
    int len = snprintf(line, sizeof line, "%c %ld %llu %lld %lld %zu %zu %zu\n", kind, syscall(SYS_gettid),
                       (unsigned long long)inode, (long long)offset, (long long)length, path_len, other_len, data_len);
    struct iovec parts[4] = {
        {line, (size_t)len}, {(void *)path, path_len}, {(void *)other, other_len}, {(void *)data, data_len}};
    ssize_t all = (ssize_t)((size_t)len + path_len + other_len + data_len);
    if (syscall(SYS_writev, trace, parts, 4) != all) die("the trace cannot be written");
    errno = kept;
}

static int is_below(const char *path) {
    return dir && strncmp(path, dir, dir_len) == 0 && (path[dir_len] == '/' || path[dir_len] == 0);
}

/* The path that a call means; NULL if it is none of ours. */
static const char *resolve(int at, const char *path, char *buffer) {
    char link[64];
    if (!dir || !path) return NULL;
    if (path[0] == '/') return is_below(path) ? path : NULL;
    if (at == AT_FDCWD) {
        if (!getcwd(buffer, PATH_MAX)) return NULL;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t len = readlink(link, buffer, PATH_MAX - 1);
        if (len < 0) return NULL;
        buffer[len] = 0;
    }
    size_t len = strlen(buffer), more = strlen(path);
    if (len + more + 2 > PATH_MAX) return NULL;
    buffer[len] = '/';
    memcpy(buffer + len + 1, path, more + 1);
    return is_below(buffer) ? buffer : NULL;
}

static int ours(int fd) { return dir && fd >= 0 && fd < DESCRIPTORS && is_ours[fd]; }

static void mark(int fd, int value) {
    if (fd >= DESCRIPTORS && value) die("too many descriptors");
    if (fd >= 0 && fd < DESCRIPTORS) is_ours[fd] = (unsigned char)value;
}

static ino_t inode_of(int fd) {
    struct stat64 found;
    if (fstat64(fd, &found)) die("fstat");
    return found.st_ino;
}

static off64_t size_of(int fd) {
    struct stat64 found;
    if (fstat64(fd, &found)) die("fstat");
    return found.st_size;
}

/* --- Opening and closing ------------------------------------------------------------------------------------------ */

static int open_recorded(int at, const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    struct stat64 before;
    enter();
    const char *name = resolve(at, path, buffer);
    int was_there = name && stat64(name, &before) == 0;
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0) {
        mark(fd, name != NULL);
        if (name && (flags & O_TMPFILE) == O_TMPFILE) event('X', 0, 0, 0, "O_TMPFILE", NULL, NULL, 0);
        if (name && !was_there) event('C', inode_of(fd), 0, 0, name, NULL, NULL, 0);
        if (name && was_there && (flags & O_TRUNC)) event('T', inode_of(fd), 0, 0, NULL, NULL, NULL, 0);
    }
    leave();
    return fd;
}

#define MODE(last)                                              \
    mode_t mode = 0;                                            \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
        va_list rest;                                           \
        va_start(rest, last);                                   \
        mode = va_arg(rest, mode_t);                            \
        va_end(rest);                                           \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    return open_recorded(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    return open_recorded(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int at, const char *path, int flags, ...) {
    MODE(flags)
    return open_recorded(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    MODE(flags)
    return open_recorded(at, path, flags | O_LARGEFILE, mode);
}

int creat(const char *path, mode_t mode) { return open_recorded(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    enter();
    mark(fd, 0);
    int result = (int)syscall(SYS_close, fd);
    leave();
    return result;
}

/* The lock is held; `to` is a copy of `from`, or -1. */
static int copied(int from, int to) {
    if (to >= 0) mark(to, ours(from));
    leave();
    return to;
}

int dup(int fd) {
    enter();
    return copied(fd, (int)syscall(SYS_dup, fd));
}

int dup3(int fd, int to, int flags) {
    enter();
    return copied(fd, (int)syscall(SYS_dup3, fd, to, flags));
}

int dup2(int fd, int to) {
    if (fd == to) return to;
    enter();
    return copied(fd, (int)syscall(SYS_dup3, fd, to, 0));
}

static int control(int fd, int command, void *argument) {
    if (command != F_DUPFD && command != F_DUPFD_CLOEXEC) return (int)syscall(SYS_fcntl, fd, command, argument);
    enter();
    return copied(fd, (int)syscall(SYS_fcntl, fd, command, argument));
}

#define FCNTL(name)                               \
    int name(int fd, int command, ...) {          \
        va_list rest;                             \
        va_start(rest, command);                  \
        void *argument = va_arg(rest, void *);    \
        va_end(rest);                             \
        return control(fd, command, argument);    \
    }

FCNTL(fcntl)
FCNTL(fcntl64)

/* --- Content ------------------------------------------------------------------------------------------------------ */

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset) {
    enter();
    ssize_t written = syscall(SYS_pwrite64, fd, data, len, offset);
    if (written > 0 && ours(fd)) event('W', inode_of(fd), offset, 0, NULL, NULL, data, (size_t)written);
    leave();
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset) { return pwrite64(fd, data, len, offset); }

/* Where the next write goes. */
static off64_t position(int fd) {
    int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
    return flags & O_APPEND ? size_of(fd) : lseek64(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t len) {
    enter();
    if (!ours(fd)) {
        leave();
        return syscall(SYS_write, fd, data, len);
    }
    off64_t offset = position(fd);
    ssize_t written = syscall(SYS_write, fd, data, len);
    if (written > 0) event('W', inode_of(fd), offset, 0, NULL, NULL, data, (size_t)written);
    leave();
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    enter();
    if (!ours(fd)) {
        leave();
        return syscall(SYS_writev, fd, parts, count);
    }
    off64_t offset = position(fd);
    ssize_t written = syscall(SYS_writev, fd, parts, count), rest = written;
    for (int part = 0; part < count && rest > 0; part++) {
        size_t len = parts[part].iov_len < (size_t)rest ? parts[part].iov_len : (size_t)rest;
        event('W', inode_of(fd), offset, 0, NULL, NULL, parts[part].iov_base, len);
        offset += (off64_t)len;
        rest -= (ssize_t)len;
    }
    leave();
    return written;
}

int ftruncate64(int fd, off64_t len) {
    enter();
    int result = (int)syscall(SYS_ftruncate, fd, len);
    if (!result && ours(fd)) event('T', inode_of(fd), 0, len, NULL, NULL, NULL, 0);
    leave();
    return result;
}

int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

/* --- Directories -------------------------------------------------------------------------------------------------- */

static int removed(int at, const char *path, int flags) {
    char buffer[PATH_MAX];
    enter();
    const char *name = resolve(at, path, buffer);
    int result = (int)syscall(SYS_unlinkat, at, path, flags);
    if (!result && name) event('U', 0, 0, 0, name, NULL, NULL, 0);
    leave();
    return result;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return removed(at, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int at, const char *path, mode_t mode) {
    char buffer[PATH_MAX];
    enter();
    const char *name = resolve(at, path, buffer);
    int result = (int)syscall(SYS_mkdirat, at, path, mode);
    if (!result && name) event('M', 0, 0, 0, name, NULL, NULL, 0);
    leave();
    return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int renameat2(int at, const char *from, int to_at, const char *to, unsigned flags) {
    char buffer[PATH_MAX], to_buffer[PATH_MAX];
    enter();
    const char *name = resolve(at, from, buffer), *other = resolve(to_at, to, to_buffer);
    int result = (int)syscall(SYS_renameat2, at, from, to_at, to, flags);
    if (!result && name && other && !(flags & RENAME_EXCHANGE)) {
        event('R', 0, 0, 0, name, other, NULL, 0);
    } else if (!result && (name || other)) {
        event('X', 0, 0, 0, "rename from or to another place", NULL, NULL, 0);
    }
    leave();
    return result;
}

int renameat(int at, const char *from, int to_at, const char *to) { return renameat2(at, from, to_at, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* --- Syncs -------------------------------------------------------------------------------------------------------- */

static int synced(long call, int fd) {
    char link[64], path[PATH_MAX];
    enter();
    int is_recorded = ours(fd);
    unsigned long number = 0;
    if (is_recorded) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, path, sizeof path - 1);
        if (len < 0) die("readlink");
        path[len] = 0;
        is_recorded = !(call == SYS_fdatasync && drop && strstr(path, drop));
    }
    if (is_recorded) {
        number = ++syncs;
        event('S', inode_of(fd), call == SYS_fsync, (off64_t)number, path, NULL, NULL, 0);
    }
    leave();
    int result = (int)syscall(call, fd);
    if (is_recorded && !result) {
        enter();
        event('E', 0, 0, (off64_t)number, NULL, NULL, NULL, 0);
        leave();
    }
    return result;
}

int fsync(int fd) { return synced(SYS_fsync, fd); }
int fdatasync(int fd) { return synced(SYS_fdatasync, fd); }

int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags) {
    int result = (int)syscall(SYS_sync_file_range, fd, offset, len, flags);
    enter();
    if (!result && ours(fd)) event('F', inode_of(fd), offset, len, NULL, NULL, NULL, 0);
    leave();
    return result;
}

/* --- What nobody here does; if somebody begins to, the trace says so ---------------------------------------------- */

#define UNKNOWN(fd, name)                                             \
    do {                                                              \
        enter();                                                      \
        if (ours(fd)) event('X', 0, 0, 0, name, NULL, NULL, 0);       \
        leave();                                                      \
    } while (0)

void *mmap64(void *at, size_t len, int protection, int flags, int fd, off64_t offset) {
    if ((protection & PROT_WRITE) && (flags & MAP_SHARED)) UNKNOWN(fd, "mmap of a file to be written");
    return (void *)syscall(SYS_mmap, at, len, protection, flags, fd, offset);
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset) {
    return mmap64(at, len, protection, flags, fd, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    UNKNOWN(fd, "pwritev");
    return syscall(SYS_pwritev, fd, parts, count, (long)offset, (long)(offset >> 32));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev64(fd, parts, count, offset);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len) {
    UNKNOWN(fd, "fallocate");
    return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

int fallocate(int fd, int mode, off_t offset, off_t len) { return fallocate64(fd, mode, offset, len); }

int posix_fallocate64(int fd, off64_t offset, off64_t len) { return fallocate64(fd, 0, offset, len) ? errno : 0; }
int posix_fallocate(int fd, off_t offset, off_t len) { return posix_fallocate64(fd, offset, len); }

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags) {
    UNKNOWN(out, "copy_file_range");
    return syscall(SYS_copy_file_range, in, in_at, out, out_at, len, flags);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t len) {
    UNKNOWN(out, "sendfile");
    return syscall(SYS_sendfile, out, in, offset, len);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t len) { return sendfile64(out, in, offset, len); }

static int linked(int result, const char *path, const char *what) {
    enter();
    if (!result && is_below(path)) event('X', 0, 0, 0, what, NULL, NULL, 0);
    leave();
    return result;
}

int link(const char *from, const char *to) {
    return linked((int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0), to, "link");
}

int symlink(const char *from, const char *to) {
    return linked((int)syscall(SYS_symlinkat, from, AT_FDCWD, to), to, "symlink");
}
