/* A plugin's configuration: the step's `config:` as a struct.
 *
 *     #define MODE(WORD) WORD(MODE_FAST, "fast") WORD(MODE_EXACT, "exact")
 *     SEGNO_CHOICE(mode, MODE)
 *
 *     #define SETTINGS(FIELD) FIELD(i64, min_cents) FIELD(or(MODE_FAST, choice(mode)), how) FIELD(nullable(utf8), label)
 *     SEGNO_CONFIG(settings, SETTINGS)
 *
 * The types are bool, i32, u32, i64, u64, f64, utf8, choice(WORDS), part(STRUCT) and list(type). Such a field must be given;
 * or(value, type) has a value when it is not, optional(type) is then zero, false or empty, nullable(type) is null.
 *
 * Owns: settings and their words. Does not own: JSON (`src/json.c`), the texts of errors (`src/config.c`).
 * Invariant: an unknown field is an error, never ignored. */
#ifndef SEGNO_CONFIG_H
#define SEGNO_CONFIG_H

#include "memory.h"

SEGNO_BEGIN

enum segno_setting_kind {
    SEGNO_SET_BOOL, SEGNO_SET_I32, SEGNO_SET_U32, SEGNO_SET_I64, SEGNO_SET_U64, SEGNO_SET_F64, SEGNO_SET_TEXT, SEGNO_SET_CHOICE, SEGNO_SET_PART
};
enum segno_setting_missing { SEGNO_MUST, SEGNO_MAY, SEGNO_MAY_BE_NULL };

struct segno_setting {
    const char *name;
    enum segno_setting_kind kind;
    bool list;
    enum segno_setting_missing missing;
    /* The words of a choice, the description of a part. */
    const void *of;
    /* Of one value; where it is behind `present`. */
    size_t size, at;
};

/* The fields of a part. */
#define SEGNO_SETTINGS_MAX 64
#define SEGNO_SETTING_END {NULL, SEGNO_SET_BOOL, false, SEGNO_MUST, NULL, 0, 0}

/* A struct of settings. */
struct segno_part {
    const struct segno_setting *settings;
    const void *defaults;
    size_t size;
    /* Where the fields of a struct are. */
    void (*places)(void *of, void **places);
};

struct segno_config {
    const struct segno_part *part;
    void *into;
};

SEGNO_END

#ifdef __cplusplus
#define SEGNO_ZERO_ {}
#else
#define SEGNO_ZERO_ {0}
#endif

#define SEGNO_F_bool bool
#define SEGNO_F__Bool bool
#define SEGNO_F_i32 int32_t
#define SEGNO_F_u32 uint32_t
#define SEGNO_F_i64 int64_t
#define SEGNO_F_u64 uint64_t
#define SEGNO_F_f64 double
#define SEGNO_F_utf8 segno_text
#define SEGNO_F_choice(WORDS) enum WORDS
#define SEGNO_F_part(NAME) struct NAME
#define SEGNO_F_list(T) struct { SEGNO_F_##T *items; uint32_t length; }
#define SEGNO_F_nullable(T) struct { bool present; SEGNO_F_##T value; }
#define SEGNO_F_or(VALUE, T) SEGNO_F_##T
#define SEGNO_F_optional(T) SEGNO_F_##T
#define SEGNO_MEMBER_(T, NAME) SEGNO_F_##T NAME;

/* Kind, list, missing, of, size, at. */
#define SEGNO_S_bool SEGNO_SET_BOOL, false, SEGNO_MUST, NULL, sizeof(bool), 0
#define SEGNO_S__Bool SEGNO_SET_BOOL, false, SEGNO_MUST, NULL, sizeof(bool), 0
#define SEGNO_S_i32 SEGNO_SET_I32, false, SEGNO_MUST, NULL, 4, 0
#define SEGNO_S_u32 SEGNO_SET_U32, false, SEGNO_MUST, NULL, 4, 0
#define SEGNO_S_i64 SEGNO_SET_I64, false, SEGNO_MUST, NULL, 8, 0
#define SEGNO_S_u64 SEGNO_SET_U64, false, SEGNO_MUST, NULL, 8, 0
#define SEGNO_S_f64 SEGNO_SET_F64, false, SEGNO_MUST, NULL, 8, 0
#define SEGNO_S_utf8 SEGNO_SET_TEXT, false, SEGNO_MUST, NULL, sizeof(segno_text), 0
#define SEGNO_S_choice(WORDS) SEGNO_SET_CHOICE, false, SEGNO_MUST, WORDS##_words, sizeof(enum WORDS), 0
#define SEGNO_S_part(NAME) SEGNO_SET_PART, false, SEGNO_MUST, &NAME##_part, sizeof(struct NAME), 0
#define SEGNO_S_list(T) SEGNO_S_LIST_(SEGNO_S_##T)
#define SEGNO_S_LIST_(...) SEGNO_S_LIST2_(__VA_ARGS__)
#define SEGNO_S_LIST2_(KIND, LIST, MISSING, OF, SIZE, AT) KIND, true, MISSING, OF, SIZE, AT
#define SEGNO_S_nullable(T) SEGNO_S_NULL_(__alignof__(SEGNO_F_##T), SEGNO_S_##T)
#define SEGNO_S_NULL_(...) SEGNO_S_NULL2_(__VA_ARGS__)
#define SEGNO_S_NULL2_(ALIGNMENT, KIND, LIST, MISSING, OF, SIZE, AT) KIND, LIST, SEGNO_MAY_BE_NULL, OF, SIZE, ALIGNMENT
#define SEGNO_S_optional(T) SEGNO_S_MAY_(SEGNO_S_##T)
#define SEGNO_S_or(VALUE, T) SEGNO_S_MAY_(SEGNO_S_##T)
#define SEGNO_S_MAY_(...) SEGNO_S_MAY2_(__VA_ARGS__)
#define SEGNO_S_MAY2_(KIND, LIST, MISSING, OF, SIZE, AT) KIND, LIST, SEGNO_MAY, OF, SIZE, AT

