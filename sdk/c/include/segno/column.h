/* Types of columns: what a type's word stands for in each place where it is used.
 *
 * A list of columns is a macro that is given another one: `#define ORDER(COLUMN) COLUMN(i64, quantity) COLUMN(utf8, note)`.
 * The words are bool, i32, i64, u64, f64, utf8, binary, timestamp, date, decimal(p, s); nullable(type); event_time in
 * records; since(version, type) and list(struct) in state; named("bid.price", type) where the field has another name.
 *
 * Owns: the words, descriptors, and reading and building columns. Does not own: frames (`src/wire.h`).
 * Invariant: an opened column has as many rows as its batch; a builder holds canonical values only. */
#ifndef SEGNO_COLUMN_H
#define SEGNO_COLUMN_H

#include "memory.h"
#include "observe.h"

SEGNO_BEGIN

enum segno_type {
    SEGNO_BOOL = 1, SEGNO_I32, SEGNO_I64, SEGNO_U64, SEGNO_F64, SEGNO_UTF8, SEGNO_BINARY, SEGNO_TIMESTAMP, SEGNO_DATE,
    SEGNO_DECIMAL, SEGNO_U32,
    /* In descriptors only. */
    SEGNO_LIST = 100, SEGNO_EVENT_TIME
};

struct segno_column {
    const char *name;
    uint8_t type;
    bool nullable;
    uint8_t precision;
    int8_t scale;
    uint16_t since;
    /* The columns of a list's items, up to one without a name. */
    const struct segno_column *items;
    /* The column's name where the field has another one. */
    const char *alias;
};

/* An opened column. */
struct segno_view {
    const uint8_t *validity;
    const uint8_t *offsets;
    const uint8_t *data;
};

/* A column that grows. `offsets` are those of text and bytes; `validity` is made when the first null comes. */
struct segno_builder {
    uint8_t *data;
    uint32_t length, capacity;
    uint32_t *offsets;
    uint32_t offsets_capacity;
    uint8_t *validity;
    uint32_t validity_capacity;
};

void segno_builder_grow(struct segno_builder *builder, uint32_t more);
void segno_builder_null(struct segno_builder *builder, uint32_t row);
void segno_builder_valid(struct segno_builder *builder, uint32_t row);
void segno_builder_bytes(struct segno_builder *builder, uint32_t row, const void *data, uint32_t length);
void segno_builder_text(struct segno_builder *builder, uint32_t row, segno_text text);
void segno_builder_decimal(struct segno_builder *builder, segno_decimal value, const struct segno_column *column);

static inline bool segno_bit(const uint8_t *bits, uint32_t row) { return bits[row / 8] >> (row % 8) & 1; }
static inline bool segno_valid(const struct segno_view *view, uint32_t row) {
    return view->validity == NULL || segno_bit(view->validity, row);
}

#define SEGNO_FIXED_(WORD, TYPE)                                                                                                  \
    static inline TYPE segno_load_##WORD(const uint8_t *at) {                                                                     \
        TYPE value;                                                                                                               \
        memcpy(&value, at, sizeof value);                                                                                         \
        return value;                                                                                                             \
    }                                                                                                                             \
    static inline void segno_builder_##WORD(struct segno_builder *builder, TYPE value) {                                          \
        if (__builtin_expect(builder->length + sizeof value > builder->capacity, 0)) {                                            \
            segno_builder_grow(builder, sizeof value);                                                                            \
        }                                                                                                                         \
        memcpy(builder->data + builder->length, &value, sizeof value);                                                            \
        builder->length += (uint32_t)sizeof value;                                                                                \
    }
SEGNO_FIXED_(i32, int32_t)
SEGNO_FIXED_(u32, uint32_t)
SEGNO_FIXED_(i64, int64_t)
SEGNO_FIXED_(u64, uint64_t)
SEGNO_FIXED_(f64, double)
SEGNO_FIXED_(i128, segno_decimal)

static inline void segno_builder_bool(struct segno_builder *builder, uint32_t row, bool value) {
    if (row % 8 == 0) {
        if (builder->length == builder->capacity) {
            segno_builder_grow(builder, 1);
        }
        builder->data[builder->length++] = 0;
    }
    builder->data[row / 8] |= (uint8_t)(value << (row % 8));
}

static inline segno_bytes segno_slice(const struct segno_view *view, uint32_t row) {
    uint32_t from = segno_load_u32(view->offsets + 4 * (size_t)row), to = segno_load_u32(view->offsets + 4 * (size_t)row + 4);
    segno_bytes slice = {view->data + from, to - from};
    return slice;
}

