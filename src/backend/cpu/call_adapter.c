/* Adapters in a step. Rows with adapters are sorted by slot, so that what one thread shrinks with an adapter stays in
 * its cache. Shrinks are of up to SHRINK_TOKENS rows with one adapter, cut into runs of a's rows, which all workers
 * share; they run beside the preparation of the input and are ready at the barrier after it. The expansion is the
 * tail's (adapter_template.h). Of experts each result is such a row, and their pairs come by experts first. */
#include "backend/cpu/cpu_program.h"

#include <math.h>
#include <string.h>

enum { RUN_ROWS = 2 * FACTOR_ROWS };

/* --- the step ----------------------------------------------------------------------------------------------------- */

static bool batch_adapted(const struct batch *batch) {
  for (int r = 0; r < batch->n_row; r++)
    for (int l = 0; l < batch->row[r].n_lora; l++)
      if (batch->row[r].lora[l].scale != 0) return true;
  return false;
}

/* What is done with each row of the step and each adapter in use there. */
typedef void pair_visit(struct program *program, struct adapter_pair pair);

static void pairs_visit(struct program *program, bool outputs, pair_visit *visit) {
  const struct batch *batch = program->batch;
  int n = outputs ? batch->n_out : batch->n_token;
  for (int i = 0; i < n; i++) {
    const struct row *row = batch->row + program->token_row[outputs ? batch->out[i] : i];
    for (int l = 0; l < row->n_lora; l++)
      if (row->lora[l].scale != 0)
        visit(program, (struct adapter_pair){i, l, row->lora[l].slot, 0, row->lora[l].scale});
  }
}

static void pair_count(struct program *program, struct adapter_pair pair) { program->slot_count[pair.slot]++; }

static void pair_place(struct program *program, struct adapter_pair pair) {
  program->pairs.pair[program->slot_count[pair.slot]++] = pair;
}

void adapters_begin(struct program *program, bool outputs) {
  program->pairs.n = program->n_slot_used = 0;
  if (program->limits.adapters == 0 || !batch_adapted(program->batch)) return;
  int n = outputs ? program->batch->n_out : program->batch->n_token;
  memset(program->slot_count, 0, (size_t)program->limits.adapters * sizeof *program->slot_count);
  pairs_visit(program, outputs, pair_count);
  for (int slot = 0; slot < program->limits.adapters; slot++) {
    int count = program->slot_count[slot];
    program->slot_count[slot] = program->pairs.n; /* now where the next of the slot goes */
    program->pairs.n += count;
    if (count && program->slot[slot].factors) program->slot_used[program->n_slot_used++] = slot;
  }
  pairs_visit(program, outputs, pair_place);
  memset(program->pairs.use, 0, (size_t)n * ROW_LORAS * sizeof *program->pairs.use);
}

void adapters_choose(const struct program *program, const struct op *route) {
  struct expert_order *order = &program->order[route->out];
  const struct adapter_pairs *tokens = &program->pairs;
  int k = route->args.route.k, n_expert = route->args.route.n_expert, total = 0;
  int32_t *next = order->count; /* of an expert: how many, then where its next is */
  order->pairs.n = tokens->n * k;
  if (tokens->n == 0) return;
  memset(next, 0, (size_t)n_expert * sizeof *next);
  for (int i = 0; i < tokens->n; i++)
    for (int j = 0; j < k; j++) next[(int)value_row(program, route->out, tokens->pair[i].row)[j]]++;
  for (int e = 0, count; e < n_expert; e++, total += count) {
    count = next[e];
    next[e] = total;
  }
  for (int i = 0; i < tokens->n; i++)
    for (int j = 0; j < k; j++) {
      struct adapter_pair pair = tokens->pair[i];
      pair.expert = (int)value_row(program, route->out, pair.row)[j];
      pair.row = order->place[pair.row * k + j];
      order->pairs.pair[next[pair.expert]++] = pair;
    }
  size_t uses = (size_t)program->batch->n_token * (size_t)k * ROW_LORAS;
  memset(order->pairs.use, 0, uses * sizeof *order->pairs.use);
}

