/* The shared vectors of wit/vectors: read, and written again to the same bytes. Run in the folder sdk/c.
 *
 * Every damaged frame lies at the end of memory of its own, so that reading outside of it is seen. */
#include "expect.h"

#define NO_COLUMN {NULL, 0, false, 0, 0, 1, NULL, NULL}

/* A plugin that nobody runs: the SDK is linked with one. */
const struct segno_plugin segno_plugin = {.name = "none"};
void segno_host_log(int level, const char *text, size_t length) { fprintf(stderr, "%d: %.*s\n", level, (int)length, text); }
void segno_host_count(const char *name, size_t length, uint64_t delta) { (void)name, (void)length, (void)delta; }

static struct segno_json *load(const char *name) {
    segno_text path = segno_format("../../wit/vectors/%s.json%c", name, 0), error;
    FILE *file = fopen(path.data, "rb");
    if (file == NULL) perror(path.data), exit(2);
    uint8_t *bytes = (uint8_t *)segno_take(1 << 20);
    segno_bytes read = {bytes, (uint32_t)fread(bytes, 1, 1 << 20, file)};
    fclose(file);
    struct segno_json *json = segno_json_parse(read, &error);
    if (json == NULL) fprintf(stderr, "%.*s\n", SEGNO_ARG(error)), exit(2);
    return json;
}

static segno_bytes bytes_of(const struct segno_json *hex) {
    static const char digits[] = "0123456789abcdef";
    uint32_t length = hex->text.length / 2;
    /* Of its own block: what is behind it is watched. */
    uint8_t *bytes = (uint8_t *)malloc(length == 0 ? 1 : length);
    for (uint32_t i = 0; i < length; i++) {
        bytes[i] = (uint8_t)((strchr(digits, hex->text.data[2 * i]) - digits) << 4 | (strchr(digits, hex->text.data[2 * i + 1]) - digits));
    }
    segno_bytes made = {bytes, length};
    return made;
}

static bool same(const struct segno_builder *found, segno_bytes wanted) {
    return found->length == wanted.length && memcmp(found->data, wanted.data, wanted.length) == 0;
}

static struct segno_column column_of(const struct segno_json *type) {
    static const char *const names[] = {"", "bool", "i32", "i64", "u64", "f64", "utf8", "binary", "timestamp", "date", "", "u32"};
    struct segno_column column = NO_COLUMN;
    for (int i = 1; i < 12; i++) {
        if (segno_is(type->text, names[i])) column.type = (uint8_t)i;
    }
    if (column.type == 0) {
        int precision = 0, scale = 0;
        if (sscanf(type->text.data, "decimal128(%d,%d)", &precision, &scale) != 2) exit(2);
        column.type = SEGNO_DECIMAL, column.precision = (uint8_t)precision, column.scale = (int8_t)scale;
    }
    return column;
}

static segno_decimal whole(segno_text text) {
    segno_decimal value = 0;
    for (uint32_t i = text.data[0] == '-'; i < text.length; i++) value = value * 10 + (text.data[i] - '0');
    return text.data[0] == '-' ? -value : value;
}

/* A value of the vectors in the memory of its type; its length. */
static uint32_t value_of(const struct segno_column *column, const struct segno_json *value, uint8_t *to, segno_bytes *bytes) {
    segno_decimal number = value->kind == SEGNO_JSON_STRING && !segno_has_offsets(column->type) && column->type != SEGNO_F64 ? whole(value->text) : 0;
    *bytes = (segno_bytes){(const uint8_t *)value->text.data, value->text.length};
    if (column->type == SEGNO_BINARY && value->kind == SEGNO_JSON_STRING) *bytes = bytes_of(value);
    if (column->type == SEGNO_F64 && value->kind == SEGNO_JSON_STRING) number = (segno_decimal)strtoull(segno_format(SEGNO_TEXT "%c", SEGNO_ARG(value->text), 0).data, NULL, 16);
    if (column->type == SEGNO_BOOL) number = value->truth;
    memcpy(to, &number, 16);
    return column->type == SEGNO_BOOL ? 1 : segno_width_of(column->type);
}

