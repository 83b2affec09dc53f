/* What a step must cost at least: the sum over its ops of bytes ÷ measured bandwidth or operations ÷ measured rate,
 * whichever is more. */
#ifndef SPATE_LIB_BENCH_FLOOR_H
#define SPATE_LIB_BENCH_FLOOR_H

#include "engine/loaded_engine.h"

/* A step of equal sequences. Context: tokens of each in the cache before. */
struct step_shape {
  double sequences, tokens, outputs, context; /* tokens, outputs: of all together */
  double chunk;                               /* tokens of one more sequence, with the same context */
};

/* Measured rates of the engine's device; all zero when its backend cannot measure. */
bool rates_measure(const struct loaded_engine *engine, struct machine_rates *rates, struct error *error);

/* 10⁹ bytes per second for a working set of so many bytes: of the smallest measured size that holds it. 0: unknown. */
double rates_bandwidth(const struct machine_rates *rates, double bytes);

/* Bytes that such a step reads at least: each matrix once, and of the cache what is seen. */
double step_bytes(const struct loaded_engine *engine, const struct step_shape *shape);

/* Seconds; 0: unknown. */
double step_floor(const struct loaded_engine *engine, const struct machine_rates *rates,
                  const struct step_shape *shape);

#endif
