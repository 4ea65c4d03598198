/* Owns: the tables of a batch: opening the keys' values, and encoding what changed.
 * Does not own: the code of a struct (`state.h`). Invariant: a value that was set to what it was is no change. */
#include "engine.h"

const uint8_t *segno_state_take(struct segno_state_reader *from, uint32_t bytes) {
    if (from->fault == SEGNO_STATE_FINE && (size_t)(from->end - from->at) < bytes) from->fault = SEGNO_STATE_SHORT;
    if (from->fault != SEGNO_STATE_FINE) return NULL;
    from->at += bytes;
    return from->at - bytes;
}

bool segno_state_flag(struct segno_state_reader *from, enum segno_state_fault fault) {
    const uint8_t *byte = segno_state_take(from, 1);
    if (byte != NULL && *byte > 1) from->fault = fault;
    return byte != NULL && *byte == 1;
}

segno_bytes segno_state_bytes(struct segno_state_reader *from, bool is_text) {
    const uint8_t *head = segno_state_take(from, 4);
    uint32_t length = head == NULL ? 0 : segno_load_u32(head);
    const uint8_t *at = segno_state_take(from, length);
    segno_bytes bytes = {at, at == NULL ? 0 : length};
    if (is_text && at != NULL && !segno_is_utf8(at, length)) from->fault = SEGNO_STATE_VALUE;
    return bytes;
}

void segno_state_append(struct segno_builder *out, const void *bytes, uint32_t length) {
    if (out->length + length > out->capacity) segno_builder_grow(out, length);
    if (length > 0) memcpy(out->data + out->length, bytes, length);
    out->length += length;
}

void *segno_list_grow(void *items, uint32_t length, uint32_t *capacity, size_t size) {
    uint32_t wanted = length < 4 ? 4 : 2 * length;
    *capacity = wanted;
    return segno_grow_raw(items, length * size, wanted * size);
}

void *segno_list_copy(const void *items, uint32_t length, uint32_t *capacity, size_t size) {
    *capacity = length;
    return length == 0 ? NULL : memcpy(segno_take_raw(length * size), items, length * size);
}

enum segno_state_fault segno_state_read(const struct segno_table *table, segno_bytes bytes, void *into) {
    struct segno_state_reader from = {bytes.data, bytes.data + bytes.length, 0, SEGNO_STATE_FINE};
    const uint8_t *version = segno_state_take(&from, 2);
    if (version == NULL) return from.fault;
    from.version = (uint16_t)(version[0] | version[1] << 8);
    if (from.version == 0 || from.version > table->version) return SEGNO_STATE_VERSION;
    table->decode(&from, into);
    return from.fault == SEGNO_STATE_FINE && from.at != from.end ? SEGNO_STATE_TRAILING : from.fault;
}

/* False when a value cannot be read. */
bool segno_table_load(struct segno_table *table, const struct segno_view *states, uint32_t keys) {
    table->slots = (struct segno_slot *)segno_take(keys * sizeof *table->slots);
    table->values = (char *)segno_take((size_t)keys * table->size);
    for (uint32_t key = 0; key < keys; key++) {
        if (!segno_valid(states, key)) continue;
        if (segno_state_read(table, segno_slice(states, key), table->values + (size_t)key * table->size) != SEGNO_STATE_FINE) return false;
        table->slots[key].present = true;
    }
    return true;
}

void segno_table_collect(struct segno_table *table, const struct segno_view *states, uint32_t keys) {
    memset(&table->keys, 0, sizeof table->keys), memset(&table->changes, 0, sizeof table->changes);
    table->changed = 0;
    for (uint32_t key = 0; key < keys; key++) {
        bool before = segno_valid(states, key);
        if (!table->slots[key].touched || (!before && !table->slots[key].present)) continue;
        if (!table->slots[key].present) {
            segno_builder_null(&table->changes, table->changed);
            segno_builder_bytes(&table->changes, table->changed, NULL, 0);
        } else {
            struct segno_builder one = {0};
            segno_state_append(&one, &table->version, 2);
            table->encode(&one, table->values + (size_t)key * table->size);
            segno_bytes old = segno_slice(states, key);
            if (before && old.length == one.length && memcmp(old.data, one.data, one.length) == 0) continue;
            if (table->changes.validity != NULL) segno_builder_valid(&table->changes, table->changed);
            segno_builder_bytes(&table->changes, table->changed, one.data, one.length);
        }
        segno_builder_u32(&table->keys, key);
        table->changed++;
    }
}

void segno_state_settle(void) {
    for (uint32_t i = 0; segno_plugin.tables[i] != NULL; i++) {
        struct segno_table *table = segno_plugin.tables[i];
        struct segno_slot *slot = &table->slots[segno_now.key];
        if (slot->open && slot->present) table->settle(table->values + (size_t)segno_now.key * table->size);
        slot->open = false;
    }
}

segno_bytes segno_state_settled_bytes(const struct segno_column *column, segno_bytes value) {
    if (column->type == SEGNO_UTF8 && !segno_is_utf8(value.data, value.length)) {
        segno_refuse("state column %s: a text that is no UTF-8", segno_name_of(column));
    }
    if (value.length == 0 || segno_is_of_call(value.data)) return value;
    uint8_t *copy = (uint8_t *)segno_take_raw(value.length);
    memcpy(copy, value.data, value.length);
    segno_bytes copied = {copy, value.length};
    return copied;
}

void segno_state_check_decimal(const struct segno_column *column, segno_decimal value) {
    if (!segno_decimal_fits(value, column->precision)) segno_refuse("state column %s: a decimal of more than %d digits", segno_name_of(column), column->precision);
}
