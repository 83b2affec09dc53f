/* What a step must cost at least: bytes ÷ measured bandwidth, operations ÷ measured rate. */
#ifndef SPATE_LIB_BENCH_FLOOR_H
#define SPATE_LIB_BENCH_FLOOR_H

#include "engine/loaded_engine.h"

struct work {
  double weight_bytes; /* of the matrices that every step reads once */
  double int8_ops;     /* of one token through the body, by the unit that multiplies */
  double float_ops;
  double head_int8_ops, head_float_ops; /* of one output */
  double kv_token_bytes;                /* one token in the cache, all layers */
};

struct work work_of(const struct loaded_engine *engine);

/* Measured rates of the engine's device; all zero when its backend cannot measure. */
bool rates_measure(const struct loaded_engine *engine, struct machine_rates *rates, struct error *error);

/* 10⁹ bytes per second for a working set of so many bytes: of the smallest measured size that holds it. 0: unknown. */
double rates_bandwidth(const struct machine_rates *rates, double bytes);

/* Seconds for a step of so many tokens and outputs that reads kv_tokens from the cache; 0: unknown. */
double floor_seconds(const struct work *work, const struct machine_rates *rates, double tokens, double outputs,
                     double kv_tokens);

#endif