static void add(struct segno_builder *to, const struct segno_column *column, uint32_t row, const struct segno_json *value) {
    uint8_t at[16];
    segno_bytes bytes;
    uint32_t length = value_of(column, value, at, &bytes);
    if (value->kind == SEGNO_JSON_NULL) segno_builder_null(to, row);
    else if (to->validity != NULL) segno_builder_valid(to, row);
    if (segno_has_offsets(column->type)) segno_builder_bytes(to, row, bytes.data, value->kind == SEGNO_JSON_NULL ? 0 : bytes.length);
    else if (column->type == SEGNO_BOOL) segno_builder_bool(to, row, at[0] != 0);
    else if (column->type == SEGNO_F64) segno_builder_f64(to, segno_canonical(segno_load_f64(at)));
    else segno_append(to, at, length);
}

static void check_column(const char *name, const struct segno_column *column, const struct segno_view *view, const struct segno_json *given) {
    uint32_t row = 0;
    for (const struct segno_json *value = given->first; value != NULL; value = value->next, row++) {
        uint8_t at[16];
        segno_bytes bytes, found;
        CHECK(segno_valid(view, row) == (value->kind != SEGNO_JSON_NULL), "%s: null at %u", name, row);
        if (value->kind == SEGNO_JSON_NULL) continue;
        uint32_t length = value_of(column, value, at, &bytes);
        if (segno_has_offsets(column->type)) {
            found = segno_slice(view, row);
            CHECK(found.length == bytes.length && memcmp(found.data, bytes.data, bytes.length) == 0, "%s: bytes at %u", name, row);
        } else if (column->type == SEGNO_BOOL) {
            CHECK(segno_bit(view->data, row) == at[0], "%s: bit at %u", name, row);
        } else {
            CHECK(memcmp(view->data + length * (size_t)row, at, length) == 0, "%s: value at %u", name, row);
        }
    }
}

static void frames(void) {
    struct segno_json *all = load("frames");
    for (const struct segno_json *one = segno_json_get(all, "valid")->first; one != NULL; one = one->next) {
        const char *name = segno_json_get(one, "name")->text.data;
        segno_bytes bytes = bytes_of(segno_json_get(one, "hex"));
        struct segno_frame frame;
        const char *fault = segno_frame_open(bytes, SEGNO_CHECK_CANONICAL, &frame);
        CHECK(fault == NULL, "%s: %s", name, fault);
        struct segno_builder out = {0};
        uint32_t width = 0, at = 0;
        for (const struct segno_json *c = segno_json_get(one, "columns")->first; c != NULL; c = c->next) width++;
        struct segno_frame_writer writer = segno_frame_begin(&out, frame.rows, width);
        for (const struct segno_json *c = segno_json_get(one, "columns")->first; c != NULL; c = c->next, at++) {
            struct segno_column column = column_of(segno_json_get(c, "type"));
            struct segno_builder built = {0};
            struct segno_view view;
            uint32_t row = 0;
            column.nullable = true;
            CHECK(segno_frame_column(&frame, at, &column, &view) == NULL, "%s: column %u", name, at);
            check_column(name, &column, &view, segno_json_get(c, "values"));
            for (const struct segno_json *v = segno_json_get(c, "values")->first; v != NULL; v = v->next) add(&built, &column, row++, v);
            segno_frame_add(&writer, column.type, &column, &built);
        }
        segno_frame_end(&writer);
        CHECK(width == frame.width && same(&out, bytes), "%s: not the same bytes", name);
    }
    for (const struct segno_json *one = segno_json_get(all, "malformed")->first; one != NULL; one = one->next) {
        segno_bytes bytes = bytes_of(segno_json_get(one, "hex"));
        bool canonical = segno_is(segno_json_get(one, "check")->text, "canonical");
        struct segno_frame frame;
        const char *fault = segno_frame_open(bytes, canonical ? SEGNO_CHECK_CANONICAL : SEGNO_CHECK_VALUES, &frame);
        segno_text wanted = segno_json_get(one, "fault")->text;
        CHECK(fault != NULL && segno_is(wanted, fault), "%.*s: %s and not %.*s", SEGNO_ARG(segno_json_get(one, "name")->text), fault, SEGNO_ARG(wanted));
    }
}

