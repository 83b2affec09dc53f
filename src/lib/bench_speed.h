/* The two rates of a bench alone, without the machine's limits, which take seconds to measure. */
#ifndef SPATE_LIB_BENCH_SPEED_H
#define SPATE_LIB_BENCH_SPEED_H

#include "lib/spate_state.h"

struct bench_speed {
  double prefill, decode; /* tokens a second, of all sequences together */
};

/* Options as of spate_bench. The engine must be idle. */
bool bench_speed_measure(spate_engine *engine, const spate_bench_options *options, struct bench_speed *speed,
                         struct error *error);

#endif
