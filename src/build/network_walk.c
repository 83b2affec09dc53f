/* Values between sites, and the sites as plans of their own. */
#include "build/network_walk.h"

#include "build/plan_cut.h"

#include <math.h>
#include <stdlib.h>

static size_t tokens_of(const struct calibration_data *data) { return (size_t)data->n_window * (size_t)data->length; }

/* --- values --------------------------------------------------------------------------------------------------------
 */

/* What the site makes for those after it: of a mixture what stays of it, and what the linears beside its experts make.
 */
static void site_mark(const struct plan *plan, const struct walk_site *site, bool *passes) {
  passes[plan_ops(plan)[site->first + site->n_op - 1].out] = true;
  for (int i = 1; walk_site_mixes(site) && i < site->count; i++) {
    const struct op *op = walk_site_op(plan, site, i);
    if (!linear_is_routed(&op->args.linear)) passes[op->out] = true;
  }
}

/* Marks the values that pass between sites. */
static void values_mark(const struct plan *plan, bool *passes) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == OP_EMBED) passes[plan_ops(plan)[i].out] = true;
  struct walk_site site;
  for (int from = 0; walk_site_find(plan, from, &site); from = site.first + site.n_op) site_mark(plan, &site, passes);
}

uint64_t network_walk_memory(const struct plan *plan, const struct calibration_data *data) {
  bool *passes = calloc((size_t)plan->n_value + 1, sizeof *passes);
  uint64_t cols = 0;
  if (!passes) return 0;
  values_mark(plan, passes);
  for (int i = 0; i < plan->n_value; i++) cols += passes[i] ? (uint64_t)plan_values(plan)[i].cols : 0;
  free(passes);
  return cols * tokens_of(data) * sizeof(float);
}

static bool values_alloc(struct network_walk *walk) {
  const struct plan *plan = walk->plan;
  bool *passes = calloc((size_t)plan->n_value + 1, sizeof *passes), got = passes != NULL;
  walk->value = calloc((size_t)plan->n_value + 1, sizeof *walk->value);
  if (got) values_mark(plan, passes);
  for (int i = 0; i < plan->n_value && got && walk->value; i++) {
    if (passes[i]) walk->value[i] = malloc(tokens_of(walk->data) * (size_t)plan_values(plan)[i].cols * sizeof(float));
    got = !passes[i] || walk->value[i];
  }
  free(passes);
  return got && walk->value;
}

/* A weight's numbers as the file has them, with what is merged. */
static bool source_init(const struct network_walk *walk, int weight, struct weight *as_floats,
                        struct weight_source *source, struct error *error) {
  if (!weight_source_init(source, walk->plan, weight, walk->checkpoint, error)) return false;
  *as_floats = *source->weight;
  as_floats->scheme = (struct scheme){.kind = SCHEME_F32};
  source->weight = as_floats;
  if (walk->merged) source->transform = &walk->merged[weight];
  return true;
}

/* The row of the table for token i. */
static int embed_row(const struct network_walk *walk, const struct op *op, size_t i) {
  return op->args.embed.source == EMBED_TOKENS ? walk->data->token[i] : (int)(i % (size_t)walk->data->length);
}

static bool tokens_embed(struct network_walk *walk, const struct op *op, struct error *error) {
  struct weight table;
  struct weight_source source;
  struct weight_reader reader = {0};
  if (!source_init(walk, op->weight[0], &table, &source, error)) return false;
  bool done = weight_reader_init(&reader, &source, 1, error);
  size_t cols = (size_t)table.cols;
  for (size_t i = 0; i < tokens_of(walk->data) && done; i++) {
    float *out = walk->value[op->out] + i * cols;
    done = weight_reader_read(&reader, embed_row(walk, op, i), 1, error);
    const float *row = reader.rows.dense;
    for (size_t k = 0; k < cols && done; k++) out[k] = row[k] * op->args.embed.scale + (op->in[0] >= 0 ? out[k] : 0);
  }
  weight_reader_release(&reader);
  return done;
}

bool network_walk_init(struct network_walk *walk, struct error *error) {
  if (!values_alloc(walk))
    return error_set(error, ERROR_MEMORY, "Out of memory for %zu calibration tokens.", tokens_of(walk->data));
  return true;
}

bool network_walk_begin(struct network_walk *walk, struct error *error) {
  for (int i = 0; i < walk->plan->n_op; i++)
    if (plan_ops(walk->plan)[i].kind == OP_EMBED && !tokens_embed(walk, plan_ops(walk->plan) + i, error)) return false;
  return true;
}

void network_walk_release(struct network_walk *walk) {
  for (int i = 0; walk->value && i < walk->plan->n_value; i++) free(walk->value[i]);
  free(walk->value);
  walk->value = NULL;
}

bool network_walk_takes(const struct network_walk *walk, int op, int value) {
  if (!walk->value[value]) return false;
  for (const struct op *at = plan_ops(walk->plan) + op, *end = plan_ops(walk->plan) + walk->plan->n_op; at < end;
       at++) {
    if (at->in[0] == value || at->in[1] == value) return true;
    if (at->out == value) return false;
  }
  return false;
}

size_t network_walk_numbers(const struct network_walk *walk, int value) {
  return tokens_of(walk->data) * (size_t)plan_values(walk->plan)[value].cols;
}

/* --- inputs --------------------------------------------------------------------------------------------------------
 */

