/*
 * Tidegauge: records what a training run does to memory, for analysis afterwards.
 *
 * Made by `make header` of recorder/src/c_api; changes here are lost. Link with -ltidegauge_recorder.
 *
 *     #include "tidegauge.h"
 *
 *     tidegauge_start_from_environment();    // TIDEGAUGE=runs/a ./train
 *     for (int64_t step = 0; step < steps; step++) {
 *         tidegauge_step_begin(step);
 *         tidegauge_span_begin("forward");
 *         ...
 *         tidegauge_span_end("forward");
 *         tidegauge_step_end(step, &loss, NULL);
 *     }
 *     tidegauge_stop();
 *
 * Rules that hold for every function; what is more, or otherwise, stands at the function.
 *
 * Off      While nothing records, a recording function costs a load and a branch. It never fails: what cannot be
 *          recorded is counted. Only starting, stopping, recovering and options return a status.
 * Threads  Any thread may call any function, and several at once. The recorder is one for the whole process; recording
 *          functions take no lock and do not wait, but for the moment in which a name is used first.
 * Fork     A forked child forgets the recorder: its calls record nothing and do nothing to the parent's trace. It may
 *          start a recorder of its own. A program that it executes inherits nothing. A child of vfork calls nothing.
 * Signals  No signal is claimed and no handler set. From a handler only what says so may be called: the others could
 *          have been interrupted by it half way.
 * errno    Recording functions leave it as it was.
 * Strings  End with a NUL and are UTF-8; in names, what is not UTF-8 is replaced. The caller keeps them: they are copied.
 * Kills    A record whose call has returned survives the process, however that ends. Power loss may cost
 *          what was not sealed yet.
 */

#ifndef TIDEGAUGE_H
#define TIDEGAUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The device of host memory; accelerators are 0, 1, …
 */
#define TIDEGAUGE_HOST -1

/**
 * A block was handed out.
 */
#define TIDEGAUGE_EVENT_ALLOC 1

/**
 * A block was requested back and returned at once.
 */
#define TIDEGAUGE_EVENT_FREE 2

/**
 * The program gave a block up; a stream may still use it.
 */
#define TIDEGAUGE_EVENT_FREE_REQUESTED 3

/**
 * No stream uses the block any more.
 */
#define TIDEGAUGE_EVENT_FREE_COMPLETED 4

/**
 * Memory was taken from the device.
 */
#define TIDEGAUGE_EVENT_SEGMENT_ALLOC 5

/**
 * Memory was returned to the device.
 */
#define TIDEGAUGE_EVENT_SEGMENT_FREE 6

/**
 * Pages of an expandable segment were mapped.
 */
#define TIDEGAUGE_EVENT_SEGMENT_MAP 7

/**
 * Pages of an expandable segment were unmapped.
 */
#define TIDEGAUGE_EVENT_SEGMENT_UNMAP 8

/**
 * A block was alive before allocations were recorded.
 */
#define TIDEGAUGE_EVENT_BASELINE 12

/**
 * No stream in particular.
 */
#define TIDEGAUGE_ANY_STREAM UINT64_MAX

/**
 * What became of a call. Those below TIDEGAUGE_STATUS_NULL_ARGUMENT are no failures; for the others
 * tidegauge_last_error_message says what was wrong, with which file. More may be added: treat what you do not know as a
 * failure.
 */
