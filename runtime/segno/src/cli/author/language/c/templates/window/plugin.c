/* Counts orders and adds up what they are worth in windows of event time, for each key of the pipeline; orders that come too late
 * go to a port of their own. */
#include "segno.h"

/* The columns that the plugin reads. */
#define ORDER(COLUMN) COLUMN(i64, quantity) COLUMN(i64, price_cents) COLUMN(event_time, at)
SEGNO_INPUT(order, ORDER)

/* A window of a key. */
#define WINDOW(COLUMN) COLUMN(timestamp, from) COLUMN(u64, orders) COLUMN(i64, total_cents)
SEGNO_PER_KEY(windows, WINDOW)

/* The order as it came. */
SEGNO_KEEP(late)

/* What is kept for each key and window. */
#define SUM(COLUMN) COLUMN(u64, orders) COLUMN(i64, total_cents)
SEGNO_WINDOWS(sum, 1, SUM)

/* `config:` of the step. */
#define SETTINGS(FIELD) FIELD(or(60, u64), minutes)
SEGNO_CONFIG(settings, SETTINGS)

static struct segno_windows hourly;

static segno_outcome init(void) {
    if (settings.minutes < 1 || settings.minutes > 1000000) {
        return segno_reject("config.minutes: 1 to 1000000 is expected");
    }
    hourly = segno_tumbling((int64_t)settings.minutes * SEGNO_MINUTE);
    return SEGNO_OK;
}

static segno_outcome process(const struct order *order) {
    if (order->quantity <= 0) {
        return segno_reject("a quantity of %" PRId64, order->quantity);
    }
    struct sum *kept = sum_add(&hourly, order->at);
    if (kept == NULL) {
        late_keep();
        return SEGNO_OK;
    }
    kept->orders++;
    kept->total_cents += order->quantity * order->price_cents;
    return SEGNO_OK;
}

static void on_timer(struct segno_timer timer) {
    struct sum_results given = sum_fire(&hourly, timer);
    for (uint32_t i = 0; i < given.length; i++) {
        const struct sum_fired *one = &given.items[i];
        windows_push((struct windows){.from = one->start, .orders = one->value.orders, .total_cents = one->value.total_cents});
    }
}

SEGNO_PLUGIN(order, process, .ports = {&windows_port, &late_port}, .tables = {&sum_table}, .config = &settings_config, .init = init,
             .on_timer = on_timer)
