/* Norms and linears of the reference, in double. Where a weight's scheme says that activations are int8,
 * they are rounded exactly as the kernels round them, so that what is left between the two is the order of float sums.
 */
#include "backend/reference/reference_program.h"

#include "base/half.h"

#include <math.h>

void reference_rms_norm(const double *x, const float *weight, int cols, double eps, double *y) {
  double squares = 0;
  for (int i = 0; i < cols; i++) squares += x[i] * x[i];
  double rms = sqrt(squares / cols + eps);
  for (int i = 0; i < cols; i++) y[i] = x[i] / rms * (weight ? weight[i] : 1.0);
}

static void layer_norm(const double *x, const float *weight, int cols, double eps, double *y) {
  double mean = 0, squares = 0;
  for (int i = 0; i < cols; i++) mean += x[i] / cols;
  for (int i = 0; i < cols; i++) squares += (x[i] - mean) * (x[i] - mean);
  double deviation = sqrt(squares / cols + eps);
  for (int i = 0; i < cols; i++) y[i] = (x[i] - mean) / deviation * weight[i] + weight[cols + i];
}

void reference_norm(uint8_t norm, const double *x, const float *weight, int cols, double eps, double *y) {
  if (norm == NORM_RMS) reference_rms_norm(x, weight, cols, eps, y);
  if (norm == NORM_LAYER) layer_norm(x, weight, cols, eps, y);
}

static float code_round(float x, bool e4m3) { return e4m3 ? e4m3_to_float(e4m3_from_float(x)) : rintf(x); }

/* What rounded activations are: for each run of `group` columns, scale = peak / 127 (E4M3: / 448) and codes rounded to
 * nearest, ties to even, all in float arithmetic. Runs that are zero but for denormals become zero. */
static void activation_round(double *x, int cols, int group, bool e4m3) {
  float top = e4m3 ? E4M3_MAX : 127;
  for (int first = 0; first < cols; first += group) {
    int end = first + group < cols ? first + group : cols;
    float peak = 0;
    for (int i = first; i < end; i++) peak = fmaxf(peak, fabsf((float)x[i]));
    float inverse = peak > 1e-30f ? top / peak : 0, scale = peak > 1e-30f ? peak / top : 0;
    for (int i = first; i < end; i++) x[i] = (double)code_round((float)x[i] * inverse, e4m3) * scale;
  }
}

/* What a linear multiplies for each row: so many matrices (results), with so many inputs, one for all or one for each.
 */
struct extent {
  int rows, results, inputs;
};

static struct extent extent_of(const struct program *program, const struct op *op, const struct weight *weight) {
  int mode = op->args.linear.expert_mode, n = 1;
  if (mode == EXPERTS_EACH) n = weight->n_expert;
  if (mode == EXPERTS_SPREAD || mode == EXPERTS_GATHER) n = plan_values(program->plan)[op->in[2]].cols / 2;
  return (struct extent){value_rows(program, op->in[0]), n, mode == EXPERTS_SPREAD ? 1 : n};
}

/* The matrix of a row's j-th result. */
static int expert_of(const struct program *program, const struct op *op, int row, int j) {
  return op->in[2] >= 0 ? (int)value_row(program, op->in[2], row)[j] : j;
}

static void input_prepare(struct program *program, const struct op *op, const struct weight *weight, struct extent n) {
  const struct linear_args *args = &op->args.linear;
  size_t cols = (size_t)weight->cols;
  for (int i = 0; i < n.rows * n.inputs; i++) {
    double *x = program->input + (size_t)i * cols;
    memcpy(x, value_row(program, op->in[0], i / n.inputs) + (size_t)(i % n.inputs) * cols, cols * sizeof *x);
    reference_norm(args->norm, x, vector_get(program, op->weight[2]), weight->cols, args->eps, x);
    if (weight->scheme.activation != ACTIVATION_FLOAT)
      activation_round(x, weight->cols, weight->scheme.activation == ACTIVATION_INT8 ? ACTIVATION_GROUP : weight->cols,
                       weight->scheme.activation == ACTIVATION_E4M3_TOKEN);
  }
}

/* Which results of the step have this matrix, into program->chosen; returns how many. */
static int chosen_find(const struct program *program, const struct op *op, int expert, struct extent n) {
  int found = 0;
  for (int i = 0; i < n.rows * n.results; i++)
    if (expert_of(program, op, i / n.results, i % n.results) == expert) program->chosen[found++] = i;
  return found;
}

static double dot(const double *a, const double *b, size_t n) {
  double sum = 0;
  for (size_t k = 0; k < n; k++) sum += a[k] * b[k];
  return sum;
}