static void messages(void) {
    struct segno_json *all = load("messages");
    for (int malformed = 0; malformed < 2; malformed++) {
        for (const struct segno_json *one = segno_json_get(all, malformed ? "malformed" : "valid")->first; one != NULL; one = one->next) {
            segno_text kind = segno_json_get(one, "kind")->text, name = segno_json_get(one, "name")->text;
            uint32_t magic = segno_is(kind, "batch") ? SEGNO_BATCH_MAGIC : segno_is(kind, "init") ? SEGNO_INIT_MAGIC : SEGNO_EFFECTS_MAGIC;
            segno_bytes bytes = bytes_of(segno_json_get(one, "hex"));
            struct segno_message message;
            const char *fault = segno_message_open(bytes, magic, &message);
            if (malformed) {
                CHECK(fault != NULL && segno_is(segno_json_get(one, "fault")->text, fault), "%.*s: %s", SEGNO_ARG(name), fault);
                continue;
            }
            CHECK(fault == NULL, "%.*s: %s", SEGNO_ARG(name), fault);
            struct segno_builder out = {0};
            struct segno_message_writer writer = segno_message_begin(&out, magic, message.sections);
            for (const struct segno_json *s = segno_json_get(one, "sections")->first; s != NULL; s = s->next) {
                uint32_t of = (uint32_t)whole(segno_json_get(s, "kind")->text), index = (uint32_t)whole(segno_json_get(s, "index")->text);
                segno_bytes wanted = bytes_of(segno_json_get(s, "hex")), found = {NULL, 0};
                bool there = segno_message_section(&message, of, index, &found);
                CHECK(there && found.length == wanted.length && memcmp(found.data, wanted.data, found.length) == 0, "%.*s: section %u.%u", SEGNO_ARG(name), of, index);
                segno_section_begin(&writer, of, index), segno_append(&out, wanted.data, wanted.length), segno_section_end(&writer);
            }
            segno_message_end(&writer);
            CHECK(same(&out, bytes), "%.*s: not the same bytes", SEGNO_ARG(name));
        }
    }
}

/* The table of states.json. */
#define ITEM(COLUMN) COLUMN(timestamp, at) COLUMN(since(2, nullable(utf8)), note)
SEGNO_LIST(item, ITEM)
#define EXAMPLE(COLUMN)                                                                                                          \
    COLUMN(bool, flag) COLUMN(nullable(i32), n) COLUMN(f64, x) COLUMN(nullable(utf8), text) COLUMN(binary, bytes)                 \
    COLUMN(since(2, u64), later) COLUMN(since(2, nullable(decimal(10, 2))), last) COLUMN(since(2, list(item)), items)
SEGNO_STATE(example, 2, EXAMPLE)

static const char *const faults[] = {"", "state-short", "state-version", "state-trailing", "state-presence", "state-value"};

/* As the engine reads a value: the fault, or "". */
static const char *read_state(segno_bytes bytes, struct example *into) {
    memset(into, 0, sizeof *into);
    return faults[segno_state_read(&example_table, bytes, into)];
}

