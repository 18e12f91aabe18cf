/*
 * Trains a small network on several threads and records itself through the C ABI.
 *
 *     cargo build --workspace
 *     cc -std=c11 -O2 -pthread -I recorder/include examples/c/train.c -o train \
 *         -L target/debug -ltidegauge_recorder -Wl,-rpath,"$PWD/target/debug" -lm
 *     TIDEGAUGE=runs/c ./train [EPOCHS [STEPS]]
 *     tidegauge summary runs/c
 *
 * Without TIDEGAUGE in the environment nothing is recorded. Parameters, momentum and gradients come from malloc,
 * activations from a pool of the program's own. It keeps an account of its own of what it tells the recorder, and
 * prints it at the end: the trace must say the same.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tidegauge.h"

enum { INPUTS = 16, HIDDEN = 64, WORKERS = 3, ROWS = 96, BATCH = WORKERS * ROWS, POOL_BYTES = 1 << 20 };

/* ---- what was recorded, counted independently of the recorder ---- */

static struct {
    pthread_mutex_t lock;
    uint64_t events, live_bytes, peak_bytes;
} account = {PTHREAD_MUTEX_INITIALIZER, 0, 0, 0};

/* The recorder needs no lock. This one makes the account's order the same as the trace's, so that peaks agree. */
static void count_alloc(const void *block, size_t bytes) {
    pthread_mutex_lock(&account.lock);
    tidegauge_alloc(TIDEGAUGE_HOST, block, bytes);
    account.events++;
    account.live_bytes += bytes;
    if (account.live_bytes > account.peak_bytes) {
        account.peak_bytes = account.live_bytes;
    }
    pthread_mutex_unlock(&account.lock);
}

static void count_free(const void *block, size_t bytes) {
    pthread_mutex_lock(&account.lock);
    tidegauge_free(TIDEGAUGE_HOST, block);
    account.events++;
    account.live_bytes -= bytes;
    pthread_mutex_unlock(&account.lock);
}

static void *must(void *memory) {
    if (memory == NULL || memory == MAP_FAILED) {
        perror("train: memory");
        exit(1);
    }
    return memory;
}

/* malloc and free, recorded: a block after it was obtained, its end before it is given back. */
static double *new_numbers(size_t count) {
    double *numbers = must(calloc(count, sizeof *numbers));
    count_alloc(numbers, count * sizeof *numbers);
    return numbers;
}

static void free_numbers(double *numbers, size_t count) {
    count_free(numbers, count * sizeof *numbers);
    free(numbers);
}

/* ---- a pool: its blocks are recorded, the memory that it cuts them from is not ---- */

struct pool {
    char *memory;
    size_t used, sizes[8];
    void *blocks[8];
    int count;
};

static double *pool_take(struct pool *pool, size_t count) {
    size_t bytes = count * sizeof(double);
    if (pool->count == 8 || bytes > POOL_BYTES - pool->used) {
        fprintf(stderr, "train: the pool is too small\n");
        exit(1);
    }
    void *block = pool->memory + pool->used;
    pool->used += bytes;
    pool->sizes[pool->count] = bytes;
    pool->blocks[pool->count++] = block;
    count_alloc(block, bytes);
    return block;
}

static void pool_give_back_all(struct pool *pool) {
    while (pool->count > 0) {
        pool->count--;
        count_free(pool->blocks[pool->count], pool->sizes[pool->count]);
    }
    pool->used = 0;
}

/* ---- the model: tanh(x W1 + b1) W2 + b2, all parameters in one array ---- */

enum { W1 = 0, B1 = INPUTS * HIDDEN, W2 = B1 + HIDDEN, B2 = W2 + HIDDEN, PARAMETERS = B2 + 1 };

struct worker {
    struct pool pool;
    const double *parameters;
    double *gradients;
    uint64_t seed;
    double loss;
    /* In the pool, from forward to backward. */
    double *inputs, *targets, *hidden, *outputs;
};

static double random_number(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / 9007199254740992.0 * 2.0 - 1.0;
}

