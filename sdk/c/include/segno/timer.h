/* Timers as an author sees them: what fires, what is set, where the watermark stands.
 *
 * Owns: setting and deleting. Does not own: when a timer fires: the host says so, and between which records.
 * Invariant: what an event sets or deletes is in the answer in the order of the events. */
#ifndef SEGNO_TIMER_H
#define SEGNO_TIMER_H

#include "state.h"

SEGNO_BEGIN

/* One that fires: the time and the number that it was set with. */
struct segno_timer {
    segno_timestamp time;
    uint32_t number;
};

/* Sets a timer of the current key. It fires once, when the watermark reaches `time`; when that has passed, as soon as the
 * watermark moves. Key, time and number are its identity: setting one that waits changes nothing. */
void segno_set_timer(segno_timestamp time, uint32_t number);
/* Deletes a timer of the current key, if it waits. */
void segno_delete_timer(segno_timestamp time, uint32_t number);
/* The event time up to which everything has come, but for what is late; false before the first record. */
bool segno_watermark(segno_timestamp *watermark);
/* Whether the watermark has reached a time: nothing before it will come but what is late. */
bool segno_reached(segno_timestamp time);

SEGNO_END

#endif
