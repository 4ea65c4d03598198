/* Parts of the SDK, each beside what it must agree with. Run in the folder sdk/c, with testing/harness.c and testing/rows.c.
 *
 * The plugin is the conformance component: what its configuration refuses is compared here, too. */
#include "../../../tests/languages/c/conformance_c.c"
#include "expect.h"
#include "segno/testing.h"

#define SEGNO_TEST_WIDE
#define __multi3 tested_multiply
#define __ashlti3 tested_left
#define __lshrti3 tested_right
#define __ashrti3 tested_arithmetic_right
#define __udivti3 tested_unsigned_quotient
#define __umodti3 tested_unsigned_rest
#define __divti3 tested_quotient
#define __modti3 tested_rest
#define __muloti4 tested_multiply_checked
#include "../src/wide.c"

/* Numbers that nobody chose, the same in each run. */
static uint64_t seed = 1;
static uint64_t next(void) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed;
}

static void numbers(void) {
    static const char *const chosen[] = {"0", "-0", "1", "0.1", "5e-324", "4.9e-324", "2.4703282292062327e-324", "2.4703282292062328e-324",
        "1e-400", "1.7976931348623157e308", "1.7976931348623159e308", "1e309", "9007199254740993", "9007199254740992.5",
        "2.2250738585072011e-308", "2.2250738585072014e-308", "1e23", "8.5e22", "0.000001e6", "1E+2", "1e999999999999", "1e-999999999999"};
    char text[1000];
    for (size_t i = 0; i < 20000; i++) {
        if (i < sizeof chosen / sizeof *chosen) {
            strcpy(text, chosen[i]);
        } else {
            int digits = 1 + (int)(next() % (i % 50 == 0 ? 900 : 25)), at = 0;
            if (next() % 2) text[at++] = '-';
            text[at++] = (char)('1' + next() % 9);
            for (int k = 0; k < digits; k++) {
                if (k == digits / 2 && next() % 2) text[at++] = '.';
                text[at++] = (char)('0' + next() % 10);
            }
            sprintf(text + at, "e%d", (int)(next() % 700) - 350);
        }
        double found = segno_number(segno_text_of(text)), wanted = strtod(text, NULL);
        CHECK(memcmp(&found, &wanted, sizeof found) == 0, "%s: %a and not %a", text, found, wanted);
    }
}

static wide any(void) {
    unsigned __int128 value = (unsigned __int128)next() << 64 | next();
    /* Of all sizes, and of both signs. */
    value >>= next() % 128;
    return (wide)(next() % 2 ? value : 0 - value);
}

static void wide_numbers(void) {
    for (int i = 0; i < 20000; i++) {
        wide a = i == 0 ? (wide)((unsigned __int128)1 << 127) : any(), b = i == 0 ? 1 : any(), checked_product;
        int by = (int)(next() % 128), overflow;
        CHECK(tested_multiply(a, b) == (wide)((uwide)a * (uwide)b), "a product");
        CHECK((uwide)tested_left(a, by) == (uwide)a << by && (uwide)tested_right(a, by) == (uwide)a >> by, "a shift by %d", by);
        CHECK(tested_arithmetic_right(a, by) == a >> by, "an arithmetic shift by %d", by);
        bool wanted = __builtin_mul_overflow(a, b, &checked_product);
        CHECK(tested_multiply_checked(a, b, &overflow) == checked_product && (overflow != 0) == wanted, "a product that may be too large");
        if (b == 0) continue;
        CHECK(tested_unsigned_quotient((uwide)a, (uwide)b) == (uwide)a / (uwide)b && tested_unsigned_rest((uwide)a, (uwide)b) == (uwide)a % (uwide)b, "a quotient");
        if (b == -1) continue;
        CHECK(tested_quotient(a, b) == a / b && tested_rest(a, b) == a % b, "a quotient with signs");
    }
}

