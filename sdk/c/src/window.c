/* Owns: which panes there are, and what their timers give, for both kinds of windows.
 * Does not own: what is kept for a pane (`window.h` knows how it is laid out). Invariant: panes are in the order of their starts. */
#include "engine.h"

/* Kinds of timers, as numbers behind the first one: of window ends, of early results, of windows that late records change. */
enum { END, EARLY, UPDATE };

typedef const struct segno_windows windows_t;
typedef const struct segno_window_layout layout_t;

static segno_timestamp late_end;

static void check(bool holds, const char *rule) {
    if (!holds) segno_refuse("%s", rule);
}

struct segno_windows segno_tumbling(int64_t size) {
    check(size > 0 && size < INT64_MAX / 4, "the size of a window is more than 0, and less than 73,000 years");
    struct segno_windows windows = {size, 0, 0, 0, 0, 0, 0};
    return windows;
}

struct segno_windows segno_sliding(int64_t size, int64_t slide) {
    struct segno_windows windows = segno_tumbling(size);
    check(slide > 0 && slide <= size, "the slide of a window is more than 0, and not longer than the window");
    int64_t a = size, b = slide;
    while (b != 0) {
        int64_t rest = a % b;
        a = b, b = rest;
    }
    windows.slide = slide, windows.slice = a;
    return windows;
}

segno_timestamp segno_late_end(void) { return late_end; }

segno_outcome segno_reject_late(void) {
    segno_text end = segno_timestamp_text(late_end);
    return segno_reject("the record is late: what it belongs to ended at " SEGNO_TEXT ", which the watermark has reached", SEGNO_ARG(end));
}

/* Panes of the current key. */

static struct segno_panes *panes_of(layout_t *layout) {
    return &((struct segno_panes *)(void *)layout->table->values)[segno_now.key];
}
static struct segno_slot *slot_of(layout_t *layout) { return &layout->table->slots[segno_now.key]; }
static struct segno_pane *pane_at(layout_t *layout, const struct segno_panes *panes, uint32_t at) {
    return (struct segno_pane *)(void *)(panes->items + layout->pane * at);
}
static void *value_of(layout_t *layout, struct segno_pane *pane) { return (char *)pane + layout->value_at; }

/* The pane that starts there, made when there is none, and whether it is new. */
static struct segno_pane *pane_of(layout_t *layout, segno_timestamp start, segno_timestamp end, bool closed, bool *new_one) {
    struct segno_panes *panes = panes_of(layout);
    slot_of(layout)->present = slot_of(layout)->touched = slot_of(layout)->open = true;
    uint32_t at = panes->length;
    /* Most records belong to the newest pane. */
    while (at > 0 && pane_at(layout, panes, at - 1)->start > start) at--;
    *new_one = at == 0 || pane_at(layout, panes, at - 1)->start != start;
    if (!*new_one) return pane_at(layout, panes, at - 1);
    if (panes->length == panes->capacity) {
        panes->items = (char *)segno_list_grow(panes->items, panes->length, &panes->capacity, layout->pane);
        panes->owner = panes;
    }
    struct segno_pane *pane = pane_at(layout, panes, at);
    memmove((char *)pane + layout->pane, pane, layout->pane * (panes->length++ - at));
    memset(pane, 0, layout->pane);
    pane->start = start, pane->end = end, pane->closed = closed;
    return pane;
}

/* Whether a window that ends there takes no record any more, not even a late one. */
static bool over(windows_t *windows, segno_timestamp end) { return segno_reached(segno_after(end, windows->allowed_lateness)); }

static bool next_early(windows_t *windows, segno_timestamp time, segno_timestamp *next) {
    if (windows->early_every <= 0) return false;
    *next = segno_after(segno_floor(time, windows->early_every), windows->early_every);
    return true;
}

/* Asks for the first early result of a window that a record opened. */
static void set_early(windows_t *windows, segno_timestamp time, segno_timestamp end) {
    segno_timestamp next;
    if (next_early(windows, time, &next) && next < end) segno_set_timer(next, windows->timer_number + EARLY);
}

static void *is_late(segno_timestamp end) {
    segno_count("late_records", 1);
    late_end = end;
    return NULL;
}

bool segno_late(segno_timestamp end) { return segno_reached(end) && is_late(end) == NULL; }

