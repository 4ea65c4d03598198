/* Owns: the memory of a plugin, and in the sandbox the part of the C library that works on memory.
 * Invariant: what is above the mark is of one call; memory that is handed to an author is zero. */
#include "segno.h"

static uintptr_t mark, top;

#ifdef __wasm__
extern unsigned char __heap_base;
static uintptr_t first(void) { return (uintptr_t)&__heap_base; }

static void reach(uintptr_t end) {
    size_t have = __builtin_wasm_memory_size(0) * 65536ull;
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + 65535) / 65536) == (size_t)-1) __builtin_trap();
}
#define MOST ((uintptr_t)UINT32_MAX - 0x10000)
#else
/* Natively, for tests: one range of addresses, of which pages are there when they are written to. */
#include <sys/mman.h>
#include <stdlib.h>
#define RANGE ((size_t)4 << 30)
static uintptr_t from;
static uintptr_t first(void) {
    void *range = mmap(NULL, RANGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) abort();
    return from = (uintptr_t)range;
}
static void reach(uintptr_t end) { (void)end; }
#define MOST (from + RANGE)
#endif

/* What a test compiled with -fsanitize=address must not touch: the space behind each block, and what was taken back. */
#if defined(__SANITIZE_ADDRESS__)
#define WATCHED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED
#endif
#endif
#ifdef WATCHED
void __asan_poison_memory_region(void const volatile *at, size_t bytes);
void __asan_unpoison_memory_region(void const volatile *at, size_t bytes);
#define GAP 16
#else
#define __asan_poison_memory_region(AT, BYTES) ((void)0)
#define __asan_unpoison_memory_region(AT, BYTES) ((void)0)
#define GAP 0
#endif

static size_t rounded(size_t bytes) { return ((bytes + 15) & ~(size_t)15) + GAP; }

void *segno_take_raw(size_t bytes) {
    if (top == 0) {
        top = mark = (first() + 15) & ~(uintptr_t)15;
        __asan_poison_memory_region((void *)top, MOST - top);
    }
    uintptr_t at = top;
    if (bytes > MOST - at - 64) __builtin_trap();
    top += rounded(bytes);
    reach(top);
    __asan_unpoison_memory_region((void *)at, bytes);
    return (void *)at;
}

void *segno_take(size_t bytes) { return memset(segno_take_raw(bytes), 0, bytes); }

bool segno_is_of_call(const void *at) { return (uintptr_t)at >= mark && (uintptr_t)at < top; }

segno_text segno_keep(segno_text text) {
    char *copy = (char *)segno_take_raw(text.length);
    segno_text kept = {copy, text.length};
    if (text.length > 0) memcpy(copy, text.data, text.length);
    return kept;
}

void *segno_grow_raw(void *old, size_t old_bytes, size_t bytes) {
    /* The last block grows where it is. */
    if (old != NULL && (uintptr_t)old + rounded(old_bytes) == top) {
        top = (uintptr_t)old;
        return segno_take_raw(bytes);
    }
    void *grown = segno_take_raw(bytes);
    return old_bytes == 0 ? grown : memcpy(grown, old, old_bytes);
}

void segno_memory_mark(void) { mark = top; }
void segno_memory_reset(void) {
    if (top != mark) __asan_poison_memory_region((void *)mark, top - mark);
    top = mark;
}

#ifndef __wasm__
void segno_memory_drop(void) {
    if (top == 0) return;
    mark = (from + 15) & ~(uintptr_t)15;
    segno_memory_reset();
}
#else
/* One instruction each, with -mbulk-memory. */
void *memcpy(void *to, const void *from, size_t bytes) { return __builtin_memcpy(to, from, bytes); }
void *memmove(void *to, const void *from, size_t bytes) { return __builtin_memmove(to, from, bytes); }
void *memset(void *to, int byte, size_t bytes) { return __builtin_memset(to, byte, bytes); }
int memcmp(const void *a, const void *b, size_t bytes) {
    const unsigned char *left = a, *right = b;
    for (; bytes > 0 && *left == *right; bytes--, left++, right++) {}
    return bytes == 0 ? 0 : *left - *right;
}
int strcmp(const char *a, const char *b) {
    for (; *a != 0 && *a == *b; a++, b++) {}
    return *(const unsigned char *)a - *(const unsigned char *)b;
}
size_t strlen(const char *text) {
    const char *end = text;
    while (*end != 0) end++;
    return (size_t)(end - text);
}
#endif
