/* Keyed state as an author sees it: one struct for each key and table.
 *
 * Owns: `SEGNO_STATE`, `SEGNO_LIST`, and how a field is kept. Does not own: keys (the host makes them from the pipeline's
 * `key:`), nor where values live between batches.
 * Invariants: a value is decoded once for each key of a batch and encoded once, at the end, if it changed; a value that was
 * set to what it was is no change. Between two events a value is what it would be if it were encoded and decoded: nothing in
 * it depends on which events share a batch. */
#ifndef SEGNO_STATE_H
#define SEGNO_STATE_H

#include "output.h"

SEGNO_BEGIN

enum segno_state_fault { SEGNO_STATE_FINE, SEGNO_STATE_SHORT, SEGNO_STATE_VERSION, SEGNO_STATE_TRAILING, SEGNO_STATE_PRESENCE, SEGNO_STATE_VALUE };

struct segno_state_reader {
    const uint8_t *at, *end;
    uint16_t version;
    enum segno_state_fault fault;
};

/* One key's value: `touched` where it may have changed, `open` where the current event may have changed it. */
struct segno_slot {
    bool present, touched, open;
};

struct segno_table {
    const char *name;
    uint16_t version;
    const struct segno_column *columns;
    uint32_t size;
    void (*decode)(struct segno_state_reader *from, void *to);
    void (*encode)(struct segno_builder *out, const void *value);
    void (*settle)(void *value);
    /* Of the batch's keys. */
    struct segno_slot *slots;
    char *values;
    struct segno_builder keys, changes;
    uint32_t changed;
};

/* Gives so many bytes, or nothing and a fault. */
const uint8_t *segno_state_take(struct segno_state_reader *from, uint32_t bytes);
bool segno_state_flag(struct segno_state_reader *from, enum segno_state_fault fault);
segno_bytes segno_state_bytes(struct segno_state_reader *from, bool is_text);
void segno_state_append(struct segno_builder *out, const void *bytes, uint32_t length);
/* An event is over: settles the current key's values. */
void segno_state_settle(void);
/* The bytes, in memory of the call. Panics about a text that could be written and not be read again. */
segno_bytes segno_state_settled_bytes(const struct segno_column *column, segno_bytes value);
void segno_state_check_decimal(const struct segno_column *column, segno_decimal value);
void *segno_list_grow(void *items, uint32_t length, uint32_t *capacity, size_t size);
void *segno_list_copy(const void *items, uint32_t length, uint32_t *capacity, size_t size);

#define SEGNO_STATE_TAKE_(WORD, TYPE)                                                                                            \
    {                                                                                                                             \
        const uint8_t *taken = segno_state_take(from, sizeof(TYPE));                                                              \
        if (taken != NULL) memcpy(to, taken, sizeof(TYPE));                                                                       \
        break;                                                                                                                    \
    }

/* Reads a field that is not a list; one that came later than the value stays zero. */
SEGNO_INLINE void segno_decode(const struct segno_column *column, struct segno_state_reader *from, void *field) {
    char *to = (char *)field + segno_value_at(column);
    if (from->fault != SEGNO_STATE_FINE || from->version < column->since) {
        return;
    }
    if (column->nullable) {
        bool present = segno_state_flag(from, SEGNO_STATE_PRESENCE);
        memcpy(field, &present, sizeof present);
        if (!present) {
            return;
        }
    }
    switch (column->type) {
    case SEGNO_BOOL: {
        bool value = segno_state_flag(from, SEGNO_STATE_VALUE);
        memcpy(to, &value, sizeof value);
        break;
    }
    case SEGNO_I32: case SEGNO_DATE: case SEGNO_U32: SEGNO_STATE_TAKE_(i32, int32_t)
    case SEGNO_UTF8: case SEGNO_BINARY: {
        segno_bytes value = segno_state_bytes(from, column->type == SEGNO_UTF8);
        memcpy(to, &value, sizeof value);
        break;
    }
    case SEGNO_DECIMAL: SEGNO_STATE_TAKE_(i128, segno_decimal)
    default: SEGNO_STATE_TAKE_(i64, int64_t)
    }
}

/* Keeps a field that is not a list. */
SEGNO_INLINE void segno_encode(const struct segno_column *column, struct segno_builder *out, const void *field) {
    const uint8_t *at = (const uint8_t *)field + segno_value_at(column);
    if (column->nullable) {
        uint8_t present = *(const bool *)field;
        segno_state_append(out, &present, 1);
        if (!present) {
            return;
        }
    }
    switch (column->type) {
    case SEGNO_BOOL: {
        uint8_t value = *(const bool *)at;
        segno_state_append(out, &value, 1);
        break;
    }
    case SEGNO_I32: case SEGNO_DATE: case SEGNO_U32: segno_builder_i32(out, segno_load_i32(at)); break;
    case SEGNO_F64: segno_builder_f64(out, segno_canonical(segno_load_f64(at))); break;
    case SEGNO_UTF8: case SEGNO_BINARY: {
        segno_bytes value;
        memcpy(&value, at, sizeof value);
        segno_builder_u32(out, value.length);
        segno_state_append(out, value.data, value.length);
        break;
    }
    case SEGNO_DECIMAL: segno_builder_i128(out, segno_load_i128(at)); break;
    default: segno_builder_i64(out, segno_load_i64(at)); break;
    }
}