/* The value when the field is not given. */
#define SEGNO_V_bool 0
#define SEGNO_V__Bool 0
#define SEGNO_V_i32 0
#define SEGNO_V_u32 0
#define SEGNO_V_i64 0
#define SEGNO_V_u64 0
#define SEGNO_V_f64 0
#define SEGNO_V_utf8 SEGNO_ZERO_
#define SEGNO_V_choice(WORDS) (enum WORDS)0
#define SEGNO_V_part(NAME) SEGNO_ZERO_
#define SEGNO_V_list(T) SEGNO_ZERO_
#define SEGNO_V_nullable(T) SEGNO_ZERO_
#define SEGNO_V_optional(T) SEGNO_V_##T
#define SEGNO_V_or(VALUE, T) SEGNO_OF_##T(VALUE)
#define SEGNO_OF_bool(VALUE) VALUE
#define SEGNO_OF__Bool(VALUE) VALUE
#define SEGNO_OF_i32(VALUE) VALUE
#define SEGNO_OF_u32(VALUE) VALUE
#define SEGNO_OF_i64(VALUE) VALUE
#define SEGNO_OF_u64(VALUE) VALUE
#define SEGNO_OF_f64(VALUE) VALUE
#define SEGNO_OF_utf8(VALUE) {VALUE, sizeof(VALUE) - 1}
#define SEGNO_OF_choice(WORDS) SEGNO_OF_WORD_
#define SEGNO_OF_WORD_(VALUE) VALUE

#define SEGNO_DEFAULT_(T, NAME) .NAME = SEGNO_V_##T,
#define SEGNO_SETTING_(T, NAME) {#NAME, SEGNO_S_##T},
#define SEGNO_PLACE_(T, NAME) *segno_places++ = &segno_to->NAME;
#define SEGNO_CONSTANT_(CONSTANT, TEXT) CONSTANT,
#define SEGNO_WORD_(CONSTANT, TEXT) TEXT,

/* One of several words: `enum NAME`, of constants and texts: `#define MODE(WORD) WORD(MODE_FAST, "fast") WORD(MODE_EXACT, "exact")`. */
#define SEGNO_CHOICE(NAME, WORDS)                                                                                                \
    enum NAME { WORDS(SEGNO_CONSTANT_) };                                                                                         \
    static const char *const NAME##_words[] = {WORDS(SEGNO_WORD_) NULL};

/* A part of a configuration: `struct NAME`, for a field `part(NAME)`. */
#define SEGNO_PART(NAME, FIELDS)                                                                                                 \
    struct NAME { FIELDS(SEGNO_MEMBER_) };                                                                                        \
    static const struct NAME NAME##_defaults = {FIELDS(SEGNO_DEFAULT_)};                                                          \
    static const struct segno_setting NAME##_settings[] = {FIELDS(SEGNO_SETTING_) SEGNO_SETTING_END};                             \
    static inline void NAME##_places(void *segno_at, void **segno_places) {                                                       \
        struct NAME *segno_to = (struct NAME *)segno_at;                                                                          \
        FIELDS(SEGNO_PLACE_)                                                                                                      \
    }                                                                                                                             \
    static const struct segno_part NAME##_part = {NAME##_settings, &NAME##_defaults, sizeof(struct NAME), NAME##_places};

/* The configuration: `struct NAME`, and a variable of that name which has been read when `init` is called. Name it to the
 * plugin: `.config = &NAME_config`. */
#define SEGNO_CONFIG(NAME, FIELDS)                                                                                               \
    SEGNO_PART(NAME, FIELDS)                                                                                                      \
    static struct NAME NAME;                                                                                                      \
    static const struct segno_config NAME##_config = {&NAME##_part, &NAME};

#endif
