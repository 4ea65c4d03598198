/* Adds the total of an order. */
#include "segno.h"

#define ORDER(COLUMN) COLUMN(i64, quantity) COLUMN(i64, price_cents)
SEGNO_INPUT(order, ORDER)

#define PRICED(COLUMN) COLUMN(i64, total_cents)
SEGNO_EXTEND(out, PRICED)

static segno_outcome process(const struct order *order) {
    if (order->quantity <= 0) {
        return segno_reject("a quantity of %" PRId64, order->quantity);
    }
    out_push((struct out){.total_cents = order->quantity * order->price_cents});
    return SEGNO_OK;
}

SEGNO_PLUGIN(order, process, .ports = {&out_port})