static void *forward(void *argument) {
    struct worker *worker = argument;
    const double *parameters = worker->parameters;
    TidegaugeSite before = tidegauge_site_enter("batch");
    worker->inputs = pool_take(&worker->pool, ROWS * INPUTS);
    worker->targets = pool_take(&worker->pool, ROWS);
    for (int row = 0; row < ROWS; row++) {
        double sum = 0.0;
        for (int i = 0; i < INPUTS; i++) {
            worker->inputs[row * INPUTS + i] = random_number(&worker->seed);
            sum += worker->inputs[row * INPUTS + i] * (i % 3 - 1);
        }
        worker->targets[row] = sin(sum);
    }
    tidegauge_site_leave(before);

    before = tidegauge_site_enter("hidden");
    worker->hidden = pool_take(&worker->pool, ROWS * HIDDEN);
    tidegauge_site_leave(before);
    before = tidegauge_site_enter("output");
    worker->outputs = pool_take(&worker->pool, ROWS);
    worker->loss = 0.0;
    for (int row = 0; row < ROWS; row++) {
        double output = parameters[B2];
        for (int h = 0; h < HIDDEN; h++) {
            double sum = parameters[B1 + h];
            for (int i = 0; i < INPUTS; i++) {
                sum += worker->inputs[row * INPUTS + i] * parameters[W1 + i * HIDDEN + h];
            }
            worker->hidden[row * HIDDEN + h] = tanh(sum);
            output += worker->hidden[row * HIDDEN + h] * parameters[W2 + h];
        }
        worker->outputs[row] = output;
        worker->loss += (output - worker->targets[row]) * (output - worker->targets[row]);
    }
    tidegauge_site_leave(before);
    return NULL;
}

static void *backward(void *argument) {
    struct worker *worker = argument;
    TidegaugeSite before = tidegauge_site_enter("gradients");
    double *gradients = worker->gradients = new_numbers(PARAMETERS);
    for (int row = 0; row < ROWS; row++) {
        double slope = 2.0 * (worker->outputs[row] - worker->targets[row]) / BATCH;
        gradients[B2] += slope;
        for (int h = 0; h < HIDDEN; h++) {
            double hidden = worker->hidden[row * HIDDEN + h];
            double inner = slope * worker->parameters[W2 + h] * (1.0 - hidden * hidden);
            gradients[W2 + h] += slope * hidden;
            gradients[B1 + h] += inner;
            for (int i = 0; i < INPUTS; i++) {
                gradients[W1 + i * HIDDEN + h] += inner * worker->inputs[row * INPUTS + i];
            }
        }
    }
    tidegauge_site_leave(before);
    pool_give_back_all(&worker->pool);
    return NULL;
}

static void on_all(struct worker *workers, void *(*work)(void *)) {
    pthread_t threads[WORKERS];
    for (int w = 0; w < WORKERS; w++) {
        if (pthread_create(&threads[w], NULL, work, &workers[w]) != 0) {
            perror("train: thread");
            exit(1);
        }
    }
    for (int w = 0; w < WORKERS; w++) {
        pthread_join(threads[w], NULL);
    }
}

/* The loss on other data, in a forked child: it allocates and calls the recorder as its parent does, for nothing. */
static double evaluate(const struct worker *as) {
    int ends[2];
    double result[2] = {0.0, 1.0};
    if (pipe(ends) != 0) {
        perror("train: pipe");
        exit(1);
    }
    pid_t child = fork();
    if (child == 0) {
        struct worker own = *as;
        own.seed = 999;
        tidegauge_mark("in the child");
        forward(&own);
        pool_give_back_all(&own.pool);
        result[0] = own.loss / ROWS;
        result[1] = tidegauge_is_on();
        tidegauge_stop();
        _exit(write(ends[1], result, sizeof result) != sizeof result);
    }
    close(ends[1]);
    ssize_t got = child > 0 ? read(ends[0], result, sizeof result) : 0;
    close(ends[0]);
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0 || got != sizeof result) {
        fprintf(stderr, "train: evaluation failed\n");
        exit(1);
    }
    if (result[1] != 0.0) {
        fprintf(stderr, "train: the child records\n");
        exit(1);
    }
    return result[0];
}

