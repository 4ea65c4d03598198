/* Running a plugin over messages: the three entry points of its component, for `guest.c` and for tests.
 *
 * Owns: what an answer is. Does not own: how messages arrive.
 * Invariant: an answer stays until the next call. */
#ifndef SEGNO_ENGINE_H
#define SEGNO_ENGINE_H

#include "wire.h"

/* A message, or why there is none: text for people. */
struct segno_answer {
    bool failed;
    segno_bytes bytes;
};

segno_bytes segno_engine_describe(void);
struct segno_answer segno_engine_init(segno_bytes message, enum segno_check check);
struct segno_answer segno_engine_process(segno_bytes message, enum segno_check check);
struct segno_answer segno_failure(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Parts of the engine. An error of theirs is a text; one without data is none. */
extern segno_text segno_reason;
extern struct segno_builder segno_timers[4];
extern uint32_t segno_timer_changes;

struct segno_due {
    uint32_t timers, moves;
    struct segno_view timer[5], move[2];
};
void segno_run_events(const struct segno_batch *batch, const struct segno_due *due);
enum segno_state_fault segno_state_read(const struct segno_table *table, segno_bytes bytes, void *into);
bool segno_table_load(struct segno_table *table, const struct segno_view *states, uint32_t keys);
void segno_table_collect(struct segno_table *table, const struct segno_view *states, uint32_t keys);
segno_text segno_config_load(const struct segno_config *config, segno_bytes json);
segno_text segno_side_load(struct segno_side *side, segno_bytes frame, enum segno_check check);
void segno_counts_drop(void);
void segno_counts_flush(void);

/* What the host takes. Natively the test harness does. */
void segno_host_log(int level, const char *text, size_t length);
void segno_host_count(const char *name, size_t length, uint64_t delta);

/* What the SDK finds wrong in what a plugin gave it. The line that gave it is not known here: that of the plugin stands for it. */
#define segno_refuse(...) segno_panic_at(segno_plugin.file, segno_plugin.line, __VA_ARGS__)

static inline const char *segno_name_of(const struct segno_column *column) { return column->alias != NULL ? column->alias : column->name; }

#endif
