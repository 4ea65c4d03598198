/* Test a plugin natively: no runtime, no sandbox, the same bytes. A test is a program that includes the plugin:
 *
 *     #include "plugin.c"
 *     #include "segno/testing.h"
 *
 *     int main(void) {
 *         segno_test("a discount is taken off", "{'discount_percent': 10}");
 *         segno_test_push("{'quantity': 2, 'price_cents': 450}", "");
 *         segno_test_run();
 *         SEGNO_EXPECT_ROWS("out", "{\"total_cents\":810}\n");
 *         return segno_test_end();
 *     }
 *
 * It is compiled with the SDK's sources in src and testing: `cc -std=gnu11 -fwrapv -Isegno/include`, see the project's ci.sh.
 *
 * Records, configurations and side tables are JSON, in which ' may stand for ". Instants are written as
 * '2024-05-01T10:05:00Z', or as microseconds; days as '2024-05-01', decimals as '12.50'. Rows are shown as Segno's files have
 * them, a line each; bytes in base64.
 *
 * Owns: making batches from records, keeping state and timers between them, and showing what came out. Does not own: the
 * semantics of a pipeline (merging, epochs, `on_error`).
 * Invariant: every run is done twice, in one batch and event by event, from `init` on for each batch; a plugin whose result
 * depends on how batches are cut fails here. */
#ifndef SEGNO_TESTING_H
#define SEGNO_TESTING_H

#include "types.h"

SEGNO_BEGIN

/* Begins a test: no state, no timers. `config` is the step's `config:`, "" for none. */
void segno_test(const char *name, const char *config);
/* The rows of a side table, a list of objects; before the first run of a test. */
void segno_test_side_table(const char *name, const char *rows);
/* How late records may come, in microseconds. */
void segno_test_delay(int64_t micros);
/* Why `init` refuses the test's configuration and side tables; "" when it does not. */
const char *segno_test_refusal(void);

/* Adds a record to the next run. `key` is what the pipeline's `key:` would give. The event time is a field like the others. */
void segno_test_push(const char *record, const char *key);
/* Processes what was pushed since the last run. State and timers stay for the next one. Timers fire as the records' event
 * times move the watermark. */
void segno_test_run(void);
/* The same; then the watermark moves to a time, and what is due fires. */
void segno_test_run_to(segno_timestamp time);
/* The same; then the input ends, and every timer fires. */
void segno_test_run_to_end(void);

/* Of the last run: the rows of a port, a line each. */
const char *segno_test_rows(const char *port);
/* The records that caused them, counted from the first of the run: "0 2 3". */
const char *segno_test_causes(const char *port);
/* The records that were rejected, and why: "1: a quantity of 0", a line each. */
const char *segno_test_rejects(void);
/* What was logged: "3: no airport XYZ", a line each. */
const char *segno_test_logs(void);
uint64_t segno_test_counter(const char *name);
/* After it: the value of a key in a table as an object; "null" when there is none. */
const char *segno_test_state(const char *table, const char *key);
/* The timers of a key that wait: "2024-05-01T11:00:00Z 0", a line each. */
const char *segno_test_timers(const char *key);

/* Says what failed, and goes on with the test. */
void segno_test_expect(bool holds, const char *file, int line, const char *what);
void segno_test_expect_text(const char *found, const char *wanted, const char *file, int line, const char *what);
/* The exit code of the program: 0 when everything was as expected. */
int segno_test_end(void);

SEGNO_END

#define SEGNO_EXPECT(HOLDS) segno_test_expect(HOLDS, __FILE__, __LINE__, #HOLDS)
#define SEGNO_EXPECT_TEXT(FOUND, WANTED) segno_test_expect_text(FOUND, WANTED, __FILE__, __LINE__, #FOUND)
#define SEGNO_EXPECT_ROWS(PORT, WANTED) segno_test_expect_text(segno_test_rows(PORT), WANTED, __FILE__, __LINE__, "rows of " PORT)

#endif
