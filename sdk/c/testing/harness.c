/* Owns: runs of a plugin: the order of records and timers, batches and their answers, what came out.
 * Does not own: values as JSON (`rows.c`). Invariant: what lasts longer than a call is on the heap; memory of the SDK is of one call. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>

#define END INT64_MAX
/* The smallest step of the watermark. */
#define TICK INT64_C(100000)
#define KEYS_MAX 100000
/* How many timers of one instant may set each other, and how many those of one key may set when the input has ended. */
#define CHAIN_MAX 1000
#define AT_THE_END_MAX 10000

struct record { char *json, *key; int64_t time; };
struct event { uint32_t row; bool seen, is_timer; int64_t watermark, time; const char *key; uint32_t number, chain; };
struct value { char *key; uint32_t table; uint8_t *bytes; uint32_t length; };
struct waiting { int64_t time; char *key; uint32_t number, chain; };
struct change { int64_t time; const char *key; uint32_t number; bool set; };
struct counter { char *name; uint64_t total; };
/* How many timers the timers of a key have set since the input ended. */
struct set_at_the_end { const char *key; uint32_t count; };
struct side { const char *name, *rows; };
/* What a run gave. */
struct outcome { struct text rows[SEGNO_PORTS_MAX], causes[SEGNO_PORTS_MAX], rejects, timers, logs; };

#define LIST(TYPE) struct { TYPE *items; uint32_t length, capacity; }
static LIST(struct record) records;
static LIST(struct event) events;
static LIST(struct value) values;
static LIST(struct waiting) waits;
static LIST(struct change) changes;
static LIST(struct counter) counters;
static LIST(struct set_at_the_end) sets_at_the_end;
static LIST(struct side) sides;
static LIST(char *) names;
static struct outcome single, batched;
static struct text config, shown, title;
static int64_t delay, watermark;
static bool known;
static int tests, failures;

#define ADD(LIST, ...)                                                                                                            \
    do {                                                                                                                          \
        if ((LIST).length == (LIST).capacity) {                                                                                   \
            (LIST).capacity = (LIST).capacity * 2 + 16;                                                                           \
            (LIST).items = realloc((LIST).items, (LIST).capacity * sizeof *(LIST).items);                                         \
            if ((LIST).items == NULL) abort();                                                                                    \
        }                                                                                                                         \
        (LIST).items[(LIST).length++] = __VA_ARGS__;                                                                              \
    } while (0)

/* Texts are kept until the program ends: tests are small. */
static char *copy(const char *text) {
    char *made = strdup(text);
    if (made == NULL) abort();
    ADD(names, made);
    return made;
}

void give_up(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "test `%s` cannot go on: ", text_of(&title));
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

/* Where a call's log lines go. */
static struct text *told;

void segno_host_log(int level, const char *text, size_t length) {
    if (told != NULL) text_add(told, "%d: %.*s\n", level, (int)length, text);
    else fprintf(stderr, "%.*s\n", (int)length, text);
    /* What a panic says is said once more, before the program ends. */
    if (told != NULL && length > 12 && memcmp(text, "panicked at ", 12) == 0) fprintf(stderr, "%.*s\n", (int)length, text);
}

void segno_host_count(const char *name, size_t length, uint64_t delta) {
    (void)length;
    for (uint32_t i = 0; i < counters.length; i++) {
        if (strcmp(counters.items[i].name, name) == 0) {
            counters.items[i].total += delta;
            return;
        }
    }
    ADD(counters, (struct counter){copy(name), delta});
}

static bool has_timers(void) { return segno_plugin.on_timer != NULL; }
static const struct segno_column *event_time(void) {
    for (const struct segno_column *one = segno_plugin.input; one->name != NULL; one++) {
        if (one->type == SEGNO_EVENT_TIME) return one;
    }
    return NULL;
}

