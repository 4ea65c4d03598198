/* Owns: log lines, counters, rejections and panics as the host sees them. Does not own: where they go.
 * Invariant: a batch counts at its end, once; one that traps counts nothing. */
#include "wire.h"
#include "engine.h"

#ifdef __wasm__
#define IMPORT(NAME) __attribute__((import_module("segno:stream/observe@1.0.0"), import_name(NAME)))
IMPORT("log") void segno_host_log(int level, const char *text, size_t length);
IMPORT("count") void segno_host_count(const char *name, size_t length, uint64_t delta);
#endif

void segno_log(enum segno_level level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    segno_text text = segno_vformat(format, arguments);
    va_end(arguments);
    /* The host takes text only. */
    if (!segno_is_utf8((const uint8_t *)text.data, text.length)) {
        for (uint32_t at = 0; at < text.length; at++) if ((uint8_t)text.data[at] >= 0x80) ((char *)text.data)[at] = '?';
    }
    segno_host_log((int)level, text.data, text.length);
}

/* More names in one batch are sent at once. */
#define COUNTERS_MAX 64
static struct { const char *name; uint64_t total; } counters[COUNTERS_MAX];
static uint32_t counted;

void segno_count(const char *name, uint64_t delta) {
    uint32_t at = 0;
    while (at < counted && counters[at].name != name && strcmp(counters[at].name, name) != 0) at++;
    if (at == COUNTERS_MAX) {
        segno_host_count(name, strlen(name), delta);
        return;
    }
    if (at == counted) counters[counted].name = name, counters[counted++].total = 0;
    if (__builtin_add_overflow(counters[at].total, delta, &counters[at].total)) counters[at].total = UINT64_MAX;
}

void segno_counts_drop(void) { counted = 0; }

void segno_counts_flush(void) {
    for (uint32_t at = 0; at < counted; at++) segno_host_count(counters[at].name, strlen(counters[at].name), counters[at].total);
    counted = 0;
}

segno_text segno_reason;

segno_outcome segno_reject(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    segno_reason = segno_vformat(format, arguments);
    va_end(arguments);
    if (!segno_is_utf8((const uint8_t *)segno_reason.data, segno_reason.length)) segno_refuse("the reason of a rejection is no UTF-8");
    return SEGNO_REJECTED;
}

/* A trap says nothing: what it is about is logged first. */
void segno_panic_at(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    segno_text text = segno_vformat(format, arguments);
    va_end(arguments);
    segno_log(SEGNO_ERROR, "panicked at %s:%d:\n" SEGNO_TEXT, file, line, SEGNO_ARG(text));
    __builtin_trap();
}

#ifdef __wasm__
/* What the compiler looks for in a plugin (-fsanitize): it tells the line, where a trap would tell none. */
struct place { const char *file; uint32_t line, column; };
static void found(const struct place *at, const char *what) {
    segno_log(SEGNO_ERROR, "panicked at %s:%u:%u:\n%s", at->file, (unsigned)at->line, (unsigned)at->column, what);
    __builtin_trap();
}
void __ubsan_handle_divrem_overflow_abort(const struct place *at, uintptr_t a, uintptr_t b) { (void)a, (void)b, found(at, "a division by zero, or one whose result is too large"); }
void __ubsan_handle_out_of_bounds_abort(const struct place *at, uintptr_t index) { (void)index, found(at, "an index beyond the end of its array"); }
void __ubsan_handle_shift_out_of_bounds_abort(const struct place *at, uintptr_t a, uintptr_t b) { (void)a, (void)b, found(at, "a shift by more bits than there are"); }
void __ubsan_handle_float_cast_overflow_abort(const struct place *at, uintptr_t from) { (void)from, found(at, "a number that the whole number's type cannot hold"); }
void __ubsan_handle_builtin_unreachable(const struct place *at) { found(at, "the end of what cannot be reached"); }
void __ubsan_handle_missing_return(const struct place *at) { found(at, "a function that returns nothing where it must"); }
void __ubsan_handle_type_mismatch_v1_abort(const struct place *at, uintptr_t pointer) { (void)pointer, found(at, "a null pointer"); }
#endif
