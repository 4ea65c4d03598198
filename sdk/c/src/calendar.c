/* Owns: days and instants as people write them. Invariant: the Gregorian calendar, also before it was made. */
#include "segno.h"

void segno_civil(segno_date date, int *year, int *month, int *day) {
    /* Howard Hinnant's days-to-civil: eras of 400 years that start on the first of March. */
    int64_t days = (int64_t)date + 719468, era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t of_era = days - era * 146097, years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * years + years / 4 - years / 100), from_march = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * from_march + 2) / 5 + 1);
    *month = (int)(from_march < 10 ? from_march + 3 : from_march - 9);
    *year = (int)(years + era * 400 + (*month <= 2));
}

segno_text segno_date_text(segno_date date) {
    int year, month, day;
    segno_civil(date, &year, &month, &day);
    return segno_format("%04d-%02d-%02d", year, month, day);
}

segno_text segno_timestamp_text(segno_timestamp time) {
    segno_text date = segno_date_text(segno_date_of(time));
    int64_t micros = time % SEGNO_DAY;
    if (micros < 0) micros += SEGNO_DAY;
    int seconds = (int)(micros / SEGNO_SECOND);
    return segno_format(SEGNO_TEXT "T%02d:%02d:%02d.%06dZ", SEGNO_ARG(date), seconds / 3600, seconds / 60 % 60, seconds % 60,
                        (int)(micros % SEGNO_SECOND));
}