/* A frame of rows that are JSON. */
static void write_rows(struct segno_builder *out, const struct segno_column *columns, struct segno_json *const *rows, uint32_t count) {
    uint32_t width = 0;
    for (const struct segno_column *one = columns; one->name != NULL; one++) width += one->type != SEGNO_EVENT_TIME;
    struct segno_frame_writer frame = segno_frame_begin(out, count, width);
    for (const struct segno_column *one = columns; one->name != NULL; one++) {
        if (one->type == SEGNO_EVENT_TIME) continue;
        struct segno_builder built = {0};
        for (uint32_t row = 0; row < count; row++) add_value(one, &built, row, rows[row]);
        segno_frame_add(&frame, one->type, one, &built);
    }
    segno_frame_end(&frame);
}

/* A fresh instance, as the runtime makes for each epoch. */
static struct segno_answer fresh(void) {
    uint32_t count = 0;
    segno_memory_drop();
    while (segno_plugin.side_tables[count] != NULL) count++;
    struct segno_builder out = {0};
    struct segno_message_writer message = segno_message_begin(&out, SEGNO_INIT_MAGIC, 1 + count);
    segno_section_begin(&message, SEGNO_INIT_CONFIG, 0);
    const char *json = config.length == 0 ? "{}" : text_of(&config);
    segno_text text = segno_keep(segno_text_of(json));
    for (uint32_t i = 0; strchr(json, '"') == NULL && i < text.length; i++) {
        if (text.data[i] == '\'') ((char *)(uintptr_t)text.data)[i] = '"';
    }
    segno_append(&out, text.data, text.length);
    segno_section_end(&message);
    for (uint32_t i = 0; i < count; i++) {
        const struct segno_side *side = segno_plugin.side_tables[i];
        struct segno_json *rows[KEYS_MAX];
        uint32_t length = 0;
        for (uint32_t s = 0; s < sides.length; s++) {
            if (strcmp(sides.items[s].name, side->name) != 0) continue;
            for (struct segno_json *one = read_json(sides.items[s].rows, side->name)->first; one != NULL; one = one->next) {
                if (length == KEYS_MAX) give_up("side table %s has more than %d rows", side->name, KEYS_MAX);
                rows[length++] = one;
            }
        }
        segno_section_begin(&message, SEGNO_INIT_TABLE, i);
        write_rows(&out, side->columns, rows, length);
        segno_section_end(&message);
    }
    segno_message_end(&message);
    segno_bytes bytes = {out.data, out.length};
    return segno_engine_init(bytes, SEGNO_CHECK_CANONICAL);
}

const char *segno_test_refusal(void) {
    struct segno_answer answer = fresh();
    text_clear(&shown);
    if (answer.failed) text_add(&shown, "%.*s", (int)answer.bytes.length, (const char *)answer.bytes.data);
    return text_of(&shown);
}

static struct value *state_of(const char *key, uint32_t table) {
    for (uint32_t i = 0; i < values.length; i++) {
        if (values.items[i].table == table && strcmp(values.items[i].key, key) == 0) return &values.items[i];
    }
    return NULL;
}

static const char *key_of(const struct event *event) { return event->is_timer ? event->key : records.items[event->row].key; }

/* Keys of a call, and the number of one. */
static LIST(const char *) keys;
static uint32_t number_of(const char *key) {
    for (uint32_t i = 0; i < keys.length; i++) {
        if (strcmp(keys.items[i], key) == 0) return i;
    }
    ADD(keys, key);
    return keys.length - 1;
}

static void write_section(struct segno_message_writer *message, uint32_t kind, uint32_t rows, uint32_t width, const uint8_t *types, struct segno_builder *built) {
    segno_section_begin(message, kind, 0);
    struct segno_frame_writer frame = segno_frame_begin(message->out, rows, width);
    for (uint32_t i = 0; i < width; i++) segno_frame_add(&frame, types[i], NULL, &built[i]);
    segno_frame_end(&frame), segno_section_end(message);
}