/* Makes a field that is not a list what it would be if it were kept and read again. */
SEGNO_INLINE void segno_settle(const struct segno_column *column, void *field) {
    char *at = (char *)field + segno_value_at(column);
    if (column->nullable && !*(const bool *)field) {
        memset(at, 0, segno_value_size(column));
        return;
    }
    switch (column->type) {
    case SEGNO_F64: {
        double value = segno_canonical(segno_load_f64((const uint8_t *)at));
        memcpy(at, &value, sizeof value);
        break;
    }
    case SEGNO_UTF8: case SEGNO_BINARY: {
        segno_bytes value;
        memcpy(&value, at, sizeof value);
        value = segno_state_settled_bytes(column, value);
        memcpy(at, &value, sizeof value);
        break;
    }
    case SEGNO_DECIMAL: segno_state_check_decimal(column, segno_load_i128((const uint8_t *)at)); break;
    default: break;
    }
}

SEGNO_END

/* Fields are kept by the code of their word: that of a list is the list's own. */
#define SEGNO_K_bool segno
#define SEGNO_K__Bool segno
#define SEGNO_K_i32 segno
#define SEGNO_K_i64 segno
#define SEGNO_K_u64 segno
#define SEGNO_K_f64 segno
#define SEGNO_K_utf8 segno
#define SEGNO_K_binary segno
#define SEGNO_K_timestamp segno
#define SEGNO_K_date segno
#define SEGNO_K_decimal(P, S) segno
#define SEGNO_K_nullable(T) segno
#define SEGNO_K_since(V, T) SEGNO_K_##T
#define SEGNO_K_named(N, T) SEGNO_K_##T
#define SEGNO_K_list(ITEM) ITEM##_list
#define SEGNO_CALL_(WHO, WHAT, ...) SEGNO_CALL2_(WHO, WHAT, __VA_ARGS__)
#define SEGNO_CALL2_(WHO, WHAT, ...) WHO##_##WHAT(__VA_ARGS__)
#define SEGNO_DECODE_(T, NAME) SEGNO_CALL_(SEGNO_K_##T, decode, &segno_columns[segno_index], segno_from, &segno_to->NAME); segno_index++;
#define SEGNO_ENCODE_(T, NAME) SEGNO_CALL_(SEGNO_K_##T, encode, &segno_columns[segno_index], segno_out, &segno_value->NAME); segno_index++;
#define SEGNO_SETTLE_(T, NAME) SEGNO_CALL_(SEGNO_K_##T, settle, &segno_columns[segno_index], &segno_value->NAME); segno_index++;

#define SEGNO_KEPT_(NAME, COLUMNS)                                                                                               \
    struct NAME { COLUMNS(SEGNO_STATE_FIELD_) };                                                                                  \
    static const struct segno_column NAME##_columns[] = {COLUMNS(SEGNO_SPEC_) SEGNO_SPEC_END};                                    \
    SEGNO_KEPT_CODE_(NAME, struct NAME, COLUMNS)

#define SEGNO_KEPT_CODE_(NAME, TYPE, COLUMNS)                                                                                    \
    static inline void NAME##_decode(struct segno_state_reader *segno_from, void *segno_at) {                                     \
        const struct segno_column *segno_columns = NAME##_columns;                                                                \
        TYPE *segno_to = (TYPE *)segno_at;                                                                                        \
        int segno_index = 0;                                                                                                      \
        COLUMNS(SEGNO_DECODE_)                                                                                                    \
        (void)segno_columns, (void)segno_index, (void)segno_to, (void)segno_from;                                                 \
    }                                                                                                                             \
    static inline void NAME##_encode(struct segno_builder *segno_out, const void *segno_at) {                                     \
        const struct segno_column *segno_columns = NAME##_columns;                                                                \
        const TYPE *segno_value = (const TYPE *)segno_at;                                                                         \
        int segno_index = 0;                                                                                                      \
        COLUMNS(SEGNO_ENCODE_)                                                                                                    \
        (void)segno_columns, (void)segno_index, (void)segno_value, (void)segno_out;                                              \
    }                                                                                                                            \
    static inline void NAME##_settle(void *segno_at) {                                                                           \
        const struct segno_column *segno_columns = NAME##_columns;                                                               \
        TYPE *segno_value = (TYPE *)segno_at;                                                                                    \
        int segno_index = 0;                                                                                                     \
        COLUMNS(SEGNO_SETTLE_)                                                                                                   \
        (void)segno_columns, (void)segno_index, (void)segno_value;                                                               \
    }

/* A list of `struct NAME`, to be a column `COLUMN(list(NAME), all)` of a state: `all.items[0 … all.length]`, and
 * `NAME_list_add(&value->all)` for a new item of zeros. */
#define SEGNO_LIST(NAME, COLUMNS) SEGNO_KEPT_(NAME, COLUMNS) SEGNO_LIST_CODE_(NAME)

