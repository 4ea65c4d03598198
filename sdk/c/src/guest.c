/* Owns: messages to and from the host, for plugins without configuration and side tables so far.
 * Does not own: the loop over records (`plugin.h`).
 * Invariant: frames come from the host, which has checked them; the answer is canonical and stays until the next call. */
#include "segno.h"

struct segno_now segno_now;
static uint32_t answer[3];
static struct segno_builder text;
static bool lent;

static void add(struct segno_builder *to, const void *bytes, uint32_t length) {
    if (to->length + length > to->capacity) segno_builder_grow(to, length);
    if (length > 0) memcpy(to->data + to->length, bytes, length);
    to->length += length;
}
static void say(const char *words) { add(&text, words, (uint32_t)strlen(words)); }
static void pad(struct segno_builder *to, uint32_t start) {
    static const uint8_t zeros[8];
    add(to, zeros, (8 - (to->length - start) % 8) % 8);
}

extern segno_text segno_reason;
extern struct segno_builder segno_timers[4];
extern uint32_t segno_timer_changes;
void segno_run_events(const struct segno_batch *batch, const uint8_t *due, const uint8_t *moves);
bool segno_table_load(struct segno_table *table, const struct segno_view *states, uint32_t keys);
void segno_table_collect(struct segno_table *table, const struct segno_view *states, uint32_t keys);
static struct segno_builder rejects[2];
static uint32_t rejected;

/* Forgets the rows from `rows` on. */
static void truncate(struct segno_builder *b, uint8_t type, uint32_t rows) {
    switch (type) {
    case SEGNO_BOOL:
        b->length = (rows + 7) / 8;
        if (rows % 8 != 0) b->data[rows / 8] &= (uint8_t)((1u << rows % 8) - 1);
        break;
    case SEGNO_UTF8: case SEGNO_BINARY: b->length = b->offsets == NULL ? 0 : b->offsets[rows]; break;
    case SEGNO_I32: case SEGNO_DATE: case SEGNO_U32: b->length = 4 * rows; break;
    case SEGNO_DECIMAL: b->length = 16 * rows; break;
    default: b->length = 8 * rows; break;
    }
    for (uint32_t row = rows; row < 8 * b->validity_capacity; row++) b->validity[row / 8] |= (uint8_t)(1u << row % 8);
}

/* True when a column of so many rows has a null. */
static bool has_null(const struct segno_builder *b, uint32_t rows) {
    if (b->validity == NULL) return false;
    for (uint32_t row = 0; row < rows && row < 8 * b->validity_capacity; row++) if (!segno_bit(b->validity, row)) return true;
    return false;
}

static const char *const TYPES[] = {"", "bool", "i32", "i64", "u64", "f64", "utf8", "binary", "timestamp", "date"};
static const char *const KINDS[] = {"extend", "emit", "per_key"};

static void say_type(const struct segno_column *column) {
    if (column->type == SEGNO_DECIMAL) {
        segno_text type = segno_format("decimal128(%d,%d)", column->precision, column->scale);
        add(&text, type.data, type.length);
    } else {
        say(column->type == SEGNO_LIST ? "list" : TYPES[column->type]);
    }
}

static void columns(const struct segno_column *column) {
    bool first = true;
    say("\"columns\":[");
    for (; column->name != NULL; column++) {
        if (column->type == SEGNO_EVENT_TIME) continue;
        say(first ? "{\"name\":\"" : ",{\"name\":\""), say(column->name), say("\",\"type\":\""), say_type(column);
        say(column->nullable ? "\",\"nullable\":true}" : "\",\"nullable\":false}");
        first = false;
    }
    say("]");
}

static void small(uint32_t value) {
    segno_text digits = segno_format("%u", (unsigned)value);
    add(&text, digits.data, digits.length);
}