static void *tumbling_add(layout_t *layout, windows_t *windows, segno_timestamp time) {
    bool new_one;
    segno_timestamp start = segno_after(segno_floor(segno_after(time, -windows->offset), windows->size), windows->offset);
    segno_timestamp end = segno_after(start, windows->size);
    bool ended = segno_reached(end);
    if (ended && over(windows, end)) return is_late(end);
    struct segno_pane *pane = pane_of(layout, start, end, ended, &new_one);
    if (new_one) {
        if (windows->allowed_lateness > 0) segno_set_timer(segno_after(end, windows->allowed_lateness), windows->timer_number);
        set_early(windows, time, end);
    }
    if (new_one || (ended && !pane->changed)) segno_set_timer(end, windows->timer_number);
    pane->changed = true;
    return value_of(layout, pane);
}

/* The end of the last window that holds an event time. */
static segno_timestamp last_end(windows_t *windows, segno_timestamp time) { return segno_after(segno_floor(time, windows->slide), windows->size); }

/* The end of the first window that ends after a time. Ends are `size` after multiples of the slide. */
static segno_timestamp next_end(windows_t *windows, segno_timestamp time) {
    int64_t shift = windows->size % windows->slide;
    return segno_after(segno_floor(segno_after(time, -shift), windows->slide), windows->slide + shift);
}

static void *sliding_add(layout_t *layout, windows_t *windows, segno_timestamp time) {
    bool new_one;
    segno_timestamp last = last_end(windows, time);
    if (over(windows, last)) return is_late(last);
    segno_timestamp start = segno_floor(time, windows->slice), first = next_end(windows, start);
    bool ended = segno_reached(first);
    struct segno_pane *pane = pane_of(layout, start, segno_after(start, windows->slice), false, &new_one);
    if (new_one && !ended) segno_set_timer(first, windows->timer_number);
    if (ended && (new_one || !pane->changed)) {
        /* Windows that were given, or were empty, are given again; the first that is open comes as it would have. */
        for (segno_timestamp end = first; end <= last; end = segno_after(end, windows->slide)) {
            if (!segno_reached(end)) {
                segno_set_timer(end, windows->timer_number);
                break;
            }
            if (!over(windows, end)) segno_set_timer(end, windows->timer_number + UPDATE);
            if (end == INT64_MAX) break;
        }
        if (new_one) segno_set_timer(segno_after(last, windows->allowed_lateness), windows->timer_number);
    }
    if (new_one) set_early(windows, time, last);
    pane->changed = true;
    return value_of(layout, pane);
}

void *segno_window_add(layout_t *layout, windows_t *windows, segno_timestamp time) {
    check(windows->size > 0, "windows are made by segno_tumbling or segno_sliding, in init");
    check(windows->slide == 0 || layout->merge != NULL, "sliding windows need SEGNO_MERGED_WINDOWS");
    return windows->slide == 0 ? tumbling_add(layout, windows, time) : sliding_add(layout, windows, time);
}

/* Adds a result; its value is copied. */
static void *give(layout_t *layout, struct segno_results *results, segno_timestamp start, segno_timestamp end, enum segno_window_kind kind, const void *value) {
    if (results->length == results->capacity) {
        results->items = (char *)segno_list_grow(results->items, results->length, &results->capacity, layout->fired);
    }
    char *at = results->items + layout->fired * results->length++;
    struct segno_fired fired = {start, end, kind};
    memset(at, 0, layout->fired);
    memcpy(at, &fired, sizeof fired);
    return memcpy(at + layout->fired_value_at, value, layout->value);
}

/* The value of the window that ends there, if it holds anything. */
static void put_together(layout_t *layout, windows_t *windows, segno_timestamp end, enum segno_window_kind kind, struct segno_results *results) {
    struct segno_panes *panes = panes_of(layout);
    segno_timestamp start = segno_after(end, -windows->size);
    void *value = NULL;
    for (uint32_t i = 0; i < panes->length; i++) {
        struct segno_pane *pane = pane_at(layout, panes, i);
        if (pane->start < start || pane->end > end) continue;
        if (value == NULL) value = give(layout, results, start, end, kind, value_of(layout, pane));
        else layout->merge(value, value_of(layout, pane));
    }
}

/* What an early result is about, and the next one, while there is something to tell. */
static void early(layout_t *layout, windows_t *windows, struct segno_timer timer, struct segno_results *results) {
    struct segno_panes *panes = panes_of(layout);
    segno_timestamp now, next;
    bool more = false, changed = false;
    /* A timer that a late record set fires late itself. */
    if (!segno_watermark(&now) || now < timer.time) now = timer.time;
    if (windows->slide == 0) {
        for (uint32_t i = 0; i < panes->length; i++) {
            struct segno_pane *pane = pane_at(layout, panes, i);
            if (pane->closed || pane->end <= now) continue;
            more = true;
            if (!pane->changed) continue;
            pane->changed = false;
            give(layout, results, pane->start, pane->end, SEGNO_EARLY, value_of(layout, pane));
        }
    } else {
        segno_timestamp end = next_end(windows, now), start = segno_after(end, -windows->size);
        for (uint32_t i = 0; i < panes->length; i++) {
            struct segno_pane *pane = pane_at(layout, panes, i);
            changed |= pane->changed && pane->start >= start && pane->end <= end;
            more |= last_end(windows, pane->start) > now;
        }
        if (changed) put_together(layout, windows, end, SEGNO_EARLY, results);
        for (uint32_t i = 0; changed && i < panes->length; i++) pane_at(layout, panes, i)->changed = false;
    }
    if (more && next_early(windows, now, &next)) segno_set_timer(next, windows->timer_number + EARLY);
}

