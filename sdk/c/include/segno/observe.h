/* What a plugin tells its host while it works: log lines, counters, why a record is rejected, and failures.
 *
 * Owns: the words to the host. Does not own: where they go.
 * Invariant: nothing comes back, so that nothing can depend on it. */
#ifndef SEGNO_OBSERVE_H
#define SEGNO_OBSERVE_H

#include "types.h"

SEGNO_BEGIN

/* What becomes of a record: `return SEGNO_OK;` or `return segno_reject(...)`. */
typedef enum segno_outcome { SEGNO_OK = 0, SEGNO_REJECTED = 1 } segno_outcome;

enum segno_level { SEGNO_TRACE, SEGNO_DEBUG, SEGNO_INFO, SEGNO_WARN, SEGNO_ERROR };

/* Rejects the current record: it takes the step's `on_error` way with this reason, and the rows that it caused are dropped.
 * Changes that it made to state stay: look first, then change. In `init`: refuses the configuration. */
segno_outcome segno_reject(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes a line to the host's log, at once: it is seen even if the next line traps. */
void segno_log(enum segno_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds to a counter of this step. `name` lives for ever; sent at the end of the batch. */
void segno_count(const char *name, uint64_t delta);

/* The plugin cannot go on with this record. Names the line, and ends the call. */
#define segno_panic(...) segno_panic_at(__FILE__, __LINE__, __VA_ARGS__)
__attribute__((noreturn)) void segno_panic_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

SEGNO_END

#endif