static segno_bytes write_batch(const struct event *of, uint32_t count) {
    static const uint8_t u32s[1] = {SEGNO_U32}, times[1] = {SEGNO_TIMESTAMP}, moved[2] = {SEGNO_U32, SEGNO_TIMESTAMP};
    static const uint8_t fired[5] = {SEGNO_U32, SEGNO_U32, SEGNO_TIMESTAMP, SEGNO_U32, SEGNO_TIMESTAMP};
    struct segno_builder out = {0}, keyed = {0}, at = {0}, moves[2] = {{0}}, timers[5] = {{0}};
    struct segno_json **rows = (struct segno_json **)segno_take((count + 1) * sizeof *rows);
    uint32_t length = 0, steps = 0, due = 0, tables = 0;
    bool is_keyed = segno_plugin.tables[0] != NULL || has_timers();
    int64_t last = 0;
    for (int i = 0; segno_plugin.ports[i] != NULL; i++) is_keyed |= segno_plugin.ports[i]->kind == SEGNO_PORT_PER_KEY;
    while (segno_plugin.tables[tables] != NULL) tables++;
    keys.length = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct event *event = &of[i];
        uint32_t key = number_of(key_of(event));
        if (event->is_timer) {
            segno_builder_u32(&timers[0], length), segno_builder_u32(&timers[1], key), segno_builder_i64(&timers[2], event->time);
            segno_builder_u32(&timers[3], event->number), segno_builder_i64(&timers[4], event->watermark), due++;
            continue;
        }
        if (event->seen && (steps == 0 || last != event->watermark)) {
            segno_builder_u32(&moves[0], length), segno_builder_i64(&moves[1], last = event->watermark), steps++;
        }
        segno_builder_u32(&keyed, key), segno_builder_i64(&at, records.items[event->row].time);
        rows[length++] = read_json(records.items[event->row].json, "a record");
    }
    uint32_t sections = 1 + is_keyed + tables + (due > 0) + (event_time() != NULL) + has_timers();
    struct segno_message_writer message = segno_message_begin(&out, SEGNO_BATCH_MAGIC, sections);
    segno_section_begin(&message, SEGNO_BATCH_RECORDS, 0);
    write_rows(&out, segno_plugin.input, rows, length);
    segno_section_end(&message);
    if (is_keyed) write_section(&message, SEGNO_BATCH_KEYS, length, 1, u32s, &keyed);
    for (uint32_t table = 0; table < tables; table++) {
        struct segno_builder built = {0};
        for (uint32_t key = 0; key < keys.length; key++) {
            const struct value *value = state_of(keys.items[key], table);
            if (value == NULL) segno_builder_null(&built, key);
            else if (built.validity != NULL) segno_builder_valid(&built, key);
            segno_builder_bytes(&built, key, value == NULL ? NULL : value->bytes, value == NULL ? 0 : value->length);
        }
        segno_section_begin(&message, SEGNO_BATCH_STATES, table);
        struct segno_frame_writer frame = segno_frame_begin(&out, keys.length, 1);
        segno_frame_add(&frame, SEGNO_BINARY, NULL, &built);
        segno_frame_end(&frame), segno_section_end(&message);
    }
    if (due > 0) write_section(&message, SEGNO_BATCH_TIMERS, due, 5, fired, timers);
    if (event_time() != NULL) write_section(&message, SEGNO_BATCH_TIMES, length, 1, times, &at);
    if (has_timers()) write_section(&message, SEGNO_BATCH_WATERMARKS, steps, 2, moved, moves);
    segno_message_end(&message);
    segno_bytes bytes = {out.data, out.length};
    return bytes;
}

/* The frame of a section of an answer, if it is there. */
static bool section(const struct segno_message *effects, uint32_t kind, uint32_t index, struct segno_frame *frame) {
    segno_bytes bytes;
    if (!segno_message_section(effects, kind, index, &bytes)) return false;
    const char *fault = segno_frame_open(bytes, SEGNO_CHECK_CANONICAL, frame);
    if (fault != NULL) give_up("what the plugin gave is refused: %s%s", fault, strcmp(fault, "utf8-invalid") == 0 ? ": a text is not UTF-8" : "");
    return true;
}

