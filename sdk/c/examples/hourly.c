/* Counts the orders of each customer by hours of event time, with a timer at the end of each hour. */
#include "segno.h"

#define ORDER(COLUMN) COLUMN(i64, quantity) COLUMN(event_time, at)
SEGNO_INPUT(order, ORDER)

#define HOUR(COLUMN) COLUMN(timestamp, from) COLUMN(u64, orders)
SEGNO_PER_KEY(hours, HOUR)

#define SLOT(COLUMN) COLUMN(timestamp, from) COLUMN(u64, orders)
SEGNO_LIST(slot, SLOT)
#define OPEN(COLUMN) COLUMN(list(slot), slots)
SEGNO_STATE(open, 1, OPEN)

static segno_outcome process(const struct order *order) {
    segno_timestamp from = segno_floor(order->at, SEGNO_HOUR);
    if (segno_reached(from + SEGNO_HOUR)) {
        return segno_reject("the hour is over");
    }
    struct open *open = open_or_default();
    for (uint32_t i = 0; i < open->slots.length; i++) {
        if (open->slots.items[i].from == from) {
            open->slots.items[i].orders++;
            return SEGNO_OK;
        }
    }
    struct slot *slot = slot_list_add(&open->slots);
    slot->from = from;
    slot->orders = 1;
    segno_set_timer(from + SEGNO_HOUR, 0);
    return SEGNO_OK;
}

static void on_timer(struct segno_timer timer) {
    struct open *open = open_or_default();
    uint32_t left = 0;
    for (uint32_t i = 0; i < open->slots.length; i++) {
        struct slot slot = open->slots.items[i];
        if (slot.from + SEGNO_HOUR == timer.time) {
            hours_push((struct hours){.from = slot.from, .orders = slot.orders});
        } else {
            open->slots.items[left++] = slot;
        }
    }
    open->slots.length = left;
    if (left == 0) open_clear();
}

SEGNO_PLUGIN(order, process, .ports = {&hours_port}, .tables = {&open_table}, .on_timer = on_timer)
