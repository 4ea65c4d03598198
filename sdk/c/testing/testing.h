/* Parts of the harness. Owns: JSON as columns and columns as JSON (`rows.c`), text that grows. Does not own: runs (`harness.c`).
 * Invariant: what is wrong with a test ends it, with the place in the test's own words. */
#ifndef SEGNO_HARNESS_H
#define SEGNO_HARNESS_H

#include "../src/engine.h"
#include "../src/json.h"
#include "segno/testing.h"

/* Text on the heap: what lives longer than a call. */
struct text {
    char *data;
    size_t length, capacity;
};
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_clear(struct text *text);
const char *text_of(const struct text *text);

/* Ends the test. */
__attribute__((noreturn)) void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* In memory of the current call. `'` stands for `"` where there is none. */
struct segno_json *read_json(const char *text, const char *what);
/* Adds the value of a column to its builder. */
void add_value(const struct segno_column *column, struct segno_builder *to, uint32_t row, const struct segno_json *object);
int64_t micros_of(const struct segno_json *value, const char *what);
/* Shows values, as JSON. */
void show_value(struct text *out, const struct segno_column *column, const struct segno_view *view, uint32_t row);
void show_instant(struct text *out, int64_t micros);
void show_state(struct text *out, const struct segno_table *table, segno_bytes value);

#endif
