/* Records: the columns that a plugin reads, as a struct.
 *
 * Owns: `SEGNO_INPUT`. Does not own: where a batch comes from (`src/engine.c`).
 * Invariant: text and bytes are borrowed from the batch; nothing is copied. */
#ifndef SEGNO_RECORD_H
#define SEGNO_RECORD_H

#include "column.h"

#define SEGNO_READ_(T, NAME)                                                                                                     \
    segno_read(&segno_columns[segno_index], &segno_views[segno_index], segno_row, &segno_to->NAME);                               \
    segno_index++;
#define SEGNO_WIDTH_(COLUMNS) (0 COLUMNS(SEGNO_ONE_))

/* `struct NAME` of the columns, and how it is read. Once in a plugin. A column `COLUMN(event_time, at)` is the record's event
 * time. */
#define SEGNO_INPUT(NAME, COLUMNS)                                                                                               \
    struct NAME { COLUMNS(SEGNO_RECORD_FIELD_) };                                                                                 \
    static const struct segno_column NAME##_columns[] = {COLUMNS(SEGNO_SPEC_) SEGNO_SPEC_END};                                    \
    SEGNO_INLINE void NAME##_read(const struct segno_view *segno_views, uint32_t segno_row, struct NAME *segno_to) {              \
        const struct segno_column *segno_columns = NAME##_columns;                                                                \
        int segno_index = 0;                                                                                                      \
        COLUMNS(SEGNO_READ_)                                                                                                      \
        (void)segno_columns, (void)segno_index, (void)segno_views, (void)segno_row, (void)segno_to;                               \
    }

#endif