static void kept(const struct segno_column *column) {
    say("\"columns\":[");
    for (bool first = true; column->name != NULL; column++, first = false) {
        say(first ? "{\"name\":\"" : ",{\"name\":\""), say(column->name), say("\",\"type\":\"");
        say_type(column);
        say(column->nullable ? "\",\"nullable\":true,\"since\":" : "\",\"nullable\":false,\"since\":"), small(column->since);
        if (column->type == SEGNO_LIST) say(","), kept(column->items);
        say("}");
    }
    say("]");
}

__attribute__((export_name("describe"))) uint32_t *segno_describe(void) {
    const struct segno_plugin *plugin = &segno_plugin;
    memset(&text, 0, sizeof text);
    say("{\"abi\":1,\"name\":\""), say(plugin->name), say("\",\"version\":\""), say(plugin->version);
    say("\",\"inputs\":[{\"name\":\"in\","), columns(plugin->input), say("}],\"event_time\":");
    bool timed = false;
    for (const struct segno_column *one = plugin->input; one->name != NULL; one++) timed |= one->type == SEGNO_EVENT_TIME;
    say(timed ? "true" : "false"), say(plugin->on_timer != NULL ? ",\"timers\":true,\"outputs\":[" : ",\"timers\":false,\"outputs\":[");
    for (int i = 0; plugin->ports[i] != NULL; i++) {
        say(i > 0 ? ",{\"name\":\"" : "{\"name\":\""), say(plugin->ports[i]->name), say("\",\"kind\":\"");
        say(KINDS[plugin->ports[i]->kind]), say("\","), columns(plugin->ports[i]->columns), say("}");
    }
    say("],\"tables\":[");
    for (int i = 0; plugin->tables[i] != NULL; i++) {
        say(i > 0 ? ",{\"name\":\"" : "{\"name\":\""), say(plugin->tables[i]->name), say("\",\"version\":"), small(plugin->tables[i]->version);
        say(","), kept(plugin->tables[i]->columns), say("}");
    }
    say("],\"side_tables\":[]}");
    answer[0] = (uint32_t)text.data, answer[1] = text.length;
    return answer;
}

__attribute__((export_name("init"))) uint32_t *segno_init(const uint8_t *at, uint32_t length) {
    (void)at, (void)length;
    answer[0] = answer[1] = answer[2] = 0;
    if (segno_plugin.init != NULL && segno_plugin.init() != SEGNO_OK) {
        answer[0] = 1, answer[1] = (uint32_t)segno_reason.data, answer[2] = segno_reason.length;
    }
    lent = false;
    segno_memory_mark();
    return answer;
}

__attribute__((export_name("cabi_realloc"))) void *segno_lend(void *old, size_t old_length, size_t alignment, size_t length) {
    (void)alignment;
    /* The first request of a call: what the last one left is not needed any more. */
    if (!lent) segno_memory_reset();
    lent = true;
    return segno_grow_raw(old, old_length, length);
}

static void write_column(struct segno_builder *out, uint32_t frame, uint32_t index, uint8_t type, const struct segno_column *spec,
                         const struct segno_builder *b, uint32_t rows) {
    uint8_t head[24] = {0};
    uint32_t place;
    head[0] = type;
    if (spec != NULL) head[2] = spec->precision, head[3] = (uint8_t)spec->scale;
    if (has_null(b, rows)) {
        segno_builder_valid((struct segno_builder *)b, rows);
        head[1] = 1;
        if (rows % 8 != 0) b->validity[rows / 8] &= (uint8_t)((1u << rows % 8) - 1);
        place = out->length - frame, memcpy(head + 4, &place, 4);
        add(out, b->validity, (rows + 7) / 8), pad(out, frame);
    }
    if (type == SEGNO_UTF8 || type == SEGNO_BINARY) {
        place = out->length - frame, memcpy(head + 8, &place, 4);
        add(out, b->offsets, 4 * (rows + 1)), pad(out, frame);
    }
    place = out->length - frame, memcpy(head + 12, &place, 4), memcpy(head + 16, &b->length, 4);
    add(out, b->data, b->length), pad(out, frame);
    memcpy(out->data + frame + 16 + 24 * index, head, 24);
}

