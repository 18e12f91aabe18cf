/*
 * Calls the C ABI in all the ways in which it must not fail silently, crash or disturb.
 *
 *     errors FOLDER: FOLDER is empty and writable. Records FOLDER/run, FOLDER/run-2 and FOLDER/child.
 *
 * Ends with 0 if everything was as it should be; says what was not.
 */
#define _GNU_SOURCE /* setenv */

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tidegauge.h"

#define CHECK(so) ((so) ? (void)0 : fail(__LINE__, #so))

static const char *message(void) {
    static _Thread_local char text[512];
    return tidegauge_last_error_message(text, sizeof text) > 0 ? text : "";
}

static void fail(int line, const char *what) {
    fprintf(stderr, "errors.c:%d: not so: %s (last error: %s)\n", line, what, message());
    exit(1);
}

static char *path(const char *folder, const char *name) {
    char *joined = malloc(strlen(folder) + strlen(name) + 2);
    CHECK(joined != NULL);
    sprintf(joined, "%s/%s", folder, name);
    return joined;
}

/* Every recording function, with arguments good and bad; 6 allocations and frees that count. */
static void record_everything(void) {
    static char long_name[100001];
    memset(long_name, 'x', sizeof long_name - 1);
    const char *names[] = {"a name", NULL, "", "\xff\xfe of no encoding", long_name};
    const double loss = NAN;
    const uint64_t batch_size = 4;
    int block;
    errno = 77;
    tidegauge_epoch_begin(3);
    tidegauge_step_begin(-5);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        tidegauge_mark(names[n]);
        tidegauge_span_begin(names[n]);
        tidegauge_counter(names[n], 0.5);
        TidegaugeSite before = tidegauge_site_enter(names[n]);
        tidegauge_site_enter("never left");
        tidegauge_site_leave(before);
        tidegauge_span_end(names[n]);
    }
    tidegauge_alloc(TIDEGAUGE_HOST, &block, sizeof block);
    tidegauge_free(TIDEGAUGE_HOST, &block);
    tidegauge_alloc_at(0, &block, 100, "here only");
    tidegauge_free(0, &block);
    tidegauge_alloc_at(0, &block, 200, NULL);
    tidegauge_free(0, &block);
    tidegauge_alloc(TIDEGAUGE_HOST, NULL, 100);
    tidegauge_alloc_at(TIDEGAUGE_HOST, NULL, 100, "nowhere");
    tidegauge_free(TIDEGAUGE_HOST, NULL);
    tidegauge_site_leave((TidegaugeSite){0, 0});
    tidegauge_site_leave((TidegaugeSite){4000000000u, 4000000000u});
    tidegauge_loss_evaluation(1, INFINITY);
    tidegauge_step_end(-5, &loss, &batch_size);
    tidegauge_step_end(-5, NULL, NULL);
    tidegauge_epoch_end(3);
    CHECK(errno == 77);
}

static void check_off(void) {
    CHECK(!tidegauge_is_on());
    CHECK(tidegauge_run_path(NULL, 0) == 0);
    CHECK(tidegauge_dropped_records() == 0);
    CHECK(tidegauge_stop() == TIDEGAUGE_STATUS_OFF);
    record_everything();
}

static void check_arguments(const char *folder) {
    CHECK(strlen(tidegauge_version()) >= 5);
    CHECK(tidegauge_last_error_message(NULL, 0) == 0);
    CHECK(tidegauge_start(NULL) == TIDEGAUGE_STATUS_NULL_ARGUMENT && strcmp(message(), "run is NULL") == 0);
    char text[6];
    CHECK(tidegauge_last_error_message(text, sizeof text) == sizeof "run is NULL");
    CHECK(memcmp(text, "run i", sizeof text) == 0);
    CHECK(tidegauge_start_with(NULL) == TIDEGAUGE_STATUS_NULL_ARGUMENT && strcmp(message(), "options is NULL") == 0);
    CHECK(tidegauge_options_new(NULL) == NULL && strcmp(message(), "run is NULL") == 0);
    CHECK(tidegauge_recover(NULL, NULL) == TIDEGAUGE_STATUS_NULL_ARGUMENT);
    CHECK(tidegauge_options_set_rank(NULL, 1) == TIDEGAUGE_STATUS_NULL_ARGUMENT);
    CHECK(tidegauge_options_set_config_text(NULL, "key", "value") == TIDEGAUGE_STATUS_NULL_ARGUMENT);
    tidegauge_options_free(NULL);

    TidegaugeOptions *options = tidegauge_options_new("anywhere");
    CHECK(tidegauge_options_set_config_text(options, NULL, "value") == TIDEGAUGE_STATUS_NULL_ARGUMENT);
    CHECK(strcmp(message(), "key is NULL") == 0);
    CHECK(tidegauge_options_set_config_text(options, "key", NULL) == TIDEGAUGE_STATUS_NULL_ARGUMENT);
    CHECK(strcmp(message(), "value is NULL") == 0);
    CHECK(tidegauge_options_set_config_number(options, "key", NAN) == TIDEGAUGE_STATUS_INVALID_ARGUMENT);
    CHECK(tidegauge_options_set_config_number(options, "key", 0.5) == TIDEGAUGE_STATUS_OK);
    CHECK(strstr(message(), "finite") != NULL); /* of the last call that failed */
    tidegauge_options_free(options);

    char *file = path(folder, "file"), *below = path(folder, "file/run");
    FILE *made = fopen(file, "w");
    CHECK(made != NULL && fclose(made) == 0);
    CHECK(tidegauge_start(file) == TIDEGAUGE_STATUS_FOLDER && strstr(message(), file) != NULL);
    CHECK(tidegauge_start(below) == TIDEGAUGE_STATUS_FOLDER && strstr(message(), below) != NULL);
    CHECK(tidegauge_recover(below, NULL) == TIDEGAUGE_STATUS_TRACE);
    CHECK(tidegauge_recover(folder, NULL) == TIDEGAUGE_STATUS_TRACE && strstr(message(), folder) != NULL);
    free(file);
    free(below);
}

