/* Frames and messages, as Segno's wit/frame.md specifies them: for the SDK and its tests.
 *
 * Owns: the layout of what crosses the boundary. Does not own: columns of a plugin (`column.h`), what a section means
 * (`engine.c`).
 * Invariants: what opens can be read without further checks; whatever the bytes, nothing is read outside of them. A fault is
 * the name that Segno's vectors have for it. What is written is canonical. */
#ifndef SEGNO_WIRE_H
#define SEGNO_WIRE_H

#include "segno.h"

/* How much of a frame is checked: the place of every buffer (a host checks the rest before it sends), and every offset,
 * text and decimal, and the canonical form. */
enum segno_check { SEGNO_CHECK_LAYOUT, SEGNO_CHECK_VALUES, SEGNO_CHECK_CANONICAL };

struct segno_frame {
    const uint8_t *bytes;
    uint32_t rows, width;
};

struct segno_message {
    const uint8_t *bytes;
    uint32_t sections;
};

#define SEGNO_BATCH_MAGIC 0x31424753
#define SEGNO_EFFECTS_MAGIC 0x31454753
#define SEGNO_INIT_MAGIC 0x31494753
enum { SEGNO_BATCH_RECORDS = 1, SEGNO_BATCH_KEYS, SEGNO_BATCH_STATES, SEGNO_BATCH_TIMERS, SEGNO_BATCH_TIMES, SEGNO_BATCH_WATERMARKS };
enum { SEGNO_EFFECTS_OUTPUT = 1, SEGNO_EFFECTS_CHANGES, SEGNO_EFFECTS_TIMERS, SEGNO_EFFECTS_REJECTS };
enum { SEGNO_INIT_CONFIG = 1, SEGNO_INIT_TABLE };

/* NULL, or the fault. */
const char *segno_frame_open(segno_bytes bytes, enum segno_check check, struct segno_frame *frame);
/* A column that has the type, and no null where that is not allowed. */
const char *segno_frame_column(const struct segno_frame *frame, uint32_t index, const struct segno_column *column, struct segno_view *view);
const char *segno_message_open(segno_bytes bytes, uint32_t magic, struct segno_message *message);
bool segno_message_section(const struct segno_message *message, uint32_t kind, uint32_t index, segno_bytes *section);
bool segno_is_utf8(const void *bytes, uint32_t length);

/* Bytes per value; 0 for bits and for what has offsets. */
uint32_t segno_width_of(uint8_t type);
static inline bool segno_has_offsets(uint8_t type) { return type == SEGNO_UTF8 || type == SEGNO_BINARY; }

/* Appends bytes as they are. */
void segno_append(struct segno_builder *out, const void *bytes, size_t length);

/* A frame that is being written into `out`. */
struct segno_frame_writer {
    struct segno_builder *out;
    uint32_t start, rows, column;
};
struct segno_frame_writer segno_frame_begin(struct segno_builder *out, uint32_t rows, uint32_t width);
void segno_frame_add(struct segno_frame_writer *frame, uint8_t type, const struct segno_column *column, struct segno_builder *values);
void segno_frame_end(struct segno_frame_writer *frame);

/* A message that is being written into `out`, which is empty. */
struct segno_message_writer {
    struct segno_builder *out;
    uint32_t section, start;
};
struct segno_message_writer segno_message_begin(struct segno_builder *out, uint32_t magic, uint32_t sections);
void segno_section_begin(struct segno_message_writer *message, uint32_t kind, uint32_t index);
void segno_section_end(struct segno_message_writer *message);
void segno_message_end(struct segno_message_writer *message);

#endif
