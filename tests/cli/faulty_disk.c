/* Preloaded into a server: makes its syncs fail. $FAULTY_DISK.once fails the next one, $FAULTY_DISK.always all. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int fails(void) {
    const char *control = getenv("FAULTY_DISK");
    char path[4096];
    if (control == NULL) return 0;
    snprintf(path, sizeof path, "%s.once", control);
    if (unlink(path) == 0) return 1;
    snprintf(path, sizeof path, "%s.always", control);
    return access(path, F_OK) == 0;
}

static int synced(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (fails()) {
        errno = EIO;
        return -1;
    }
    return real(file);
}

int fsync(int file) { return synced("fsync", file); }
int fdatasync(int file) { return synced("fdatasync", file); }
