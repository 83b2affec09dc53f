/* What a load came to, as JSON, and each request of it as a line of JSON. */
#ifndef SPATE_LOAD_LOAD_REPORT_H
#define SPATE_LOAD_LOAD_REPORT_H

#include "load/load_tally.h"

/* An object for one run; slo may be NULL. */
bool load_report_write(const struct load_plan *plan, const struct load_tally *tally, const struct load_result *result,
                       const struct load_slo *slo, struct buffer *out);

/* Appends the line of one request of the run with this number: every time that was measured, in seconds after the run
 * began. */
bool load_record_write(int run, const struct load_plan *plan, int request, struct buffer *out);

#endif
