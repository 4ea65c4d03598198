/* Owns: timers that are set and deleted, and the batch's due timers and watermarks.
 * Does not own: when a timer fires: the host says so. Invariant: changes are in the order of their events. */
#include "engine.h"

struct segno_builder segno_timers[4];
uint32_t segno_timer_changes;
static bool known;
static segno_timestamp now;

static void check(void) {
    if (segno_plugin.on_timer == NULL) segno_refuse("a plugin that uses timers or the watermark has an .on_timer");
}

static void change(segno_timestamp time, uint32_t number, bool set) {
    check();
    segno_builder_u32(&segno_timers[0], segno_now.event);
    segno_builder_i64(&segno_timers[1], time);
    segno_builder_u32(&segno_timers[2], number);
    segno_builder_bool(&segno_timers[3], segno_timer_changes++, set);
}

void segno_set_timer(segno_timestamp time, uint32_t number) { change(time, number, true); }
void segno_delete_timer(segno_timestamp time, uint32_t number) { change(time, number, false); }

bool segno_watermark(segno_timestamp *watermark) {
    check();
    *watermark = now;
    return known;
}

bool segno_reached(segno_timestamp time) {
    check();
    return known && now >= time;
}

static void reach(const struct segno_view *watermarks, uint32_t at) { known = true, now = segno_load_i64(watermarks->data + 8 * (size_t)at); }
static uint32_t number(const struct segno_view *view, uint32_t at) { return segno_load_u32(view->data + 4 * (size_t)at); }

void segno_run_events(const struct segno_batch *batch, const struct segno_due *due) {
    uint32_t taken = 0, moved = 0;
    known = false;
    for (uint32_t row = 0; row <= batch->rows; row++) {
        for (; taken < due->timers && number(&due->timer[0], taken) <= row; taken++) {
            struct segno_timer timer = {segno_load_i64(due->timer[2].data + 8 * (size_t)taken), number(&due->timer[3], taken)};
            reach(&due->timer[4], taken);
            segno_now.event = row + taken;
            segno_now.key = number(&due->timer[1], taken);
            segno_plugin.on_timer(timer);
            segno_state_settle();
        }
        if (row == batch->rows) break;
        for (; moved < due->moves && number(&due->move[0], moved) <= row; moved++) reach(&due->move[1], moved);
        segno_now.event = row + taken;
        segno_now.key = batch->keys == NULL ? 0 : segno_load_u32(batch->keys + 4 * (size_t)row);
        segno_plugin.run_one(batch, row);
        segno_state_settle();
    }
}
