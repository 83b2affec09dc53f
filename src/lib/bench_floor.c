/* Floors. */
#include "lib/bench_floor.h"

#include "plan/expert_layers.h"

#include <math.h>

struct work {
  double bytes, operations;
  double crossing; /* of the bytes, those that come from the host's memory to a device */
  bool int8;       /* multiplied as integers */
};

/* The part of a weight's experts that any of so many tokens has, if all are chosen equally often; 1 of one matrix. */
static double experts_read(const struct plan *plan, const struct op *op, double tokens) {
  if (op->in[2] < 0) return 1;
  const struct value *choice = plan_values(plan) + op->in[2];
  return 1 - pow(1 - choice->cols / 2.0 / choice->n_expert, tokens);
}

/* Matrices that a token multiplies with. */
static double experts_each(const struct plan *plan, const struct op *op, const struct weight *w) {
  return op->in[2] < 0 ? weight_experts(w) : plan_values(plan)[op->in[2]].cols / 2.0;
}

/* The embedding of a few tokens is as good as nothing: a matrix is read by those that multiply with it. */
static struct work linear_work(const struct loaded_engine *engine, const struct op *op,
                               const struct step_shape *shape) {
  const struct weight *w = plan_weights(engine->plan) + op->weight[0];
  bool head = plan_values(engine->plan)[op->out].rows == ROWS_OUTPUTS;
  double tokens = head ? shape->outputs : shape->tokens + shape->chunk;
  double bytes = (double)backend_packed_bytes(engine->backend, w) * experts_read(engine->plan, op, tokens);
  return (struct work){.bytes = bytes,
                       .crossing =
                           plan_weight_on_host(engine->plan, op->weight[0], engine->limits.cpu_experts) ? bytes : 0,
                       .operations = 2.0 * w->rows * w->cols * tokens * experts_each(engine->plan, op, w),
                       .int8 = w->scheme.activation == ACTIVATION_INT8};
}

/* Tokens that the queries of one sequence see, all together, in a window (0: none). */
static double tokens_seen(double context, double count, double window) {
  double full = window > 0 ? window - context : count; /* queries that see all there is */
  if (full > count) full = count;
  if (full < 0) full = 0;
  return full * (context + (full + 1) / 2) + (count - full) * window;
}

/* Of sequences with so many tokens each. */
static struct work sequences_attend(const struct loaded_engine *engine, const struct op *op, double sequences,
                                    double count, double context) {
  const struct attend_args *a = &op->args.attend;
  const struct kv_group *group = plan_groups(engine->plan) + a->group;
  double token_bytes = (double)engine->footprint.kv_block[a->group] / engine->limits.block_size / group->n_layer;
  double kept = context + count;
  if (group->window > 0 && kept > group->window + count) kept = group->window + count;
  return (struct work){.bytes = sequences * kept * token_bytes,
                       .operations = 2.0 * a->n_head * (a->dim_k + a->dim_v) * sequences *
                                     tokens_seen(context, count, group->window)};
}

static struct work attend_work(const struct loaded_engine *engine, const struct op *op,
                               const struct step_shape *shape) {
  struct work work = sequences_attend(engine, op, shape->sequences, shape->tokens / shape->sequences, shape->context);
  if (shape->chunk == 0) return work;
  struct work chunk = sequences_attend(engine, op, 1, shape->chunk, shape->context);
  return (struct work){.bytes = work.bytes + chunk.bytes, .operations = work.operations + chunk.operations};
}

static struct work op_work(const struct loaded_engine *engine, const struct op *op, const struct step_shape *shape) {
  if (op->kind == OP_LINEAR) return linear_work(engine, op, shape);
  return op->kind == OP_ATTEND ? attend_work(engine, op, shape) : (struct work){0};
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

double step_bytes(const struct loaded_engine *engine, const struct step_shape *shape) {
  double bytes = 0;
  for (int i = 0; i < engine->plan->n_op; i++) bytes += op_work(engine, plan_ops(engine->plan) + i, shape).bytes;
  return bytes;
}

double step_floor(const struct loaded_engine *engine, const struct machine_rates *rates,
                  const struct step_shape *shape) {
  double gbs = rates_bandwidth(rates, step_bytes(engine, shape)), seconds = 0;
  double int8 = rates->int8_gops > 0 ? rates->int8_gops : rates->linear_gflops;
  if (gbs <= 0 || rates->linear_gflops <= 0) return 0;
  for (int i = 0; i < engine->plan->n_op; i++) {
    struct work work = op_work(engine, plan_ops(engine->plan) + i, shape);
    double memory = work.bytes / gbs, compute = work.operations / (work.int8 ? int8 : rates->linear_gflops);
    double link = rates->link_gbs > 0 ? work.crossing / rates->link_gbs : 0;
    seconds += fmax(link, memory > compute ? memory : compute) * 1e-9;
  }
  return seconds;
}