#define SEGNO_LIST_CODE_(NAME)                                                                                                   \
    struct NAME##_list {                                                                                                         \
        struct NAME *items;                                                                                                      \
        uint32_t length, capacity;                                                                                               \
        /* The list that these items belong to: a struct that is copied shares them until the event is over. */                  \
        const void *owner;                                                                                                       \
    };                                                                                                                           \
    SEGNO_UNUSED static inline struct NAME *NAME##_list_add(struct NAME##_list *list) {                                          \
        if (list->length == list->capacity) {                                                                                    \
            list->items = (struct NAME *)segno_list_grow(list->items, list->length, &list->capacity, sizeof(struct NAME));       \
            list->owner = list;                                                                                                  \
        }                                                                                                                        \
        memset(&list->items[list->length], 0, sizeof(struct NAME));                                                              \
        return &list->items[list->length++];                                                                                     \
    }                                                                                                                            \
    static inline void NAME##_list_decode(const struct segno_column *column, struct segno_state_reader *from,                    \
                                          struct NAME##_list *list) {                                                            \
        if (from->fault != SEGNO_STATE_FINE || from->version < column->since) return;                                            \
        segno_bytes bytes = segno_state_bytes(from, false);                                                                      \
        struct segno_state_reader items = {bytes.data, bytes.data + bytes.length, from->version, from->fault};                   \
        while (items.fault == SEGNO_STATE_FINE && items.at != items.end) NAME##_decode(&items, NAME##_list_add(list));           \
        from->fault = items.fault;                                                                                               \
    }                                                                                                                            \
    static inline void NAME##_list_encode(const struct segno_column *column, struct segno_builder *out,                          \
                                          const struct NAME##_list *list) {                                                      \
        (void)column;                                                                                                            \
        segno_builder_u32(out, 0);                                                                                               \
        uint32_t start = out->length;                                                                                            \
        for (uint32_t i = 0; i < list->length; i++) NAME##_encode(out, &list->items[i]);                                         \
        uint32_t length = out->length - start;                                                                                   \
        memcpy(out->data + start - 4, &length, sizeof length);                                                                   \
    }                                                                                                                            \
    static inline void NAME##_list_settle(const struct segno_column *column, struct NAME##_list *list) {                         \
        (void)column;                                                                                                            \
        if (list->owner != list) {                                                                                               \
            void *items = segno_list_copy(list->items, list->length, &list->capacity, sizeof(struct NAME));                      \
            list->items = (struct NAME *)items;                                                                                  \
            list->owner = list;                                                                                                  \
        }                                                                                                                        \
        for (uint32_t i = 0; i < list->length; i++) NAME##_settle(&list->items[i]);                                              \
    }

/* What is kept for each key: `struct NAME`, in a table of that name. Raise VERSION when columns are appended, and mark them
 * `since(VERSION, type)`; older values have zero, false, empty or null there.
 *
 *     NAME_get()         the current key's value, or NULL for a new key
 *     NAME_or_default()  to be changed in place; zeros for a new key
 *     NAME_clear()       forgets the key
 *
 * Text and bytes in it may point into the record, or to a buffer of yours: they are copied when the event is over. */
#define SEGNO_STATE(NAME, VERSION, COLUMNS) SEGNO_KEPT_(NAME, COLUMNS) SEGNO_TABLE_(NAME, #NAME, VERSION)

#define SEGNO_TABLE_INIT_(TABLE, VERSION, NAME)                                                                                  \
    {TABLE, VERSION, NAME##_columns, sizeof(struct NAME), NAME##_decode, NAME##_encode, NAME##_settle, NULL, NULL,                \
     {NULL, 0, 0, NULL, 0, NULL, 0}, {NULL, 0, 0, NULL, 0, NULL, 0}, 0}

#define SEGNO_TABLE_(NAME, TABLE, VERSION)                                                                                       \
    static struct segno_table NAME##_table = SEGNO_TABLE_INIT_(TABLE, VERSION, NAME);                                             \
    SEGNO_UNUSED static inline struct NAME *NAME##_or_default(void) {                                                                          \
        struct segno_slot *slot = &NAME##_table.slots[segno_now.key];                                                             \
        slot->present = slot->touched = slot->open = true;                                                                        \
        return &((struct NAME *)(void *)NAME##_table.values)[segno_now.key];                                                      \
    }                                                                                                                             \
    SEGNO_UNUSED static inline const struct NAME *NAME##_get(void) {                                                                           \
        if (!NAME##_table.slots[segno_now.key].present) return NULL;                                                              \
        return &((const struct NAME *)(void *)NAME##_table.values)[segno_now.key];                                                \
    }                                                                                                                             \
    SEGNO_UNUSED static inline void NAME##_clear(void) {                                                                                       \
        struct segno_slot *slot = &NAME##_table.slots[segno_now.key];                                                             \
        slot->touched |= slot->present;                                                                                           \
        slot->present = false;                                                                                                    \
        memset(&((struct NAME *)(void *)NAME##_table.values)[segno_now.key], 0, sizeof(struct NAME));                             \
    }

#endif