static void check_environment(void) {
    CHECK(tidegauge_start_from_environment() == TIDEGAUGE_STATUS_OFF);
    TidegaugeOptions *options = tidegauge_options_from_environment();
    CHECK(options != NULL && tidegauge_options_set_rank(options, 1) == TIDEGAUGE_STATUS_OK);
    CHECK(tidegauge_start_with(options) == TIDEGAUGE_STATUS_OFF);
    tidegauge_options_free(options);
}

static TidegaugeOptions *all_options(const char *run) {
    TidegaugeOptions *options = tidegauge_options_new(run);
    CHECK(tidegauge_options_set_config_text(options, "text", "\xc3\xa4\xff") == TIDEGAUGE_STATUS_OK);
    CHECK(tidegauge_options_set_config_integer(options, "integer", -7) == TIDEGAUGE_STATUS_OK);
    CHECK(tidegauge_options_set_config_number(options, "number", 0.25) == TIDEGAUGE_STATUS_OK);
    CHECK(tidegauge_options_set_interval_millis(options, 5) == TIDEGAUGE_STATUS_OK);
    CHECK(tidegauge_options_set_journal_cap_bytes(options, 64 << 20) == TIDEGAUGE_STATUS_OK);
    CHECK(tidegauge_options_set_counters_at_checkpoints(options, false) == TIDEGAUGE_STATUS_OK);
    CHECK(tidegauge_options_set_rank(options, 3) == TIDEGAUGE_STATUS_OK);
    CHECK(tidegauge_options_set_ring(options, 0) == TIDEGAUGE_STATUS_INVALID_ARGUMENT);
    CHECK(tidegauge_options_set_windows(options, 0, 0) == TIDEGAUGE_STATUS_INVALID_ARGUMENT);
    CHECK(tidegauge_options_set_join_existing(options, false) == TIDEGAUGE_STATUS_OK);
    return options;
}

/* In a thread of its own: it has no error of the others, and may stop what another one started. */
static void *stop_elsewhere(void *unused) {
    (void)unused;
    CHECK(strcmp(message(), "") == 0);
    CHECK(tidegauge_stop() == TIDEGAUGE_STATUS_OK);
    CHECK(strcmp(message(), "") == 0);
    return NULL;
}

static void check_child(const char *folder) {
    pid_t child = fork();
    if (child == 0) {
        char *run = path(folder, "child"), taken[4096];
        check_off();
        CHECK(tidegauge_start(run) == TIDEGAUGE_STATUS_OK && tidegauge_is_on());
        record_everything();
        CHECK(tidegauge_run_path(taken, sizeof taken) == strlen(run) + 1 && strcmp(taken, run) == 0);
        CHECK(tidegauge_stop() == TIDEGAUGE_STATUS_OK);
        _exit(0);
    }
    int status = 1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

int main(int count, char **arguments) {
    CHECK(count == 2 && unsetenv("TIDEGAUGE") == 0);
    const char *folder = arguments[1];
    char *run = path(folder, "run"), *second = path(folder, "run-2"), taken[4096];
    check_off();
    check_arguments(folder);
    check_environment();
    check_off();

    TidegaugeOptions *options = all_options(run);
    CHECK(tidegauge_start_with(options) == TIDEGAUGE_STATUS_OK && tidegauge_is_on());
    CHECK(tidegauge_start_with(options) == TIDEGAUGE_STATUS_ALREADY_RECORDING);
    CHECK(strstr(message(), "already on") != NULL);
    CHECK(tidegauge_start(second) == TIDEGAUGE_STATUS_ALREADY_RECORDING);
    CHECK(tidegauge_recover(run, NULL) == TIDEGAUGE_STATUS_STILL_RECORDING);
    CHECK(tidegauge_run_path(taken, sizeof taken) == strlen(run) + 1 && strcmp(taken, run) == 0);
    CHECK(tidegauge_run_path(taken, 4) == strlen(run) + 1 && strlen(taken) == 3);
    record_everything();
    check_child(folder);
    CHECK(tidegauge_is_on());
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, stop_elsewhere, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(!tidegauge_is_on() && tidegauge_stop() == TIDEGAUGE_STATUS_OFF);
    CHECK(tidegauge_run_path(taken, sizeof taken) == strlen(run) + 1 && strcmp(taken, run) == 0);
    TidegaugeRecovered recovered = {7, 7, 7, 7};
    CHECK(tidegauge_recover(run, &recovered) == TIDEGAUGE_STATUS_OK && recovered.processes == 0);
    CHECK(recovered.records == 0 && recovered.uncommitted_records == 0 && recovered.damages == 0);

    TidegaugeSite before = {1, 1}; /* of a recording that is over */
    CHECK(setenv("TIDEGAUGE", run, 1) == 0);
    CHECK(tidegauge_start_from_environment() == TIDEGAUGE_STATUS_OK);
    CHECK(tidegauge_run_path(taken, sizeof taken) > 0 && strcmp(taken, second) == 0);
    tidegauge_site_leave(before);
    tidegauge_alloc(TIDEGAUGE_HOST, &before, sizeof before);
    CHECK(tidegauge_stop() == TIDEGAUGE_STATUS_OK);
    tidegauge_options_free(options);
    free(run);
    free(second);
    return 0;
}
