/* How 64-bit numbers are written in formats. */
#ifndef SEGNO_INTTYPES_H
#define SEGNO_INTTYPES_H
#include <stdint.h>
#define PRId64 "lld"
#define PRIu64 "llu"
#define PRIx64 "llx"
#endif
