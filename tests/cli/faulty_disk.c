/* Preloaded into a server: makes its syncs fail. $FAULTY_DISK.once fails the next one, $FAULTY_DISK.always all, and
   $FAULTY_DISK.database those of files that are no log. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_set(const char *fault, int consume) {
    const char *control = getenv("FAULTY_DISK");
    char path[4096];
    if (control == NULL) return 0;
    snprintf(path, sizeof path, "%s.%s", control, fault);
    return (consume ? unlink(path) : access(path, F_OK)) == 0;
}

static int is_log(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path);
    return length > 4 && memcmp(path + length - 4, "-wal", 4) == 0;
}

static int synced(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (is_set("once", 1) || is_set("always", 0) || (is_set("database", 0) && !is_log(file))) {
        errno = EIO;
        return -1;
    }
    return real(file);
}

int fsync(int file) { return synced("fsync", file); }
int fdatasync(int file) { return synced("fdatasync", file); }