typedef enum {
    /**
     * Done.
     */
    TIDEGAUGE_STATUS_OK = 0,
    /**
     * There is nothing to do: the environment names no run to start, or no recording is on that could be stopped.
     */
    TIDEGAUGE_STATUS_OFF = 1,
    /**
     * An argument is NULL that must not be.
     */
    TIDEGAUGE_STATUS_NULL_ARGUMENT = 10,
    /**
     * An argument has a value that cannot be used, such as a config number that is not finite.
     */
    TIDEGAUGE_STATUS_INVALID_ARGUMENT = 11,
    /**
     * A recorder of this process is on already.
     */
    TIDEGAUGE_STATUS_ALREADY_RECORDING = 12,
    /**
     * The trace folder cannot be made or claimed.
     */
    TIDEGAUGE_STATUS_FOLDER = 13,
    /**
     * The journal cannot be made.
     */
    TIDEGAUGE_STATUS_JOURNAL = 14,
    /**
     * A process of the trace still records.
     */
    TIDEGAUGE_STATUS_STILL_RECORDING = 15,
    /**
     * Not all records could be sealed. They are kept in the journal; `tidegauge-record recover` seals them.
     */
    TIDEGAUGE_STATUS_NOT_SEALED = 16,
    /**
     * The trace cannot be read or written, or is none.
     */
    TIDEGAUGE_STATUS_TRACE = 17,
    /**
     * A defect of the recorder.
     */
    TIDEGAUGE_STATUS_INTERNAL = 18,
} TidegaugeStatus;

/**
 * How to record: made by tidegauge_options_new or tidegauge_options_from_environment, filled in, used by
 * tidegauge_start_with as often as wanted, given back by tidegauge_options_free. One thread at a time may use an object.
 */
typedef struct TidegaugeOptions TidegaugeOptions;

/**
 * What tidegauge_recover did, over all processes of the trace.
 */
typedef struct {
    /**
     * Processes whose journal was sealed.
     */
    uint64_t processes;
    /**
     * Records that were sealed.
     */
    uint64_t records;
    /**
     * Records that had been begun and not finished when their process died.
     */
    uint64_t uncommitted_records;
    /**
     * Things that could not be trusted and were left out.
     */
    uint64_t damages;
} TidegaugeRecovered;

/**
 * Where a thread was before it entered a site: what tidegauge_site_leave takes. To be passed on as it is.
 */
typedef struct {
    /**
     * The recording that it is of; 0 none.
     */
    uint32_t recording;
    /**
     * The site; 0 none.
     */
    uint32_t site;
} TidegaugeSite;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * What was wrong in the last call of this thread that failed: one line of UTF-8, lower case, without a newline. It stays
 * until the next call of this thread that fails.
 *
 * Copies at most `length` bytes into `buffer`, the NUL included; a longer message is cut. Returns the bytes that the
 * whole message takes, the NUL included, or 0 if no call of this thread has failed. With `length` 0, `buffer` may be
 * NULL.
 *
 * Thread: any; each has a message of its own. Forked child: has the message of the thread that forked. Signal handler:
 * no. Inside an allocator: no.
 */
size_t tidegauge_last_error_message(char *buffer,
                                    size_t length);

/**
 * Options for recording into the trace folder `run`, with everything else at its default. Paths are taken byte by byte.
 * NULL if `run` is NULL; to be given back by tidegauge_options_free otherwise.
 *
 * Thread: any. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeOptions *tidegauge_options_new(const char *run);

/**
 * Options for recording into the folder that the environment variable TIDEGAUGE names. If it names none, what is set on
 * them has no effect and tidegauge_start_with returns TIDEGAUGE_STATUS_OFF: a program needs no branch of its own. To be
 * given back by tidegauge_options_free.
 *
 * Thread: any, while no other one changes the environment. Forked child: may call it. Signal handler: no. Inside an
 * allocator: no.
 */
TidegaugeOptions *tidegauge_options_from_environment(void);

