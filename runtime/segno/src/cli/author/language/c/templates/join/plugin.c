/* Joins orders with their payments, for each key of the pipeline: each pair when the later of both comes; an order that nobody
 * paid in time alone, when no payment can come any more. */
#include "segno.h"

/* The columns that the plugin reads: an order has a total, a payment what was paid. */
#define EVENT(COLUMN) COLUMN(nullable(i64), total_cents) COLUMN(nullable(i64), paid_cents) COLUMN(event_time, at)
SEGNO_INPUT(event, EVENT)

#define PAID(COLUMN) COLUMN(i64, total_cents) COLUMN(nullable(i64), paid_cents)
SEGNO_PER_KEY(out, PAID)

/* What is kept of an order while payments may come. */
#define ORDER(COLUMN) COLUMN(timestamp, event_time) COLUMN(bool, matched) COLUMN(i64, total_cents)
SEGNO_LIST(order, ORDER)

/* What is kept of a payment while its order may come late. */
#define PAYMENT(COLUMN) COLUMN(timestamp, event_time) COLUMN(bool, matched) COLUMN(i64, paid_cents)
SEGNO_LIST(payment, PAYMENT)

/* What waits for its other side, in the order of event times: orders on the left, payments on the right. */
#define WAITING(COLUMN) COLUMN(list(order), left) COLUMN(list(payment), right)
SEGNO_STATE(interval_join, 1, WAITING)

/* `config:` of the step: the time within which an order is paid. */
#define SETTINGS(FIELD) FIELD(or(60, u64), minutes)
SEGNO_CONFIG(settings, SETTINGS)

static int64_t in_time;

static segno_outcome init(void) {
    if (settings.minutes < 1 || settings.minutes > 1000000) {
        return segno_reject("config.minutes: 1 to 1000000 is expected");
    }
    in_time = (int64_t)settings.minutes * SEGNO_MINUTE;
    return SEGNO_OK;
}

/* From here on a payment is too late for an order, and an order too late for its payment. */
static segno_timestamp order_ends(const struct order *order) { return segno_after(order->event_time, in_time + 1); }
static segno_timestamp payment_ends(const struct payment *payment) { return segno_after(payment->event_time, 1); }

static bool match(const struct order *order, const struct payment *payment) {
    if (payment->event_time < order->event_time || payment->event_time > segno_after(order->event_time, in_time)) {
        return false;
    }
    out_push((struct out){.total_cents = order->total_cents, .paid_cents = {true, payment->paid_cents}});
    return true;
}

static void add_order(struct interval_join *waiting, struct order order) {
    for (uint32_t i = 0; i < waiting->right.length; i++) {
        order.matched |= match(&order, &waiting->right.items[i]);
    }
    order_list_add(&waiting->left);
    uint32_t at = waiting->left.length - 1;
    for (; at > 0 && waiting->left.items[at - 1].event_time > order.event_time; at--) {
        waiting->left.items[at] = waiting->left.items[at - 1];
    }
    waiting->left.items[at] = order;
    segno_set_timer(order_ends(&order), 0);
}

static void add_payment(struct interval_join *waiting, struct payment payment) {
    for (uint32_t i = 0; i < waiting->left.length; i++) {
        if (match(&waiting->left.items[i], &payment)) {
            waiting->left.items[i].matched = payment.matched = true;
        }
    }
    payment_list_add(&waiting->right);
    uint32_t at = waiting->right.length - 1;
    for (; at > 0 && waiting->right.items[at - 1].event_time > payment.event_time; at--) {
        waiting->right.items[at] = waiting->right.items[at - 1];
    }
    waiting->right.items[at] = payment;
    segno_set_timer(payment_ends(&payment), 0);
}

static segno_outcome process(const struct event *event) {
    /* A record of the same time as the watermark is not late. */
    if (segno_late(segno_after(event->at, 1))) {
        return segno_reject_late();
    }
    if (!event->total_cents.present && !event->paid_cents.present) {
        return segno_reject("neither an order nor a payment");
    }
    if (event->total_cents.present && event->paid_cents.present) {
        return segno_reject("an order and a payment at once");
    }
    struct interval_join *waiting = interval_join_or_default();
    if (event->total_cents.present) {
        add_order(waiting, (struct order){.event_time = event->at, .total_cents = event->total_cents.value});
    } else {
        add_payment(waiting, (struct payment){.event_time = event->at, .paid_cents = event->paid_cents.value});
    }
    return SEGNO_OK;
}

static void on_timer(struct segno_timer timer) {
    (void)timer;
    if (interval_join_get() == NULL) {
        return;
    }
    struct interval_join *waiting = interval_join_or_default();
    uint32_t orders = 0, payments = 0;
    for (uint32_t i = 0; i < waiting->left.length; i++) {
        struct order order = waiting->left.items[i];
        if (!segno_reached(order_ends(&order))) {
            waiting->left.items[orders++] = order;
        } else if (!order.matched) {
            out_push((struct out){.total_cents = order.total_cents});
        }
    }
    for (uint32_t i = 0; i < waiting->right.length; i++) {
        struct payment payment = waiting->right.items[i];
        if (!segno_reached(payment_ends(&payment))) {
            waiting->right.items[payments++] = payment;
        }
    }
    waiting->left.length = orders;
    waiting->right.length = payments;
    if (orders == 0 && payments == 0) {
        interval_join_clear();
    }
}

SEGNO_PLUGIN(event, process, .ports = {&out_port}, .tables = {&interval_join_table}, .config = &settings_config, .init = init,
             .on_timer = on_timer)
