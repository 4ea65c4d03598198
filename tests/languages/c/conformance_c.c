/* The conformance component in C. `tests/languages/README.md` says what each behaviour does. Tests only.
 *
 * Owns: the behaviours. Does not own: what is expected of them.
 * Invariant: the behaviour is chosen by the configuration and by nothing else. */
#include "conformance.h"

#include <math.h>

#define SECOND SEGNO_SECOND
#define TIMERS 100

static struct segno_windows windows;

static void merge(struct sum *into, const struct sum *other) {
    into->total += other->total;
    into->sum += other->sum;
    into->ratio += other->ratio;
}

static segno_outcome init(void) {
    if (settings.behaviour != TUMBLES && settings.behaviour != SLIDES) return SEGNO_OK;
    if (!settings.window.present) return segno_reject("behaviour `%s` needs config.window", behaviour_words[settings.behaviour]);
    const struct window *window = &settings.window.value;
    if (window->size <= 0) return segno_reject("config.window.size is not positive: %" PRId64, window->size);
    if (settings.behaviour == TUMBLES) {
        windows = segno_tumbling(window->size * SECOND);
    } else {
        int64_t slide = window->slide.present ? window->slide.value : window->size;
        if (slide < 1 || slide > window->size) return segno_reject("config.window.slide is not from 1 to the size: %" PRId64, slide);
        windows = segno_sliding(window->size * SECOND, slide * SECOND);
    }
    windows.timer_number = TIMERS;
    if (window->lateness > 0) windows.allowed_lateness = window->lateness * SECOND;
    if (window->early.present && window->early.value > 0) windows.early_every = window->early.value * SECOND;
    return SEGNO_OK;
}

static segno_text text_of(const struct record *record) { return record->text.present ? record->text.value : segno_text_of(""); }
static int32_t narrow_of(const struct record *record) { return record->narrow.present ? record->narrow.value : 0; }
static bool is_true(const struct record *record) { return record->flag.present && record->flag.value; }

/* One record or timer more; how many there are now. */
static int64_t record_seen(void) { return (int64_t)++memory_or_default()->records; }

static struct result row(const char *what, int64_t id) {
    struct result row = {.what = segno_text_of(what), .id = id};
    return row;
}

#define COPY(T, NAME) {memcpy(&to.NAME, &from->NAME, sizeof to.NAME);}

static void push_echo(const struct record *from) {
    struct echo to;
    ECHO(COPY)
    echo_push(to);
}

static void compute(const struct record *record) {
    struct computed out = {.id = record->id};
    if (record->wide.present && record->narrow.present) {
        int64_t wide = record->wide.value, narrow = record->narrow.value;
        out.sum.present = out.product.present = true, out.sum.value = wide + narrow, out.product.value = wide * narrow;
        out.quotient.present = out.rest.present = narrow != 0;
        /* The one quotient that does not fit wraps. */
        if (narrow == -1) out.quotient.value = 0 - wide;
        else if (narrow != 0) out.quotient.value = wide / narrow, out.rest.value = wide % narrow;
    }
    out.turned.present = record->count.present, out.turned.value = record->count.value * 3 + 1;
    out.third.present = out.root.present = out.nan.present = record->ratio.present;
    out.third.value = record->ratio.value / 3.0, out.root.value = sqrt(record->ratio.value), out.nan.value = isnan(out.root.value);
    out.total.present = record->ratio.present && record->wide.present;
    out.total.value = (record->ratio.value + 0.1) + (double)record->wide.value;
    if (record->amount.present) {
        segno_decimal doubled;
        out.doubled.present = !__builtin_add_overflow(record->amount.value, record->amount.value, &doubled) && segno_decimal_fits(doubled, 38);
        out.doubled.value = out.doubled.present ? doubled : 0;
        out.cut.present = true, out.cut.value = record->amount.value / 100000000;
    }
    if (record->day.present) {
        int year, month, day;
        segno_civil(record->day.value, &year, &month, &day);
        out.year.present = out.month.present = out.dom.present = out.date_text.present = true;
        out.year.value = year, out.month.value = month, out.dom.value = day, out.date_text.value = segno_date_text(record->day.value);
    }
    if (record->at.present) {
        out.hour.present = out.instant_text.present = true;
        out.hour.value = segno_hour(record->at.value), out.instant_text.value = segno_timestamp_text(record->at.value);
    }
    computed_push(out);
}

static void route(const struct record *record) {
    if (!record->flag.present) {
        kept_keep();
        return;
    }
    if (record->flag.value) {
        for (int64_t n = 0; n < narrow_of(record); n++) noted_push((struct noted){.note = text_of(record), .number = {true, n}});
        return;
    }
    push_echo(record);
    for (int64_t n = 0; n < narrow_of(record); n++) {
        struct result out = row("port", record->id);
        out.number.present = true, out.number.value = n;
        out.total.present = record->count.present, out.total.value = record->count.value;
        out.sum.present = record->ratio.present, out.sum.value = record->ratio.value;
        out.start.present = record->at.present, out.start.value = record->at.value;
        result_push(out);
    }
    kept_keep();
}