static struct segno_view view_of(const struct segno_frame *frame, uint32_t index, uint8_t type, bool nullable) {
    const struct segno_column wanted = {NULL, type, nullable, 0, 0, 1, NULL, NULL};
    struct segno_view view;
    const char *fault = segno_frame_column(frame, index, &wanted, &view);
    if (fault != NULL) give_up("what the plugin gave is refused: %s", fault);
    return view;
}

static uint32_t u32_at(const struct segno_view *view, uint32_t row) { return segno_load_u32(view->data + 4 * (size_t)row); }

/* The record that an event is, or before which its timer fired. */
static uint32_t place_of(const struct event *of, uint32_t event) {
    for (uint32_t i = event; of[event].is_timer && i-- > 0;) {
        if (!of[i].is_timer) return of[i].row + 1;
    }
    return of[event].row;
}

static void take_rows(const struct segno_message *effects, const struct event *of, struct outcome *into) {
    struct segno_frame frame;
    for (uint32_t p = 0; segno_plugin.ports[p] != NULL; p++) {
        const struct segno_port *port = segno_plugin.ports[p];
        if (!section(effects, SEGNO_EFFECTS_OUTPUT, p, &frame)) continue;
        struct segno_view causes = view_of(&frame, 0, SEGNO_U32, false);
        for (uint32_t row = 0; row < frame.rows; row++) {
            text_add(&into->causes[p], into->causes[p].length == 0 ? "%u" : " %u", (unsigned)place_of(of, u32_at(&causes, row)));
            text_add(&into->rows[p], "{");
            for (uint32_t c = 0; c < port->width; c++) {
                struct segno_view view;
                if (segno_frame_column(&frame, 1 + c, &port->columns[c], &view) != NULL) give_up("port %s has a column of another type", port->name);
                text_add(&into->rows[p], c > 0 ? ",\"%s\":" : "\"%s\":", segno_name_of(&port->columns[c]));
                show_value(&into->rows[p], &port->columns[c], &view, row);
            }
            text_add(&into->rows[p], "}\n");
        }
    }
    if (section(effects, SEGNO_EFFECTS_REJECTS, 0, &frame)) {
        struct segno_view causes = view_of(&frame, 0, SEGNO_U32, false), reasons = view_of(&frame, 1, SEGNO_UTF8, false);
        for (uint32_t row = 0; row < frame.rows; row++) {
            segno_bytes reason = segno_slice(&reasons, row);
            text_add(&into->rejects, "%u: %.*s\n", (unsigned)place_of(of, u32_at(&causes, row)), (int)reason.length, (const char *)reason.data);
        }
    }
}

static void take_state(const struct segno_message *effects) {
    struct segno_frame frame;
    for (uint32_t table = 0; segno_plugin.tables[table] != NULL; table++) {
        if (!section(effects, SEGNO_EFFECTS_CHANGES, table, &frame)) continue;
        struct segno_view changed = view_of(&frame, 0, SEGNO_U32, false), made = view_of(&frame, 1, SEGNO_BINARY, true);
        for (uint32_t row = 0; row < frame.rows; row++) {
            const char *key = keys.items[u32_at(&changed, row)];
            struct value *value = state_of(key, table);
            if (value != NULL) free(value->bytes), *value = values.items[--values.length];
            if (!segno_valid(&made, row)) continue;
            segno_bytes bytes = segno_slice(&made, row);
            uint8_t *kept = (uint8_t *)malloc(bytes.length + 1);
            if (kept == NULL) abort();
            memcpy(kept, bytes.data, bytes.length);
            ADD(values, (struct value){copy(key), table, kept, bytes.length});
        }
    }
}

