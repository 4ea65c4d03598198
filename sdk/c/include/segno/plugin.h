/* A plugin: what it reads, gives, keeps, and what it does with one record.
 *
 * Owns: `SEGNO_PLUGIN`, the loop over the records. Does not own: messages (`src/engine.c`), the sandbox (`src/guest.c`). */
#ifndef SEGNO_PLUGIN_H
#define SEGNO_PLUGIN_H

#include "config.h"
#include "output.h"
#include "side.h"
#include "timer.h"

/* `segno build` gives the name and version of the project. */
#ifndef SEGNO_NAME
#define SEGNO_NAME "plugin"
#define SEGNO_VERSION "0.0.0"
#endif

/* Ports or tables of one plugin. */
#define SEGNO_PORTS_MAX 64

SEGNO_BEGIN

struct segno_batch {
    const struct segno_view *views;
    uint32_t rows;
    /* The key of each record; NULL where the plugin has no tables. */
    const uint8_t *keys;
};

struct segno_plugin {
    /* What is given to and kept by the plugin: `&NAME_port`, `&NAME_table`. */
    struct segno_port *ports[SEGNO_PORTS_MAX + 1];
    struct segno_table *tables[SEGNO_PORTS_MAX + 1];
    /* What it is given once: `&NAME_side`, `&NAME_config`. Without a configuration every field of one is an error. */
    struct segno_side *side_tables[SEGNO_PORTS_MAX + 1];
    const struct segno_config *config;
    /* Looks at configuration and side tables, once. The memory after it is the template of every instance. What it rejects is
     * shown to the author of the pipeline: say which setting is wrong, and what would be right. */
    segno_outcome (*init)(void);
    /* A timer of a key fires: once, between two records. What it pushes goes to ports that emit or are per key. A plugin
     * that has this may set timers, and sees the watermark. */
    void (*on_timer)(struct segno_timer timer);
    /* Of the SDK. */
    const char *name, *version;
    /* Where the plugin is declared. */
    const char *file;
    int line;
    const struct segno_column *input;
    void (*run)(const struct segno_batch *batch);
    void (*run_one)(const struct segno_batch *batch, uint32_t row);
};

extern const struct segno_plugin segno_plugin;
/* Takes back what the current record caused, and keeps its reason. */
void segno_take_back(void);

SEGNO_END

/* Makes the plugin of these parts. `PROCESS` is called with each record, a `const struct INPUT *`. */
#define SEGNO_PLUGIN(INPUT, PROCESS, ...)                                                                                        \
    static inline void segno_run_one(const struct segno_batch *batch, uint32_t row) {                                             \
        struct INPUT record;                                                                                                      \
        INPUT##_read(batch->views, row, &record);                                                                                 \
        if (__builtin_expect(PROCESS(&record) != SEGNO_OK, 0)) segno_take_back();                                                 \
    }                                                                                                                             \
    static void segno_run(const struct segno_batch *batch) {                                                                      \
        const uint32_t rows = batch->rows;                                                                                        \
        if (batch->keys != NULL) {                                                                                                \
            for (uint32_t row = 0; row < rows; row++) {                                                                           \
                segno_now.event = row;                                                                                            \
                segno_now.key = segno_load_u32(batch->keys + 4 * (size_t)row);                                                    \
                segno_run_one(batch, row);                                                                                       \
                segno_state_settle();                                                                                            \
            }                                                                                                                    \
        } else {                                                                                                                  \
            for (uint32_t row = 0; row < rows; row++) {                                                                           \
                segno_now.event = row;                                                                                            \
                segno_run_one(batch, row);                                                                                        \
            }                                                                                                                     \
        }                                                                                                                         \
    }                                                                                                                             \
    SEGNO_EXTERN_ const struct segno_plugin segno_plugin = {                                                                      \
        __VA_ARGS__ __VA_OPT__(,).name = SEGNO_NAME, .version = SEGNO_VERSION, .file = __FILE__, .line = __LINE__, .input = INPUT##_columns, .run = segno_run, .run_one = segno_run_one};

#ifdef __cplusplus
#define SEGNO_EXTERN_ extern "C"
#else
#define SEGNO_EXTERN_
#endif

#endif
