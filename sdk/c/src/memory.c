/* Owns: the memory of a plugin in the sandbox, and the part of the C library that works on memory.
 * Invariant: what is above the mark is of one call; memory that is handed to an author is zero. */
#include "segno.h"

extern unsigned char __heap_base;
static uintptr_t mark, top;

void *segno_take_raw(size_t bytes) {
    if (top == 0) {
        top = mark = ((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15;
    }
    uintptr_t at = top;
    if (bytes > UINT32_MAX - 0x10000 - at) __builtin_trap();
    top += (bytes + 15) & ~(size_t)15;
    size_t have = __builtin_wasm_memory_size(0) * 65536ull;
    if (top > have && __builtin_wasm_memory_grow(0, (top - have + 65535) / 65536) == (size_t)-1) __builtin_trap();
    return (void *)at;
}

void *segno_take(size_t bytes) { return memset(segno_take_raw(bytes), 0, bytes); }

void *segno_grow_raw(void *old, size_t old_bytes, size_t bytes) {
    if (old != NULL && (uintptr_t)old + ((old_bytes + 15) & ~(size_t)15) == top) {
        top = (uintptr_t)old;
        return segno_take_raw(bytes);
    }
    void *grown = segno_take_raw(bytes);
    return old_bytes == 0 ? grown : memcpy(grown, old, old_bytes);
}

void segno_memory_mark(void) { mark = top; }
void segno_memory_reset(void) { top = mark; }

/* One instruction each, with -mbulk-memory. */
void *memcpy(void *to, const void *from, size_t bytes) { return __builtin_memcpy(to, from, bytes); }
void *memmove(void *to, const void *from, size_t bytes) { return __builtin_memmove(to, from, bytes); }
void *memset(void *to, int byte, size_t bytes) { return __builtin_memset(to, byte, bytes); }
int memcmp(const void *a, const void *b, size_t bytes) {
    const unsigned char *left = a, *right = b;
    for (; bytes > 0 && *left == *right; bytes--, left++, right++) {}
    return bytes == 0 ? 0 : *left - *right;
}
size_t strlen(const char *text) {
    const char *end = text;
    while (*end != 0) end++;
    return (size_t)(end - text);
}