/* The type of a field. */
#define SEGNO_C_bool bool
#define SEGNO_C__Bool bool
#define SEGNO_C_i32 int32_t
#define SEGNO_C_i64 int64_t
#define SEGNO_C_u64 uint64_t
#define SEGNO_C_f64 double
#define SEGNO_C_utf8 segno_text
#define SEGNO_C_binary segno_bytes
#define SEGNO_C_timestamp segno_timestamp
#define SEGNO_C_date segno_date
#define SEGNO_C_decimal(P, S) segno_decimal
#define SEGNO_C_event_time segno_timestamp
/* Zero is null, so that a field which is not named is null. */
#define SEGNO_C_nullable(T) struct { bool present; SEGNO_C_##T value; }
#define SEGNO_C_since(V, T) SEGNO_C_##T
#define SEGNO_C_named(N, T) SEGNO_C_##T
#define SEGNO_C_list(ITEM) struct ITEM##_list
/* Only records have an event time, and only state has lists. */
#define SEGNO_RECORD_FIELD_(T, NAME) SEGNO_C_##T NAME; SEGNO_FIT_(#NAME, true, false, SEGNO_D_##T)
#define SEGNO_OUTPUT_FIELD_(T, NAME) SEGNO_C_##T NAME; SEGNO_FIT_(#NAME, false, false, SEGNO_D_##T)
#define SEGNO_STATE_FIELD_(T, NAME) SEGNO_C_##T NAME; SEGNO_FIT_(#NAME, false, true, SEGNO_D_##T)
#define SEGNO_FIT_(...) SEGNO_FIT2_(__VA_ARGS__)
#define SEGNO_FIT2_(FIELD, TIMES, LISTS, TYPE, NULLABLE, P, S, V, ITEMS, ALIAS)                                                  \
    SEGNO_ASSERT_(TIMES || (TYPE) != SEGNO_EVENT_TIME, "column " FIELD ": the event time is for records; here a timestamp is meant"); \
    SEGNO_ASSERT_(LISTS || (TYPE) != SEGNO_LIST, "column " FIELD ": lists are for state");                                         \
    SEGNO_ASSERT_((TYPE) != SEGNO_LIST || !(NULLABLE), "column " FIELD ": a list is not nullable; it may be empty");               \
    SEGNO_ASSERT_((TYPE) != SEGNO_DECIMAL || ((P) >= 1 && (P) <= 38 && (S) >= 0 && (S) <= (P)),                                    \
                  "column " FIELD ": a decimal has 1 to 38 digits, none to all of them behind the point");                         \
    SEGNO_ASSERT_(sizeof(ALIAS) > 1, "column " FIELD ": a name has a letter at least");

/* Its descriptor: type, nullable, precision, scale, since, items. */
#define SEGNO_D_bool SEGNO_BOOL, false, 0, 0, 1, NULL, NULL
#define SEGNO_D__Bool SEGNO_BOOL, false, 0, 0, 1, NULL, NULL
#define SEGNO_D_i32 SEGNO_I32, false, 0, 0, 1, NULL, NULL
#define SEGNO_D_i64 SEGNO_I64, false, 0, 0, 1, NULL, NULL
#define SEGNO_D_u64 SEGNO_U64, false, 0, 0, 1, NULL, NULL
#define SEGNO_D_f64 SEGNO_F64, false, 0, 0, 1, NULL, NULL
#define SEGNO_D_utf8 SEGNO_UTF8, false, 0, 0, 1, NULL, NULL
#define SEGNO_D_binary SEGNO_BINARY, false, 0, 0, 1, NULL, NULL
#define SEGNO_D_timestamp SEGNO_TIMESTAMP, false, 0, 0, 1, NULL, NULL
#define SEGNO_D_date SEGNO_DATE, false, 0, 0, 1, NULL, NULL
#define SEGNO_D_decimal(P, S) SEGNO_DECIMAL, false, P, S, 1, NULL, NULL
#define SEGNO_D_event_time SEGNO_EVENT_TIME, false, 0, 0, 1, NULL, NULL
#define SEGNO_D_list(ITEM) SEGNO_LIST, false, 0, 0, 1, ITEM##_columns, NULL
#define SEGNO_D_nullable(T) SEGNO_NULLABLE_(SEGNO_D_##T)
#define SEGNO_NULLABLE_(...) SEGNO_NULLABLE2_(__VA_ARGS__)
#define SEGNO_NULLABLE2_(TYPE, NULLABLE, P, S, V, ITEMS, ALIAS) TYPE, true, P, S, V, ITEMS, ALIAS
#define SEGNO_D_since(V, T) SEGNO_SINCE_(V, SEGNO_D_##T)
#define SEGNO_SINCE_(...) SEGNO_SINCE2_(__VA_ARGS__)
#define SEGNO_SINCE2_(SINCE, TYPE, NULLABLE, P, S, V, ITEMS, ALIAS) TYPE, NULLABLE, P, S, SINCE, ITEMS, ALIAS
#define SEGNO_D_named(N, T) SEGNO_NAMED_(N, SEGNO_D_##T)
#define SEGNO_NAMED_(...) SEGNO_NAMED2_(__VA_ARGS__)
#define SEGNO_NAMED2_(N, TYPE, NULLABLE, P, S, V, ITEMS, ALIAS) TYPE, NULLABLE, P, S, V, ITEMS, N
#define SEGNO_SPEC_(T, NAME) {#NAME, SEGNO_D_##T},
#define SEGNO_SPEC_END {NULL, 0, false, 0, 0, 0, NULL, NULL}
#define SEGNO_ONE_(T, NAME) +1

