/* Owns: the exports of the component, in the component model's canonical form. Does not own: what the lists mean (`engine.c`).
 * Invariants: an instance has one thread and one call at a time; what a call returns stays until the next call; frames come
 * from the host, which has checked their values. */
#ifdef __wasm__
#include "engine.h"

/* `list<u8>`, `result<_, string>` or `result<list<u8>, string>` in their memory layout. */
static uintptr_t area[3];
static bool lent;

static uintptr_t *give(struct segno_answer answer) {
    area[0] = answer.failed, area[1] = (uintptr_t)answer.bytes.data, area[2] = answer.bytes.length;
    return area;
}

__attribute__((export_name("describe"))) uintptr_t *segno_describe(void) {
    segno_bytes text = segno_engine_describe();
    area[0] = (uintptr_t)text.data, area[1] = text.length;
    return area;
}

__attribute__((export_name("init"))) uintptr_t *segno_init(const uint8_t *at, uint32_t length) {
    segno_bytes message = {at, length};
    struct segno_answer answer = segno_engine_init(message, SEGNO_CHECK_LAYOUT);
    lent = false;
    /* What `init` took stays. */
    segno_memory_mark();
    return give(answer);
}

__attribute__((export_name("process"))) uintptr_t *segno_process(const uint8_t *at, uint32_t length) {
    segno_bytes message = {at, length};
    lent = false;
    return give(segno_engine_process(message, SEGNO_CHECK_LAYOUT));
}

__attribute__((export_name("cabi_realloc"))) void *segno_lend(void *old, size_t old_length, size_t alignment, size_t length) {
    (void)alignment;
    /* The first request of a call: what the last one left is not needed any more. */
    if (!lent) segno_memory_reset();
    lent = true;
    return segno_grow_raw(old, old_length, length);
}
#endif