/* One call. */
static void call(const struct event *of, uint32_t count, struct outcome *into) {
    struct segno_answer answer = fresh();
    struct segno_message effects;
    struct segno_frame frame;
    if (answer.failed) give_up("init refuses: %.*s", (int)answer.bytes.length, (const char *)answer.bytes.data);
    segno_bytes batch = write_batch(of, count);
    told = &into->logs;
    answer = segno_engine_process(batch, SEGNO_CHECK_CANONICAL);
    told = NULL;
    if (answer.failed) give_up("the batch is refused: %.*s", (int)answer.bytes.length, (const char *)answer.bytes.data);
    const char *fault = segno_message_open(answer.bytes, SEGNO_EFFECTS_MAGIC, &effects);
    if (fault != NULL) give_up("what the plugin gave is refused: %s", fault);
    take_rows(&effects, of, into);
    take_state(&effects);
    changes.length = 0;
    if (!section(&effects, SEGNO_EFFECTS_TIMERS, 0, &frame)) return;
    struct segno_view causes = view_of(&frame, 0, SEGNO_U32, false), at = view_of(&frame, 1, SEGNO_TIMESTAMP, false);
    struct segno_view numbers = view_of(&frame, 2, SEGNO_U32, false), sets = view_of(&frame, 3, SEGNO_BOOL, false);
    for (uint32_t row = 0; row < frame.rows; row++) {
        struct change change = {segno_load_i64(at.data + 8 * (size_t)row), key_of(&of[u32_at(&causes, row)]), u32_at(&numbers, row), segno_bit(sets.data, row)};
        text_add(&into->timers, "%s %" PRId64 " %u %d\n", change.key, change.time, (unsigned)change.number, change.set);
        ADD(changes, change);
    }
}

static uint32_t waiting_at(int64_t time, const char *key, uint32_t number) {
    uint32_t i = 0;
    while (i < waits.length && (waits.items[i].time != time || waits.items[i].number != number || strcmp(waits.items[i].key, key) != 0)) i++;
    return i;
}

/* The runtime's P028. */
static void check_timer(const struct waiting *set, bool at_the_end) {
    if (set->chain > CHAIN_MAX) give_up("timers set each other %d times at one instant: set the next one for a later time (P028)", CHAIN_MAX);
    if (!at_the_end) return;
    uint32_t at = 0;
    while (at < sets_at_the_end.length && strcmp(sets_at_the_end.items[at].key, set->key) != 0) at++;
    if (at == sets_at_the_end.length) ADD(sets_at_the_end, (struct set_at_the_end){set->key, 0});
    if (++sets_at_the_end.items[at].count > AT_THE_END_MAX) {
        give_up("the input has ended, and timers of the key \"%s\" go on setting others, %d so far: set the next one only while something "
                "waits for it (P028)", set->key, AT_THE_END_MAX);
    }
}

static void one(struct event event, bool at_the_end) {
    call(&event, 1, &single);
    for (uint32_t i = 0; i < changes.length; i++) {
        const struct change *change = &changes.items[i];
        uint32_t at = waiting_at(change->time, change->key, change->number);
        /* Due at once: after those of this instant that no timer set. */
        uint32_t chain = event.is_timer && change->time <= event.watermark ? event.chain + 1 : 0;
        if (change->set && at == waits.length) {
            ADD(waits, (struct waiting){change->time, copy(change->key), change->number, chain});
            check_timer(&waits.items[at], at_the_end);
        }
        if (!change->set && at < waits.length) waits.items[at] = waits.items[--waits.length];
    }
    ADD(events, event);
}

/* The order of timers that are due: of the watermark that they see, those that no timer of this instant set first, then of time,
 * key and number. */
static int order(const struct waiting *a, const struct waiting *b, int64_t seen) {
    int64_t left = a->time > seen ? a->time : seen, right = b->time > seen ? b->time : seen;
    if (left != right) return left < right ? -1 : 1;
    if (a->chain != b->chain) return a->chain < b->chain ? -1 : 1;
    if (a->time != b->time) return a->time < b->time ? -1 : 1;
    int by_key = strcmp(a->key, b->key);
    return by_key != 0 ? by_key : a->number < b->number ? -1 : a->number > b->number;
}

