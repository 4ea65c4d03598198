/* Keeps the orders that are worth at least what the pipeline's configuration says. */
#include "segno.h"

/* The columns that the plugin reads. */
#define ORDER(COLUMN) COLUMN(i64, quantity) COLUMN(i64, price_cents)
SEGNO_INPUT(order, ORDER)

SEGNO_KEEP(out)

/* `config:` of the step. */
#define SETTINGS(FIELD) FIELD(i64, min_cents)
SEGNO_CONFIG(settings, SETTINGS)

static segno_outcome process(const struct order *order) {
    if (order->quantity <= 0) {
        return segno_reject("a quantity of %" PRId64, order->quantity);
    }
    if (order->quantity * order->price_cents >= settings.min_cents) out_keep();
    return SEGNO_OK;
}

SEGNO_PLUGIN(order, process, .ports = {&out_port}, .config = &settings_config)
