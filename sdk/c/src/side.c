/* Owns: reading side tables, and finding a row. Invariant: open addressing at most half full, so that a key is found at its
 * place or soon after; the hash is the same on every machine. */
#include "engine.h"

#define NO_ROW UINT32_MAX
#define MULTIPLIER UINT64_C(0xf1357aea2e62a9c5)

/* Mixes one word into a hash: the upper half of the product depends on every bit below it. */
static uint64_t mix(uint64_t hash, uint64_t word) {
    uint64_t product = (hash ^ word) * MULTIPLIER;
    return product ^ product >> 32;
}

static segno_bytes bytes_of(uint8_t type, const void *key) {
    segno_bytes bytes = {(const uint8_t *)key, segno_width_of(type)};
    if (segno_has_offsets(type)) memcpy(&bytes, key, sizeof bytes);
    return bytes;
}

static uint64_t hash_of(segno_bytes key) {
    uint64_t hash = key.length, word = 0;
    uint32_t at = 0;
    for (; key.length - at >= 8; at += 8) hash = mix(hash, segno_load_u64(key.data + at));
    for (uint32_t by = 0; at < key.length; at++, by += 8) word |= (uint64_t)key.data[at] << by;
    return mix(hash, word) * MULTIPLIER;
}

const struct segno_column *segno_side_key(const struct segno_side *side) {
    for (const struct segno_column *one = side->columns; side->key != NULL && one->name != NULL; one++) {
        if (strcmp(one->name, side->key) == 0) return one;
    }
    return NULL;
}

const void *segno_side_find(const struct segno_side *side, const void *key) {
    if (side->slots == NULL) segno_refuse("side table `%s` is not one of the plugin's .side_tables", side->name);
    segno_bytes wanted = bytes_of(side->key_type, key);
    uint64_t hash = hash_of(wanted);
    for (uint32_t at = (uint32_t)(hash >> side->shift);; at++) {
        uint32_t row = side->slots[at & side->last].row;
        if (row == NO_ROW) return NULL;
        if (side->slots[at & side->last].tag != (uint32_t)hash) continue;
        const char *found = side->rows + side->size * row;
        segno_bytes other = bytes_of(side->key_type, found + side->key_offset);
        if (other.length == wanted.length && memcmp(other.data, wanted.data, wanted.length) == 0) return found;
    }
}

static void insert(struct segno_side *side, uint32_t row) {
    uint64_t hash = hash_of(bytes_of(side->key_type, side->rows + side->size * row + side->key_offset));
    uint32_t at = (uint32_t)(hash >> side->shift);
    while (side->slots[at & side->last].row != NO_ROW) at++;
    side->slots[at & side->last].tag = (uint32_t)hash, side->slots[at & side->last].row = row;
}

static segno_text make_index(struct segno_side *side) {
    static const segno_text fine;
    const struct segno_column *key = segno_side_key(side);
    uint32_t bits = 1;
    while (UINT64_C(1) << bits < UINT64_C(2) * side->length) bits++;
    side->key_type = key->type, side->last = (1u << bits) - 1, side->shift = 64 - bits;
    side->slots = segno_take_raw(sizeof *side->slots << bits);
    memset(side->slots, 0xff, sizeof *side->slots << bits);
    for (uint32_t row = 0; row < side->length; row++) {
        const char *first = (const char *)segno_side_find(side, side->rows + side->size * row + side->key_offset);
        if (first != NULL) {
            return segno_format("side table `%s`: rows %u and %u have the same `%s`; a key is unique", side->name,
                                (unsigned)((size_t)(first - side->rows) / side->size), (unsigned)row, segno_name_of(key));
        }
        insert(side, row);
    }
    return fine;
}

segno_text segno_side_load(struct segno_side *side, segno_bytes bytes, enum segno_check check) {
    static const segno_text fine;
    static struct segno_view views[1024];
    struct segno_frame frame;
    uint32_t width = 0;
    const char *fault = segno_frame_open(bytes, check, &frame);
    for (; fault == NULL && side->columns[width].name != NULL && width < 1024; width++) {
        fault = segno_frame_column(&frame, width, &side->columns[width], &views[width]);
    }
    if (fault == NULL && width != frame.width) fault = "column-count";
    if (fault != NULL) return segno_format("side table `%s`: %s", side->name, fault);
    side->length = frame.rows;
    side->rows = segno_take_raw(side->size * frame.rows);
    for (uint32_t row = 0; row < frame.rows; row++) side->read(views, row, side->rows + side->size * row);
    return side->key == NULL ? fine : make_index(side);
}
