/* What the reports of benches share: pieces of their JSON, and medians. */
#ifndef SPATE_LIB_BENCH_REPORT_H
#define SPATE_LIB_BENCH_REPORT_H

#include "engine/loaded_engine.h"

enum { BENCH_TEXT_MAX = 1 << 20 };

/* Sorts the values. */
double bench_median(double *values, int count);

/* `"name":value,` */
void number_write(struct buffer *out, const char *name, double value);

/* An object. */
void rates_write(struct buffer *out, const struct machine_rates *rates);

/* `"fallbacks":[…]`: the ops that run on a slower path, a line each. */
void fallbacks_write(struct buffer *out, const struct loaded_engine *engine);

#endif