static TidegaugeStatus start_recording(void) {
    TidegaugeOptions *options = tidegauge_options_from_environment();
    tidegauge_options_set_config_text(options, "model", "mlp");
    tidegauge_options_set_config_integer(options, "batch_size", BATCH);
    tidegauge_options_set_config_number(options, "momentum", 0.9);
    TidegaugeStatus status = tidegauge_start_with(options);
    tidegauge_options_free(options);
    return status;
}

static void complain(const char *what) {
    char message[512];
    tidegauge_last_error_message(message, sizeof message);
    fprintf(stderr, "train: %s: %s\n", what, message);
}

int main(int count, char **arguments) {
    uint32_t epochs = count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 10) : 3;
    int64_t steps = count > 2 ? strtoll(arguments[2], NULL, 10) : 40;
    if (start_recording() > TIDEGAUGE_STATUS_OFF) {
        complain("not recorded"); /* and trained all the same */
    }
    printf("recording %s\n", tidegauge_is_on() ? "on" : "off");

    uint64_t seed = 7;
    const uint64_t batch_size = BATCH;
    TidegaugeSite before = tidegauge_site_enter("model");
    double *parameters = new_numbers(PARAMETERS), *momentum = new_numbers(PARAMETERS);
    tidegauge_site_leave(before);
    for (int p = 0; p < B2; p++) {
        parameters[p] = random_number(&seed) * (p < B1 ? 0.4 : 0.2);
    }
    struct worker workers[WORKERS] = {0};
    for (int w = 0; w < WORKERS; w++) {
        void *memory = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        workers[w] = (struct worker){.pool = {.memory = must(memory)}, .parameters = parameters, .seed = (uint64_t)w};
    }

    int64_t number = 0;
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        double rate = 0.1 / (1.0 + epoch);
        tidegauge_epoch_begin(epoch);
        for (int64_t end = number + steps; number < end; number++) {
            tidegauge_step_begin(number);
            tidegauge_counter("learning_rate", rate);
            tidegauge_span_begin("forward");
            on_all(workers, forward);
            tidegauge_span_end("forward");
            tidegauge_span_begin("backward");
            on_all(workers, backward);
            tidegauge_span_end("backward");
            tidegauge_span_begin("optimizer");
            double loss = 0.0;
            for (int w = 0; w < WORKERS; w++) {
                loss += workers[w].loss / BATCH;
                for (int p = 0; p < PARAMETERS; p++) {
                    momentum[p] = (w == 0 ? 0.9 : 1.0) * momentum[p] + workers[w].gradients[p];
                }
                free_numbers(workers[w].gradients, PARAMETERS);
            }
            for (int p = 0; p < PARAMETERS; p++) {
                parameters[p] -= rate * momentum[p];
            }
            tidegauge_span_end("optimizer");
            tidegauge_step_end(number, &loss, &batch_size);
            printf("step %" PRId64 " %.17g\n", number, loss);
        }
        fflush(stdout); /* or the child prints it as well */
        double loss = evaluate(&workers[0]);
        tidegauge_loss_evaluation(epoch, loss);
        tidegauge_epoch_end(epoch);
        printf("evaluation %" PRIu32 " %.17g\n", epoch, loss);
    }

    free_numbers(momentum, PARAMETERS);
    printf("events %" PRIu64 "\n", account.events);
    printf("peak_bytes %" PRIu64 "\n", account.peak_bytes);
    printf("live_bytes %" PRIu64 "\n", account.live_bytes);
    printf("dropped %" PRIu64 "\n", tidegauge_dropped_records());
    if (tidegauge_stop() > TIDEGAUGE_STATUS_OFF) {
        complain("the trace is not whole");
    }
    char run[4096];
    if (tidegauge_run_path(run, sizeof run) > 0) {
        printf("trace %s\n", run);
    }
    free(parameters);
    for (int w = 0; w < WORKERS; w++) {
        munmap(workers[w].pool.memory, POOL_BYTES);
    }
    return 0;
}
