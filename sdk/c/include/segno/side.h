/* Side tables: rows that the pipeline hands over before the first record, looked up by key while records are processed.
 *
 *     #define CITY(COLUMN) COLUMN(utf8, code) COLUMN(nullable(utf8), name)
 *     SEGNO_SIDE_TABLE(cities, CITY, code)
 *
 *     const struct cities *city = cities_find(record->code);      NULL where there is none
 *     for (uint32_t i = 0; i < cities_count(); i++) cities_row(i)
 *
 * Owns: rows and their lookup. Does not own: where rows come from.
 * Invariants: a table does not change after `init`; the order of the lookup structure never reaches output. */
#ifndef SEGNO_SIDE_H
#define SEGNO_SIDE_H

#include "record.h"

SEGNO_BEGIN

struct segno_side {
    const char *name;
    const struct segno_column *columns;
    /* The field of the key; NULL where there is none. */
    const char *key;
    size_t key_offset, size;
    void (*read)(const struct segno_view *views, uint32_t row, void *into);
    /* Of `init`. */
    char *rows;
    uint32_t length;
    uint8_t key_type;
    struct { uint32_t tag, row; } *slots;
    uint32_t last, shift;
};

const void *segno_side_find(const struct segno_side *side, const void *key);
/* The column of the key, or NULL. */
const struct segno_column *segno_side_key(const struct segno_side *side);

SEGNO_END

#define SEGNO_SIDE_(NAME, COLUMNS, KEY_NAME, KEY_OFFSET)                                                                         \
    SEGNO_INPUT(NAME, COLUMNS)                                                                                                    \
    static void NAME##_load(const struct segno_view *views, uint32_t row, void *into) { NAME##_read(views, row, (struct NAME *)into); } \
    static struct segno_side NAME##_side = {#NAME, NAME##_columns, KEY_NAME, KEY_OFFSET, sizeof(struct NAME), NAME##_load, NULL, 0, 0, NULL, 0, 0}; \
    SEGNO_UNUSED static inline uint32_t NAME##_count(void) { return NAME##_side.length; }                                          \
    SEGNO_UNUSED static inline const struct NAME *NAME##_row(uint32_t row) { return &((const struct NAME *)(void *)NAME##_side.rows)[row]; }

/* Rows of `struct NAME`, found by the column KEY, which is unique. Name it to the plugin: `.side_tables = {&NAME_side}`. */
#define SEGNO_SIDE_TABLE(NAME, COLUMNS, KEY)                                                                                     \
    SEGNO_SIDE_(NAME, COLUMNS, #KEY, offsetof(struct NAME, KEY))                                                                  \
    SEGNO_UNUSED static inline const struct NAME *NAME##_find(__typeof__(((struct NAME *)0)->KEY) key) {                          \
        return (const struct NAME *)segno_side_find(&NAME##_side, &key);                                                          \
    }
/* Rows without a key. */
#define SEGNO_SIDE_LIST(NAME, COLUMNS) SEGNO_SIDE_(NAME, COLUMNS, NULL, 0)

#endif
