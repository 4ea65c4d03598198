/* A small strict reader of JSON, for configurations and tests.
 *
 * Owns: the grammar. Does not own: any meaning.
 * Invariants: numbers keep their text, so that nothing is rounded; objects keep their order and refuse a name that occurs
 * twice; no input makes it recurse deeper than 64. */
#ifndef SEGNO_JSON_H
#define SEGNO_JSON_H

#include "segno.h"

enum segno_json_kind { SEGNO_JSON_NULL, SEGNO_JSON_BOOL, SEGNO_JSON_NUMBER, SEGNO_JSON_STRING, SEGNO_JSON_LIST, SEGNO_JSON_OBJECT };

struct segno_json {
    enum segno_json_kind kind;
    bool truth;
    /* Of a member of an object. */
    segno_text name;
    /* A number as it is written, or a string. */
    segno_text text;
    /* Of a list or an object; the next one of its own list. */
    struct segno_json *first, *next;
};

/* One value and nothing after it; NULL and why there is none. */
struct segno_json *segno_json_parse(segno_bytes bytes, segno_text *error);
/* The member of that name, or NULL. */
struct segno_json *segno_json_get(const struct segno_json *object, const char *name);
/* The value of a number of JSON's grammar, correctly rounded; infinite where it is too large. */
double segno_number(segno_text text);

#endif
