#include "{{module}}.c"
#include "segno/testing.h"

int main(void) {
    segno_test("a discount is taken off", "{'discount_percent': 10}");
    segno_test_push("{'quantity': 2, 'price_cents': 450}", "");
    segno_test_run();
    SEGNO_EXPECT_ROWS("out", "{\"total_cents\":810}\n");
    return segno_test_end();
}
