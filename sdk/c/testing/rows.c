/* Owns: JSON as columns, columns and state values as JSON. Does not own: the grammar (`src/json.c`). */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>

void text_add(struct text *text, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int more = vsnprintf(NULL, 0, format, arguments);
    if (more < 0) give_up("%s cannot be formatted", format);
    if (text->length + (size_t)more >= text->capacity) {
        text->capacity = 2 * (text->length + (size_t)more) + 64;
        text->data = (char *)realloc(text->data, text->capacity);
        if (text->data == NULL) abort();
    }
    vsnprintf(text->data + text->length, (size_t)more + 1, format, again);
    text->length += (size_t)more;
    va_end(again);
    va_end(arguments);
}

void text_clear(struct text *text) {
    text->length = 0;
    if (text->data != NULL) text->data[0] = 0;
}

const char *text_of(const struct text *text) { return text->data == NULL ? "" : text->data; }

struct segno_json *read_json(const char *text, const char *what) {
    segno_text error, kept = segno_keep(segno_text_of(text));
    char *at = (char *)(uintptr_t)kept.data;
    if (strchr(text, '"') == NULL) {
        for (uint32_t i = 0; i < kept.length; i++) {
            if (at[i] == '\'') at[i] = '"';
        }
    }
    segno_bytes bytes = {(const uint8_t *)kept.data, kept.length};
    struct segno_json *found = segno_json_parse(bytes, &error);
    if (found == NULL) give_up("%s: %.*s: %s", what, SEGNO_ARG(error), text);
    return found;
}

/* So many digits, or -1. */
static int64_t digits(const char **at, int count) {
    int64_t value = 0;
    for (; count > 0 && **at >= '0' && **at <= '9'; count--, (*at)++) value = value * 10 + **at - '0';
    return count == 0 ? value : -1;
}

static bool take(const char **at, char c) { return **at == c && (*at)++ != NULL; }

static bool read_day(const char **at, int64_t *days) {
    int64_t year = digits(at, 4);
    if (!take(at, '-')) return false;
    int64_t month = digits(at, 2);
    if (!take(at, '-')) return false;
    int64_t day = digits(at, 2);
    if (year < 0 || month < 1 || month > 12 || day < 1 || day > 31) return false;
    /* Howard Hinnant's days-from-civil. */
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    *days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return true;
}

static bool read_instant(const char *at, int64_t *micros) {
    int64_t days, hour, minute, second, rest = 0, unit = SEGNO_SECOND;
    if (!read_day(&at, &days) || !take(&at, 'T') || (hour = digits(&at, 2)) < 0 || !take(&at, ':') || (minute = digits(&at, 2)) < 0
        || !take(&at, ':') || (second = digits(&at, 2)) < 0) {
        return false;
    }
    if (take(&at, '.')) {
        for (; *at >= '0' && *at <= '9'; at++) rest += (unit /= 10) * (*at - '0');
    }
    *micros = days * SEGNO_DAY + hour * SEGNO_HOUR + minute * SEGNO_MINUTE + second * SEGNO_SECOND + rest;
    return take(&at, 'Z') && *at == 0;
}

/* Ended by a zero. */
static const char *ended(segno_text text) { return segno_format(SEGNO_TEXT "%c", SEGNO_ARG(text), 0).data; }

static void unfit(const struct segno_json *value, const char *what, const char *wanted) {
    give_up("%s: %s is expected, not %s", what, wanted, value->text.data == NULL ? "this" : ended(value->text));
}

int64_t micros_of(const struct segno_json *value, const char *what) {
    int64_t micros = 0;
    if (value->kind == SEGNO_JSON_NUMBER) return strtoll(ended(value->text), NULL, 10);
    if (value->kind != SEGNO_JSON_STRING || !read_instant(ended(value->text), &micros)) unfit(value, what, "an instant as 2024-05-01T10:05:00Z");
    return micros;
}

static segno_decimal decimal_of(const struct segno_column *column, const struct segno_json *value) {
    segno_decimal number = 0;
    bool negative = false, point = false;
    int behind = 0;
    for (uint32_t i = 0; i < value->text.length; i++) {
        char c = value->text.data[i];
        if (c == '-' && i == 0) negative = true;
        else if (c == '.' && !point) point = true;
        else if (c >= '0' && c <= '9') number = number * 10 + (c - '0'), behind += point;
        else unfit(value, column->name, "a decimal");
    }
    if (behind > column->scale) unfit(value, column->name, "a decimal with fewer digits behind the point");
    for (; behind < column->scale; behind++) number *= 10;
    return negative ? -number : number;
}

