/*
 * What record-victim is, in C: records allocations from several threads until it is killed or has recorded enough.
 *
 *     victim RUN COUNTS THREADS EVENTS_PER_MILLISECOND [EVENTS]
 *
 * Threads are numbered from 1, since address 0 is NULL, which is not recorded: of THREADS, one less is made. Thread t's
 * n-th event allocates address t << 40 | n of 16 + 8 n bytes; once the call has returned, counter t of the file COUNTS
 * is n + 1.
 */
#define _GNU_SOURCE /* nanosleep, ftruncate */

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tidegauge.h"

enum { COUNTS_BYTES = 4096, STRIDE_WORDS = 8 };

static _Atomic uint64_t *counts;
static uint64_t per_millisecond, events;

static void *record(void *argument) {
    uint64_t thread = (uint64_t)(uintptr_t)argument;
    TidegaugeSite before = tidegauge_site_enter("victim");
    for (uint64_t n = 0; n < events; n++) {
        tidegauge_alloc(TIDEGAUGE_HOST, (const void *)(uintptr_t)(thread << 40 | n), (size_t)(16 + 8 * n));
        atomic_store(&counts[thread * STRIDE_WORDS], n + 1);
        if (n % per_millisecond == per_millisecond - 1) {
            tidegauge_mark("pause");
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        }
    }
    tidegauge_site_leave(before);
    return NULL;
}

static int fail(const char *what) {
    char message[512] = "";
    tidegauge_last_error_message(message, sizeof message);
    fprintf(stderr, "victim: %s: %s\n", what, message);
    return 1;
}

int main(int count, char **arguments) {
    if (count < 5) {
        return fail("arguments are missing");
    }
    int file = open(arguments[2], O_RDWR | O_CREAT, 0644);
    if (file < 0 || ftruncate(file, COUNTS_BYTES) != 0) {
        return fail("counts");
    }
    void *map = mmap(NULL, COUNTS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) {
        return fail("counts");
    }
    counts = map;
    uintptr_t threads = strtoul(arguments[3], NULL, 10);
    per_millisecond = strtoull(arguments[4], NULL, 10);
    events = count > 5 ? strtoull(arguments[5], NULL, 10) : UINT64_MAX;

    TidegaugeOptions *options = tidegauge_options_new(arguments[1]);
    tidegauge_options_set_join_existing(options, true);
    if (tidegauge_start_with(options) != TIDEGAUGE_STATUS_OK) {
        return fail("start");
    }
    tidegauge_options_free(options);
    pthread_t handles[64];
    for (uintptr_t t = 1; t < threads && t < 64; t++) {
        if (pthread_create(&handles[t], NULL, record, (void *)t) != 0) {
            return fail("thread");
        }
    }
    for (uintptr_t t = 1; t < threads && t < 64; t++) {
        pthread_join(handles[t], NULL);
    }
    return tidegauge_stop() == TIDEGAUGE_STATUS_OK ? 0 : fail("stop");
}