__attribute__((export_name("process"))) uint32_t *segno_process(const uint8_t *batch, uint32_t length) {
    (void)length;
    static struct segno_view views[1024];
    const struct segno_plugin *plugin = &segno_plugin;
    lent = false;
    /* The records are the first section. */
    const uint8_t *frame = batch + segno_load_u32(batch + 20);
    uint32_t rows = segno_load_u32(frame + 8), width = segno_load_u32(frame + 4) >> 16;
    const uint8_t *times = NULL, *due = NULL, *moves = NULL;
    for (uint32_t i = 0, sections = segno_load_u32(batch + 4) >> 16; i < sections; i++) {
        const uint8_t *at = batch + segno_load_u32(batch + 16 + 16 * i + 4);
        switch (segno_load_u32(batch + 16 + 16 * i) & 0xffff) {
        case 4: due = at; break;
        case 5: times = at + segno_load_u32(at + 28); break;
        case 6: moves = at; break;
        }
    }
    for (uint32_t i = 0, c = 0; plugin->input[i].name != NULL && i < 1024; i++) {
        if (plugin->input[i].type == SEGNO_EVENT_TIME) {
            views[i] = (struct segno_view){NULL, NULL, times};
            continue;
        }
        if (c == width) break;
        const uint8_t *head = frame + 16 + 24 * c++;
        views[i].validity = head[1] & 1 ? frame + segno_load_u32(head + 4) : NULL;
        views[i].offsets = frame + segno_load_u32(head + 8);
        views[i].data = frame + segno_load_u32(head + 12);
    }
    uint32_t used = 0;
    rejected = 0;
    memset(rejects, 0, sizeof rejects);
    for (int i = 0; plugin->ports[i] != NULL; i++) {
        struct segno_port *port = plugin->ports[i];
        memset(port->builders, 0, sizeof(struct segno_builder) * (1 + port->width));
        port->rows = 0;
    }
    struct segno_batch given = {views, rows, NULL};
    static struct segno_view states[SEGNO_PORTS_MAX];
    uint32_t keys = 0;
    for (uint32_t i = 0, sections = segno_load_u32(batch + 4) >> 16; i < sections; i++) {
        const uint8_t *entry = batch + 16 + 16 * i, *at = batch + segno_load_u32(entry + 4);
        uint32_t kind = segno_load_u32(entry) & 0xffff, index = segno_load_u32(entry) >> 16;
        if (kind == 2) given.keys = at + segno_load_u32(at + 16 + 12);
        if (kind == 3 && index < SEGNO_PORTS_MAX) {
            states[index].validity = at[17] & 1 ? at + segno_load_u32(at + 20) : NULL;
            states[index].offsets = at + segno_load_u32(at + 24), states[index].data = at + segno_load_u32(at + 28);
            keys = segno_load_u32(at + 8);
            if (plugin->tables[index] != NULL && !segno_table_load(plugin->tables[index], &states[index], keys)) {
                segno_text why = segno_format("the state of table `%s` cannot be read at version %u", plugin->tables[index]->name, plugin->tables[index]->version);
                answer[0] = 1, answer[1] = (uint32_t)why.data, answer[2] = why.length;
                return answer;
            }
        }
    }
    segno_timer_changes = 0;
    memset(segno_timers, 0, sizeof segno_timers);
    if (plugin->on_timer != NULL) segno_run_events(&given, due, moves);
    else plugin->run(&given);
    used += segno_timer_changes > 0;
    for (int i = 0; plugin->tables[i] != NULL; i++) {
        segno_table_collect(plugin->tables[i], &states[i], keys);
        used += plugin->tables[i]->changed > 0;
    }
    for (int i = 0; plugin->ports[i] != NULL; i++) used += plugin->ports[i]->rows > 0;
    used += rejected > 0;
    struct segno_builder out = {0};
    const uint32_t head[4] = {0x31454753, 1 | used << 16, 0, 0}, none[6] = {0};
    add(&out, head, 16);
    for (uint32_t i = 0; i < used; i++) add(&out, none, 16);
    uint32_t n = 0;
    for (uint32_t i = 0; plugin->ports[i] != NULL; i++) {
        struct segno_port *port = plugin->ports[i];
        if (port->rows == 0) continue;
        uint32_t start = out.length, fhead[4] = {0x314e4753, 1 | (1 + port->width) << 16, port->rows, 0};
        add(&out, fhead, 16);
        for (uint32_t c = 0; c <= port->width; c++) add(&out, none, 24);
        write_column(&out, start, 0, SEGNO_U32, NULL, &port->builders[0], port->rows);
        for (uint32_t c = 0; c < port->width; c++)
            write_column(&out, start, 1 + c, port->columns[c].type, &port->columns[c], &port->builders[1 + c], port->rows);
        uint32_t bytes = out.length - start, entry[4] = {1 | i << 16, start, bytes, 0};
        memcpy(out.data + start + 12, &bytes, 4), memcpy(out.data + 16 + 16 * n++, entry, 16);
    }
    for (uint32_t i = 0; plugin->tables[i] != NULL; i++) {
        struct segno_table *table = plugin->tables[i];
        if (table->changed == 0) continue;
        uint32_t start = out.length, fhead[4] = {0x314e4753, 1 | 2 << 16, table->changed, 0};
        add(&out, fhead, 16), add(&out, none, 24), add(&out, none, 24);
        write_column(&out, start, 0, SEGNO_U32, NULL, &table->keys, table->changed);
        write_column(&out, start, 1, SEGNO_BINARY, NULL, &table->changes, table->changed);
        uint32_t bytes = out.length - start, entry[4] = {2 | i << 16, start, bytes, 0};
        memcpy(out.data + start + 12, &bytes, 4), memcpy(out.data + 16 + 16 * n++, entry, 16);
    }
    if (segno_timer_changes > 0) {
        static const uint8_t types[4] = {SEGNO_U32, SEGNO_TIMESTAMP, SEGNO_U32, SEGNO_BOOL};
        uint32_t start = out.length, fhead[4] = {0x314e4753, 1 | 4 << 16, segno_timer_changes, 0};
        add(&out, fhead, 16);
        for (int c = 0; c < 4; c++) add(&out, none, 24);
        for (uint32_t c = 0; c < 4; c++) write_column(&out, start, c, types[c], NULL, &segno_timers[c], segno_timer_changes);
        uint32_t bytes = out.length - start, entry[4] = {3, start, bytes, 0};
        memcpy(out.data + start + 12, &bytes, 4), memcpy(out.data + 16 + 16 * n++, entry, 16);
    }
    if (rejected > 0) {
        uint32_t start = out.length, fhead[4] = {0x314e4753, 1 | 2 << 16, rejected, 0};
        add(&out, fhead, 16), add(&out, none, 24), add(&out, none, 24);
        write_column(&out, start, 0, SEGNO_U32, NULL, &rejects[0], rejected);
        write_column(&out, start, 1, SEGNO_UTF8, NULL, &rejects[1], rejected);
        uint32_t bytes = out.length - start, entry[4] = {4, start, bytes, 0};
        memcpy(out.data + start + 12, &bytes, 4), memcpy(out.data + 16 + 16 * n, entry, 16);
    }
    memcpy(out.data + 8, &out.length, 4);
    answer[0] = 0, answer[1] = (uint32_t)out.data, answer[2] = out.length;
    return answer;
}

/* Rows of the current event are the last ones of each port. */
void segno_take_back(void) {
    for (int i = 0; segno_plugin.ports[i] != NULL; i++) {
        struct segno_port *port = segno_plugin.ports[i];
        while (port->rows > 0 && segno_load_u32(port->builders[0].data + 4 * (size_t)(port->rows - 1)) == segno_now.event) port->rows--;
        port->builders[0].length = 4 * port->rows;
        for (uint32_t c = 0; c < port->width; c++) truncate(&port->builders[1 + c], port->columns[c].type, port->rows);
    }
    segno_builder_u32(&rejects[0], segno_now.event);
    segno_builder_text(&rejects[1], rejected++, segno_reason);
}
