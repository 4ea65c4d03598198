/* Windows in event time: which records belong together, and when their result is given.
 *
 *     #define SUM(COLUMN) COLUMN(u64, orders) COLUMN(i64, total_cents)
 *     SEGNO_WINDOWS(sum, 1, SUM)
 *     static struct segno_windows hours;                        in init: hours = segno_tumbling(SEGNO_HOUR);
 *
 *     struct sum *kept = sum_add(&hours, order->at);            in process
 *     if (kept == NULL) return segno_reject_late();
 *     kept->orders++;
 *
 *     struct sum_results given = sum_fire(&hours, timer);       in on_timer
 *     for (uint32_t i = 0; i < given.length; i++) …             given.items[i].start, .end, .kind, .value.orders
 *
 * A window holds the records whose event time is at its start or after it, and before its end. Its result is given when the
 * watermark reaches its end, once, before every record that moves the watermark further. A window without records gives
 * nothing. A record is late when the watermark has reached the end of its last window, plus the allowed lateness.
 *
 * The counters `late_records`, `windows` (results that were given) and `window_updates` are those of the step.
 *
 * Owns: the windows of a key and their timers. Does not own: what is kept for a window. Invariant: panes are in the order of
 * their starts. */
#ifndef SEGNO_WINDOW_H
#define SEGNO_WINDOW_H

#include "timer.h"

SEGNO_BEGIN

/* All in microseconds. */
struct segno_windows {
    int64_t size;
    /* 0 for windows that follow each other; the width that divides both size and slide. */
    int64_t slide, slice;
    /* Windows start so much after the multiples of their size, as a day does that is not one of UTC. */
    int64_t offset;
    /* Keeps a window for so long after its end: late records change it, and each change gives its result again. */
    int64_t allowed_lateness;
    /* Gives the result of a window that has changed at every multiple of this event time, before it ends; 0 never. */
    int64_t early_every;
    /* The first of the three numbers of its timers. For plugins that have timers of their own, or several kinds of windows. */
    uint32_t timer_number;
};

/* Windows of one size, one after the other, aligned to 1970. Each record belongs to one of them. */
struct segno_windows segno_tumbling(int64_t size);
/* Windows of one size that start at every slide: a record belongs to `size / slide` of them. Needs SEGNO_MERGED_WINDOWS. */
struct segno_windows segno_sliding(int64_t size, int64_t slide);

enum segno_window_kind {
    /* Before the window ends; more may come. */
    SEGNO_EARLY,
    /* The window's end is reached. */
    SEGNO_ON_TIME,
    /* Late records changed a result that was given. */
    SEGNO_UPDATE
};

/* Whether the watermark has reached the end of what a record belongs to, for plugins that look themselves; counts the record. */
bool segno_late(segno_timestamp end);
/* Rejects the record that `NAME_add` or `segno_late` found to be late. */
segno_outcome segno_reject_late(void);
/* The end of the last of its windows. */
segno_timestamp segno_late_end(void);

/* Of the SDK: one window, or one slice of several, before what is kept for it. */
struct segno_pane {
    segno_timestamp start, end;
    /* It has changed since its last result; its end was reached. */
    bool changed, closed;
};
struct segno_panes {
    char *items;
    uint32_t length, capacity;
    const void *owner;
};
struct segno_fired {
    segno_timestamp start, end;
    enum segno_window_kind kind;
};
struct segno_results {
    char *items;
    uint32_t length, capacity;
};
/* How a plugin's panes and results are laid out. */
struct segno_window_layout {
    struct segno_table *table;
    size_t pane, value_at, fired, fired_value_at, value;
    void (*merge)(void *into, const void *other);
};
void *segno_window_add(const struct segno_window_layout *layout, const struct segno_windows *windows, segno_timestamp time);
struct segno_results segno_window_fire(const struct segno_window_layout *layout, const struct segno_windows *windows, struct segno_timer timer);

SEGNO_END

