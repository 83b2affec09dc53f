/* Floors. */
#include "lib/bench_floor.h"

static void linear_count(const struct loaded_engine *engine, const struct op *op, struct work *work) {
  const struct weight *w = plan_weights(engine->plan) + op->weight[0];
  bool head = plan_values(engine->plan)[op->out].rows == ROWS_OUTPUTS;
  bool int8 = w->scheme.activation == ACTIVATION_INT8;
  double ops = 2.0 * w->rows * w->cols;
  work->weight_bytes += (double)backend_packed_bytes(engine->backend, w);
  *(head ? int8 ? &work->head_int8_ops : &work->head_float_ops : int8 ? &work->int8_ops : &work->float_ops) += ops;
}

struct work work_of(const struct loaded_engine *engine) {
  struct work work = {0};
  for (int i = 0; i < engine->plan->n_op; i++)
    if (plan_ops(engine->plan)[i].kind == OP_LINEAR) linear_count(engine, plan_ops(engine->plan) + i, &work);
  for (int g = 0; g < engine->plan->n_group; g++)
    work.kv_token_bytes += (double)engine->footprint.kv_block[g] / engine->limits.block_size;
  return work;
}

bool rates_measure(const struct loaded_engine *engine, struct machine_rates *rates, struct error *error) {
  *rates = (struct machine_rates){0};
  return !engine->backend->rates || engine->backend->rates(engine->device, rates, error);
}

double rates_bandwidth(const struct machine_rates *rates, double bytes) {
  for (int i = 0; i < rates->n_size; i++)
    if (bytes <= (double)rates->read[i].bytes) return rates->read[i].gbs;
  return rates->n_size ? rates->read[rates->n_size - 1].gbs : 0;
}

double floor_seconds(const struct work *work, const struct machine_rates *rates, double tokens, double outputs,
                     double kv_tokens) {
  double bytes = work->weight_bytes + kv_tokens * work->kv_token_bytes;
  double gbs = rates_bandwidth(rates, bytes);
  double int8 = work->int8_ops * tokens + work->head_int8_ops * outputs;
  double floats = work->float_ops * tokens + work->head_float_ops * outputs;
  double int8_rate = rates->int8_gops > 0 ? rates->int8_gops : rates->fp32_gflops;
  if (gbs <= 0 || rates->fp32_gflops <= 0) return 0;
  double compute = int8 / (int8_rate * 1e9) + floats / (rates->fp32_gflops * 1e9), memory = bytes / (gbs * 1e9);
  return compute > memory ? compute : memory;
}
