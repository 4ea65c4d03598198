#include "{{module}}.c"
#include "segno/testing.h"

int main(void) {
    segno_test("a small order is left out", "{'min_cents': 500}");
    segno_test_push("{'quantity': 1, 'price_cents': 499}", "");
    segno_test_push("{'quantity': 1, 'price_cents': 500}", "");
    segno_test_run();
    SEGNO_EXPECT_TEXT(segno_test_causes("out"), "1");
    return segno_test_end();
}
