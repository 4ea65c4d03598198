/* Tests of the SDK. Owns: counting what failed. */
#ifndef SEGNO_EXPECT_H
#define SEGNO_EXPECT_H

#include "../src/engine.h"
#include "../src/json.h"

#include <stdio.h>
#include <stdlib.h>

static int checked, failed;

#define CHECK(HOLDS, ...)                                                                                                         \
    (checked++, (HOLDS) ? (void)0 : (failed++, fprintf(stderr, "%s:%d: ", __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__), (void)fputc('\n', stderr)))

static inline int ended(void) {
    printf("%d checks, %d failed\n", checked, failed);
    return failed > 0;
}

#endif
