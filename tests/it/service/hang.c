/* Preloaded into the daemon: as long as the file named by HANG exists, syncing a file of its data does not return. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void hang(void) {
    const char *path = getenv("HANG");
    while (path && access(path, F_OK) == 0) usleep(1000);
}

static int through(const char *name, int fd) {
    union { void *found; int (*call)(int); } real = { dlsym(RTLD_NEXT, name) };
    hang();
    return real.call(fd);
}

int fsync(int fd) { return through("fsync", fd); }
int fdatasync(int fd) { return through("fdatasync", fd); }