static void json(void) {
    static const struct { const char *text, *reason; } wrong[] = {
        {"{\"a\":1,\"a\":2}", "a name occurs twice in one object"}, {"[1,]", "a value is expected"}, {"[1 2]", "`,` or `]` is expected"},
        {"01", "there is more after the value"}, {"-", "a digit is expected"}, {"1.", "a digit is expected"}, {"\"a", "a string does not end"},
        {"\"\n\"", "a control character is not escaped"}, {"\"\\ud800x\"", "half of a surrogate pair"}, {"\"\\udc00\"", "half of a surrogate pair"},
        {"\"\\x\"", "an unknown escape"}, {"nul", "a value is expected"}, {"", "a value is expected"}, {"\"\xff\"", "not UTF-8"}};
    segno_text error;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        segno_bytes bytes = {(const uint8_t *)wrong[i].text, (uint32_t)strlen(wrong[i].text)};
        error.length = 0;
        CHECK(segno_json_parse(bytes, &error) == NULL && error.length > 0 && strstr(segno_format(SEGNO_TEXT "%c", SEGNO_ARG(error), 0).data, wrong[i].reason) != NULL,
              "%s: %.*s", wrong[i].text, SEGNO_ARG(error));
    }
    char deep[131];
    for (int depth = 64; depth <= 65; depth++) {
        memset(deep, '[', (size_t)depth), memset(deep + depth, ']', (size_t)depth);
        segno_bytes bytes = {(const uint8_t *)deep, 2 * (uint32_t)depth};
        CHECK((segno_json_parse(bytes, &error) != NULL) == (depth == 64), "depth %d", depth);
    }
    static const char escaped[] = "\"\\u00e9\\ud83d\\ude00\\n\"";
    segno_bytes bytes = {(const uint8_t *)escaped, sizeof escaped - 1};
    CHECK(segno_is(segno_json_parse(bytes, &error)->text, "\xc3\xa9\xf0\x9f\x98\x80\n"), "escapes");
}

/* The configurations that every SDK refuses, with their texts. */
static void refused(void) {
    char line[4096];
    FILE *file = fopen("../../tests/languages/refused.jsonl", "r");
    if (file == NULL) perror("refused.jsonl"), exit(2);
    int cases = 0;
    for (; fgets(line, sizeof line, file) != NULL; cases++) {
        char *end = strstr(line, ",\"says\":"), config[4096], says[4096];
        snprintf(config, sizeof config, "%.*s", (int)(end - line) - 10, line + 10);
        snprintf(says, sizeof says, "%.*s", (int)strlen(end) - 12, end + 9);
        segno_test(config, config);
        segno_test_side_table("cities", "[]");
        CHECK(strcmp(segno_test_refusal(), says) == 0, "%s: %s and not %s", config, segno_test_refusal(), says);
    }
    fclose(file);
    CHECK(cases > 20, "%d cases", cases);
    segno_test("a key twice", "{'behaviour': 'side'}");
    segno_test_side_table("cities", "[{'code':'A','capital':true},{'code':'B','capital':true},{'code':'A','capital':false}]");
    CHECK(strstr(segno_test_refusal(), "rows 0 and 2 have the same `code`") != NULL, "%s", segno_test_refusal());
}

static void formats(void) {
    const segno_text zero = {"a\0b", 3};
    segno_text found = segno_format("<" SEGNO_TEXT "|%.*s|%5d|%-4u|%04d|%x|%+d|%%|%c>", SEGNO_ARG(zero), 9, "short", -42, 7u, -7, 255u, 3, 'c');
    segno_text wanted = {"<a\0b|short|  -42|7   |-007|ff|+3|%|c>", 37};
    CHECK(segno_same(found, wanted), "%.*s", SEGNO_ARG(found));
    CHECK(segno_is(segno_format("%" PRId64 " %" PRIu64, INT64_MIN, UINT64_MAX), "-9223372036854775808 18446744073709551615"), "the ends of 64 bits");
}

static void calendar(void) {
    static const struct { segno_date date; const char *text; } days[] = {
        {0, "1970-01-01"}, {11016, "2000-02-29"}, {11323, "2001-01-01"}, {-719528, "0000-01-01"}, {47541, "2100-03-01"}};
    for (size_t i = 0; i < sizeof days / sizeof *days; i++) CHECK(segno_is(segno_date_text(days[i].date), days[i].text), "%s", days[i].text);
    CHECK(segno_is(segno_timestamp_text(-1), "1969-12-31T23:59:59.999999Z") && segno_hour(-1) == 23, "before 1970");
    CHECK(segno_floor(-1, SEGNO_HOUR) == -SEGNO_HOUR, "a window before 1970");
}

/* Many keys: each is found at its row, and no other. */
static void lookup(void) {
    static char rows[200000];
    int at = sprintf(rows, "[");
    for (int i = 0; i < 2000; i++) at += sprintf(rows + at, "%s{'code':'%.*s%d','people':%d,'capital':false}", i > 0 ? "," : "", i % 40, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", i, i);
    strcpy(rows + at, "]");
    segno_test("many keys", "{'behaviour': 'side'}");
    segno_test_side_table("cities", rows);
    CHECK(segno_test_refusal()[0] == 0 && cities_count() == 2000, "the table is read");
    for (uint32_t i = 0; i < cities_count(); i++) {
        segno_text code = cities_row(i)->code, longer = segno_format(SEGNO_TEXT "y", SEGNO_ARG(code));
        CHECK(cities_find(code) == cities_row(i) && cities_find(longer) == NULL, "row %u", i);
    }
}

int main(void) {
    numbers(), wide_numbers(), json(), refused(), formats(), calendar(), lookup();
    return ended();
}
