#include "{{module}}.c"
#include "segno/testing.h"

int main(void) {
    segno_test("an hour has its orders", "");
    segno_test_push("{'quantity': 1, 'price_cents': 100, 'at': '2024-05-01T10:05:00Z'}", "ann");
    segno_test_push("{'quantity': 1, 'price_cents': 100, 'at': '2024-05-01T10:50:00Z'}", "ann");
    segno_test_push("{'quantity': 1, 'price_cents': 100, 'at': '2024-05-01T11:10:00Z'}", "ann");
    segno_test_run_to_end();
    SEGNO_EXPECT_ROWS("windows", "{\"from\":\"2024-05-01T10:00:00Z\",\"orders\":2,\"total_cents\":200}\n"
                                 "{\"from\":\"2024-05-01T11:00:00Z\",\"orders\":1,\"total_cents\":100}\n");
    return segno_test_end();
}