#define SEGNO_WINDOWS_(NAME, VERSION, COLUMNS, MERGE)                                                                            \
    struct NAME { COLUMNS(SEGNO_STATE_FIELD_) };                                                                                  \
    static const struct segno_column NAME##_columns[] = {COLUMNS(SEGNO_SPEC_) SEGNO_SPEC_END};                                    \
    SEGNO_KEPT_CODE_(NAME, struct NAME, COLUMNS)                                                                                  \
    struct NAME##_pane { struct segno_pane head; struct NAME value; };                                                            \
    static const struct segno_column NAME##_pane_columns[] = {                                                                    \
        {"start", SEGNO_D_timestamp}, {"end", SEGNO_D_timestamp}, {"changed", SEGNO_D_bool}, {"closed", SEGNO_D_bool},            \
        COLUMNS(SEGNO_SPEC_) SEGNO_SPEC_END};                                                                                     \
    static inline void NAME##_pane_decode(struct segno_state_reader *from, void *at) {                                            \
        struct NAME##_pane *pane = (struct NAME##_pane *)at;                                                                      \
        segno_decode(&NAME##_pane_columns[0], from, &pane->head.start);                                                           \
        segno_decode(&NAME##_pane_columns[1], from, &pane->head.end);                                                             \
        segno_decode(&NAME##_pane_columns[2], from, &pane->head.changed);                                                         \
        segno_decode(&NAME##_pane_columns[3], from, &pane->head.closed);                                                          \
        NAME##_decode(from, &pane->value);                                                                                        \
    }                                                                                                                             \
    static inline void NAME##_pane_encode(struct segno_builder *out, const void *at) {                                            \
        const struct NAME##_pane *pane = (const struct NAME##_pane *)at;                                                          \
        segno_encode(&NAME##_pane_columns[0], out, &pane->head.start);                                                            \
        segno_encode(&NAME##_pane_columns[1], out, &pane->head.end);                                                              \
        segno_encode(&NAME##_pane_columns[2], out, &pane->head.changed);                                                          \
        segno_encode(&NAME##_pane_columns[3], out, &pane->head.closed);                                                           \
        NAME##_encode(out, &pane->value);                                                                                        \
    }                                                                                                                            \
    static inline void NAME##_pane_settle(void *at) { NAME##_settle(&((struct NAME##_pane *)at)->value); }                       \
    SEGNO_LIST_CODE_(NAME##_pane)                                                                                                 \
    struct NAME##_panes { struct NAME##_pane_list windows; };                                                                     \
    static const struct segno_column NAME##_panes_columns[] = {{"windows", SEGNO_D_list(NAME##_pane)}, SEGNO_SPEC_END};           \
    static inline void NAME##_panes_decode(struct segno_state_reader *from, void *at) {                                           \
        NAME##_pane_list_decode(NAME##_panes_columns, from, &((struct NAME##_panes *)at)->windows);                               \
    }                                                                                                                             \
    static inline void NAME##_panes_encode(struct segno_builder *out, const void *at) {                                           \
        NAME##_pane_list_encode(NAME##_panes_columns, out, &((const struct NAME##_panes *)at)->windows);                         \
    }                                                                                                                            \
    static inline void NAME##_panes_settle(void *at) {                                                                           \
        NAME##_pane_list_settle(NAME##_panes_columns, &((struct NAME##_panes *)at)->windows);                                    \
    }                                                                                                                             \
    static struct segno_table NAME##_table = SEGNO_TABLE_INIT_("windows", VERSION, NAME##_panes);                                 \
    struct NAME##_fired { segno_timestamp start, end; enum segno_window_kind kind; struct NAME value; };                          \
    struct NAME##_results { struct NAME##_fired *items; uint32_t length; };                                                       \
    static const struct segno_window_layout NAME##_layout = {                                                                     \
        &NAME##_table, sizeof(struct NAME##_pane), offsetof(struct NAME##_pane, value), sizeof(struct NAME##_fired),              \
        offsetof(struct NAME##_fired, value), sizeof(struct NAME), MERGE};                                                        \
    SEGNO_UNUSED static inline struct NAME *NAME##_add(const struct segno_windows *windows, segno_timestamp time) {               \
        return (struct NAME *)segno_window_add(&NAME##_layout, windows, time);                                                    \
    }                                                                                                                             \
    SEGNO_UNUSED static inline struct NAME##_results NAME##_fire(const struct segno_windows *windows, struct segno_timer timer) { \
        struct segno_results fired = segno_window_fire(&NAME##_layout, windows, timer);                                           \
        struct NAME##_results results = {(struct NAME##_fired *)(void *)fired.items, fired.length};                               \
        return results;                                                                                                           \
    }

/* What is kept for each key and window: `struct NAME`, in a table named `windows`, of a version as that of SEGNO_STATE.
 *
 *     NAME_add(&windows, time)    what is kept for the window of a record, to be changed in place; NULL when it is late
 *     NAME_fire(&windows, timer)  the results that a timer gives; none for timers of other numbers
 *
 * Name it to the plugin: `.tables = {&NAME_table}`. */
#define SEGNO_WINDOWS(NAME, VERSION, COLUMNS) SEGNO_WINDOWS_(NAME, VERSION, COLUMNS, NULL)

/* The same for sliding windows, which are put together from slices: MERGE, which you define below it, adds a later slice to an
 * earlier one: `static void MERGE(struct NAME *into, const struct NAME *other)`. */
#define SEGNO_MERGED_WINDOWS(NAME, VERSION, COLUMNS, MERGE)                                                                      \
    static void NAME##_merge_any(void *into, const void *other);                                                                  \
    SEGNO_WINDOWS_(NAME, VERSION, COLUMNS, NAME##_merge_any)                                                                      \
    static void MERGE(struct NAME *into, const struct NAME *other);                                                               \
    static void NAME##_merge_any(void *into, const void *other) { MERGE((struct NAME *)into, (const struct NAME *)other); }

#endif
