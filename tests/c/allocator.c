/*
 * A program with a malloc of its own that records every block: the recorder must neither record itself nor wait for
 * itself, however deep inside an allocation it is called.
 *
 *     allocator RUN: allocates BLOCKS blocks of BLOCK_BYTES bytes in each of THREADS threads, and prints their number.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidegauge.h"

enum { THREADS = 3, BLOCKS = 200000, BLOCK_BYTES = 777 };

/* The C library's own functions, under the names that it has for this purpose. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *block);

static void *recorded(void *block, size_t bytes) {
    tidegauge_alloc(TIDEGAUGE_HOST, block, bytes);
    return block;
}

void *malloc(size_t bytes) {
    return recorded(__libc_malloc(bytes), bytes);
}

void *calloc(size_t count, size_t bytes) {
    return recorded(__libc_calloc(count, bytes), count * bytes);
}

void *realloc(void *block, size_t bytes) {
    tidegauge_free(TIDEGAUGE_HOST, block);
    return recorded(__libc_realloc(block, bytes), bytes);
}

void *memalign(size_t alignment, size_t bytes) {
    return recorded(__libc_memalign(alignment, bytes), bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    return memalign(alignment, bytes);
}

int posix_memalign(void **block, size_t alignment, size_t bytes) {
    *block = memalign(alignment, bytes);
    return *block == NULL ? ENOMEM : 0;
}

void free(void *block) {
    tidegauge_free(TIDEGAUGE_HOST, block);
    __libc_free(block);
}

static void *allocate(void *unused) {
    (void)unused;
    char name[32];
    void *block = NULL;
    for (int n = 0; n < BLOCKS; n++) {
        if (n % 1000 == 0) {
            /* New names, so that the table of names grows while others record. */
            sprintf(name, "thread %p block %d", (void *)name, n);
            tidegauge_mark(name);
        }
        block = malloc(BLOCK_BYTES);
        if (block == NULL) {
            exit(1);
        }
        memset(block, n, BLOCK_BYTES);
        free(block);
    }
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t threads[THREADS];
    if (count != 2 || tidegauge_start(arguments[1]) != TIDEGAUGE_STATUS_OK) {
        return 1;
    }
    for (int t = 0; t < THREADS; t++) {
        if (pthread_create(&threads[t], NULL, allocate, NULL) != 0) {
            return 1;
        }
    }
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
    }
    if (tidegauge_stop() != TIDEGAUGE_STATUS_OK) {
        return 1;
    }
    printf("%d %d\n", THREADS * BLOCKS, BLOCK_BYTES);
    return 0;
}
