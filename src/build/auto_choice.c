/* Losses of all candidates, then the budget.
 *
 * What a matrix adds to the loss of the network is taken as the share of it that rounding loses, times how much such a
 * share hurts there. Measured on SmolLM2 (30 layers) one kind of matrix after the other, as KL divergence: matrices of
 * a layer hurt alike, those of the first and the last layer twice as much, and the embedding with the head as much as a
 * matrix of every layer together, since all that the network says passes them once. */
#include "build/auto_choice.h"

#include "build/bit_budget.h"
#include "build/quant_override.h"
#include "build/quantize.h"
#include "build/rounding_loss.h"

#include <math.h>
#include <stdlib.h>

/* From 3.5 to 8.5 bits with their scales and minima; integers multiply with activations of 8 bits, unless a
 * backend prefers others. */
static int candidates_list(struct scheme *out) {
  static const struct {
    uint8_t bits, high_bits;
    uint16_t group;
  } ladder[] = {{2, 1, 64}, {4, 0, 128}, {4, 0, 64}, {4, 0, 32}, {4, 1, 32}, {4, 2, 32}};
  int n = 0;
  for (size_t i = 0; i < sizeof ladder / sizeof *ladder; i++) {
    out[n] = quantize_scheme(ladder[i].bits);
    out[n].high_bits = ladder[i].high_bits;
    out[n++].group = ladder[i].group;
  }
  out[n++] = quantize_scheme(8);
  out[n++] = (struct scheme){.kind = SCHEME_BF16};
  return n;
}

_Static_assert(BUDGET_CHOICES == 8, "as many as candidates_list has");

bool auto_check(const struct scheme_wish *wish, struct error *error) {
  double bits = wish->target_bits;
  bool automatic = wish->mode == QUANT_AUTO;
  if (!automatic && bits == 0) return true;
  if (!automatic)
    return error_set(error, ERROR_INVALID,
                     "target_bits is %g and quant_mode is %s; it belongs to quant_mode auto: choose that, or leave "
                     "target_bits out.",
                     bits, quant_mode_name(wish->mode));
  if (bits >= TARGET_BITS_LEAST && bits <= TARGET_BITS_MOST) return true;
  return error_set(error, ERROR_INVALID,
                   "target_bits is %g; with quant_mode auto it must be from %d to %d, the bits that a number of the "
                   "matrices may take on average, such as 4.5.",
                   bits, TARGET_BITS_LEAST, TARGET_BITS_MOST);
}

/* --- one weight ----------------------------------------------------------------------------------------------------
 */

static struct weight *weight_at(struct plan *plan, int index) {
  return (struct weight *)((char *)plan + plan->weights) + index;
}

static double bits_of(const struct weight *weight, const struct backend *backend) {
  return 8 * (double)backend_packed_bytes(backend, weight);
}

/* How much a lost share of the weight hurts the network. */
static double sensitivity_of(const struct plan *plan, int index) {
  if (plan_weights(plan)[index].rows == plan->vocab) return 1;
  int layer = -1, last = 0;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = &plan_ops(plan)[i];
    if (op->layer > last) last = op->layer;
    if (op->weight[0] == index && (op->kind == OP_LINEAR || op->kind == OP_EMBED)) layer = op->layer;
  }
  return (layer == 0 || layer == last ? 2.0 : 1.0) / (last + 1);
}

static bool is_free(const struct plan *plan, int index, const struct scheme_wish *wish) {
  const struct weight *weight = &plan_weights(plan)[index];
  return weight->use == WEIGHT_MATRIX && !plan_weight_routes(plan, index) &&
         quant_override_find(wish->overrides, plan, weight, QUANT_AUTO) == QUANT_AUTO;
}

/* A matrix that an override has settled: one choice. */
static void fixed_fill(const struct weight *weight, const struct backend *backend, struct budget_weight *out) {
  *out = (struct budget_weight){.n = 1};
  out->bits[0] = bits_of(weight, backend);
}