/* Moves the watermark before a record; what is due fires. */
static void move(int64_t to, uint32_t row) {
    if (known && watermark >= to) return;
    for (int64_t seen = known ? watermark : INT64_MIN;;) {
        uint32_t next = waits.length;
        for (uint32_t i = 0; i < waits.length; i++) {
            if (waits.items[i].time <= to && (next == waits.length || order(&waits.items[i], &waits.items[next], seen) < 0)) next = i;
        }
        if (next == waits.length) break;
        struct waiting due = waits.items[next];
        waits.items[next] = waits.items[--waits.length];
        seen = due.time > seen ? due.time : seen;
        one((struct event){row, true, true, seen, due.time, due.key, due.number, due.chain}, to == END);
    }
    known = true, watermark = to;
}

static void clear(struct outcome *outcome) {
    for (int i = 0; i < SEGNO_PORTS_MAX; i++) text_clear(&outcome->rows[i]), text_clear(&outcome->causes[i]);
    text_clear(&outcome->rejects), text_clear(&outcome->timers), text_clear(&outcome->logs);
}

static int by_place(const void *a, const void *b) {
    const struct value *left = (const struct value *)a, *right = (const struct value *)b;
    return left->table != right->table ? (left->table < right->table ? -1 : 1) : strcmp(left->key, right->key);
}

/* All state, as text. */
static void show_all(struct text *out) {
    if (values.length > 0) qsort(values.items, values.length, sizeof *values.items, by_place);
    for (uint32_t i = 0; i < values.length; i++) {
        text_add(out, "%s of %s: ", segno_plugin.tables[values.items[i].table]->name, values.items[i].key);
        show_state(out, segno_plugin.tables[values.items[i].table], (segno_bytes){values.items[i].bytes, values.items[i].length});
        text_add(out, "\n");
    }
}

static void same(const struct text *batch, const struct text *alone, const char *what) {
    if (strcmp(text_of(batch), text_of(alone)) == 0) return;
    give_up("the result depends on how batches are cut: does the plugin keep something from one record to the next outside its state?\n"
            "%s in one batch:\n%s\n%s record by record:\n%s", what, text_of(batch), what, text_of(alone));
}

static void run(bool to_time, int64_t until) {
    static struct text after, again;
    LIST(struct value) before = {NULL, 0, 0};
    for (uint32_t i = 0; i < values.length; i++) {
        struct value kept = values.items[i];
        kept.bytes = (uint8_t *)malloc(kept.length + 1);
        if (kept.bytes == NULL) abort();
        memcpy(kept.bytes, values.items[i].bytes, kept.length);
        ADD(before, kept);
    }
    clear(&single), clear(&batched), text_clear(&after), text_clear(&again);
    events.length = 0;
    for (uint32_t row = 0; row < records.length; row++) {
        if (has_timers() && event_time() != NULL) {
            int64_t time = segno_after(records.items[row].time, -delay);
            move(segno_floor(time, TICK), row);
        }
        one((struct event){row, known, false, watermark, 0, NULL, 0, 0}, false);
    }
    if (to_time) move(until, records.length);
    show_all(&after);
    for (uint32_t i = 0; i < values.length; i++) free(values.items[i].bytes);
    values.length = 0;
    for (uint32_t i = 0; i < before.length; i++) ADD(values, before.items[i]);
    free(before.items);
    counters.length = 0;
    if (events.length > 0) call(events.items, events.length, &batched);
    show_all(&again);
    for (int i = 0; segno_plugin.ports[i] != NULL; i++) {
        same(&batched.rows[i], &single.rows[i], segno_plugin.ports[i]->name);
        same(&batched.causes[i], &single.causes[i], "causes");
    }
    same(&batched.rejects, &single.rejects, "rejects"), same(&batched.timers, &single.timers, "timers"), same(&again, &after, "state");
    records.length = 0;
}

void segno_test_run(void) { run(false, 0); }
void segno_test_run_to(segno_timestamp time) { run(true, time); }
void segno_test_run_to_end(void) { run(true, END); }

