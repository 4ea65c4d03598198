/* Owns: the order in which a message is opened, its events are handed over, and the answer is written.
 * Does not own: frames (`wire.c`, `writer.c`), the loop over records (`plugin.h`), how messages arrive (`guest.c`).
 * Invariants: an answer is canonical; nothing is kept from one batch to the next but what `init` made. */
#include "engine.h"

struct segno_now segno_now;

/* The columns of a plugin's input; more are refused by the host. */
#define COLUMNS_MAX 1024

static struct segno_builder rejects[2];
static uint32_t rejected;

static struct segno_answer failure(segno_text text) {
    struct segno_answer answer = {true, {(const uint8_t *)text.data, text.length}};
    return answer;
}

struct segno_answer segno_failure(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    segno_text text = segno_vformat(format, arguments);
    va_end(arguments);
    return failure(text);
}

struct segno_answer segno_engine_init(segno_bytes bytes, enum segno_check check) {
    struct segno_message message;
    const struct segno_plugin *plugin = &segno_plugin;
    const char *fault = segno_message_open(bytes, SEGNO_INIT_MAGIC, &message);
    if (fault != NULL) return segno_failure("malformed init message: %s", fault);
    segno_bytes config = {(const uint8_t *)"{}", 2}, frame;
    (void)segno_message_section(&message, SEGNO_INIT_CONFIG, 0, &config);
    segno_text wrong = segno_config_load(plugin->config, config);
    if (wrong.data != NULL) return failure(wrong);
    for (uint32_t i = 0; plugin->side_tables[i] != NULL; i++) {
        struct segno_side *side = plugin->side_tables[i];
        if (!segno_message_section(&message, SEGNO_INIT_TABLE, i, &frame)) return segno_failure("side table `%s` is missing", side->name);
        wrong = segno_side_load(side, frame, check);
        if (wrong.data != NULL) return failure(wrong);
    }
    if (plugin->init != NULL && plugin->init() != SEGNO_OK) return failure(segno_reason);
    struct segno_answer answer = {false, {NULL, 0}};
    return answer;
}

/* Sections of a batch, opened. `fault` is the first that was found. */
struct opened {
    struct segno_message message;
    enum segno_check check;
    const char *fault;
};

static bool open(struct opened *batch, uint32_t kind, uint32_t index, struct segno_frame *frame) {
    segno_bytes section;
    if (batch->fault == NULL && !segno_message_section(&batch->message, kind, index, &section)) batch->fault = "section-missing";
    if (batch->fault == NULL) batch->fault = segno_frame_open(section, batch->check, frame);
    return batch->fault == NULL;
}

static void column(struct opened *batch, const struct segno_frame *frame, uint32_t index, uint8_t type, bool nullable, struct segno_view *view) {
    struct segno_column wanted = {NULL, type, nullable, 0, 0, 1, NULL, NULL};
    if (batch->fault == NULL) batch->fault = segno_frame_column(frame, index, &wanted, view);
}

/* Numbers of a column that count something: each is below `bound`, and none is smaller than the one before if they ascend. */
static void check_numbers(struct opened *batch, const struct segno_view *view, uint32_t rows, uint32_t bound, bool ascend, const char *fault) {
    for (uint32_t row = 0, last = 0; batch->fault == NULL && batch->check >= SEGNO_CHECK_VALUES && row < rows; row++) {
        uint32_t number = segno_load_u32(view->data + 4 * (size_t)row);
        if (number >= bound || (ascend && number < last)) batch->fault = fault;
        last = number;
    }
}

static void open_records(struct opened *batch, struct segno_batch *given, struct segno_view *views) {
    struct segno_frame records, times;
    if (!open(batch, SEGNO_BATCH_RECORDS, 0, &records)) return;
    given->rows = records.rows;
    uint32_t number = 0;
    for (uint32_t i = 0; segno_plugin.input[i].name != NULL; i++) {
        const struct segno_column *one = &segno_plugin.input[i];
        if (i >= COLUMNS_MAX) segno_refuse("a plugin reads %d columns at most", COLUMNS_MAX);
        if (one->type == SEGNO_EVENT_TIME) {
            if (!open(batch, SEGNO_BATCH_TIMES, 0, &times)) return;
            column(batch, &times, 0, SEGNO_TIMESTAMP, false, &views[i]);
            if (batch->fault == NULL && times.rows != records.rows) batch->fault = "one event time for each record is expected";
        } else if (batch->fault == NULL) {
            batch->fault = segno_frame_column(&records, number++, one, &views[i]);
        }
    }
    if (batch->fault == NULL && number != records.width) batch->fault = "column-count";
}