static void check_state(const struct segno_json *values, const struct example *read, const char *name) {
    const struct segno_json *v = values->first;
    CHECK(v->truth == read->flag, "%s: flag", name), v = v->next;
    CHECK(read->n.present == (v->kind != SEGNO_JSON_NULL) && (!read->n.present || read->n.value == (int32_t)whole(v->text)), "%s: n", name), v = v->next;
    uint8_t bits[16];
    segno_bytes bytes;
    struct segno_column f64 = NO_COLUMN, binary = NO_COLUMN;
    f64.type = SEGNO_F64, binary.type = SEGNO_BINARY;
    value_of(&f64, v, bits, &bytes), CHECK(memcmp(bits, &read->x, 8) == 0, "%s: x", name), v = v->next;
    CHECK(read->text.present == (v->kind != SEGNO_JSON_NULL) && (!read->text.present || segno_same(read->text.value, v->text)), "%s: text", name), v = v->next;
    value_of(&binary, v, bits, &bytes);
    CHECK(bytes.length == read->bytes.length && memcmp(bytes.data, read->bytes.data, bytes.length) == 0, "%s: bytes", name), v = v->next;
    CHECK(read->later == (uint64_t)whole(v->text), "%s: later", name), v = v->next;
    CHECK(read->last.present == (v->kind != SEGNO_JSON_NULL) && (!read->last.present || read->last.value == whole(v->text)), "%s: last", name), v = v->next;
    uint32_t at = 0;
    for (const struct segno_json *item = v->first; item != NULL; item = item->next, at++) {
        CHECK(at < read->items.length && read->items.items[at].at == (int64_t)whole(item->first->text), "%s: item %u", name, at);
        bool there = item->first->next->kind != SEGNO_JSON_NULL;
        CHECK(at < read->items.length && read->items.items[at].note.present == there, "%s: note %u", name, at);
        CHECK(!there || segno_same(read->items.items[at].note.value, item->first->next->text), "%s: note %u", name, at);
    }
    CHECK(at == read->items.length, "%s: %u items", name, read->items.length);
}

static void states(void) {
    struct segno_json *all = load("states");
    for (const struct segno_json *one = segno_json_get(all, "valid")->first; one != NULL; one = one->next) {
        const char *name = segno_json_get(one, "name")->text.data;
        segno_bytes bytes = bytes_of(segno_json_get(one, "hex"));
        struct example value;
        const char *fault = read_state(bytes, &value);
        CHECK(fault[0] == 0, "%s: %s", name, fault);
        check_state(segno_json_get(one, "values"), &value, name);
        if (bytes.data[0] != 2) continue;
        struct segno_builder out = {0};
        segno_append(&out, &example_table.version, 2);
        example_table.encode(&out, &value);
        CHECK(same(&out, bytes), "%s: not the same bytes", name);
    }
    for (const struct segno_json *one = segno_json_get(all, "malformed")->first; one != NULL; one = one->next) {
        struct example value;
        const char *fault = read_state(bytes_of(segno_json_get(one, "hex")), &value);
        CHECK(segno_is(segno_json_get(one, "fault")->text, fault), "%.*s: %s", SEGNO_ARG(segno_json_get(one, "name")->text), fault);
    }
}

/* Whatever the bytes, nothing is read outside of them: each valid frame and message with each byte changed, and cut anywhere. */
static void damaged(void) {
    static const uint8_t others[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    const char *const names[] = {"frames", "messages", "states"};
    for (int n = 0; n < 3; n++) {
        for (const struct segno_json *one = segno_json_get(load(names[n]), "valid")->first; one != NULL; one = one->next) {
            segno_bytes bytes = bytes_of(segno_json_get(one, "hex"));
            for (uint32_t at = 0; at <= bytes.length; at++) {
                for (size_t how = 0; how <= sizeof others; how++) {
                    uint32_t length = how == sizeof others ? at : bytes.length;
                    if (at == bytes.length && how < sizeof others) continue;
                    uint8_t *copy = (uint8_t *)malloc(length + (length == 0));
                    memcpy(copy, bytes.data, length);
                    if (how < sizeof others) copy[at] = others[how];
                    segno_bytes given = {copy, length};
                    struct segno_frame frame;
                    struct segno_message message;
                    struct example value;
                    if (n == 0) (void)segno_frame_open(given, SEGNO_CHECK_CANONICAL, &frame);
                    if (n == 1) (void)segno_message_open(given, SEGNO_BATCH_MAGIC, &message);
                    if (n == 2) (void)read_state(given, &value);
                    free(copy), checked++;
                }
            }
        }
    }
}

int main(void) {
    frames(), messages(), states(), damaged();
    return ended();
}