/**
 * Gives options back. NULL is ignored.
 *
 * Thread: any, once. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
void tidegauge_options_free(TidegaugeOptions *options);

/**
 * Adds a text to the run's configuration, which analyses and comparisons can refer to: a model's name, a precision.
 * What is not UTF-8 is replaced. A key that is there already gets the new value.
 *
 * Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_options_set_config_text(TidegaugeOptions *options,
                                                  const char *key,
                                                  const char *value);

/**
 * Adds a whole number to the run's configuration: a batch size, a number of layers. A key that is there already gets
 * the new value.
 *
 * Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_options_set_config_integer(TidegaugeOptions *options,
                                                     const char *key,
                                                     int64_t value);

/**
 * Adds a number to the run's configuration: a learning rate. One that is not finite is refused with
 * TIDEGAUGE_STATUS_INVALID_ARGUMENT. A key that is there already gets the new value.
 *
 * Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_options_set_config_number(TidegaugeOptions *options,
                                                    const char *key,
                                                    double value);

/**
 * How often the process's memory is sampled, in milliseconds: 100 by default, 1 at least.
 *
 * Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_options_set_interval_millis(TidegaugeOptions *options,
                                                      uint64_t interval_millis);

/**
 * The most bytes that the journal may have: 512 MiB by default. Beyond it records are dropped and counted.
 *
 * Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_options_set_journal_cap_bytes(TidegaugeOptions *options,
                                                        uint64_t bytes);

/**
 * Whether each mark, span, step and epoch reads the process's memory, which takes about a microsecond: true by default.
 *
 * Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_options_set_counters_at_checkpoints(TidegaugeOptions *options,
                                                              bool read);

/**
 * The process's rank in a distributed job. By default it is what torchrun, mpirun or Slurm say in the environment, or 0.
 *
 * Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_options_set_rank(TidegaugeOptions *options,
                                           uint32_t rank);

/**
 * What to do if the folder holds a trace already: false, the default, records into RUN-2, RUN-3, … beside it; true joins
 * that run as a further process.
 *
 * Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_options_set_join_existing(TidegaugeOptions *options,
                                                    bool join);

/**
 * Keeps only the newest `records` (at least; whole chunks of 32,768): a flight recorder. They are written when
 * tidegauge_oom or tidegauge_dump is called, at the end, and by the recovery after a crash. 0 is refused with
 * TIDEGAUGE_STATUS_INVALID_ARGUMENT.
 *
 * Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_options_set_ring(TidegaugeOptions *options,
                                           uint64_t records);

/**
 * Keeps only the allocations of the first `first` steps of each epoch, and of steps whose number within the epoch
 * `every` divides (0: of no more). Both 0 are refused with TIDEGAUGE_STATUS_INVALID_ARGUMENT.
 *
 * Thread: any, one at a time for an object. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_options_set_windows(TidegaugeOptions *options,
                                              uint64_t first,
                                              uint64_t every);

/**
 * Starts recording into the trace folder `run`, with everything at its default. From here on the functions below record.
 * If the folder holds a trace already, RUN-2, RUN-3, … is taken: tidegauge_run_path says which.
 *
 * Two threads of the recorder's own, with all signals blocked, run until tidegauge_stop.
 *
 * Thread: any; recording is of the whole process. Forked child: may start a recorder of its own, whether its parent
 * records or not. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_start(const char *run);

/**
 * Starts recording if the environment variable TIDEGAUGE names a folder; returns TIDEGAUGE_STATUS_OFF if it does not. So
 * a program can be shipped with recording in it, off until somebody asks for it: `TIDEGAUGE=runs/a ./train`.
 *
 * Thread: any, while no other one changes the environment. Forked child: may start a recorder of its own. Signal
 * handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_start_from_environment(void);

/**
 * Starts recording as the options say; they stay the caller's. TIDEGAUGE_STATUS_OFF if they are of
 * tidegauge_options_from_environment and the environment names no folder.
 *
 * Thread: any; recording is of the whole process. Forked child: may start a recorder of its own. Signal handler: no.
 * Inside an allocator: no.
 */
TidegaugeStatus tidegauge_start_with(const TidegaugeOptions *options);

/**
 * Stops recording, seals everything and closes the trace. TIDEGAUGE_STATUS_OFF if nothing that was started here is on.
 * A program that ends without this call loses nothing: its trace reads as that of a killed one.
 *
 * Calls of other threads that are under way are recorded; later ones are not. It waits until all is on the disk.
 *
 * Thread: any. Forked child: TIDEGAUGE_STATUS_OFF unless it has started a recorder of its own; the parent's is left
 * alone. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_stop(void);

/**
 * Whether what this process does now is recorded. Not needed before a recording call, which asks itself.
 *
 * Thread: any. Forked child: false unless it has started a recorder of its own. Signal handler: yes. Inside an
 * allocator: yes.
 */
bool tidegauge_is_on(void);