#define REPLACE(T, NAME) {if (record->NAME.present) memcpy(&memory->NAME, &record->NAME, sizeof memory->NAME);}
#define RECALL(T, NAME) {memcpy(&to.NAME, &from->NAME, sizeof to.NAME);}

static void remember(const struct record *record) {
    if (segno_is(text_of(record), "forget")) {
        memory_clear();
        result_push(row("forgotten", record->id));
        return;
    }
    if (segno_is(text_of(record), "recall")) {
        const struct memory *from = memory_get();
        struct result out = row(from == NULL ? "nothing" : "recalled", record->id);
        if (from != NULL) {
            struct echo to = {.id = record->id};
            VALUES(RECALL)
            echo_push(to);
            out.number.present = from->recent.length > 0;
            if (out.number.present) out.number.value = from->recent.items[from->recent.length - 1].id;
            out.total.present = true, out.total.value = from->records;
            out.start.present = from->seen.present, out.start.value = from->seen.value;
        }
        result_push(out);
        return;
    }
    struct memory *memory = memory_or_default();
    VALUES(REPLACE)
    memory->records++;
    struct recent *last = recent_list_add(&memory->recent);
    last->id = record->id, last->text.present = record->text.present, last->text.value = record->text.value;
    if (memory->recent.length > 3) {
        memmove(memory->recent.items, memory->recent.items + 1, 3 * sizeof *last);
        memory->recent.length = 3;
    }
    memory->seen.present = true, memory->seen.value = record->time;
    memory->sure = is_true(record);
    struct result out = row("remembered", record->id);
    out.number.present = true, out.number.value = memory->recent.length;
    out.total.present = true, out.total.value = memory->records;
    result_push(out);
}

static void tell_event(const char *what, int64_t id, segno_timestamp start) {
    struct result out = row(what, id);
    out.number.present = true, out.number.value = record_seen();
    out.start.present = true, out.start.value = start;
    out.end.present = segno_watermark(&out.end.value);
    if (!out.end.present) out.end.value = 0;
    result_push(out);
}

static segno_outcome set_timers(const struct record *record) {
    segno_timestamp time = record->at.present ? record->at.value : record->time;
    uint32_t number = (uint32_t)narrow_of(record);
    tell_event("record", record->id, record->time);
    if (segno_is(text_of(record), "set")) {
        segno_set_timer(time, number);
    } else if (segno_is(text_of(record), "delete")) {
        segno_delete_timer(time, number);
    } else if (segno_is(text_of(record), "both")) {
        segno_set_timer(time, number);
        segno_delete_timer(time, number);
        segno_set_timer(time, number + 1);
    } else if (segno_is(text_of(record), "reject")) {
        segno_set_timer(time, number);
        return segno_reject("set, then rejected");
    }
    return SEGNO_OK;
}

static segno_outcome add(const struct record *record) {
    struct sum *sum = sum_add(&windows, record->time);
    if (sum == NULL && settings.strict) return segno_reject_late();
    if (sum == NULL) {
        noted_push((struct noted){.note = segno_text_of("late"), .number = {true, segno_late_end()}});
        return SEGNO_OK;
    }
    struct sum one = {1, record->wide.value, record->ratio.value};
    merge(sum, &one);
    return SEGNO_OK;
}

static void look_up(const struct record *record) {
    struct noted out = {.note = segno_text_of("")};
    if (!record->text.present) {
        for (uint32_t i = 0; i < cities_count(); i++) {
            out.note = segno_format(SEGNO_TEXT "%s" SEGNO_TEXT, SEGNO_ARG(out.note), i > 0 ? "," : "", SEGNO_ARG(cities_row(i)->code));
        }
        out.number.present = true, out.number.value = cities_count();
        noted_push(out);
        return;
    }
    const struct cities *city = cities_find(record->text.value);
    if (city == NULL) {
        out.note = segno_text_of("unknown");
        noted_push(out);
        return;
    }
    out.note = city->name.present ? city->name.value : segno_text_of("?");
    out.number.present = city->people.present, out.number.value = (int64_t)city->people.value;
    noted_push(out);
    if (!city->founded.present && !city->capital) return;
    struct computed more = {.id = record->id, .nan = {true, city->capital}};
    more.date_text.present = city->founded.present;
    if (city->founded.present) more.date_text.value = segno_date_text(city->founded.value);
    computed_push(more);
}

static segno_text or_none(bool present, int64_t value) { return present ? segno_format("%" PRId64, value) : segno_text_of("-"); }

