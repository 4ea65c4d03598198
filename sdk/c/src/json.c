/* Owns: reading JSON. Invariants: those of `json.h`. */
#include "json.h"
#include "wire.h"

#define DEPTH_MAX 64

struct parser {
    const char *start, *at, *end;
    const char *reason;
};

static struct segno_json *value(struct parser *p, int depth);

static bool fail(struct parser *p, const char *reason) {
    if (p->reason == NULL) p->reason = reason;
    return false;
}

static int peek(const struct parser *p) { return p->at < p->end ? (unsigned char)*p->at : -1; }

static void space(struct parser *p) {
    while (peek(p) == ' ' || peek(p) == '\t' || peek(p) == '\n' || peek(p) == '\r') p->at++;
}

static bool hex(struct parser *p, uint32_t *code) {
    *code = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(p), digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return fail(p, "four hexadecimal digits are expected");
        *code = *code * 16 + (uint32_t)digit, p->at++;
    }
    return true;
}

static void encode(struct segno_builder *out, uint32_t code) {
    uint8_t bytes[4];
    uint32_t more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t heads[4] = {0, 0xc0, 0xe0, 0xf0};
    bytes[0] = (uint8_t)(heads[more] | code >> 6 * more);
    for (uint32_t i = 1; i <= more; i++) bytes[i] = (uint8_t)(0x80 | (code >> 6 * (more - i) & 0x3f));
    segno_append(out, bytes, more + 1);
}

static bool escape(struct parser *p, struct segno_builder *out) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    int c = peek(p);
    if (c < 0) return fail(p, "a string does not end");
    p->at++;
    for (int i = 0; names[i] != 0; i++) {
        if (c == names[i]) {
            segno_append(out, &values[i], 1);
            return true;
        }
    }
    uint32_t code, low;
    if (c != 'u') return fail(p, "an unknown escape");
    if (!hex(p, &code)) return false;
    if (code >= 0xd800 && code < 0xdc00) {
        if (peek(p) != '\\') return fail(p, "half of a surrogate pair");
        p->at++;
        if (peek(p) != 'u') return fail(p, "half of a surrogate pair");
        p->at++;
        if (!hex(p, &low)) return false;
        if (low < 0xdc00 || low >= 0xe000) return fail(p, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
        return fail(p, "half of a surrogate pair");
    }
    encode(out, code);
    return true;
}

/* At the opening quote. */
static bool string(struct parser *p, segno_text *text) {
    struct segno_builder out = {0};
    const char *copied = ++p->at;
    for (;;) {
        int c = peek(p);
        if (c < 0) return fail(p, "a string does not end");
        if (c < 0x20) return fail(p, "a control character is not escaped");
        if (c == '"' || c == '\\') segno_append(&out, copied, (size_t)(p->at - copied));
        p->at++;
        if (c == '"') {
            text->data = out.data == NULL ? "" : (const char *)out.data, text->length = out.length;
            return true;
        }
        if (c == '\\') {
            if (!escape(p, &out)) return false;
            copied = p->at;
        }
    }
}

static bool digits(struct parser *p) {
    if (peek(p) < '0' || peek(p) > '9') return fail(p, "a digit is expected");
    while (peek(p) >= '0' && peek(p) <= '9') p->at++;
    return true;
}

static bool number(struct parser *p, segno_text *text) {
    const char *start = p->at;
    if (peek(p) == '-') p->at++;
    if (peek(p) == '0') p->at++;
    else if (!digits(p)) return false;
    if (peek(p) == '.') {
        p->at++;
        if (!digits(p)) return false;
    }
    if (peek(p) == 'e' || peek(p) == 'E') {
        p->at++;
        if (peek(p) == '+' || peek(p) == '-') p->at++;
        if (!digits(p)) return false;
    }
    text->data = start, text->length = (uint32_t)(p->at - start);
    return true;
}

/* The items of a list or the members of an object, behind the opening bracket. */
static bool inside(struct parser *p, struct segno_json *of, int depth) {
    bool object = of->kind == SEGNO_JSON_OBJECT;
    int end = object ? '}' : ']';
    struct segno_json **next = &of->first;
    p->at++, space(p);
    if (peek(p) == end) {
        p->at++;
        return true;
    }
    for (;;) {
        segno_text name = {NULL, 0};
        if (object) {
            space(p);
            if (peek(p) != '"') return fail(p, "a name in quotes is expected");
            if (!string(p, &name)) return false;
            for (struct segno_json *known = of->first; known != NULL; known = known->next) {
                if (segno_same(known->name, name)) return fail(p, "a name occurs twice in one object");
            }
            space(p);
            if (peek(p) != ':') return fail(p, "`:` is expected");
            p->at++;
        }
        struct segno_json *one = value(p, depth + 1);
        if (one == NULL) return false;
        one->name = name, *next = one, next = &one->next;
        space(p);
        int c = peek(p);
        if (c != ',' && c != end) return fail(p, object ? "`,` or `}` is expected" : "`,` or `]` is expected");
        p->at++;
        if (c == end) return true;
    }
}

static struct segno_json *value(struct parser *p, int depth) {
    static const struct { const char *word; enum segno_json_kind kind; bool truth; } words[3] = {
        {"null", SEGNO_JSON_NULL, false}, {"true", SEGNO_JSON_BOOL, true}, {"false", SEGNO_JSON_BOOL, false}};
    struct segno_json *made = (struct segno_json *)segno_take(sizeof *made);
    space(p);
    int c = peek(p);
    if (c == '{' || c == '[') {
        if (depth == DEPTH_MAX) return fail(p, "nested too deeply"), NULL;
        made->kind = c == '{' ? SEGNO_JSON_OBJECT : SEGNO_JSON_LIST;
        return inside(p, made, depth) ? made : NULL;
    }
    if (c == '"') {
        made->kind = SEGNO_JSON_STRING;
        return string(p, &made->text) ? made : NULL;
    }
    if (c == '-' || (c >= '0' && c <= '9')) {
        made->kind = SEGNO_JSON_NUMBER;
        return number(p, &made->text) ? made : NULL;
    }
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i].word);
        if ((size_t)(p->end - p->at) >= length && memcmp(p->at, words[i].word, length) == 0) {
            p->at += length, made->kind = words[i].kind, made->truth = words[i].truth;
            return made;
        }
    }
    return fail(p, "a value is expected"), NULL;
}

struct segno_json *segno_json_parse(segno_bytes bytes, segno_text *error) {
    struct parser p = {(const char *)bytes.data, (const char *)bytes.data, (const char *)bytes.data + bytes.length, NULL};
    struct segno_json *made = NULL;
    if (!segno_is_utf8(bytes.data, bytes.length)) {
        p.reason = "not UTF-8";
    } else {
        made = value(&p, 0);
        space(&p);
        if (made != NULL && p.at != p.end) fail(&p, "there is more after the value");
    }
    if (p.reason == NULL) return made;
    *error = segno_format("not valid JSON at byte %u: %s", (unsigned)(p.at - p.start), p.reason);
    return NULL;
}

struct segno_json *segno_json_get(const struct segno_json *object, const char *name) {
    for (struct segno_json *one = object->first; one != NULL; one = one->next) {
        if (segno_is(one->name, name)) return one;
    }
    return NULL;
}
