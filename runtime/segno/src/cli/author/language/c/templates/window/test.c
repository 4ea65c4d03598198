#include "{{module}}.c"
#include "segno/testing.h"

int main(void) {
    segno_test("an hour has its orders", "");
    segno_test_push("{'quantity': 1, 'price_cents': 100, 'at': '1970-01-01T00:05:00Z'}", "ann");
    segno_test_push("{'quantity': 1, 'price_cents': 100, 'at': '1970-01-01T00:50:00Z'}", "ann");
    segno_test_push("{'quantity': 1, 'price_cents': 100, 'at': '1970-01-01T01:10:00Z'}", "ann");
    segno_test_run_to_end();
    SEGNO_EXPECT_ROWS("windows", "{\"from\":\"1970-01-01T00:00:00Z\",\"orders\":2,\"total_cents\":200}\n"
                                 "{\"from\":\"1970-01-01T01:00:00Z\",\"orders\":1,\"total_cents\":100}\n");
    return segno_test_end();
}
