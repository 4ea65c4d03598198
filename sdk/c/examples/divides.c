/* Divides by what the record says: a record with a quantity of zero is what the plugin fails at. */
#include "segno.h"

#define ORDER(COLUMN) COLUMN(i64, quantity) COLUMN(i64, price_cents)
SEGNO_INPUT(order, ORDER)

#define PRICED(COLUMN) COLUMN(i64, each_cents)
SEGNO_EXTEND(out, PRICED)

static segno_outcome process(const struct order *order) {
    out_push((struct out){.each_cents = order->price_cents / order->quantity});
    return SEGNO_OK;
}

SEGNO_PLUGIN(order, process, .ports = {&out_port})
