#include "{{module}}.c"
#include "segno/testing.h"

int main(void) {
    segno_test("an order that nobody paid is given alone", "");
    segno_test_push("{'total_cents': 900, 'at': '1970-01-01T00:00:00Z'}", "a");
    segno_test_push("{'total_cents': 500, 'at': '1970-01-01T00:01:00Z'}", "b");
    segno_test_push("{'paid_cents': 900, 'at': '1970-01-01T01:00:00Z'}", "a");
    segno_test_run_to_end();
    SEGNO_EXPECT_ROWS("out", "{\"total_cents\":900,\"paid_cents\":900}\n"
                             "{\"total_cents\":500,\"paid_cents\":null}\n");
    return segno_test_end();
}
