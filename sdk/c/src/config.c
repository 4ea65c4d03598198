/* Owns: reading a configuration into its struct, and the words of errors, which are the same in each of Segno's SDKs.
 * Does not own: the pipeline file: the host hands over the step's `config:` as JSON.
 * Invariant: an unknown field is an error, never ignored. */
#include "engine.h"
#include "json.h"

/* No text is no error. */
static const segno_text fine;

static segno_text error(segno_text place, const char *format, ...) __attribute__((format(printf, 2, 3)));
static segno_text error(segno_text place, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    segno_text what = segno_vformat(format, arguments);
    va_end(arguments);
    return segno_format("config%s" SEGNO_TEXT ": " SEGNO_TEXT, place.length > 0 ? "." : "", SEGNO_ARG(place), SEGNO_ARG(what));
}

static segno_text expected(segno_text place, const char *what, const struct segno_json *found) {
    static const char *const kinds[] = {"null", "a bool", "", "a string", "a list", "an object"};
    if (found->kind == SEGNO_JSON_NUMBER) return error(place, "%s is expected, not " SEGNO_TEXT, what, SEGNO_ARG(found->text));
    return error(place, "%s is expected, not %s", what, kinds[found->kind]);
}

static segno_text within(segno_text place, segno_text name) {
    if (place.length == 0) return name;
    return segno_format(SEGNO_TEXT "." SEGNO_TEXT, SEGNO_ARG(place), SEGNO_ARG(name));
}

/* A text's characters. Nobody misspells more than these. */
#define CHARACTERS_MAX 64
static uint32_t characters(segno_text text, uint32_t *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < text.length; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        if (byte >> 6 != 2 && count++ < CHARACTERS_MAX) out[count - 1] = byte;
        else if (count <= CHARACTERS_MAX) out[count - 1] = out[count - 1] << 8 | byte;
    }
    return count;
}

/* The Levenshtein distance. */
static uint32_t edits(const uint32_t *a, uint32_t a_length, const uint32_t *b, uint32_t b_length) {
    uint32_t row[CHARACTERS_MAX + 1];
    for (uint32_t j = 0; j <= b_length; j++) row[j] = j;
    for (uint32_t i = 0; i < a_length; i++) {
        uint32_t diagonal = row[0];
        row[0] = i + 1;
        for (uint32_t j = 0; j < b_length; j++) {
            uint32_t best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
            if (row[j] + 1 < best) best = row[j] + 1;
            row[j + 1] = best;
        }
    }
    return row[b_length];
}

/* A list of names: those of settings, or the words of a choice. */
struct names {
    const struct segno_setting *settings;
    const char *const *words;
};

static const char *name_at(const struct names *names, uint32_t at) {
    return names->words != NULL ? names->words[at] : names->settings == NULL ? NULL : names->settings[at].name;
}

/* The known name that a misspelt one most likely means. */
static const char *nearest(segno_text name, const struct names *known) {
    uint32_t a[CHARACTERS_MAX], b[CHARACTERS_MAX], length = characters(name, a), least = UINT32_MAX;
    /* Two swapped letters are two edits; a name of three letters is another name by then. */
    uint32_t limit = length <= 3 ? 1 : length <= 8 ? 2 : 3;
    const char *near = NULL;
    for (uint32_t at = 0; length <= CHARACTERS_MAX && name_at(known, at) != NULL; at++) {
        const char *one = name_at(known, at);
        uint32_t of_one = characters(segno_text_of(one), b);
        uint32_t distance = of_one > CHARACTERS_MAX ? UINT32_MAX : edits(a, length, b, of_one);
        if (distance <= limit && (distance < least || (distance == least && strcmp(one, near) < 0))) least = distance, near = one;
    }
    return near;
}

static segno_text listed(const struct names *known) {
    segno_text all = {"", 0};
    for (uint32_t at = 0; name_at(known, at) != NULL; at++) {
        all = segno_format(SEGNO_TEXT "%s%s", SEGNO_ARG(all), at > 0 ? ", " : "", name_at(known, at));
    }
    return all;
}

static segno_text read_part(const struct segno_part *part, const struct segno_json *found, segno_text place, void *into);

static segno_text read_integer(const struct segno_json *found, segno_text place, bool is_signed, uint64_t most, int bytes, void *into) {
    if (found->kind != SEGNO_JSON_NUMBER) return expected(place, "a whole number", found);
    bool negative = found->text.data[0] == '-', fits = is_signed || !negative;
    uint64_t value = 0;
    for (uint32_t i = negative; i < found->text.length; i++) {
        char c = found->text.data[i];
        if (c < '0' || c > '9') return expected(place, "a whole number", found);
        fits = fits && !__builtin_mul_overflow(value, (uint64_t)10, &value) && !__builtin_add_overflow(value, (uint64_t)(c - '0'), &value);
    }
    if (!fits || value > most + negative) {
        segno_text least = is_signed ? segno_format("-%" PRIu64, most + 1) : segno_text_of("0");
        return error(place, SEGNO_TEXT " is not between " SEGNO_TEXT " and %" PRIu64, SEGNO_ARG(found->text), SEGNO_ARG(least), most);
    }
    if (negative) value = 0 - value;
    memcpy(into, &value, (size_t)bytes);
    return fine;
}