float *network_walk_vector(const struct network_walk *walk, int weight, struct error *error) {
  struct weight_source source;
  const struct weight *w = plan_weights(walk->plan) + weight;
  float *out = malloc((size_t)weight_experts(w) * (size_t)w->cols * sizeof *out);
  if (!out) {
    error_set(error, ERROR_MEMORY, "Out of memory for a vector.");
    return NULL;
  }
  if (weight_source_init(&source, walk->plan, weight, walk->checkpoint, error)) {
    if (walk->merged) source.transform = &walk->merged[weight];
    if (weight_source_vector(&source, out, error)) return out;
  }
  free(out);
  return NULL;
}

/* By factors, then shifts. */
static void row_center(float *x, const float *weight, size_t cols, float eps) {
  double mean = 0, squares = 0;
  for (size_t i = 0; i < cols; i++) mean += (double)x[i] / (double)cols;
  for (size_t i = 0; i < cols; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
  double inverse = 1 / sqrt(squares / (double)cols + (double)eps);
  for (size_t i = 0; i < cols; i++) x[i] = (float)(((double)x[i] - mean) * inverse) * weight[i] + weight[cols + i];
}

static void row_norm(float *x, const float *weight, size_t cols, float eps) {
  double squares = 0;
  for (size_t i = 0; i < cols; i++) squares += (double)x[i] * (double)x[i];
  float inverse = (float)(1 / sqrt(squares / (double)cols + (double)eps));
  for (size_t i = 0; i < cols; i++) x[i] *= inverse * (weight ? weight[i] : 1);
}

bool network_walk_inputs(const struct network_walk *walk, const struct walk_site *site, int window, float *out,
                         struct error *error) {
  const struct op *op = walk_site_op(walk->plan, site, 0);
  size_t cols = (size_t)walk_site_cols(walk->plan, site), rows = (size_t)walk->data->length;
  memcpy(out, walk->value[op->in[0]] + (size_t)window * rows * cols, rows * cols * sizeof *out);
  if (op->args.linear.norm == NORM_NONE) return true;
  float *norm = op->weight[2] >= 0 ? network_walk_vector(walk, op->weight[2], error) : NULL;
  if (op->weight[2] >= 0 && !norm) return false;
  for (size_t i = 0; i < rows; i++)
    (op->args.linear.norm == NORM_LAYER ? row_center : row_norm)(out + i * cols, norm, cols, op->args.linear.eps);
  free(norm);
  return true;
}

/* --- running -------------------------------------------------------------------------------------------------------
 */

/* The numbers of a weight of the site: of its linears' matrices the given ones, of vectors the file's. */
static bool weight_store(const struct network_walk *walk, const struct walk_site *site, const struct plan_cut *cut,
                         int index, float *const *matrix, struct float_program *program, struct error *error) {
  int origin = cut->origin[index];
  if (origin < 0) return true;
  for (int i = 0; i < site->n_linear; i++)
    if (walk_site_op(walk->plan, site, i)->weight[0] == origin)
      return float_program_store(program, index, matrix[i], error);
  float *vector = network_walk_vector(walk, origin, error);
  bool stored = vector && float_program_store(program, index, vector, error);
  free(vector);
  return stored;
}

/* The result's rows, valid until the next step; NULL on failure. */
static const float *window_run(const struct network_walk *walk, const struct plan_cut *cut,
                               struct float_program *program, int window, struct error *error) {
  size_t first = (size_t)window * (size_t)walk->data->length;
  for (int i = 0; i < cut->n_in; i++) {
    size_t cols = (size_t)plan_values(walk->plan)[cut->value[i]].cols;
    if (!float_program_store(program, i, walk->value[cut->value[i]] + first * cols, error)) return NULL;
  }
  return float_program_run(program, 0, walk->data->length, error);
}

bool network_walk_each(const struct network_walk *walk, const struct walk_site *site, float *const *matrix,
                       walk_sink sink, void *context, struct error *error) {
  struct plan_cut cut;
  struct float_program program = {0};
  bool done = plan_cut_make(&cut, walk->plan, site->first, site->n_op, walk->data->length, 0, error) &&
              float_program_open(&program, walk->device, plan_cut_plan(&cut), walk->data->length, error);
  for (int i = 0; done && i < plan_cut_plan(&cut)->n_weight; i++)
    done = weight_store(walk, site, &cut, i, matrix, &program, error);
  for (int i = 0; done && i < walk->data->n_window; i++) {
    const float *rows = window_run(walk, &cut, &program, i, error);
    done = rows && sink(context, rows, i, error);
  }
  if (program.plan) float_program_close(&program);
  plan_cut_release(&cut);
  return done;
}

/* Where the result's rows of all tokens go, and how many numbers a window has. */
struct result_place {
  float *out;
  size_t count;
};

static bool result_keep(void *context, const float *rows, int window, struct error *error) {
  const struct result_place *place = context;
  (void)error;
  memcpy(place->out + (size_t)window * place->count, rows, place->count * sizeof *rows);
  return true;
}

bool network_walk_result(const struct network_walk *walk, const struct walk_site *site, float *const *matrix,
                         float *out, struct error *error) {
  int value = plan_ops(walk->plan)[site->first + site->n_op - 1].out;
  struct result_place place = {out, (size_t)walk->data->length * (size_t)plan_values(walk->plan)[value].cols};
  return network_walk_each(walk, site, matrix, result_keep, &place, error);
}

bool network_walk_run(struct network_walk *walk, const struct walk_site *site, float *const *matrix,
                      struct error *error) {
  float *out = walk->value[plan_ops(walk->plan)[site->first + site->n_op - 1].out];
  return network_walk_result(walk, site, matrix, out, error);
}
