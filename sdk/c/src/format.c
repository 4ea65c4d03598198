/* Owns: formatting. Invariant: the same format gives the same text on every machine. */
#include "engine.h"

static void repeat(struct segno_builder *to, char byte, int times) {
    while (times-- > 0) segno_append(to, &byte, 1);
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
    while (used > 0) segno_append(out, &digits[--used], 1);
    if (left) repeat(out, ' ', spaces);
}

segno_text segno_vformat(const char *format, va_list arguments) {
    struct segno_builder out = {0};
    for (; *format != 0; format++) {
        if (*format != '%') {
            segno_append(&out, format, 1);
            continue;
        }
        bool left = false, zeros = false, exact = false;
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
            if (*format == '*') precision = va_arg(arguments, int), format++, exact = left && width == 0;
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
            else for (text = va_arg(arguments, const char *), length = 0; length != precision && (exact || text[length] != 0); length++) {}
            if (!left) repeat(&out, ' ', width - length);
            segno_append(&out, text, (size_t)length);
            if (left) repeat(&out, ' ', width - length);
            break;
        }
        case '%': segno_append(&out, "%", 1); break;
        default: segno_refuse("the format has a conversion that there is not: %%%c; there are d i u x X c s", *format);
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