/**
 * The trace folder that this process records into or, after tidegauge_stop, has last recorded into: another than was
 * asked for if that held a trace.
 *
 * Copies at most `length` bytes into `buffer`, the NUL included; a longer path is cut. Returns the bytes that the whole
 * path takes, the NUL included, or 0 if nothing has been recorded. With `length` 0, `buffer` may be NULL.
 *
 * Thread: any; waits while another one starts. Forked child: 0 unless it has started a recorder of its own. Signal
 * handler: no. Inside an allocator: no.
 */
size_t tidegauge_run_path(char *buffer,
                          size_t length);

/**
 * Records that were dropped so far because the disk was full or the journal at its cap; 0 when recording is off.
 *
 * Thread: any; waits while another one starts. Forked child: 0 unless it has started a recorder of its own. Signal
 * handler: no. Inside an allocator: no.
 */
uint64_t tidegauge_dropped_records(void);

/**
 * Seals what processes that were killed left in the trace folder `run`, for readers other than Tidegauge's own, which
 * need no recovery. It can be repeated. Fails with TIDEGAUGE_STATUS_STILL_RECORDING if a process of the trace, this one
 * included, still records.
 *
 * `recovered` may be NULL; it is written to only when TIDEGAUGE_STATUS_OK is returned.
 *
 * Thread: any. Forked child: may call it. Signal handler: no. Inside an allocator: no.
 */
TidegaugeStatus tidegauge_recover(const char *run,
                                  TidegaugeRecovered *recovered);

/**
 * The version of the library, such as "0.1.0"; never to be freed.
 *
 * Thread: any. Forked child: may call it. Signal handler: yes. Inside an allocator: yes.
 */
const char *tidegauge_version(void);

/**
 * Marks a moment. It ends the phase that bears its name: tidegauge_mark("forward") after the forward pass, which began at
 * the mark, span or step boundary before. A `name` that is NULL is ignored.
 *
 * Thread: any; the phases of a process are those of the thread that makes the steps. Forked child: records nothing.
 * Signal handler: no. Inside an allocator: yes.
 */
void tidegauge_mark(const char *name);

/**
 * Begins a phase, which tidegauge_span_end ends. Phases nest. A `name` that is NULL is ignored.
 *
 * Thread: any; a phase is ended by the thread that began it. Forked child: records nothing. Signal handler: no. Inside
 * an allocator: yes.
 */
void tidegauge_span_begin(const char *name);

/**
 * Ends the phase that this thread began last under that name. An end without its beginning is told by the analyzer and
 * changes nothing else. A `name` that is NULL is ignored.
 *
 * Thread: that which began the phase. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
 */
void tidegauge_span_end(const char *name);

/**
 * Begins training step `number`, which tidegauge_step_end ends. What is recorded until then, by any thread, is of that
 * step.
 *
 * Thread: any, but one only makes the steps of a process. Forked child: records nothing. Signal handler: no. Inside an
 * allocator: yes.
 */
void tidegauge_step_begin(int64_t number);

/**
 * Ends training step `number`. `loss` points to its loss, `batch_size` to the samples in its batch; NULL where that is
 * not known. A loss may be infinite or not a number, as it is when training diverges.
 *
 * Thread: that which began the step. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
 */
void tidegauge_step_end(int64_t number,
                        const double *loss,
                        const uint64_t *batch_size);

/**
 * Begins epoch `number`, which tidegauge_epoch_end ends.
 *
 * Thread: any, but one only makes the epochs of a process. Forked child: records nothing. Signal handler: no. Inside an
 * allocator: yes.
 */
void tidegauge_epoch_begin(uint32_t number);

/**
 * Ends epoch `number`.
 *
 * Thread: that which began the epoch. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
 */
void tidegauge_epoch_end(uint32_t number);

/**
 * A black-box optimizer evaluated the loss for the `number`-th time.
 *
 * Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
 */
void tidegauge_loss_evaluation(int64_t number, double loss);

/**
 * Records a number of the program's own. Let the name end in its unit: "queue_bytes", "wait_seconds". A `name` that is
 * NULL is ignored.
 *
 * Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
 */
void tidegauge_counter(const char *name,
                       double value);

