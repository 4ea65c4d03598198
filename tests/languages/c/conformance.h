/* What the conformance component reads, gives and keeps. Owns: its columns. Does not own: its behaviours. */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "segno.h"

#define VALUES(COLUMN)                                                                                                           \
    COLUMN(nullable(bool), flag) COLUMN(nullable(i32), narrow) COLUMN(nullable(i64), wide) COLUMN(nullable(u64), count)           \
    COLUMN(nullable(f64), ratio) COLUMN(nullable(utf8), text) COLUMN(nullable(binary), data) COLUMN(nullable(timestamp), at)      \
    COLUMN(nullable(date), day) COLUMN(nullable(decimal(38, 10)), amount)

#define RECORD(COLUMN) COLUMN(i64, id) VALUES(COLUMN) COLUMN(event_time, time)
SEGNO_INPUT(record, RECORD)

SEGNO_KEEP(kept)

#define NOTED(COLUMN) COLUMN(utf8, note) COLUMN(nullable(i64), number)
SEGNO_EXTEND(noted, NOTED)

#define ECHO(COLUMN) COLUMN(i64, id) VALUES(COLUMN)
SEGNO_EMIT(echo, ECHO)

#define COMPUTED(COLUMN)                                                                                                         \
    COLUMN(i64, id) COLUMN(nullable(i64), sum) COLUMN(nullable(i64), product) COLUMN(nullable(i64), quotient)                     \
    COLUMN(nullable(i64), rest) COLUMN(nullable(u64), turned) COLUMN(nullable(f64), third) COLUMN(nullable(f64), total)           \
    COLUMN(nullable(f64), root) COLUMN(nullable(bool), nan) COLUMN(nullable(decimal(38, 10)), doubled)                            \
    COLUMN(nullable(decimal(38, 2)), cut) COLUMN(nullable(i32), year) COLUMN(nullable(i32), month) COLUMN(nullable(i32), dom)     \
    COLUMN(nullable(i32), hour) COLUMN(nullable(utf8), date_text) COLUMN(nullable(utf8), instant_text)
SEGNO_EMIT(computed, COMPUTED)

#define RESULT(COLUMN)                                                                                                           \
    COLUMN(utf8, what) COLUMN(i64, id) COLUMN(nullable(i64), number) COLUMN(nullable(u64), total) COLUMN(nullable(f64), sum)      \
    COLUMN(nullable(timestamp), start) COLUMN(nullable(timestamp), end)
SEGNO_PER_KEY(result, RESULT)

#define RECENT(COLUMN) COLUMN(i64, id) COLUMN(nullable(utf8), text)
SEGNO_LIST(recent, RECENT)

#define MEMORY(COLUMN)                                                                                                           \
    COLUMN(u64, records) VALUES(COLUMN) COLUMN(list(recent), recent) COLUMN(since(2, nullable(timestamp)), seen)                  \
    COLUMN(since(2, bool), sure)
SEGNO_STATE(memory, 2, MEMORY)

#define SUM(COLUMN) COLUMN(u64, total) COLUMN(i64, sum) COLUMN(f64, ratio)
SEGNO_MERGED_WINDOWS(sum, 1, SUM, merge)

#define CITY(COLUMN) COLUMN(utf8, code) COLUMN(nullable(utf8), name) COLUMN(nullable(u64), people) COLUMN(bool, capital) COLUMN(nullable(date), founded)
SEGNO_SIDE_TABLE(cities, CITY, code)

#define BEHAVIOUR(WORD)                                                                                                          \
    WORD(ECHOES, "echo") WORD(COMPUTES, "arithmetic") WORD(REJECTS, "reject") WORD(ROUTES, "ports") WORD(REMEMBERS, "remember")   \
    WORD(SETS_TIMERS, "timers") WORD(TUMBLES, "tumbling") WORD(SLIDES, "sliding") WORD(LOOKS_UP, "side")                          \
    WORD(TELLS, "configuration") WORD(OBSERVES, "observe") WORD(ORDERS, "order") WORD(FAILS, "failing")
SEGNO_CHOICE(behaviour, BEHAVIOUR)

/* In seconds. */
#define WINDOW(FIELD) FIELD(i64, size) FIELD(nullable(i64), slide) FIELD(optional(i64), lateness) FIELD(nullable(i64), early)
SEGNO_PART(window, WINDOW)

#define SETTINGS(FIELD)                                                                                                          \
    FIELD(choice(behaviour), behaviour) FIELD(or(100, i64), limit) FIELD(or(0.5, f64), ratio) FIELD(or("none", utf8), label)      \
    FIELD(optional(bool), strict) FIELD(optional(list(utf8)), codes) FIELD(nullable(part(window)), window)
SEGNO_CONFIG(settings, SETTINGS)


#endif
