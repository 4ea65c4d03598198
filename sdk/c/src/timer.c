/* Owns: timers that are set and deleted, and the batch's due timers and watermarks.
 * Does not own: when a timer fires: the host says so. Invariant: changes are in the order of their events. */
#include "segno.h"

struct segno_builder segno_timers[4];
uint32_t segno_timer_changes;
static bool known;
static segno_timestamp now;

static void change(segno_timestamp time, uint32_t number, bool set) {
    if (segno_plugin.on_timer == NULL) segno_panic("a plugin that uses timers or the watermark has an .on_timer");
    segno_builder_u32(&segno_timers[0], segno_now.event);
    segno_builder_i64(&segno_timers[1], time);
    segno_builder_u32(&segno_timers[2], number);
    segno_builder_bool(&segno_timers[3], segno_timer_changes++, set);
}
void segno_set_timer(segno_timestamp time, uint32_t number) { change(time, number, true); }
void segno_delete_timer(segno_timestamp time, uint32_t number) { change(time, number, false); }
bool segno_watermark(segno_timestamp *watermark) {
    *watermark = now;
    return known;
}
bool segno_reached(segno_timestamp time) { return known && now >= time; }

static const uint8_t *column(const uint8_t *frame, int index) { return frame + segno_load_u32(frame + 16 + 24 * index + 12); }

/* The events of a batch in their order; `due` is NULL where no timer is. */
void segno_run_events(const struct segno_batch *batch, const uint8_t *due, const uint8_t *moves) {
    uint32_t taken = 0, moved = 0, timers = due == NULL ? 0 : segno_load_u32(due + 8), steps = moves == NULL ? 0 : segno_load_u32(moves + 8);
    known = false;
    for (uint32_t row = 0; row <= batch->rows; row++) {
        for (; taken < timers && segno_load_u32(column(due, 0) + 4 * (size_t)taken) <= row; taken++) {
            struct segno_timer timer = {segno_load_i64(column(due, 2) + 8 * (size_t)taken), segno_load_u32(column(due, 3) + 4 * (size_t)taken)};
            known = true, now = segno_load_i64(column(due, 4) + 8 * (size_t)taken);
            segno_now.event = row + taken;
            segno_now.key = segno_load_u32(column(due, 1) + 4 * (size_t)taken);
            segno_plugin.on_timer(timer);
        }
        if (row == batch->rows) break;
        for (; moved < steps && segno_load_u32(column(moves, 0) + 4 * (size_t)moved) <= row; moved++) {
            known = true, now = segno_load_i64(column(moves, 1) + 8 * (size_t)moved);
        }
        segno_now.event = row + taken;
        segno_now.key = batch->keys == NULL ? 0 : segno_load_u32(batch->keys + 4 * (size_t)row);
        segno_plugin.run_one(batch, row);
    }
}