/**
 * Has the allocations that this thread records bear the site `name` (a module path, an operator) until it leaves it or
 * enters another. A `name` that is NULL is ignored.
 *
 * Returns where the thread was before, for tidegauge_site_leave. Sites nest; one that is not left, because of a longjmp
 * or an early return, is left together with the site around it.
 *
 * Thread: any; a thread that was not told of a site is at none. Forked child: records nothing. Signal handler: no.
 * Inside an allocator: yes.
 */
TidegaugeSite tidegauge_site_enter(const char *name);

/**
 * Puts this thread back to where it was before it entered a site: `before` is what tidegauge_site_enter returned. Nothing
 * happens if that was off, or of an earlier recording.
 *
 * Thread: that which entered the site. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
 */
void tidegauge_site_leave(TidegaugeSite before);

/**
 * Records that a block of `size_bytes` bytes was allocated at `address` on `device`: TIDEGAUGE_HOST, or an accelerator
 * 0, 1, … Call it after the block was obtained. NULL, which a failed malloc returns, is ignored.
 *
 * ```c
 * void *block = malloc(bytes);
 * tidegauge_alloc(TIDEGAUGE_HOST, block, bytes);
 * ...
 * tidegauge_free(TIDEGAUGE_HOST, block);
 * free(block);
 * ```
 *
 * A realloc is a tidegauge_free of the old block before it and a tidegauge_alloc after it: of the new block, or of the
 * old one again if it failed. A pool records the blocks that it hands out, not the memory that it cuts them from: no
 * address is alive twice.
 *
 * Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes, a malloc that the program
 * brings along included: it is neither called from here nor told of what the recorder itself allocates. That holds for a
 * program that is linked with the library; in one that was loaded by dlopen, the first call of a thread may allocate.
 */
void tidegauge_alloc(int16_t device,
                     const void *address,
                     size_t size_bytes);

/**
 * As tidegauge_alloc, with the site that this one block is of. A `site` that is NULL is the one that the thread is at.
 *
 * Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes, as tidegauge_alloc.
 */
void tidegauge_alloc_at(int16_t device,
                        const void *address,
                        size_t size_bytes,
                        const char *site);

/**
 * Records that the block at `address` on `device` is freed. Call it before the block is given back, so that nobody can
 * get its address earlier. NULL is ignored, as free does. A block whose allocation was not recorded may be freed: it is
 * counted and changes nothing.
 *
 * Thread: any, not only that which allocated the block. Forked child: records nothing. Signal handler: no. Inside an
 * allocator: yes, as tidegauge_alloc.
 */
void tidegauge_free(int16_t device,
                    const void *address);

/**
 * Records that `device` could not give `requested_bytes`, and has what a ring keeps written, in the background.
 *
 * Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes.
 */
void tidegauge_oom(int16_t device,
                   uint64_t requested_bytes);

/**
 * Has what a ring keeps written, and without a ring what is recorded so far, in the background.
 *
 * Thread: any. Forked child: does nothing. Signal handler: yes. Inside an allocator: yes.
 */
void tidegauge_dump(void);

/**
 * Records what a framework's caching allocator did: one of TIDEGAUGE_EVENT_ALLOC, _FREE, _FREE_REQUESTED,
 * _FREE_COMPLETED, _SEGMENT_ALLOC, _SEGMENT_FREE, _SEGMENT_MAP, _SEGMENT_UNMAP, _BASELINE; another number is ignored. FORMAT.md says
 * which curve each moves. `size_bytes` is what was asked for; 0 where that is not known, which is well for a free.
 * `stream` may be TIDEGAUGE_ANY_STREAM. `pool` names the pool where there are several, and may be NULL.
 *
 * The order of the calls is the order of the events: call it where the allocator keeps its own order.
 *
 * Thread: any. Forked child: records nothing. Signal handler: no. Inside an allocator: yes, as tidegauge_alloc.
 */
void tidegauge_event(int32_t kind,
                     int16_t device,
                     const void *address,
                     size_t size_bytes,
                     uint64_t stream,
                     const char *pool);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TIDEGAUGE_H */
