/* Memory of a call: taken, never given back, and gone when the call is over.
 *
 * Owns: allocation. Does not own: what is kept between calls (state) or for ever (what `init` took stays).
 * Invariants: memory from `segno_take` is zero, so that nothing of an earlier batch can be seen in it; what a call took is
 * taken back before the next one. */
#ifndef SEGNO_MEMORY_H
#define SEGNO_MEMORY_H

#include "types.h"

SEGNO_BEGIN

/* Zeroed memory, aligned to 16. In `init` it stays for ever, in `process` and `on_timer` until the batch's end. */
void *segno_take(size_t bytes);
/* A copy of a text, as long-lived as other memory taken now. */
segno_text segno_keep(segno_text text);
/* As `printf` into new memory; %d %i %u %x %X %c %s %p %% with flags, width, precision, l, ll, z, and %a %e %f %g not. */
segno_text segno_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
segno_text segno_vformat(const char *format, va_list arguments);

/* For the SDK: not zeroed, and a block grown in place or moved. */
void *segno_take_raw(size_t bytes);
void *segno_grow_raw(void *old, size_t old_bytes, size_t bytes);
/* Whether it lies in what this call took. */
bool segno_is_of_call(const void *at);
/* What is taken from now on is of the next call. */
void segno_memory_mark(void);
void segno_memory_reset(void);
/* Natively, for tests: takes everything back, also what `init` took. */
void segno_memory_drop(void);

SEGNO_END

#endif
