/* Owns: writing frames and messages. Does not own: opening them (`wire.c`).
 * Invariant: the same values are the same bytes. */
#include "wire.h"

void segno_append(struct segno_builder *out, const void *bytes, size_t length) {
    if (out->length + length > out->capacity) segno_builder_grow(out, (uint32_t)length);
    if (length > 0) memcpy(out->data + out->length, bytes, length);
    out->length += (uint32_t)length;
}

static void pad(struct segno_builder *out) {
    static const uint8_t zeros[8];
    segno_append(out, zeros, (8 - out->length % 8) % 8);
}

static void put(struct segno_builder *out, uint32_t at, uint32_t value) { memcpy(out->data + at, &value, 4); }

static const uint8_t none[24];

struct segno_frame_writer segno_frame_begin(struct segno_builder *out, uint32_t rows, uint32_t width) {
    struct segno_frame_writer frame = {out, out->length, rows, 0};
    const uint32_t head[4] = {0x314e4753, 1 | width << 16, rows, 0};
    segno_append(out, head, sizeof head);
    for (uint32_t column = 0; column < width; column++) segno_append(out, none, 24);
    return frame;
}

static bool has_null(const struct segno_builder *values, uint32_t rows) {
    for (uint32_t row = 0; row < rows && row < 8 * values->validity_capacity; row++) {
        if (!segno_bit(values->validity, row)) return true;
    }
    return false;
}

void segno_frame_add(struct segno_frame_writer *frame, uint8_t type, const struct segno_column *column, struct segno_builder *values) {
    struct segno_builder *out = frame->out;
    uint32_t rows = frame->rows, head = frame->start + 16 + 24 * frame->column++;
    out->data[head] = type;
    if (column != NULL) out->data[head + 2] = column->precision, out->data[head + 3] = (uint8_t)column->scale;
    if (has_null(values, rows)) {
        segno_builder_valid(values, rows);
        if (rows % 8 != 0) values->validity[rows / 8] &= (uint8_t)((1u << rows % 8) - 1);
        out->data[head + 1] = 1;
        put(out, head + 4, out->length - frame->start);
        segno_append(out, values->validity, (rows + 7) / 8), pad(out);
    }
    if (segno_has_offsets(type)) {
        put(out, head + 8, out->length - frame->start);
        if (values->offsets == NULL) segno_append(out, none, 4);
        else segno_append(out, values->offsets, 4 * ((size_t)rows + 1));
        pad(out);
    }
    put(out, head + 12, out->length - frame->start), put(out, head + 16, values->length);
    segno_append(out, values->data, values->length), pad(out);
}

void segno_frame_end(struct segno_frame_writer *frame) { put(frame->out, frame->start + 12, frame->out->length - frame->start); }

struct segno_message_writer segno_message_begin(struct segno_builder *out, uint32_t magic, uint32_t sections) {
    struct segno_message_writer message = {out, 0, 0};
    const uint32_t head[4] = {magic, 1 | sections << 16, 0, 0};
    segno_append(out, head, sizeof head);
    for (uint32_t section = 0; section < sections; section++) segno_append(out, none, 16);
    return message;
}

void segno_section_begin(struct segno_message_writer *message, uint32_t kind, uint32_t index) {
    message->start = message->out->length;
    put(message->out, 16 + 16 * message->section, kind | index << 16);
}

void segno_section_end(struct segno_message_writer *message) {
    uint32_t entry = 16 + 16 * message->section++;
    put(message->out, entry + 4, message->start), put(message->out, entry + 8, message->out->length - message->start);
    pad(message->out);
}

void segno_message_end(struct segno_message_writer *message) { put(message->out, 8, message->out->length); }