void add_value(const struct segno_column *column, struct segno_builder *to, uint32_t row, const struct segno_json *object) {
    const char *name = segno_name_of(column);
    const struct segno_json *value = segno_json_get(object, name);
    bool null = value == NULL || value->kind == SEGNO_JSON_NULL;
    if (null && !column->nullable) give_up("the record has no %s", name);
    static const struct segno_json zero = {SEGNO_JSON_NUMBER, false, {NULL, 0}, {"", 0}, NULL, NULL};
    if (null) segno_builder_null(to, row);
    else if (to->validity != NULL) segno_builder_valid(to, row);
    value = null ? &zero : value;
    bool number = value->kind == SEGNO_JSON_NUMBER, string = value->kind == SEGNO_JSON_STRING;
    const char *text = ended(value->text);
    int64_t days = 0;
    switch (column->type) {
    case SEGNO_BOOL:
        if (!null && value->kind != SEGNO_JSON_BOOL) unfit(value, name, "true or false");
        segno_builder_bool(to, row, value->truth);
        break;
    case SEGNO_I32: case SEGNO_U32:
        if (!number) unfit(value, name, "a whole number");
        segno_builder_i32(to, (int32_t)strtoll(text, NULL, 10));
        break;
    case SEGNO_DATE:
        if (!null && (!string || !read_day(&text, &days) || *text != 0)) unfit(value, name, "a day as 2024-05-01");
        segno_builder_i32(to, (int32_t)days);
        break;
    case SEGNO_I64:
        if (!number) unfit(value, name, "a whole number");
        segno_builder_i64(to, strtoll(text, NULL, 10));
        break;
    case SEGNO_U64:
        if (!number) unfit(value, name, "a whole number");
        segno_builder_u64(to, strtoull(text, NULL, 10));
        break;
    case SEGNO_F64:
        if (!number) unfit(value, name, "a number");
        segno_builder_f64(to, segno_number(value->text));
        break;
    case SEGNO_TIMESTAMP: segno_builder_i64(to, null ? 0 : micros_of(value, name)); break;
    case SEGNO_DECIMAL: segno_builder_i128(to, decimal_of(column, value)); break;
    default:
        if (!null && !string) unfit(value, name, "a string");
        segno_builder_bytes(to, row, value->text.data, value->text.length);
    }
}

static void show_string(struct text *out, const char *data, uint32_t length) {
    text_add(out, "\"");
    for (uint32_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '"' || c == '\\') text_add(out, "\\%c", c);
        else if (c == '\n') text_add(out, "\\n");
        else if (c < 0x20) text_add(out, "\\u%04x", c);
        else text_add(out, "%c", c);
    }
    text_add(out, "\"");
}

static void show_base64(struct text *out, const uint8_t *data, uint32_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text_add(out, "\"");
    for (uint32_t i = 0; i < length; i += 3) {
        uint32_t left = length - i, word = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);
        text_add(out, "%c%c%c%c", digits[word >> 18], digits[word >> 12 & 63], left > 1 ? digits[word >> 6 & 63] : '=', left > 2 ? digits[word & 63] : '=');
    }
    text_add(out, "\"");
}

void show_instant(struct text *out, int64_t micros) {
    segno_text text = segno_timestamp_text(micros);
    /* Parts of a second where there are some. */
    if (micros % SEGNO_SECOND == 0) text_add(out, "%.*sZ", (int)text.length - 8, text.data);
    else text_add(out, "%.*s", SEGNO_ARG(text));
}

static void show_number(struct text *out, double value) {
    char text[40];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, value);
        if (segno_number(segno_text_of(text)) == value) break;
    }
    /* JSON has none of the others. */
    if (value - value != 0) text_add(out, "null");
    else text_add(out, strpbrk(text, ".e") == NULL ? "%s.0" : "%s", text);
}

