/* Owns: opening and checking frames and messages. Does not own: writing them (`writer.c`).
 * Invariant: sums are of 64 bits, so that no length of the message makes one wrap. */
#include "wire.h"

uint32_t segno_width_of(uint8_t type) {
    switch (type) {
    case SEGNO_I32: case SEGNO_DATE: case SEGNO_U32: return 4;
    case SEGNO_DECIMAL: return 16;
    case SEGNO_BOOL: case SEGNO_UTF8: case SEGNO_BINARY: return 0;
    default: return 8;
    }
}

static uint32_t u16_at(const uint8_t *at) { return (uint32_t)(at[0] | at[1] << 8); }
static uint64_t aligned(uint64_t at) { return (at + 7) & ~UINT64_C(7); }

static bool is_zero(const uint8_t *at, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++) {
        if (at[i] != 0) return false;
    }
    return true;
}

bool segno_is_utf8(const void *bytes, uint32_t length) {
    const uint8_t *at = (const uint8_t *)bytes, *end = at + length;
    while (at != end) {
        uint8_t first = *at++;
        if (first < 0x80) continue;
        uint32_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if (first < 0xc2 || first > 0xf4 || (size_t)(end - at) < more) return false;
        /* What the second byte may be rules out overlong forms, surrogates and what is beyond the last character. */
        uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80, most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (*at < least || *at > most) return false;
        for (at++; --more > 0; at++) {
            if (*at >> 6 != 2) return false;
        }
    }
    return true;
}

static const uint8_t *head_of(const struct segno_frame *frame, uint32_t index) { return frame->bytes + 16 + 24 * (size_t)index; }

static const char *check_head(const uint8_t *head, uint64_t rows, uint64_t length, uint64_t *cursor) {
    uint8_t type = head[0], flags = head[1], precision = head[2];
    int8_t scale = (int8_t)head[3];
    if (type < SEGNO_BOOL || type > SEGNO_U32) return "type-unknown";
    if (type == SEGNO_DECIMAL ? precision < 1 || precision > 38 || scale > precision || scale < -precision : precision != 0 || scale != 0) {
        return "type-parameters";
    }
    if (flags > 1) return "flags-unknown";
    if (segno_load_u32(head + 20) != 0) return "frame-reserved";
    uint64_t data = segno_load_u32(head + 16), bits = (rows + 7) / 8;
    uint64_t wanted = segno_has_offsets(type) ? data : type == SEGNO_BOOL ? bits : rows * segno_width_of(type);
    if (data != wanted) return "data-length";
    const struct { bool there; uint64_t length; } buffers[3] = {{flags == 1, bits}, {segno_has_offsets(type), 4 * (rows + 1)}, {true, data}};
    for (int i = 0; i < 3; i++) {
        uint64_t start = segno_load_u32(head + 4 + 4 * i);
        if (!buffers[i].there) {
            if (start != 0) return "buffer-unexpected";
            continue;
        }
        if (start % 8 != 0) return "buffer-misaligned";
        if (start < *cursor) return "buffer-overlap";
        if (start + buffers[i].length > length) return "buffer-bounds";
        if (start != aligned(*cursor)) return "buffer-gap";
        *cursor = start + buffers[i].length;
    }
    return NULL;
}

static struct segno_view view_of(const struct segno_frame *frame, uint32_t index) {
    const uint8_t *head = head_of(frame, index);
    struct segno_view view = {head[1] & 1 ? frame->bytes + segno_load_u32(head + 4) : NULL, frame->bytes + segno_load_u32(head + 8),
                              frame->bytes + segno_load_u32(head + 12)};
    return view;
}

static const char *check_values(const struct segno_frame *frame, uint32_t index) {
    const uint8_t *head = head_of(frame, index);
    struct segno_view view = view_of(frame, index);
    uint32_t length = segno_load_u32(head + 16);
    if (segno_has_offsets(head[0])) {
        if (segno_load_u32(view.offsets) != 0) return "offsets-start";
        for (uint32_t row = 0; row < frame->rows; row++) {
            if (segno_load_u32(view.offsets + 4 * (size_t)row) > segno_load_u32(view.offsets + 4 * (size_t)row + 4)) return "offsets-order";
        }
        if (segno_load_u32(view.offsets + 4 * (size_t)frame->rows) != length) return "offsets-end";
    }
    for (uint32_t row = 0; head[0] == SEGNO_UTF8 && row < frame->rows; row++) {
        segno_bytes text = segno_slice(&view, row);
        if (!segno_is_utf8(text.data, text.length)) return "utf8-invalid";
    }
    for (uint32_t row = 0; head[0] == SEGNO_DECIMAL && row < frame->rows; row++) {
        if (!segno_decimal_fits(segno_load_i128(view.data + 16 * (size_t)row), head[2])) return "decimal-range";
    }
    return NULL;
}

static const char *check_canonical(const struct segno_frame *frame, uint32_t index) {
    const uint8_t *head = head_of(frame, index);
    struct segno_view view = view_of(frame, index);
    uint32_t rows = frame->rows, width = segno_width_of(head[0]), nulls = 0;
    if (view.validity != NULL) {
        if (rows % 8 != 0 && view.validity[rows / 8] >> rows % 8 != 0) return "tail-bits";
        for (uint32_t row = 0; row < rows; row++) nulls += !segno_valid(&view, row);
        if (nulls == 0) return "validity-needless";
        for (uint32_t row = 0; row < rows; row++) {
            if (segno_valid(&view, row)) continue;
            bool empty = head[0] == SEGNO_BOOL ? !segno_bit(view.data, row)
                         : width > 0           ? is_zero(view.data + (size_t)width * row, width)
                                               : segno_slice(&view, row).length == 0;
            if (!empty) return "null-slot";
        }
    }
    if (head[0] == SEGNO_BOOL && rows % 8 != 0 && view.data[rows / 8] >> rows % 8 != 0) return "tail-bits";
    for (uint32_t row = 0; head[0] == SEGNO_F64 && row < rows; row++) {
        double value = segno_load_f64(view.data + 8 * (size_t)row), canonical = segno_canonical(value);
        if (memcmp(&value, &canonical, 8) != 0) return "nan-payload";
    }
    return NULL;
}