static void tell(const struct record *record) {
    segno_text codes = segno_text_of(""), window = segno_text_of("none");
    for (uint32_t i = 0; i < settings.codes.length; i++) {
        codes = segno_format(SEGNO_TEXT "%s" SEGNO_TEXT, SEGNO_ARG(codes), i > 0 ? "," : "", SEGNO_ARG(settings.codes.items[i]));
    }
    if (settings.window.present) {
        const struct window *of = &settings.window.value;
        segno_text slide = or_none(of->slide.present, of->slide.value), early = or_none(of->early.present, of->early.value);
        window = segno_format("%" PRId64 "/" SEGNO_TEXT "/%" PRId64 "/" SEGNO_TEXT, of->size, SEGNO_ARG(slide), of->lateness, SEGNO_ARG(early));
    }
    struct result out = row("", record->id);
    out.what = segno_format("limit=%" PRId64 " label=" SEGNO_TEXT " strict=%s codes=[" SEGNO_TEXT "] window=" SEGNO_TEXT, settings.limit,
                            SEGNO_ARG(settings.label), settings.strict ? "true" : "false", SEGNO_ARG(codes), SEGNO_ARG(window));
    out.number.present = true, out.number.value = settings.limit;
    out.total.present = true, out.total.value = settings.codes.length;
    out.sum.present = true, out.sum.value = settings.ratio;
    result_push(out);
}

static void observe(const struct record *record) {
    if (record->text.present) {
        int32_t narrow = record->narrow.present ? record->narrow.value : 2;
        enum segno_level level = narrow >= 0 && narrow <= 4 ? (enum segno_level)narrow : SEGNO_INFO;
        segno_log(level, "record %" PRId64 ": " SEGNO_TEXT, record->id, SEGNO_ARG(record->text.value));
    }
    segno_count("seen", 1);
    segno_count("weight", record->count.value);
    kept_keep();
}

/* C has no map: a list of words in the order in which they first came. */
static void order(const struct record *record) {
    struct word { segno_text text; uint64_t count; };
    segno_text text = text_of(record);
    struct word *words = (struct word *)segno_take((text.length + 1) * sizeof *words);
    uint32_t used = 0, from = 0;
    for (uint32_t at = 0; at <= text.length; at++) {
        if (at < text.length && text.data[at] != ' ') continue;
        segno_text word = {text.data + from, at - from};
        uint32_t i = 0;
        while (i < used && !segno_same(words[i].text, word)) i++;
        if (i == used) words[used++].text = word;
        words[i].count++, from = at + 1;
    }
    struct noted out = {.note = segno_text_of(""), .number = {true, used}};
    for (uint32_t i = 0; i < used; i++) {
        out.note = segno_format(SEGNO_TEXT "%s" SEGNO_TEXT ":%" PRIu64, SEGNO_ARG(out.note), i > 0 ? " " : "", SEGNO_ARG(words[i].text), words[i].count);
    }
    noted_push(out);
}

static segno_outcome process(const struct record *record) {
    switch (settings.behaviour) {
    case ECHOES:
        push_echo(record);
        if (is_true(record)) kept_keep();
        break;
    case COMPUTES: compute(record); break;
    case REJECTS:
        record_seen();
        push_echo(record);
        if (record->text.present) return segno_reject(SEGNO_TEXT, SEGNO_ARG(record->text.value));
        kept_keep();
        break;
    case ROUTES: route(record); break;
    case REMEMBERS: remember(record); break;
    case SETS_TIMERS: return set_timers(record);
    case TUMBLES: case SLIDES: return add(record);
    case LOOKS_UP: look_up(record); break;
    case TELLS: tell(record); break;
    case OBSERVES: observe(record); break;
    case ORDERS: order(record); break;
    case FAILS: {
        struct result out = row("record", record->id);
        out.number.present = true, out.number.value = record_seen();
        result_push(out);
        if (segno_is(text_of(record), "panic")) segno_panic("told to fail at %" PRId64, record->id);
        break;
    }
    }
    return SEGNO_OK;
}

static void on_timer(struct segno_timer timer) {
    static const char *const kinds[] = {"early", "on_time", "update"};
    if (settings.behaviour == SETS_TIMERS) {
        tell_event("timer", timer.number, timer.time);
        if (timer.number >= 10 && timer.number <= 12) segno_set_timer(segno_after(timer.time, SECOND), timer.number + 1);
        if (timer.number == 20) segno_set_timer(timer.time, 21);
        if (timer.number == 30) segno_delete_timer(segno_after(timer.time, SECOND), 0);
        if (timer.number == 40) memory_clear();
    }
    if (settings.behaviour != TUMBLES && settings.behaviour != SLIDES) return;
    struct sum_results given = sum_fire(&windows, timer);
    for (uint32_t i = 0; i < given.length; i++) {
        const struct sum_fired *one = &given.items[i];
        struct result out = row(kinds[one->kind], i);
        out.number.present = true, out.number.value = one->value.sum;
        out.total.present = true, out.total.value = one->value.total;
        out.sum.present = true, out.sum.value = one->value.ratio;
        out.start.present = out.end.present = true, out.start.value = one->start, out.end.value = one->end;
        result_push(out);
    }
}

SEGNO_PLUGIN(record, process, .ports = {&kept_port, &noted_port, &echo_port, &computed_port, &result_port},
             .tables = {&memory_table, &sum_table}, .side_tables = {&cities_side}, .config = &settings_config, .init = init,
             .on_timer = on_timer)
