/* The values of columns as C has them, in the units of the boundary.
 *
 * Owns: the C types. Does not own: clocks (a plugin has none, it sees event times only), or how values are laid out.
 * Invariant: 64-bit values are exact; a decimal is its unscaled integer. */
#ifndef SEGNO_TYPES_H
#define SEGNO_TYPES_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define SEGNO_BEGIN extern "C" {
#define SEGNO_END }
#define SEGNO_ASSERT_ static_assert
#else
#define SEGNO_BEGIN
#define SEGNO_END
#define SEGNO_ASSERT_ _Static_assert
#endif

SEGNO_BEGIN

/* Text in UTF-8, not ended by a zero. That of a record lives until `process` returns, and in state for ever. */
typedef struct segno_text {
    const char *data;
    uint32_t length;
} segno_text;

typedef struct segno_bytes {
    const uint8_t *data;
    uint32_t length;
} segno_bytes;

/* Microseconds since 1970-01-01T00:00:00 UTC. */
typedef int64_t segno_timestamp;
/* Days since 1970-01-01. */
typedef int32_t segno_date;
/* The unscaled integer of decimal(p, s): the number times 10^s. */
__extension__ typedef __int128 segno_decimal;

#define SEGNO_SECOND INT64_C(1000000)
#define SEGNO_MINUTE (60 * SEGNO_SECOND)
#define SEGNO_HOUR (60 * SEGNO_MINUTE)
#define SEGNO_DAY (24 * SEGNO_HOUR)

/* In a format: `segno_reject("no airport " SEGNO_TEXT, SEGNO_ARG(code))`. Unlike `%.*s`, all of it is shown: a text may have
 * zeros in it. */
#define SEGNO_TEXT "%-.*s"
#define SEGNO_ARG(text) (int)(text).length, (text).data

static inline segno_text segno_text_of(const char *text) {
    segno_text made = {text, (uint32_t)strlen(text)};
    return made;
}

static inline bool segno_same(segno_text a, segno_text b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

/* True when the text is these characters. */
static inline bool segno_is(segno_text a, const char *text) {
    return segno_same(a, segno_text_of(text));
}

/* The instant that is so much later; at the ends of time it stays there. */
static inline segno_timestamp segno_after(segno_timestamp time, int64_t micros) {
    int64_t sum;
    if (__builtin_add_overflow(time, micros, &sum)) {
        return micros < 0 ? INT64_MIN : INT64_MAX;
    }
    return sum;
}

/* The start of the window of this width that holds the instant; windows are aligned to 1970. */
static inline segno_timestamp segno_floor(segno_timestamp time, int64_t width) {
    int64_t rest = time % width;
    return segno_after(time, -(rest < 0 ? rest + width : rest));
}

/* The day in UTC. */
static inline segno_date segno_date_of(segno_timestamp time) {
    return (segno_date)(time / SEGNO_DAY - (time % SEGNO_DAY < 0));
}

/* The hour of the day in UTC, 0 to 23. */
static inline int segno_hour(segno_timestamp time) {
    int64_t rest = time % SEGNO_DAY;
    return (int)((rest < 0 ? rest + SEGNO_DAY : rest) / SEGNO_HOUR);
}

/* Year, month (1 to 12) and day (1 to 31) in the Gregorian calendar. */
void segno_civil(segno_date date, int *year, int *month, int *day);
/* As `2001-02-03`. */
segno_text segno_date_text(segno_date date);
/* As `2001-02-03T04:05:06.000007Z`. */
segno_text segno_timestamp_text(segno_timestamp time);

/* Whether a decimal has so many digits at most. */
static inline bool segno_decimal_fits(segno_decimal value, int digits) {
    segno_decimal bound = 1;
    for (int i = 0; i < digits; i++) bound *= 10;
    return value < bound && value > -bound;
}

/* Every NaN is the same one: a sum of NaNs has other bits on other machines. */
static inline double segno_canonical(double value) {
    if (value != value) {
        const uint64_t bits = UINT64_C(0x7ff8000000000000);
        memcpy(&value, &bits, sizeof value);
    }
    return value;
}

SEGNO_END

#endif
