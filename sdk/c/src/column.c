/* Owns: how a column's builder grows. Invariant: a builder holds canonical values only. */
#include "engine.h"

void segno_builder_grow(struct segno_builder *b, uint32_t more) {
    uint32_t wanted = b->capacity * 2 > b->length + more ? b->capacity * 2 : b->length + more;
    wanted = wanted < 64 ? 64 : wanted;
    b->data = segno_grow_raw(b->data, b->length, wanted);
    b->capacity = wanted;
}

static void reach(struct segno_builder *b, uint32_t row) {
    if (row / 8 >= b->validity_capacity) {
        uint32_t wanted = (row / 8 + 1) * 2;
        b->validity = segno_grow_raw(b->validity, b->validity_capacity, wanted);
        /* The rows that were never mentioned are values. */
        memset(b->validity + b->validity_capacity, 0xff, wanted - b->validity_capacity);
        b->validity_capacity = wanted;
    }
}

void segno_builder_null(struct segno_builder *b, uint32_t row) {
    reach(b, row);
    b->validity[row / 8] &= (uint8_t)~(1u << (row % 8));
}

void segno_builder_valid(struct segno_builder *b, uint32_t row) {
    reach(b, row);
    b->validity[row / 8] |= (uint8_t)(1u << (row % 8));
}

void segno_builder_bytes(struct segno_builder *b, uint32_t row, const void *data, uint32_t length) {
    if (b->offsets_capacity < row + 2) {
        uint32_t wanted = (row + 2) * 2;
        b->offsets = segno_grow_raw(b->offsets, 4 * (size_t)b->offsets_capacity, 4 * (size_t)wanted);
        b->offsets_capacity = wanted;
        if (row == 0) b->offsets[0] = 0;
    }
    if (b->length + length > b->capacity) segno_builder_grow(b, length);
    if (length > 0) memcpy(b->data + b->length, data, length);
    b->length += length;
    b->offsets[row + 1] = b->length;
}

void segno_builder_text(struct segno_builder *b, uint32_t row, segno_text text) {
    segno_builder_bytes(b, row, text.data, text.length);
}

void segno_builder_decimal(struct segno_builder *b, segno_decimal value, const struct segno_column *column) {
    if (!segno_decimal_fits(value, column->precision)) {
        segno_refuse("column %s: a decimal of more than %d digits", segno_name_of(column), column->precision);
    }
    segno_builder_i128(b, value);
}
