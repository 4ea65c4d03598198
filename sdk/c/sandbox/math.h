/* What of the C library's mathematics is one instruction: the same bits on every machine. */
#ifndef SEGNO_MATH_H
#define SEGNO_MATH_H
#define NAN __builtin_nanf("")
#define INFINITY __builtin_inff()
#define isnan(x) __builtin_isnan(x)
#define isfinite(x) __builtin_isfinite(x)
#define isinf(x) __builtin_isinf(x)
#define signbit(x) __builtin_signbit(x)
static inline double sqrt(double x) { return __builtin_sqrt(x); }
static inline double fabs(double x) { return __builtin_fabs(x); }
static inline double floor(double x) { return __builtin_floor(x); }
static inline double ceil(double x) { return __builtin_ceil(x); }
static inline double trunc(double x) { return __builtin_trunc(x); }
static inline double nearbyint(double x) { return __builtin_nearbyint(x); }
static inline double copysign(double x, double y) { return __builtin_copysign(x, y); }
#endif
