/* Owns: formatting, log lines, counters, rejections and panics as the host sees them.
 * Does not own: where they go. Invariant: the same format gives the same text on every machine. */
#include "segno.h"

__attribute__((import_module("segno:stream/observe@1.0.0"), import_name("log"))) void segno_import_log(int level, const char *text, size_t length);
__attribute__((import_module("segno:stream/observe@1.0.0"), import_name("count"))) void segno_import_count(const char *name, size_t length, int64_t delta);

static void add(struct segno_builder *to, const char *bytes, size_t length) {
    if (to->length + length > to->capacity) segno_builder_grow(to, (uint32_t)length);
    if (length > 0) memcpy(to->data + to->length, bytes, length);
    to->length += (uint32_t)length;
}

static void repeat(struct segno_builder *to, char byte, int times) {
    while (times-- > 0) add(to, &byte, 1);
}

/* Digits, sign and width of a whole number. */
static void number(struct segno_builder *out, uint64_t value, bool negative, unsigned base, bool capitals, char sign, bool left, bool zeros, int width, int precision) {
    char digits[64];
    int used = 0;
    for (; value > 0; value /= base) digits[used++] = (capitals ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
    int shown = precision >= 0 ? (used > precision ? used : precision) : (used > 0 ? used : 1);
    int signs = negative || sign != 0, spaces = width - shown - signs;
    if (zeros && !left && precision < 0 && spaces > 0) shown += spaces, spaces = 0;
    if (!left) repeat(out, ' ', spaces);
    if (signs) repeat(out, negative ? '-' : sign, 1);
    repeat(out, '0', shown - used);
    while (used > 0) add(out, &digits[--used], 1);
    if (left) repeat(out, ' ', spaces);
}

segno_text segno_vformat(const char *format, va_list arguments) {
    struct segno_builder out = {0};
    for (; *format != 0; format++) {
        if (*format != '%') {
            add(&out, format, 1);
            continue;
        }
        bool left = false, zeros = false;
        char sign = 0;
        int width = 0, precision = -1, longs = 0;
        for (format++; *format == '-' || *format == '0' || *format == '+' || *format == ' '; format++) {
            if (*format == '-') left = true;
            else if (*format == '0') zeros = true;
            else if (sign != '+') sign = *format;
        }
        if (*format == '*') {
            width = va_arg(arguments, int), format++;
            if (width < 0) left = true, width = -width;
        }
        while (*format >= '0' && *format <= '9') width = width * 10 + *format++ - '0';
        if (*format == '.') {
            precision = 0, format++;
            if (*format == '*') precision = va_arg(arguments, int), format++;
            while (*format >= '0' && *format <= '9') precision = precision * 10 + *format++ - '0';
        }
        for (; *format == 'l' || *format == 'z'; format++) longs += *format == 'l' ? 1 : (sizeof(size_t) == 8 ? 2 : 0);
        switch (*format) {
        case 'd': case 'i': {
            int64_t value = longs > 1 ? va_arg(arguments, long long) : longs == 1 ? va_arg(arguments, long) : va_arg(arguments, int);
            number(&out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, value < 0, 10, false, sign, left, zeros, width, precision);
            break;
        }
        case 'u': case 'x': case 'X': {
            uint64_t value = longs > 1 ? va_arg(arguments, unsigned long long) : longs == 1 ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);
            number(&out, value, false, *format == 'u' ? 10 : 16, *format == 'X', 0, left, zeros, width, precision);
            break;
        }
        case 'c': case 's': {
            char one = 0;
            const char *text = &one;
            int length = 1;
            if (*format == 'c') one = (char)va_arg(arguments, int);
            else for (text = va_arg(arguments, const char *), length = 0; length != precision && text[length] != 0; length++) {}
            if (!left) repeat(&out, ' ', width - length);
            add(&out, text, (size_t)length);
            if (left) repeat(&out, ' ', width - length);
            break;
        }
        case '%': add(&out, "%", 1); break;
        default: segno_panic("the format has a conversion that there is not: %%%c; there are d i u x X c s", *format);
        }
    }
    segno_text text = {(const char *)out.data, out.length};
    return text;
}

segno_text segno_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    segno_text text = segno_vformat(format, arguments);
    va_end(arguments);
    return text;
}

void segno_log(enum segno_level level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    segno_text text = segno_vformat(format, arguments);
    va_end(arguments);
    segno_import_log((int)level, text.data, text.length);
}

/* One call to the host each: they are few. */
void segno_count(const char *name, uint64_t delta) { segno_import_count(name, strlen(name), (int64_t)delta); }

segno_text segno_reason;

segno_outcome segno_reject(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    segno_reason = segno_vformat(format, arguments);
    va_end(arguments);
    return SEGNO_REJECTED;
}

/* A trap says nothing: what it is about is logged first. */
void segno_panic_at(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    segno_text text = segno_vformat(format, arguments);
    va_end(arguments);
    segno_log(SEGNO_ERROR, "panicked at %s:%d:\n" SEGNO_TEXT, file, line, SEGNO_ARG(text));
    __builtin_trap();
}

/* What the compiler looks for in a plugin (-fsanitize): it tells the line, where a trap would tell none. */
struct place { const char *file; uint32_t line, column; };
static void found(const struct place *at, const char *what) {
    segno_log(SEGNO_ERROR, "panicked at %s:%u:%u:\n%s", at->file, (unsigned)at->line, (unsigned)at->column, what);
    __builtin_trap();
}
void __ubsan_handle_divrem_overflow_abort(const struct place *at, uintptr_t a, uintptr_t b) { (void)a, (void)b, found(at, "a division by zero, or one whose result is too large"); }
void __ubsan_handle_out_of_bounds_abort(const struct place *at, uintptr_t index) { (void)index, found(at, "an index beyond the end of its array"); }
void __ubsan_handle_shift_out_of_bounds_abort(const struct place *at, uintptr_t a, uintptr_t b) { (void)a, (void)b, found(at, "a shift by more bits than there are"); }
void __ubsan_handle_float_cast_overflow_abort(const struct place *at, uintptr_t from) { (void)from, found(at, "a number that the whole number's type cannot hold"); }
void __ubsan_handle_builtin_unreachable(const struct place *at) { found(at, "the end of what cannot be reached"); }
void __ubsan_handle_missing_return(const struct place *at) { found(at, "a function that returns nothing where it must"); }
void __ubsan_handle_type_mismatch_v1_abort(const struct place *at, uintptr_t pointer) { (void)pointer, found(at, "a null pointer"); }