/* Lets panes go that are over, and the key with the last one. */
static void let_go(layout_t *layout, windows_t *windows) {
    struct segno_panes *panes = panes_of(layout);
    uint32_t left = 0;
    for (uint32_t i = 0; i < panes->length; i++) {
        struct segno_pane *pane = pane_at(layout, panes, i);
        if (over(windows, windows->slide == 0 ? pane->end : last_end(windows, pane->start))) continue;
        if (left != i) memcpy(pane_at(layout, panes, left), pane, layout->pane);
        left++;
    }
    panes->length = left;
    if (left == 0) memset(panes, 0, sizeof *panes), slot_of(layout)->present = false;
}

static void tumbling_fire(layout_t *layout, struct segno_timer timer, struct segno_results *results) {
    struct segno_panes *panes = panes_of(layout);
    for (uint32_t i = 0; i < panes->length; i++) {
        struct segno_pane *pane = pane_at(layout, panes, i);
        /* An early result changes nothing about the one on time. */
        if (pane->end == timer.time && (pane->changed || !pane->closed)) {
            give(layout, results, pane->start, pane->end, pane->closed ? SEGNO_UPDATE : SEGNO_ON_TIME, value_of(layout, pane));
            pane->changed = false;
        }
        pane->closed |= segno_reached(pane->end);
    }
}

/* The timer goes on to the next window that holds something, then to where the last slice is let go. */
static void go_on(layout_t *layout, windows_t *windows, segno_timestamp end) {
    struct segno_panes *panes = panes_of(layout);
    segno_timestamp next = segno_after(end, windows->slide), first = INT64_MAX;
    bool holds = false;
    for (uint32_t i = 0; i < panes->length; i++) {
        segno_timestamp start = pane_at(layout, panes, i)->start;
        if (last_end(windows, start) <= end) continue;
        if (!holds || next_end(windows, start) < first) first = next_end(windows, start);
        holds = true;
    }
    if (holds) segno_set_timer(first > next ? first : next, windows->timer_number);
    for (uint32_t i = 0; !holds && i < panes->length; i++) {
        segno_timestamp last = last_end(windows, pane_at(layout, panes, i)->start);
        segno_set_timer(segno_after(last, windows->allowed_lateness), windows->timer_number);
    }
}

struct segno_results segno_window_fire(layout_t *layout, windows_t *windows, struct segno_timer timer) {
    struct segno_results results = {NULL, 0, 0};
    uint32_t kind = timer.number - windows->timer_number, updates = 0;
    if (!slot_of(layout)->present || timer.number < windows->timer_number || kind > UPDATE) return results;
    slot_of(layout)->touched = slot_of(layout)->open = true;
    bool again = kind == UPDATE;
    if (kind == EARLY) {
        early(layout, windows, timer, &results);
        return results;
    }
    if (windows->slide == 0) {
        if (again) return results;
        tumbling_fire(layout, timer, &results);
        let_go(layout, windows);
    } else {
        if (next_end(windows, segno_after(timer.time, -1)) == timer.time) {
            put_together(layout, windows, timer.time, again ? SEGNO_UPDATE : SEGNO_ON_TIME, &results);
        }
        struct segno_panes *panes = panes_of(layout);
        for (uint32_t i = 0; i < panes->length; i++) {
            struct segno_pane *pane = pane_at(layout, panes, i);
            pane->changed &= !(segno_reached(pane->end) && pane->end <= timer.time);
        }
        let_go(layout, windows);
        if (!again) go_on(layout, windows, timer.time);
    }
    for (uint32_t i = 0; i < results.length; i++) {
        struct segno_fired fired;
        memcpy(&fired, results.items + layout->fired * i, sizeof fired);
        updates += fired.kind == SEGNO_UPDATE;
    }
    if (results.length > updates) segno_count("windows", results.length - updates);
    if (updates > 0) segno_count("window_updates", updates);
    return results;
}