void segno_test(const char *name, const char *with) {
    tests++;
    text_clear(&title), text_clear(&config);
    text_add(&title, "%s", name), text_add(&config, "%s", with);
    for (uint32_t i = 0; i < values.length; i++) free(values.items[i].bytes);
    records.length = events.length = values.length = waits.length = counters.length = sides.length = 0;
    delay = 0, known = false, watermark = 0;
    clear(&batched);
}

void segno_test_side_table(const char *name, const char *rows) { ADD(sides, (struct side){copy(name), copy(rows)}); }
void segno_test_delay(int64_t micros) { delay = micros; }

void segno_test_push(const char *record, const char *key) {
    segno_memory_drop();
    struct segno_json *read = read_json(record, "a record"), *time = NULL;
    if (read->kind != SEGNO_JSON_OBJECT) give_up("a record is an object: %s", record);
    if (event_time() != NULL) {
        time = segno_json_get(read, segno_name_of(event_time()));
        if (time == NULL) give_up("the record has no %s: %s", segno_name_of(event_time()), record);
    }
    ADD(records, (struct record){copy(record), copy(key), time == NULL ? 0 : micros_of(time, segno_name_of(event_time()))});
}

static uint32_t port_of(const char *name) {
    for (uint32_t i = 0; segno_plugin.ports[i] != NULL; i++) {
        if (strcmp(segno_plugin.ports[i]->name, name) == 0) return i;
    }
    give_up("the plugin has no port %s", name);
}

const char *segno_test_rows(const char *port) { return text_of(&batched.rows[port_of(port)]); }
const char *segno_test_causes(const char *port) { return text_of(&batched.causes[port_of(port)]); }
const char *segno_test_rejects(void) { return text_of(&batched.rejects); }
const char *segno_test_logs(void) { return text_of(&batched.logs); }

uint64_t segno_test_counter(const char *name) {
    for (uint32_t i = 0; i < counters.length; i++) {
        if (strcmp(counters.items[i].name, name) == 0) return counters.items[i].total;
    }
    return 0;
}

const char *segno_test_state(const char *table, const char *key) {
    text_clear(&shown);
    for (uint32_t i = 0; segno_plugin.tables[i] != NULL; i++) {
        if (strcmp(segno_plugin.tables[i]->name, table) != 0) continue;
        const struct value *value = state_of(key, i);
        segno_memory_drop();
        if (value == NULL) text_add(&shown, "null");
        else show_state(&shown, segno_plugin.tables[i], (segno_bytes){value->bytes, value->length});
        return text_of(&shown);
    }
    give_up("the plugin has no table %s", table);
}

static int by_time(const void *a, const void *b) { return order((const struct waiting *)a, (const struct waiting *)b, INT64_MIN); }

const char *segno_test_timers(const char *key) {
    text_clear(&shown);
    segno_memory_drop();
    if (waits.length > 0) qsort(waits.items, waits.length, sizeof *waits.items, by_time);
    for (uint32_t i = 0; i < waits.length; i++) {
        if (strcmp(waits.items[i].key, key) != 0) continue;
        show_instant(&shown, waits.items[i].time), text_add(&shown, " %u\n", (unsigned)waits.items[i].number);
    }
    return text_of(&shown);
}

void segno_test_expect(bool holds, const char *file, int line, const char *what) {
    if (holds) return;
    failures++;
    fprintf(stderr, "%s:%d: test `%s`: it does not hold: %s\n", file, line, text_of(&title), what);
}

void segno_test_expect_text(const char *found, const char *wanted, const char *file, int line, const char *what) {
    if (strcmp(found, wanted) == 0) return;
    failures++;
    fprintf(stderr, "%s:%d: test `%s`: %s is\n%s\n  and must be\n%s\n", file, line, text_of(&title), what, found, wanted);
}

int segno_test_end(void) {
    printf("%d tests, %d failed\n", tests, failures);
    return failures > 0;
}
