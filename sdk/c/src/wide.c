/* Owns: the functions that clang calls for 128-bit numbers. Invariant: none of them is made of itself: halves only.
 *
 * Compiled without link-time optimisation, which would not know that they are called. */
#ifdef __wasm__
#include <stdbool.h>
#include <stdint.h>

typedef __int128 wide;
typedef unsigned __int128 uwide;
typedef union { uwide all; struct { uint64_t low, high; } half; } parts;

static parts made(uint64_t low, uint64_t high) {
    parts p;
    p.half.low = low, p.half.high = high;
    return p;
}

/* 64 times 64 bits, in digits of 32. */
static parts product(uint64_t a, uint64_t b) {
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t low = a0 * b0, middle = a1 * b0 + (low >> 32), other = a0 * b1 + (uint32_t)middle;
    return made(other << 32 | (uint32_t)low, a1 * b1 + (middle >> 32) + (other >> 32));
}

wide __multi3(wide a, wide b) {
    parts x = {(uwide)a}, y = {(uwide)b}, p = product(x.half.low, y.half.low);
    p.half.high += x.half.high * y.half.low + x.half.low * y.half.high;
    return (wide)p.all;
}

wide __ashlti3(wide a, int by) {
    parts x = {(uwide)a};
    if (by == 0) return a;
    if (by >= 64) return (wide)made(0, x.half.low << (by - 64)).all;
    return (wide)made(x.half.low << by, x.half.high << by | x.half.low >> (64 - by)).all;
}

wide __lshrti3(wide a, int by) {
    parts x = {(uwide)a};
    if (by == 0) return a;
    if (by >= 64) return (wide)made(x.half.high >> (by - 64), 0).all;
    return (wide)made(x.half.low >> by | x.half.high << (64 - by), x.half.high >> by).all;
}

wide __ashrti3(wide a, int by) {
    parts x = {(uwide)a};
    int64_t high = (int64_t)x.half.high;
    if (by == 0) return a;
    if (by >= 64) return (wide)made((uint64_t)(high >> (by - 64)), (uint64_t)(high >> 63)).all;
    return (wide)made(x.half.low >> by | x.half.high << (64 - by), (uint64_t)(high >> by)).all;
}

static bool below(parts a, parts b) { return a.half.high != b.half.high ? a.half.high < b.half.high : a.half.low < b.half.low; }
static parts less(parts a, parts b) { return made(a.half.low - b.half.low, a.half.high - b.half.high - (a.half.low < b.half.low)); }
static parts negated(parts a) { return less(made(0, 0), a); }

/* Long division, one bit at a time, beginning with the first that is set. */
static parts divide(parts a, parts b, parts *rest) {
    parts quotient = made(0, 0), r = made(0, 0);
    if (a.half.high == 0 && b.half.high == 0) {
        *rest = made(a.half.low % b.half.low, 0);
        return made(a.half.low / b.half.low, 0);
    }
    int bit = a.half.high != 0 ? 127 - __builtin_clzll(a.half.high) : a.half.low != 0 ? 63 - __builtin_clzll(a.half.low) : -1;
    for (; bit >= 0; bit--) {
        uint64_t next = (bit >= 64 ? a.half.high >> (bit - 64) : a.half.low >> bit) & 1;
        r = made(r.half.low << 1 | next, r.half.high << 1 | r.half.low >> 63);
        quotient = made(quotient.half.low << 1, quotient.half.high << 1 | quotient.half.low >> 63);
        if (!below(r, b)) r = less(r, b), quotient.half.low |= 1;
    }
    *rest = r;
    return quotient;
}

uwide __udivti3(uwide a, uwide b) {
    parts rest, x = {a}, y = {b};
    return divide(x, y, &rest).all;
}

uwide __umodti3(uwide a, uwide b) {
    parts rest, x = {a}, y = {b};
    divide(x, y, &rest);
    return rest.all;
}

static parts magnitude(wide a) {
    parts x = {(uwide)a};
    return (int64_t)x.half.high < 0 ? negated(x) : x;
}

static bool negative(wide a) {
    parts x = {(uwide)a};
    return (int64_t)x.half.high < 0;
}

wide __divti3(wide a, wide b) {
    parts rest, quotient = divide(magnitude(a), magnitude(b), &rest);
    return (wide)(negative(a) != negative(b) ? negated(quotient) : quotient).all;
}

wide __modti3(wide a, wide b) {
    parts rest;
    divide(magnitude(a), magnitude(b), &rest);
    return (wide)(negative(a) ? negated(rest) : rest).all;
}

/* With whether the product does not fit. */
wide __muloti4(wide a, wide b, int *overflow) {
    parts x = magnitude(a), y = magnitude(b), p = product(x.half.low, y.half.low);
    parts one = product(x.half.high, y.half.low), other = product(x.half.low, y.half.high);
    uint64_t high = p.half.high + one.half.low, top = high + other.half.low;
    bool too_large = (x.half.high != 0 && y.half.high != 0) || one.half.high != 0 || other.half.high != 0 || high < one.half.low || top < high;
    bool sign = negative(a) != negative(b);
    parts result = made(p.half.low, top);
    /* The least number has no positive one. */
    too_large |= (int64_t)top < 0 && !(sign && top == UINT64_C(1) << 63 && p.half.low == 0);
    *overflow = too_large;
    return (wide)(sign ? negated(result) : result).all;
}
#endif