static void open_timers(struct opened *batch, uint32_t rows, uint32_t keys, struct segno_due *due) {
    static const uint8_t types[5] = {SEGNO_U32, SEGNO_U32, SEGNO_TIMESTAMP, SEGNO_U32, SEGNO_TIMESTAMP};
    struct segno_frame frame;
    segno_bytes section;
    if (segno_message_section(&batch->message, SEGNO_BATCH_TIMERS, 0, &section) && open(batch, SEGNO_BATCH_TIMERS, 0, &frame)) {
        due->timers = frame.rows;
        for (uint32_t i = 0; i < 5; i++) column(batch, &frame, i, types[i], false, &due->timer[i]);
        check_numbers(batch, &due->timer[0], frame.rows, rows + 1, true, "timers are not in the order of the records");
        check_numbers(batch, &due->timer[1], frame.rows, keys, false, "key-range");
    }
    if (!open(batch, SEGNO_BATCH_WATERMARKS, 0, &frame)) return;
    due->moves = frame.rows;
    column(batch, &frame, 0, SEGNO_U32, false, &due->move[0]), column(batch, &frame, 1, SEGNO_TIMESTAMP, false, &due->move[1]);
    check_numbers(batch, &due->move[0], frame.rows, rows, true, "watermarks are not in the order of the records");
}

static void ports_begin(void) {
    for (uint32_t i = 0; segno_plugin.ports[i] != NULL; i++) {
        struct segno_port *port = segno_plugin.ports[i];
        memset(port->builders, 0, sizeof(struct segno_builder) * (1 + (size_t)port->width));
        port->rows = 0;
    }
    rejected = segno_timer_changes = 0;
    memset(rejects, 0, sizeof rejects), memset(segno_timers, 0, sizeof(struct segno_builder) * 4);
}

static segno_bytes answer(const struct segno_view *states, uint32_t keys) {
    const struct segno_plugin *plugin = &segno_plugin;
    uint32_t used = (segno_timer_changes > 0) + (rejected > 0);
    for (uint32_t i = 0; plugin->ports[i] != NULL; i++) used += plugin->ports[i]->rows > 0;
    for (uint32_t i = 0; plugin->tables[i] != NULL; i++) {
        segno_table_collect(plugin->tables[i], &states[i], keys);
        used += plugin->tables[i]->changed > 0;
    }
    struct segno_builder out = {0};
    struct segno_message_writer message = segno_message_begin(&out, SEGNO_EFFECTS_MAGIC, used);
    for (uint32_t i = 0; plugin->ports[i] != NULL; i++) {
        struct segno_port *port = plugin->ports[i];
        if (port->rows == 0) continue;
        segno_section_begin(&message, SEGNO_EFFECTS_OUTPUT, i);
        struct segno_frame_writer frame = segno_frame_begin(&out, port->rows, 1 + port->width);
        segno_frame_add(&frame, SEGNO_U32, NULL, &port->builders[0]);
        for (uint32_t c = 0; c < port->width; c++) segno_frame_add(&frame, port->columns[c].type, &port->columns[c], &port->builders[1 + c]);
        segno_frame_end(&frame), segno_section_end(&message);
    }
    for (uint32_t i = 0; plugin->tables[i] != NULL; i++) {
        struct segno_table *table = plugin->tables[i];
        if (table->changed == 0) continue;
        segno_section_begin(&message, SEGNO_EFFECTS_CHANGES, i);
        struct segno_frame_writer frame = segno_frame_begin(&out, table->changed, 2);
        segno_frame_add(&frame, SEGNO_U32, NULL, &table->keys), segno_frame_add(&frame, SEGNO_BINARY, NULL, &table->changes);
        segno_frame_end(&frame), segno_section_end(&message);
    }
    if (segno_timer_changes > 0) {
        static const uint8_t types[4] = {SEGNO_U32, SEGNO_TIMESTAMP, SEGNO_U32, SEGNO_BOOL};
        segno_section_begin(&message, SEGNO_EFFECTS_TIMERS, 0);
        struct segno_frame_writer frame = segno_frame_begin(&out, segno_timer_changes, 4);
        for (uint32_t c = 0; c < 4; c++) segno_frame_add(&frame, types[c], NULL, &segno_timers[c]);
        segno_frame_end(&frame), segno_section_end(&message);
    }
    if (rejected > 0) {
        segno_section_begin(&message, SEGNO_EFFECTS_REJECTS, 0);
        struct segno_frame_writer frame = segno_frame_begin(&out, rejected, 2);
        segno_frame_add(&frame, SEGNO_U32, NULL, &rejects[0]), segno_frame_add(&frame, SEGNO_UTF8, NULL, &rejects[1]);
        segno_frame_end(&frame), segno_section_end(&message);
    }
    segno_message_end(&message);
    segno_bytes given = {out.data, out.length};
    return given;
}