static const char *check_padding(const struct segno_frame *frame, uint32_t length) {
    uint32_t end = 16 + 24 * frame->width;
    for (uint32_t index = 0; index < frame->width; index++) {
        const uint8_t *head = head_of(frame, index);
        const bool there[3] = {(head[1] & 1) != 0, segno_has_offsets(head[0]), true};
        const uint32_t lengths[3] = {(frame->rows + 7) / 8, 4 * (frame->rows + 1), segno_load_u32(head + 16)};
        for (int i = 0; i < 3; i++) {
            if (!there[i]) continue;
            uint32_t start = segno_load_u32(head + 4 + 4 * i);
            if (!is_zero(frame->bytes + end, start - end)) return "padding";
            end = start + lengths[i];
        }
    }
    return is_zero(frame->bytes + end, length - end) ? NULL : "padding";
}

const char *segno_frame_open(segno_bytes bytes, enum segno_check check, struct segno_frame *frame) {
    if (bytes.length < 16) return "frame-short";
    if (segno_load_u32(bytes.data) != 0x314e4753) return "frame-magic";
    if (u16_at(bytes.data + 4) != 1) return "frame-version";
    if (segno_load_u32(bytes.data + 12) != bytes.length) return "frame-length";
    frame->bytes = bytes.data, frame->width = u16_at(bytes.data + 6), frame->rows = segno_load_u32(bytes.data + 8);
    uint64_t cursor = 16 + UINT64_C(24) * frame->width;
    if (bytes.length < cursor) return "frame-short";
    for (uint32_t index = 0; index < frame->width; index++) {
        const char *fault = check_head(head_of(frame, index), frame->rows, bytes.length, &cursor);
        if (fault != NULL) return fault;
    }
    if (aligned(cursor) != bytes.length) return "buffer-gap";
    for (uint32_t index = 0; check >= SEGNO_CHECK_VALUES && index < frame->width; index++) {
        const char *fault = check_values(frame, index);
        if (fault != NULL) return fault;
    }
    for (uint32_t index = 0; check >= SEGNO_CHECK_CANONICAL && index < frame->width; index++) {
        const char *fault = check_canonical(frame, index);
        if (fault != NULL) return fault;
    }
    return check >= SEGNO_CHECK_CANONICAL ? check_padding(frame, bytes.length) : NULL;
}

const char *segno_frame_column(const struct segno_frame *frame, uint32_t index, const struct segno_column *column, struct segno_view *view) {
    if (index >= frame->width) return "column-count";
    const uint8_t *head = head_of(frame, index);
    if (head[0] != column->type || head[2] != column->precision || (int8_t)head[3] != column->scale) return "column-type";
    *view = view_of(frame, index);
    for (uint32_t row = 0; view->validity != NULL && !column->nullable && row < frame->rows; row++) {
        if (!segno_valid(view, row)) return "column-null";
    }
    return NULL;
}

const char *segno_message_open(segno_bytes bytes, uint32_t magic, struct segno_message *message) {
    if (bytes.length < 16) return "message-short";
    if (segno_load_u32(bytes.data) != magic) return "message-magic";
    if (u16_at(bytes.data + 4) != 1) return "message-version";
    if (segno_load_u32(bytes.data + 8) != bytes.length) return "message-length";
    if (segno_load_u32(bytes.data + 12) != 0) return "message-reserved";
    message->bytes = bytes.data, message->sections = u16_at(bytes.data + 6);
    uint64_t cursor = 16 + UINT64_C(16) * message->sections;
    if (bytes.length < cursor) return "message-short";
    uint32_t last = magic == SEGNO_BATCH_MAGIC ? 6 : magic == SEGNO_EFFECTS_MAGIC ? 4 : 2, before = 0;
    for (uint32_t i = 0; i < message->sections; i++) {
        const uint8_t *entry = bytes.data + 16 + 16 * (size_t)i;
        uint32_t kind = u16_at(entry), place = kind << 16 | u16_at(entry + 2);
        if (kind == 0 || kind > last) return "section-unknown";
        if (i > 0 && before >= place) return "section-order";
        if (segno_load_u32(entry + 12) != 0) return "message-reserved";
        uint64_t start = segno_load_u32(entry + 4), length = segno_load_u32(entry + 8);
        if (start % 8 != 0) return "section-misaligned";
        if (start < cursor) return "section-overlap";
        if (start + length > bytes.length) return "section-bounds";
        if (start != aligned(cursor)) return "section-gap";
        if (!is_zero(bytes.data + cursor, start - cursor)) return "padding";
        cursor = start + length, before = place;
    }
    if (aligned(cursor) != bytes.length) return "section-gap";
    return is_zero(bytes.data + cursor, bytes.length - cursor) ? NULL : "padding";
}

bool segno_message_section(const struct segno_message *message, uint32_t kind, uint32_t index, segno_bytes *section) {
    for (uint32_t i = 0; i < message->sections; i++) {
        const uint8_t *entry = message->bytes + 16 + 16 * (size_t)i;
        if (u16_at(entry) != kind || u16_at(entry + 2) != index) continue;
        section->data = message->bytes + segno_load_u32(entry + 4), section->length = segno_load_u32(entry + 8);
        return true;
    }
    return false;
}
