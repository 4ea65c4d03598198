/* Counts the orders of each customer, and remembers the last quantity. */
#include "segno.h"

#define ORDER(COLUMN) COLUMN(i64, quantity)
SEGNO_INPUT(order, ORDER)

#define COUNTED(COLUMN) COLUMN(u64, orders) COLUMN(nullable(i64), before)
SEGNO_EXTEND(out, COUNTED)

#define STATS(COLUMN) COLUMN(u64, orders) COLUMN(since(2, nullable(i64)), last)
SEGNO_STATE(stats, 2, STATS)

static segno_outcome process(const struct order *order) {
    struct stats *kept = stats_or_default();
    struct out row = {.orders = ++kept->orders};
    row.before.present = kept->last.present;
    row.before.value = kept->last.value;
    kept->last.present = true;
    kept->last.value = order->quantity;
    out_push(row);
    return SEGNO_OK;
}

SEGNO_PLUGIN(order, process, .ports = {&out_port}, .tables = {&stats_table})