bool adapters_meet(const struct program *program, const struct call *call) {
  for (int i = 0; i < program->n_slot_used; i++)
    if (program->slot[program->slot_used[i]].changes[call->index]) return true;
  return false;
}

static const struct adapter_factors *pair_factors(const struct program *program, const struct call *call,
                                                  const struct adapter_pair *pair) {
  const struct adapter_slot *slot = &program->slot[pair->slot];
  return slot->factors ? slot->factors[call->site + pair->expert] : NULL;
}

/* --- linears ------------------------------------------------------------------------------------------------------ */

static float *pair_shrunk(const struct program *program, int pair) {
  return program->shrunk + (size_t)pair * program->shrunk_stride;
}

static void uses_write(const struct program *program, const struct adapter_pairs *pairs, const struct call *call,
                       int worker) {
  struct range share = team_share(program->device->team, pairs->n, worker);
  for (int i = share.first; i < share.first + share.count; i++) {
    const struct adapter_pair *pair = &pairs->pair[i];
    pairs->use[(size_t)pair->row * ROW_LORAS + (size_t)pair->lora] = (struct adapter_use){
        .factors = pair_factors(program, call, pair), .h = pair_shrunk(program, i), .scale = pair->scale};
  }
}

static int whole_columns(int cols) { return (cols + FACTOR_COLUMNS - 1) / FACTOR_COLUMNS * FACTOR_COLUMNS; }

static int runs_of(const struct adapter_factors *factors) {
  return factors ? (factors->rank + RUN_ROWS - 1) / RUN_ROWS : 0;
}

/* The input of a row, or of an expert's result. */
static const float *row_input(const struct program *program, const struct call *call, int row) {
  const struct op *op = call->op;
  if (op->args.linear.expert_mode == EXPERTS_NONE) return value_row(program, op->in[0], row);
  int result = program->order[op->in[2]].result[row], k = (int)value_cols(program, op->in[2]) / 2;
  const float *x = value_row(program, op->in[0], result / k);
  bool gathers = op->args.linear.expert_mode == EXPERTS_GATHER;
  return gathers ? x + (size_t)(result % k) * (size_t)call->layout.cols : x;
}

/* The same as an adapter takes it: after its norm, filled up with zeros. */
static const float *input_of(const struct program *program, const struct call *call, int row, float *normed) {
  const struct op *op = call->op;
  const float *x = row_input(program, call, row);
  int cols = call->layout.cols, padded = whole_columns(cols);
  enum norm_kind norm = op->args.linear.norm;
  if (norm == NORM_NONE && cols == padded) return x;
  if (norm != NORM_NONE)
    row_norm(program, norm, x, op->weight[2], cols, op->args.linear.eps, normed);
  else
    memcpy(normed, x, (size_t)cols * sizeof *normed);
  memset(normed + cols, 0, (size_t)(padded - cols) * sizeof *normed);
  return normed;
}

/* Rows of the factors [rows.first, …) with the pairs [of.first, …), which are of one expert and slot. */
static void pairs_shrink(const struct program *program, const struct adapter_pairs *pairs, const struct call *call,
                         struct range of, struct range rows, float *normed) {
  struct shrink_row row[SHRINK_TOKENS];
  const struct adapter_pair *pair = &pairs->pair[of.first];
  for (int i = 0; i < of.count; i++, normed += whole_columns(call->layout.cols))
    row[i] = (struct shrink_row){.x = input_of(program, call, pair[i].row, normed),
                                 .h = pair_shrunk(program, of.first + i),
                                 .scale = pair[i].scale};
  program->device->kernels->shrink(pair_factors(program, call, pair), rows.first, rows.count, row, of.count);
}

