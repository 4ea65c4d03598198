/* What a plugin gives back: rows, by port.
 *
 * Owns: ports and what is pushed to them. Does not own: the bytes of the answer (`src/engine.c`).
 * Invariant: every row carries the event (record or timer) that caused it. */
#ifndef SEGNO_OUTPUT_H
#define SEGNO_OUTPUT_H

#include "record.h"

SEGNO_BEGIN

enum segno_port_kind { SEGNO_PORT_EXTEND, SEGNO_PORT_EMIT, SEGNO_PORT_PER_KEY };

struct segno_port {
    const char *name;
    enum segno_port_kind kind;
    const struct segno_column *columns;
    uint32_t width;
    /* The first is that of the causes. */
    struct segno_builder *builders;
    uint32_t rows;
};

/* What is being worked on. */
struct segno_now {
    uint32_t event;
    uint32_t key;
};
extern struct segno_now segno_now;

SEGNO_END

#define SEGNO_PUSH_(T, NAME) segno_push(&segno_columns[segno_index], &segno_builders[1 + segno_index], segno_row, &row.NAME); segno_index++;

#define SEGNO_PORT_(NAME, KIND, COLUMNS)                                                                                         \
    struct NAME { COLUMNS(SEGNO_OUTPUT_FIELD_) };                                                                                 \
    static const struct segno_column NAME##_columns[] = {COLUMNS(SEGNO_SPEC_) SEGNO_SPEC_END};                                    \
    static struct segno_builder NAME##_builders[1 + SEGNO_WIDTH_(COLUMNS)];                                                       \
    static struct segno_port NAME##_port = {#NAME, KIND, NAME##_columns, SEGNO_WIDTH_(COLUMNS), NAME##_builders, 0};               \
    SEGNO_UNUSED static inline void NAME##_push(struct NAME row) {                                                                             \
        const struct segno_column *segno_columns = NAME##_columns;                                                                \
        struct segno_builder *segno_builders = NAME##_builders;                                                                   \
        uint32_t segno_row = NAME##_port.rows++;                                                                                  \
        int segno_index = 0;                                                                                                      \
        segno_builder_u32(segno_builders, segno_now.event);                                                                       \
        COLUMNS(SEGNO_PUSH_)                                                                                                      \
        (void)segno_columns, (void)segno_row, (void)segno_index, (void)row;                                                       \
    }

/* A port whose rows are the input row that caused them plus columns of their own: `NAME_push((struct NAME){.a = 1})`. */
#define SEGNO_EXTEND(NAME, COLUMNS) SEGNO_PORT_(NAME, SEGNO_PORT_EXTEND, COLUMNS)
/* A port whose rows have their own columns only. */
#define SEGNO_EMIT(NAME, COLUMNS) SEGNO_PORT_(NAME, SEGNO_PORT_EMIT, COLUMNS)
/* A port whose rows are the key's columns plus columns of their own: what a record or a timer of the key brings about. */
#define SEGNO_PER_KEY(NAME, COLUMNS) SEGNO_PORT_(NAME, SEGNO_PORT_PER_KEY, COLUMNS)
/* A port that passes input rows on as they are, a filter: `NAME_keep()`. */
#define SEGNO_KEEP(NAME)                                                                                                         \
    static const struct segno_column NAME##_columns[] = {SEGNO_SPEC_END};                                                         \
    static struct segno_builder NAME##_builders[1];                                                                               \
    static struct segno_port NAME##_port = {#NAME, SEGNO_PORT_EXTEND, NAME##_columns, 0, NAME##_builders, 0};                      \
    SEGNO_UNUSED static inline void NAME##_keep(void) {                                                                                        \
        NAME##_port.rows++;                                                                                                       \
        segno_builder_u32(NAME##_builders, segno_now.event);                                                                      \
    }

#endif
