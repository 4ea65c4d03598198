/* A plugin that asserts fails at the record, and tells the line. */
#undef assert
#ifdef NDEBUG
#define assert(HOLDS) ((void)0)
#else
#define assert(HOLDS) ((HOLDS) ? (void)0 : segno_panic("it does not hold: %s", #HOLDS))
#endif