/* How many pairs from `first` on are shrunk together. */
static int pairs_together(const struct adapter_pairs *pairs, int first) {
  const struct adapter_pair *pair = &pairs->pair[first];
  int n = 1;
  while (n < SHRINK_TOKENS && first + n < pairs->n && pair[n].slot == pair->slot && pair[n].expert == pair->expert) n++;
  return n;
}

size_t adapters_shrink_scratch(int cols) { return (size_t)SHRINK_TOKENS * (size_t)whole_columns(cols); }

void adapters_shrink(struct program *program, const struct adapter_pairs *pairs, const struct call *call, int worker,
                     float *normed) {
  int total = 0, at = 0;
  uses_write(program, pairs, call, worker);
  for (int i = 0; i < pairs->n; i += pairs_together(pairs, i))
    total += runs_of(pair_factors(program, call, &pairs->pair[i]));
  struct range mine = team_share(program->device->team, total, worker);
  for (int i = 0, n; i < pairs->n && at < mine.first + mine.count; i += n) {
    const struct adapter_factors *factors = pair_factors(program, call, &pairs->pair[i]);
    int runs = runs_of(factors), first = mine.first > at ? mine.first - at : 0, end = mine.first + mine.count - at;
    n = pairs_together(pairs, i);
    at += runs;
    if (end > runs) end = runs;
    if (!factors || first >= end) continue;
    int last = end * RUN_ROWS < factors->rank ? end * RUN_ROWS : factors->rank;
    pairs_shrink(program, pairs, call, (struct range){i, n}, (struct range){first * RUN_ROWS, last - first * RUN_ROWS},
                 normed);
  }
}

/* --- embeddings --------------------------------------------------------------------------------------------------- */

enum { EMBED_COLUMNS = 64 }; /* that are changed at a time */

/* Adds what an adapter changes in columns of the table's row of a token to `change`. */
static void columns_change(const struct adapter_factors *factors, size_t token, float scale, struct range columns,
                           size_t cols, const float *base, float *change) {
  float delta[EMBED_COLUMNS] = {0}, b[EMBED_COLUMNS];
  size_t first = (size_t)columns.first, count = (size_t)columns.count;
  for (size_t k = 0; k < (size_t)factors->rank; k++) {
    float a;
    factor_floats((struct factor){factors->a, factors->a_type}, token * factors->a_stride + k, 1, &a);
    factor_floats((struct factor){factors->b, factors->b_type}, k * cols + first, count, b);
    for (size_t i = 0; i < count; i++) delta[i] += b[i] * (factors->gain[0] * a);
  }
  for (size_t i = 0; i < count; i++) {
    double g = factors->magnitude ? adapter_gain(factors, first + i, scale) : 1;
    change[i] += (float)((g - 1) * base[i] + g * scale * delta[i]);
  }
}

void adapters_embed(const struct program *program, const struct call *call, int token, float *row) {
  const struct row *of = program->batch->row + program->token_row[token];
  const struct adapter_factors *factors[ROW_LORAS];
  size_t cols = (size_t)call->layout.cols, id = (size_t)program->batch->token[token];
  bool any = false;
  for (int l = 0; l < of->n_lora; l++) {
    const struct adapter_slot *slot = &program->slot[of->lora[l].slot];
    factors[l] = of->lora[l].scale != 0 && slot->factors ? slot->factors[call->site] : NULL;
    any = any || factors[l];
  }
  for (struct range part = {0}; any && part.first < (int)cols; part.first += EMBED_COLUMNS) {
    float change[EMBED_COLUMNS] = {0}, *base = row + part.first;
    part.count = (int)cols - part.first < EMBED_COLUMNS ? (int)cols - part.first : EMBED_COLUMNS;
    for (int l = 0; l < of->n_lora; l++)
      if (factors[l]) columns_change(factors[l], id, of->lora[l].scale, part, cols, base, change);
    for (int c = 0; c < part.count; c++) base[c] = adapter_bounded(base[c] + change[c], ADAPTER_MOST);
  }
}
