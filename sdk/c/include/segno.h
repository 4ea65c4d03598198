/* Write a plugin for Segno: a deterministic function over records, in ordinary C.
 *
 *     #include "segno.h"
 *
 *     #define ORDER(COLUMN) COLUMN(i64, quantity) COLUMN(i64, price_cents)
 *     SEGNO_INPUT(order, ORDER)
 *
 *     #define PRICED(COLUMN) COLUMN(i64, total_cents)
 *     SEGNO_EXTEND(out, PRICED)
 *
 *     static segno_outcome process(const struct order *order) {
 *         if (order->quantity <= 0) {
 *             return segno_reject("a quantity of %" PRId64, order->quantity);
 *         }
 *         out_push((struct out){.total_cents = order->quantity * order->price_cents});
 *         return SEGNO_OK;
 *     }
 *
 *     SEGNO_PLUGIN(order, process, .ports = {&out_port})
 *
 * Owns: nothing but the list of its parts. What a plugin returns may depend on its record, its key's state, its
 * configuration and its side tables, and on nothing else: instances come and go between batches, and batches are cut
 * anywhere. Variables of your own are set in `init`, and only read afterwards. */
#ifndef SEGNO_H
#define SEGNO_H

#include "segno/types.h"
#include "segno/memory.h"
#include "segno/observe.h"
#include "segno/column.h"
#include "segno/config.h"
#include "segno/record.h"
#include "segno/output.h"
#include "segno/state.h"
#include "segno/side.h"
#include "segno/timer.h"
#include "segno/window.h"
#include "segno/plugin.h"

#endif