/* What follows is given a descriptor that is known when it is compiled, and nothing but the one case is left of it. */
#define SEGNO_INLINE static inline __attribute__((always_inline))

/* Where the value is in a field: behind `present`, which is one byte, where it may be null. */
SEGNO_INLINE size_t segno_value_at(const struct segno_column *column) {
    if (!column->nullable) {
        return 0;
    }
    switch (column->type) {
    case SEGNO_BOOL: return __alignof__(bool);
    case SEGNO_I32: case SEGNO_DATE: case SEGNO_U32: return __alignof__(int32_t);
    case SEGNO_UTF8: case SEGNO_BINARY: return __alignof__(segno_text);
    case SEGNO_DECIMAL: return __alignof__(segno_decimal);
    default: return __alignof__(int64_t);
    }
}

SEGNO_INLINE size_t segno_value_size(const struct segno_column *column) {
    switch (column->type) {
    case SEGNO_BOOL: return sizeof(bool);
    case SEGNO_I32: case SEGNO_DATE: case SEGNO_U32: return sizeof(int32_t);
    case SEGNO_UTF8: case SEGNO_BINARY: return sizeof(segno_text);
    case SEGNO_DECIMAL: return sizeof(segno_decimal);
    default: return sizeof(int64_t);
    }
}

#define SEGNO_UNUSED __attribute__((unused))

#define SEGNO_COPY_(WORD, TYPE, WIDTH) \
    { TYPE segno_value = segno_load_##WORD(view->data + WIDTH * (size_t)row); memcpy(to, &segno_value, sizeof segno_value); break; }

/* Reads a field out of its opened column. A null's slot is zero: it is read like any other. */
SEGNO_INLINE void segno_read(const struct segno_column *column, const struct segno_view *view, uint32_t row, void *field) {
    char *to = (char *)field + segno_value_at(column);
    if (column->nullable) {
        bool present = segno_valid(view, row);
        memcpy(field, &present, sizeof present);
    }
    switch (column->type) {
    case SEGNO_BOOL: {
        bool value = segno_bit(view->data, row);
        memcpy(to, &value, sizeof value);
        break;
    }
    case SEGNO_I32: case SEGNO_DATE: case SEGNO_U32: SEGNO_COPY_(i32, int32_t, 4)
    case SEGNO_UTF8: case SEGNO_BINARY: {
        segno_bytes value = segno_slice(view, row);
        memcpy(to, &value, sizeof value);
        break;
    }
    case SEGNO_DECIMAL: SEGNO_COPY_(i128, segno_decimal, 16)
    default: SEGNO_COPY_(i64, int64_t, 8)
    }
}

/* Adds a field to its column. */
SEGNO_INLINE void segno_push(const struct segno_column *column, struct segno_builder *builder, uint32_t row, const void *field) {
    const uint8_t *at = (const uint8_t *)field + segno_value_at(column);
    if (column->nullable) {
        bool present;
        memcpy(&present, field, sizeof present);
        if (!present) {
            static const uint64_t zero[3] = {0, 0, 0};
            segno_builder_null(builder, row);
            at = (const uint8_t *)zero;
        } else if (builder->validity != NULL) {
            segno_builder_valid(builder, row);
        }
    }
    switch (column->type) {
    case SEGNO_BOOL: {
        bool value;
        memcpy(&value, at, sizeof value);
        segno_builder_bool(builder, row, value);
        break;
    }
    case SEGNO_I32: case SEGNO_DATE: case SEGNO_U32: segno_builder_i32(builder, segno_load_i32(at)); break;
    case SEGNO_F64: segno_builder_f64(builder, segno_canonical(segno_load_f64(at))); break;
    case SEGNO_UTF8: {
        segno_text value;
        memcpy(&value, at, sizeof value);
        segno_builder_text(builder, row, value);
        break;
    }
    case SEGNO_BINARY: {
        segno_bytes value;
        memcpy(&value, at, sizeof value);
        segno_builder_bytes(builder, row, value.data, value.length);
        break;
    }
    case SEGNO_DECIMAL: segno_builder_decimal(builder, segno_load_i128(at), column); break;
    default: segno_builder_i64(builder, segno_load_i64(at)); break;
    }
}

SEGNO_END

#endif