/* The choices that the backend runs, in `schemes` too. Leaves the weight with one of them. */
static bool free_fill(struct plan *plan, int index, const struct checkpoint *checkpoint, const struct backend *backend,
                      struct scheme *schemes, struct budget_weight *out, struct error *error) {
  struct scheme all[BUDGET_CHOICES];
  struct weight_source source;
  struct weight *weight = weight_at(plan, index);
  int n = candidates_list(all);
  *out = (struct budget_weight){0};
  for (int i = 0; i < n; i++) {
    if (backend->prefer) backend->prefer(&all[i], all[i].bits < 8); /* the ladder has its own groups of 4 bits */
    weight->scheme = all[i];
    if (!scheme_supported(plan, index, backend, error)) continue;
    out->bits[out->n] = bits_of(weight, backend);
    schemes[out->n++] = all[i];
  }
  if (out->n == 0) return false;
  double sensitivity = sensitivity_of(plan, index);
  bool done = weight_source_init(&source, plan, index, checkpoint, error) &&
              rounding_loss(&source, schemes, out->n, out->loss, error);
  for (int i = 0; i < out->n; i++) out->loss[i] *= sensitivity;
  return done;
}

/* --- all ------------------------------------------------------------------------------------------------------------
 */

struct choosing {
  struct plan *plan;
  struct budget_weight *budget;             /* [n_weight], the matrices first to last */
  struct scheme (*schemes)[BUDGET_CHOICES]; /* of each */
  int *index, n;                            /* in the plan's weights */
};

static double numbers_of(const struct plan *plan) {
  double numbers = 0;
  for (int i = 0; i < plan->n_weight; i++) {
    const struct weight *weight = &plan_weights(plan)[i];
    if (weight->use == WEIGHT_MATRIX) numbers += (double)weight_rows(weight) * weight->cols;
  }
  return numbers;
}

static bool choices_measure(struct choosing *c, const struct checkpoint *checkpoint, const struct scheme_wish *wish,
                            const struct backend *backend, struct error *error) {
  for (int i = 0; i < c->plan->n_weight; i++) {
    struct budget_weight *budget = &c->budget[c->n];
    if (plan_weights(c->plan)[i].use != WEIGHT_MATRIX) continue;
    c->schemes[c->n][0] = plan_weights(c->plan)[i].scheme;
    if (!is_free(c->plan, i, wish))
      fixed_fill(&plan_weights(c->plan)[i], backend, budget);
    else if (!free_fill(c->plan, i, checkpoint, backend, c->schemes[c->n], budget, error))
      return false;
    c->index[c->n++] = i;
  }
  return true;
}

static bool choices_take(struct choosing *c, double target, const struct backend *backend, struct error *error) {
  double numbers = numbers_of(c->plan), bits = bit_budget_spend(c->budget, c->n, target * numbers);
  for (int i = 0; i < c->n; i++) weight_at(c->plan, c->index[i])->scheme = c->schemes[i][c->budget[i].chosen];
  if (bits <= target * numbers) return true;
  return error_set(error, ERROR_INVALID,
                   "target_bits is %g, and the least that the matrices of this model take on %s is %.2f, with scales, "
                   "padding and overrides; raise it.",
                   target, backend->name, ceil(100 * bits / numbers) / 100);
}

bool auto_choose(struct plan *plan, const struct checkpoint *checkpoint, const struct scheme_wish *wish,
                 const struct backend *backend, struct error *error) {
  size_t n = (size_t)plan->n_weight + 1;
  struct choosing c = {.plan = plan,
                       .budget = calloc(n, sizeof *c.budget),
                       .schemes = calloc(n, sizeof *c.schemes),
                       .index = calloc(n, sizeof *c.index)};
  bool done = (c.budget && c.schemes && c.index) ||
              error_set(error, ERROR_MEMORY, "Out of memory for the choices of %d weights.", plan->n_weight);
  done = done && choices_measure(&c, checkpoint, wish, backend, error) &&
         choices_take(&c, wish->target_bits, backend, error);
  free(c.budget);
  free(c.schemes);
  free(c.index);
  return done;
}

double auto_average(const struct plan *plan, const struct backend *backend) {
  double bits = 0, numbers = numbers_of(plan);
  for (int i = 0; i < plan->n_weight; i++)
    if (plan_weights(plan)[i].use == WEIGHT_MATRIX) bits += bits_of(&plan_weights(plan)[i], backend);
  return numbers > 0 ? bits / numbers : 0;
}