static segno_text read_choice(const char *const *words, const struct segno_json *found, segno_text place, void *into) {
    if (found->kind != SEGNO_JSON_STRING) return expected(place, "a string", found);
    for (int word = 0; words[word] != NULL; word++) {
        if (!segno_is(found->text, words[word])) continue;
        memcpy(into, &word, sizeof word);
        return fine;
    }
    const struct names known = {NULL, words};
    const char *near = nearest(found->text, &known);
    if (near != NULL) return error(place, "unknown value `" SEGNO_TEXT "`; did you mean `%s`?", SEGNO_ARG(found->text), near);
    segno_text all = listed(&known);
    return error(place, "unknown value `" SEGNO_TEXT "`; it is one of " SEGNO_TEXT, SEGNO_ARG(found->text), SEGNO_ARG(all));
}

static segno_text read_one(const struct segno_setting *setting, const struct segno_json *found, segno_text place, void *into) {
    switch (setting->kind) {
    case SEGNO_SET_BOOL:
        if (found->kind != SEGNO_JSON_BOOL) return expected(place, "true or false", found);
        memcpy(into, &found->truth, sizeof found->truth);
        return fine;
    case SEGNO_SET_I32: return read_integer(found, place, true, INT32_MAX, 4, into);
    case SEGNO_SET_U32: return read_integer(found, place, false, UINT32_MAX, 4, into);
    case SEGNO_SET_I64: return read_integer(found, place, true, INT64_MAX, 8, into);
    case SEGNO_SET_U64: return read_integer(found, place, false, UINT64_MAX, 8, into);
    case SEGNO_SET_F64: {
        if (found->kind != SEGNO_JSON_NUMBER) return expected(place, "a number", found);
        double value = segno_number(found->text);
        if (value - value != 0) return error(place, SEGNO_TEXT " is too large for a number", SEGNO_ARG(found->text));
        memcpy(into, &value, sizeof value);
        return fine;
    }
    case SEGNO_SET_TEXT:
        if (found->kind != SEGNO_JSON_STRING) return expected(place, "a string", found);
        memcpy(into, &found->text, sizeof found->text);
        return fine;
    case SEGNO_SET_CHOICE: return read_choice((const char *const *)setting->of, found, place, into);
    default: return read_part((const struct segno_part *)setting->of, found, place, into);
    }
}

static segno_text read_list(const struct segno_setting *setting, const struct segno_json *found, segno_text place, void *into) {
    struct { void *items; uint32_t length; } list = {NULL, 0};
    if (found->kind != SEGNO_JSON_LIST) return expected(place, "a list", found);
    for (struct segno_json *one = found->first; one != NULL; one = one->next) list.length++;
    char *item = (char *)segno_take(list.length * setting->size);
    list.items = item;
    uint32_t at = 0;
    for (struct segno_json *one = found->first; one != NULL; one = one->next, item += setting->size) {
        segno_text wrong = read_one(setting, one, segno_format(SEGNO_TEXT "[%u]", SEGNO_ARG(place), (unsigned)at++), item);
        if (wrong.data != NULL) return wrong;
    }
    memcpy(into, &list, sizeof list);
    return fine;
}

static segno_text read_field(const struct segno_setting *setting, const struct segno_json *found, segno_text place, char *into) {
    if (setting->missing == SEGNO_MAY_BE_NULL) {
        bool present = found->kind != SEGNO_JSON_NULL;
        memcpy(into, &present, sizeof present);
        if (!present) return fine;
    }
    return setting->list ? read_list(setting, found, place, into + setting->at) : read_one(setting, found, place, into + setting->at);
}

/* The first member that nobody knows. */
static segno_text check_members(const struct segno_setting *settings, const struct segno_json *found, segno_text place) {
    if (found->kind != SEGNO_JSON_OBJECT) return expected(place, "an object", found);
    const struct names known = {settings, NULL};
    for (struct segno_json *one = found->first; one != NULL; one = one->next) {
        uint32_t at = 0;
        while (name_at(&known, at) != NULL && !segno_is(one->name, name_at(&known, at))) at++;
        if (name_at(&known, at) != NULL) continue;
        segno_text inside = within(place, one->name), all = listed(&known);
        const char *near = nearest(one->name, &known);
        if (near != NULL) return error(inside, "unknown field; did you mean `%s`?", near);
        if (all.length == 0) return error(inside, "unknown field; this plugin has no configuration");
        return error(inside, "unknown field; known are " SEGNO_TEXT, SEGNO_ARG(all));
    }
    return fine;
}

static segno_text read_part(const struct segno_part *part, const struct segno_json *found, segno_text place, void *into) {
    void *places[SEGNO_SETTINGS_MAX];
    segno_text wrong = check_members(part->settings, found, place);
    if (wrong.data != NULL) return wrong;
    for (uint32_t at = 0; part->settings[at].name != NULL; at++) {
        if (at == SEGNO_SETTINGS_MAX) segno_refuse("a configuration has %d fields at most in one object", SEGNO_SETTINGS_MAX);
    }
    memcpy(into, part->defaults, part->size);
    part->places(into, places);
    for (uint32_t at = 0; part->settings[at].name != NULL; at++) {
        const struct segno_setting *setting = &part->settings[at];
        const struct segno_json *given = segno_json_get(found, setting->name);
        segno_text inside = within(place, segno_text_of(setting->name));
        if (given == NULL && setting->missing == SEGNO_MUST) return error(inside, "is missing");
        if (given != NULL) wrong = read_field(setting, given, inside, (char *)places[at]);
        if (wrong.data != NULL) return wrong;
    }
    return fine;
}

segno_text segno_config_load(const struct segno_config *config, segno_bytes json) {
    segno_text wrong = fine, root = {"", 0};
    struct segno_json *found = segno_json_parse(json, &wrong);
    if (found == NULL) return error(root, SEGNO_TEXT, SEGNO_ARG(wrong));
    return config != NULL ? read_part(config->part, found, root, config->into) : check_members(NULL, found, root);
}
