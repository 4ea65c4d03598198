/* Owns: the description of a plugin, as JSON. Invariant: ports, tables and columns are in the order of the source. */
#include "engine.h"

static struct segno_builder text;

static void say(const char *words) { segno_append(&text, words, strlen(words)); }

static void quote(const char *name) {
    say("\"");
    for (; *name != 0; name++) {
        if (*name == '"' || *name == '\\') say("\\");
        segno_append(&text, name, 1);
    }
    say("\"");
}

static void small(uint32_t value) {
    segno_text digits = segno_format("%u", (unsigned)value);
    segno_append(&text, digits.data, digits.length);
}

static void type_of(const struct segno_column *column) {
    static const char *const types[] = {"", "bool", "i32", "i64", "u64", "f64", "utf8", "binary", "timestamp", "date"};
    if (column->type == SEGNO_DECIMAL) {
        segno_text type = segno_format("decimal128(%d,%d)", column->precision, column->scale);
        segno_append(&text, type.data, type.length);
    } else {
        say(column->type == SEGNO_LIST ? "list" : types[column->type]);
    }
}

/* Those of a table say with which version they came. */
static void columns(const struct segno_column *column, bool kept) {
    bool first = true;
    say("\"columns\":[");
    for (; column->name != NULL; column++) {
        if (column->type == SEGNO_EVENT_TIME) continue;
        say(first ? "{\"name\":" : ",{\"name\":"), quote(segno_name_of(column)), say(",\"type\":\""), type_of(column);
        say(column->nullable ? "\",\"nullable\":true" : "\",\"nullable\":false");
        if (kept) say(",\"since\":"), small(column->since);
        if (column->type == SEGNO_LIST) say(","), columns(column->items, kept);
        say("}");
        first = false;
    }
    say("]");
}

static void item(bool first, const char *name) { say(first ? "{\"name\":" : ",{\"name\":"), quote(name), say(","); }

segno_bytes segno_engine_describe(void) {
    static const char *const kinds[] = {"\"kind\":\"extend\",", "\"kind\":\"emit\",", "\"kind\":\"per_key\","};
    const struct segno_plugin *plugin = &segno_plugin;
    memset(&text, 0, sizeof text);
    say("{\"abi\":1,\"name\":"), quote(plugin->name), say(",\"version\":"), quote(plugin->version), say(",\"inputs\":[");
    item(true, "in"), columns(plugin->input, false), say("}],\"event_time\":");
    bool timed = false;
    for (const struct segno_column *one = plugin->input; one->name != NULL; one++) timed |= one->type == SEGNO_EVENT_TIME;
    say(timed ? "true" : "false"), say(plugin->on_timer != NULL ? ",\"timers\":true,\"outputs\":[" : ",\"timers\":false,\"outputs\":[");
    for (int i = 0; plugin->ports[i] != NULL; i++) {
        item(i == 0, plugin->ports[i]->name), say(kinds[plugin->ports[i]->kind]), columns(plugin->ports[i]->columns, false), say("}");
    }
    say("],\"tables\":[");
    for (int i = 0; plugin->tables[i] != NULL; i++) {
        item(i == 0, plugin->tables[i]->name), say("\"version\":"), small(plugin->tables[i]->version);
        say(","), columns(plugin->tables[i]->columns, true), say("}");
    }
    say("],\"side_tables\":[");
    for (int i = 0; plugin->side_tables[i] != NULL; i++) {
        const struct segno_side *side = plugin->side_tables[i];
        item(i == 0, side->name), columns(side->columns, false);
        if (segno_side_key(side) != NULL) say(",\"key\":"), quote(segno_name_of(segno_side_key(side)));
        say("}");
    }
    say("]}");
    segno_bytes given = {text.data, text.length};
    return given;
}