/* product[r][j][row] = input[r] (or [r][j]) · row of the j-th matrix of r */
static void product_compute(struct program *program, const struct op *op, const struct weight *weight,
                            struct extent n) {
  size_t cols = (size_t)weight->cols, rows = (size_t)weight->rows;
  int found = 0;
  for (int row = 0; row < weight_rows(weight); row++) {
    if (row % weight->rows == 0) found = chosen_find(program, op, row / weight->rows, n);
    if (found > 0) reference_weight_row(program, op->weight[0], row, program->line);
    for (int f = 0; f < found; f++) {
      int i = program->chosen[f];
      const double *x = program->input + (size_t)(n.inputs > 1 ? i : i / n.results) * cols;
      program->product[(size_t)i * rows + (size_t)(row % weight->rows)] = dot(x, program->line, cols);
    }
  }
}

/* What a row's adapters change, and the bias. */
static void product_complete(struct program *program, const struct op *op, const struct weight *weight, int row, int j,
                             double *product) {
  const float *bias = vector_get(program, op->weight[1]);
  if (bias) bias += (size_t)expert_of(program, op, row, j) * (size_t)weight->rows;
  if (op->args.linear.expert_mode != EXPERTS_EACH) reference_adapt_linear(program, op, row, j, product);
  for (int i = 0; bias && i < weight->rows; i++) product[i] += bias[i];
}

static double act_apply(int act, double x) {
  const double root = 0.79788456080286535588; /* √(2/π) */
  if (act == ACT_SILU) return x / (1 + exp(-x));
  if (act == ACT_GELU_TANH) return 0.5 * x * (1 + tanh(root * (x + 0.044715 * x * x * x)));
  if (act == ACT_GELU) return 0.5 * x * erfc(-x * 0.70710678118654752440);
  if (act == ACT_TANH) return tanh(x);
  if (act == ACT_RELU) return x > 0 ? x : x != x ? x : 0;
  if (act == ACT_GELU_QUICK) return x / (1 + exp(-1.702 * x));
  return x;
}

/* Within ± limit; 0: none. What is no number stays so. */
static double limited(double x, double limit) {
  if (limit > 0 && fabs(x) > limit) return copysign(limit, x);
  return x;
}

/* Products of one row to a row of the result, in place: the result never has more columns. */
static void tail_apply(const struct op *op, double *product, int cols) {
  const struct linear_args *args = &op->args.linear;
  for (int c = 0; c < cols; c++) {
    int run = c / GATE_INTERLEAVE, within = c % GATE_INTERLEAVE;
    const double *gate = args->gated ? product + 2 * run * GATE_INTERLEAVE + within : product + c;
    double x = act_apply(args->act, args->limit > 0 && *gate > args->limit ? args->limit : *gate);
    if (args->gated) x *= limited(gate[GATE_INTERLEAVE], args->limit) + args->up_add;
    x *= args->scale;
    product[c] = args->softcap > 0 ? args->softcap * tanh(x / args->softcap) : x;
  }
}

static void post_norm(const struct program *program, const struct op *op, double *row, int cols) {
  const struct linear_args *args = &op->args.linear;
  reference_norm(args->post_norm, row, vector_get(program, op->weight[3]), cols, args->post_eps, row);
}

/* One result of a row, of cols columns, through all that follows, to its place in the output. */
static void result_store(struct program *program, const struct op *op, int row, size_t at, double *result, int cols) {
  const struct linear_args *args = &op->args.linear;
  double *out = value_row(program, op->out, row) + at;
  const double *residual = op->in[1] >= 0 ? value_row(program, op->in[1], row) + at : NULL;
  tail_apply(op, result, cols);
  if (!args->post_sum) post_norm(program, op, result, cols);
  for (int c = 0; c < cols; c++)
    out[c] = args->multiply ? result[c] * residual[c] : result[c] + (residual ? residual[c] : 0);
  if (args->post_sum) post_norm(program, op, out, cols);
}

/* The sum of a row's results, each times its weight, in place of the first. */
static void results_gather(const struct program *program, const struct op *op, int row, int n, int cols,
                           double *results) {
  const double *weight = value_row(program, op->in[2], row) + n;
  for (int c = 0; c < cols; c++) {
    double sum = 0;
    for (int j = 0; j < n; j++) sum += weight[j] * results[(size_t)j * (size_t)cols + (size_t)c];
    results[c] = sum;
  }
}

void reference_linear(struct program *program, const struct op *op) {
  const struct weight *weight = plan_weights(program->plan) + op->weight[0];
  struct extent n = extent_of(program, op, weight);
  bool gathers = op->args.linear.expert_mode == EXPERTS_GATHER;
  int cols = op->args.linear.gated ? weight->part[0].rows : weight->rows;
  input_prepare(program, op, weight, n);
  product_compute(program, op, weight, n);
  for (int r = 0; r < n.rows; r++) {
    double *first = program->product + (size_t)r * (size_t)n.results * (size_t)weight->rows;
    for (int j = 0; j < n.results; j++)
      product_complete(program, op, weight, r, j, first + (size_t)j * (size_t)weight->rows);
    if (gathers) results_gather(program, op, r, n.results, cols, first);
    for (int j = 0; j < (gathers ? 1 : n.results); j++)
      result_store(program, op, r, (size_t)op->args.linear.column + (size_t)j * (size_t)cols,
                   first + (size_t)j * (size_t)weight->rows, cols);
  }
}
