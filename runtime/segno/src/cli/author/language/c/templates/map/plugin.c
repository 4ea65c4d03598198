/* Adds the total of an order, after the discount of the pipeline's configuration. */
#include "segno.h"

/* The columns that the plugin reads. */
#define ORDER(COLUMN) COLUMN(i64, quantity) COLUMN(i64, price_cents)
SEGNO_INPUT(order, ORDER)

/* The columns that it adds. */
#define PRICED(COLUMN) COLUMN(i64, total_cents)
SEGNO_EXTEND(out, PRICED)

/* `config:` of the step. */
#define SETTINGS(FIELD) FIELD(optional(i64), discount_percent)
SEGNO_CONFIG(settings, SETTINGS)

static segno_outcome init(void) {
    if (settings.discount_percent < 0 || settings.discount_percent > 100) {
        return segno_reject("config.discount_percent: 0 to 100 is expected");
    }
    return SEGNO_OK;
}

static segno_outcome process(const struct order *order) {
    if (order->quantity <= 0) {
        return segno_reject("a quantity of %" PRId64, order->quantity);
    }
    int64_t full = order->quantity * order->price_cents;
    out_push((struct out){.total_cents = full - full * settings.discount_percent / 100});
    return SEGNO_OK;
}

SEGNO_PLUGIN(order, process, .ports = {&out_port}, .config = &settings_config, .init = init)
