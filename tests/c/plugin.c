/*
 * Loads the library when it already runs, as a plugin or another language does, and closes it while it records.
 *
 *     plugin LIBRARY RUN: records EVENTS allocations, half of them before it closes the library.
 */
#include <dlfcn.h>
#include <stdio.h>

#include "tidegauge.h"

enum { EVENTS = 200000 };

static void *library;
static TidegaugeStatus (*start)(const char *run);
static TidegaugeStatus (*stop)(void);
static void (*alloc)(int16_t device, const void *address, size_t bytes);

/* ISO C has no conversion of what dlsym returns into a function; POSIX has this. */
static int find(void *function, const char *name) {
    *(void **)function = dlsym(library, name);
    return *(void **)function != NULL;
}

static int open_library(const char *path) {
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return library != NULL && find(&start, "tidegauge_start") && find(&stop, "tidegauge_stop")
        && find(&alloc, "tidegauge_alloc");
}

static void record(uintptr_t from, uintptr_t to) {
    for (uintptr_t n = from; n < to; n++) {
        alloc(TIDEGAUGE_HOST, (const void *)(n + 1), 8);
    }
}

int main(int count, char **arguments) {
    if (count != 3 || !open_library(arguments[1])) {
        fprintf(stderr, "plugin: %s\n", dlerror());
        return 1;
    }
    /* Once there it stays, also while nothing keeps it: other threads may be inside a call. */
    if (dlclose(library) != 0 || dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD) == NULL) {
        return 5;
    }
    if (start(arguments[2]) != TIDEGAUGE_STATUS_OK) {
        return 2;
    }
    record(0, EVENTS / 2);
    /* The recorder's threads go on. */
    if (dlclose(library) != 0 || !open_library(arguments[1])) {
        return 3;
    }
    record(EVENTS / 2, EVENTS);
    return stop() == TIDEGAUGE_STATUS_OK ? 0 : 4;
}
