/* Owns: the double that is nearest to a decimal number. Invariant: exact; the integers below hold all that is needed.
 *
 * Slow and small: numbers of a configuration are read once. */
#include "json.h"

/* Digits beyond these cannot change the result, but for not being all zero. */
#define DIGITS_MAX 800
/* 800 digits, or a power of ten of the smallest double and 800 digits, with the bits of a quotient. */
#define WORDS 160

struct large {
    uint32_t words[WORDS];
};

static void multiply(struct large *n, uint32_t by, uint32_t add) {
    uint64_t carry = add;
    for (int i = 0; i < WORDS; i++) {
        carry += (uint64_t)n->words[i] * by;
        n->words[i] = (uint32_t)carry, carry >>= 32;
    }
}

static int bits_of(const struct large *n) {
    for (int i = WORDS - 1; i >= 0; i--) {
        if (n->words[i] != 0) return 32 * i + 32 - __builtin_clz(n->words[i]);
    }
    return 0;
}

static void shift_left(struct large *n, int bits) {
    int words = bits / 32, rest = bits % 32;
    for (int i = WORDS - 1; i >= 0; i--) {
        uint64_t high = i >= words ? n->words[i - words] : 0, low = i > words ? n->words[i - words - 1] : 0;
        n->words[i] = (uint32_t)((high << 32 | low) << rest >> 32);
    }
}

static int compare(const struct large *a, const struct large *b) {
    for (int i = WORDS - 1; i >= 0; i--) {
        if (a->words[i] != b->words[i]) return a->words[i] < b->words[i] ? -1 : 1;
    }
    return 0;
}

static void subtract(struct large *a, const struct large *b) {
    uint64_t borrow = 0;
    for (int i = 0; i < WORDS; i++) {
        uint64_t word = (uint64_t)a->words[i] - b->words[i] - borrow;
        a->words[i] = (uint32_t)word, borrow = word >> 63;
    }
}

/* The double nearest to `top` and what `rest` says is beneath it, times two to the power. `top` has its highest bit set. */
static double rounded(uint64_t top, bool rest, int power) {
    int drop = 11;
    if (power + 64 <= -1022) drop = 11 - 1021 - (power + 64);
    if (drop > 64) return 0;
    uint64_t kept = drop == 64 ? 0 : top >> drop, below = drop == 64 ? top : top & ((UINT64_C(1) << drop) - 1), half = UINT64_C(1) << (drop - 1);
    if (below > half || (below == half && (rest || (kept & 1)))) kept++;
    int exponent = power + drop;
    if (kept >> 53 != 0) kept >>= 1, exponent++;
    uint64_t bits;
    if (exponent + 52 > 1023) bits = UINT64_C(0x7ff) << 52;
    else if (kept >> 52 == 0) bits = kept;
    else bits = (uint64_t)(exponent + 52 + 1023) << 52 | (kept & ((UINT64_C(1) << 52) - 1));
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

double segno_number(segno_text text) {
    struct large number = {{0}}, divisor = {{1}};
    bool negative = false, point = false, rest = false;
    int used = 0;
    int64_t exponent = 0;
    uint32_t at = 0;
    for (; at < text.length && text.data[at] != 'e' && text.data[at] != 'E'; at++) {
        char c = text.data[at];
        if (c == '-') negative = true;
        else if (c == '.') point = true;
        else if (used == 0 && c == '0') exponent -= point;
        else if (used < DIGITS_MAX) multiply(&number, 10, (uint32_t)(c - '0')), used++, exponent -= point;
        else rest |= c != '0', exponent += !point;
    }
    if (at < text.length) {
        bool down = text.data[++at] == '-';
        int64_t stated = 0;
        for (at += down || text.data[at] == '+'; at < text.length; at++) {
            if (stated < 100000000) stated = stated * 10 + text.data[at] - '0';
        }
        exponent += down ? -stated : stated;
    }
    double value = 0;
    if (used > 0 && used + exponent > 310) {
        value = __builtin_inf();
    } else if (used > 0 && used + exponent > -330) {
        for (; exponent > 0; exponent--) multiply(&number, 10, 0);
        for (; exponent < 0; exponent++) multiply(&divisor, 10, 0);
        /* A quotient of 64 or 65 bits. */
        int shift = 64 - (bits_of(&number) - bits_of(&divisor));
        if (shift > 0) shift_left(&number, shift);
        else shift_left(&divisor, -shift);
        shift_left(&divisor, 64);
        uint64_t top = 0;
        int bits = 0;
        bool more = false;
        /* The first bit that is set begins the quotient; the last one may be left for the rest. */
        for (int i = 0; i <= 64; i++) {
            bool set = compare(&number, &divisor) >= 0;
            if (set) subtract(&number, &divisor);
            if (bits == 64) more = set, shift--;
            else if (set || bits > 0) top = top << 1 | set, bits++;
            shift_left(&number, 1);
        }
        value = rounded(top, rest || more || bits_of(&number) != 0, -shift);
    }
    return negative ? -value : value;
}