static void show_decimal(struct text *out, segno_decimal value, int scale) {
    char digits[64];
    int used = 0;
    bool negative = value < 0;
    for (; value != 0 || used <= scale; value /= 10) {
        int digit = (int)(value % 10);
        if (used == scale && scale > 0) digits[used] = '.';
        digits[used + (scale > 0 && used >= scale)] = (char)('0' + (digit < 0 ? -digit : digit)), used++;
    }
    used += scale > 0;
    text_add(out, negative ? "\"-" : "\"");
    while (used > 0) text_add(out, "%c", digits[--used]);
    text_add(out, "\"");
}

/* A value in the memory of its type. */
static void show_one(struct text *out, const struct segno_column *column, const uint8_t *at, segno_bytes bytes) {
    switch (column->type) {
    case SEGNO_BOOL: text_add(out, *at != 0 ? "true" : "false"); break;
    case SEGNO_I32: text_add(out, "%" PRId32, segno_load_i32(at)); break;
    case SEGNO_U32: text_add(out, "%" PRIu32, segno_load_u32(at)); break;
    case SEGNO_I64: text_add(out, "%" PRId64, segno_load_i64(at)); break;
    case SEGNO_U64: text_add(out, "%" PRIu64, segno_load_u64(at)); break;
    case SEGNO_F64: show_number(out, segno_load_f64(at)); break;
    case SEGNO_UTF8: show_string(out, (const char *)bytes.data, bytes.length); break;
    case SEGNO_BINARY: show_base64(out, bytes.data, bytes.length); break;
    case SEGNO_TIMESTAMP:
        text_add(out, "\""), show_instant(out, segno_load_i64(at)), text_add(out, "\"");
        break;
    case SEGNO_DATE: {
        segno_text text = segno_date_text(segno_load_i32(at));
        text_add(out, "\"%.*s\"", SEGNO_ARG(text));
        break;
    }
    default: show_decimal(out, segno_load_i128(at), column->scale);
    }
}

void show_value(struct text *out, const struct segno_column *column, const struct segno_view *view, uint32_t row) {
    segno_bytes bytes = {NULL, 0};
    if (!segno_valid(view, row)) {
        text_add(out, "null");
        return;
    }
    if (segno_has_offsets(column->type)) bytes = segno_slice(view, row);
    uint8_t flag = column->type == SEGNO_BOOL && segno_bit(view->data, row);
    show_one(out, column, column->type == SEGNO_BOOL ? &flag : view->data + segno_width_of(column->type) * (size_t)row, bytes);
}

static void show_fields(struct text *out, const struct segno_column *column, struct segno_state_reader *from) {
    for (bool first = true; column->name != NULL; column++, first = false) {
        text_add(out, first ? "{\"%s\":" : ",\"%s\":", segno_name_of(column));
        if (column->type == SEGNO_LIST) {
            segno_bytes items = from->version < column->since ? (segno_bytes){NULL, 0} : segno_state_bytes(from, false);
            struct segno_state_reader inside = {items.data, items.data + items.length, from->version, from->fault};
            text_add(out, "[");
            for (bool one = true; inside.at != inside.end && inside.fault == SEGNO_STATE_FINE; one = false) {
                if (!one) text_add(out, ",");
                show_fields(out, column->items, &inside);
            }
            text_add(out, "]");
            continue;
        }
        uint8_t zero[16] = {0};
        segno_bytes bytes = {zero, 0};
        const uint8_t *at = zero;
        bool there = from->version >= column->since;
        if (column->nullable && (!there || !segno_state_flag(from, SEGNO_STATE_PRESENCE))) {
            text_add(out, "null");
            continue;
        }
        if (there && segno_has_offsets(column->type)) bytes = segno_state_bytes(from, column->type == SEGNO_UTF8);
        else if (there) at = segno_state_take(from, column->type == SEGNO_BOOL ? 1 : segno_width_of(column->type));
        if (at != NULL && bytes.data != NULL) show_one(out, column, at, bytes);
    }
    text_add(out, "}");
}

void show_state(struct text *out, const struct segno_table *table, segno_bytes value) {
    struct segno_state_reader from = {value.data + 2, value.data + value.length, (uint16_t)(value.data[0] | value.data[1] << 8), SEGNO_STATE_FINE};
    show_fields(out, table->columns, &from);
    if (from.fault != SEGNO_STATE_FINE || from.at != from.end) give_up("the state of table %s cannot be read", table->name);
}