/* A text that is none is the host's error, which names no file: here it is the plugin's. An event alone is looked at, as one is in the
 * end where the answer of many is refused. */
static void check_texts(void) {
    for (uint32_t i = 0; segno_plugin.ports[i] != NULL; i++) {
        const struct segno_port *port = segno_plugin.ports[i];
        for (uint32_t c = 0; c < port->width; c++) {
            const struct segno_builder *texts = &port->builders[1 + c];
            for (uint32_t row = 0; row < port->rows && port->columns[c].type == SEGNO_UTF8; row++) {
                uint32_t start = texts->offsets[row], end = texts->offsets[row + 1];
                if (!segno_is_utf8(texts->data + start, end - start)) segno_refuse("column %s: a text that is no UTF-8", segno_name_of(&port->columns[c]));
            }
        }
    }
}

struct segno_answer segno_engine_process(segno_bytes bytes, enum segno_check check) {
    static struct segno_view views[COLUMNS_MAX], states[SEGNO_PORTS_MAX], keyed;
    const struct segno_plugin *plugin = &segno_plugin;
    struct opened batch = {{NULL, 0}, check, NULL};
    struct segno_batch given = {views, 0, NULL};
    struct segno_due due = {0};
    struct segno_frame frame;
    segno_bytes section;
    uint32_t keys = UINT32_MAX;
    segno_counts_drop();
    batch.fault = segno_message_open(bytes, SEGNO_BATCH_MAGIC, &batch.message);
    if (batch.fault == NULL) open_records(&batch, &given, views);
    for (uint32_t i = 0; plugin->tables[i] != NULL && open(&batch, SEGNO_BATCH_STATES, i, &frame); i++) {
        column(&batch, &frame, 0, SEGNO_BINARY, true, &states[i]);
        if (batch.fault == NULL && i > 0 && keys != frame.rows) batch.fault = "each table has one value for each key";
        keys = frame.rows;
        if (batch.fault == NULL && !segno_table_load(plugin->tables[i], &states[i], keys)) {
            return segno_failure("the state of table `%s` cannot be read at version %u", plugin->tables[i]->name, plugin->tables[i]->version);
        }
    }
    if (batch.fault == NULL && segno_message_section(&batch.message, SEGNO_BATCH_KEYS, 0, &section) && open(&batch, SEGNO_BATCH_KEYS, 0, &frame)) {
        column(&batch, &frame, 0, SEGNO_U32, false, &keyed);
        if (batch.fault == NULL && frame.rows != given.rows) batch.fault = "one key for each record is expected";
        check_numbers(&batch, &keyed, frame.rows, keys, false, "key-range");
        given.keys = keyed.data;
    } else if (plugin->tables[0] != NULL && batch.fault == NULL) {
        batch.fault = "section-missing";
    }
    if (plugin->on_timer != NULL && batch.fault == NULL) open_timers(&batch, given.rows, keys, &due);
    if (batch.fault != NULL) return segno_failure("malformed batch: %s", batch.fault);
    ports_begin();
    if (plugin->on_timer != NULL) segno_run_events(&given, &due);
    else plugin->run(&given);
    if (given.rows + due.timers == 1) check_texts();
    struct segno_answer done = {false, answer(states, keys)};
    segno_counts_flush();
    return done;
}

/* Forgets the rows from `rows` on. */
static void truncate(struct segno_builder *values, uint8_t type, uint32_t rows) {
    if (type == SEGNO_BOOL) {
        values->length = (rows + 7) / 8;
        if (rows % 8 != 0) values->data[rows / 8] &= (uint8_t)((1u << rows % 8) - 1);
    } else if (segno_has_offsets(type)) {
        values->length = values->offsets == NULL ? 0 : values->offsets[rows];
    } else {
        values->length = segno_width_of(type) * rows;
    }
    for (uint32_t row = rows; row < 8 * values->validity_capacity; row++) values->validity[row / 8] |= (uint8_t)(1u << row % 8);
}

/* Rows of the current event are the last ones of each port. */
void segno_take_back(void) {
    for (int i = 0; segno_plugin.ports[i] != NULL; i++) {
        struct segno_port *port = segno_plugin.ports[i];
        uint32_t rows = port->rows;
        while (port->rows > 0 && segno_load_u32(port->builders[0].data + 4 * (size_t)(port->rows - 1)) == segno_now.event) port->rows--;
        if (port->rows == rows) continue;
        port->builders[0].length = 4 * port->rows;
        for (uint32_t c = 0; c < port->width; c++) truncate(&port->builders[1 + c], port->columns[c].type, port->rows);
    }
    segno_builder_u32(&rejects[0], segno_now.event);
    segno_builder_text(&rejects[1], rejected++, segno_reason);
    /* The next record has none before it says one. */
    segno_reason = (segno_text){NULL, 0};
}
