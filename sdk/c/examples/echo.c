/* Gives every type of column back as it came. */
#include "segno.h"

#define ALL(COLUMN) \
    COLUMN(nullable(bool), flag) COLUMN(nullable(i32), narrow) COLUMN(nullable(i64), wide) COLUMN(nullable(u64), count) \
    COLUMN(nullable(f64), ratio) COLUMN(nullable(utf8), text) COLUMN(nullable(binary), data) COLUMN(nullable(timestamp), at) \
    COLUMN(nullable(date), day) COLUMN(nullable(decimal(38, 10)), amount)
SEGNO_INPUT(all, ALL)
SEGNO_EMIT(echo, ALL)

static segno_outcome process(const struct all *all) {
    struct echo row;
    _Static_assert(sizeof row == sizeof *all, "the same columns");
    memcpy(&row, all, sizeof row);
    echo_push(row);
    return SEGNO_OK;
}

SEGNO_PLUGIN(all, process, .ports = {&echo_port})
