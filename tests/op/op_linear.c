/* Linears: every scheme × shape × variant × number of rows. */
#include "base/half.h"
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct variant {
  const char *name;
  bool bias, gated, head; /* head: on selected outputs, as the network's last linear is */
  bool multiply;          /* the residual is a factor */
  uint8_t norm, post_norm, act;
  enum { NO_RESIDUAL, RESIDUAL, RESIDUAL_IN_PLACE } residual;
  float scale, softcap, limit, up_add;
  int few; /* which third of the batch sizes it has among few cases: these have all that an epilogue does */
};

static const struct variant variants[] = {
    {.name = "plain", .scale = 1},
    {.name = "bias", .bias = true, .scale = 1},
    {.name = "residual", .residual = RESIDUAL, .scale = 1},
    {.name = "bias, scale, residual in place", .bias = true, .residual = RESIDUAL_IN_PLACE, .scale = 0.3f},
    {.name = "norm, bias, factor in place",
     .norm = NORM_RMS,
     .bias = true,
     .residual = RESIDUAL_IN_PLACE,
     .multiply = true,
     .scale = 1,
     .few = 1},
    {.name = "scale, softcap, factor", .residual = RESIDUAL, .multiply = true, .scale = 0.5f, .softcap = 3},
    {.name = "norm", .norm = NORM_RMS, .scale = 1},
    {.name = "silu, bias", .act = ACT_SILU, .bias = true, .scale = 1},
    {.name = "gated silu, norm", .gated = true, .act = ACT_SILU, .norm = NORM_RMS, .scale = 1},
    {.name = "gated gelu, bias", .gated = true, .act = ACT_GELU_TANH, .bias = true, .scale = 1},
    {.name = "gated silu, scale, softcap, residual",
     .gated = true,
     .act = ACT_SILU,
     .residual = RESIDUAL,
     .scale = 0.5f,
     .softcap = 3,
     .few = 2},
    {.name = "gated quick gelu, limit, one more than up, bias",
     .gated = true,
     .act = ACT_GELU_QUICK,
     .bias = true,
     .scale = 1,
     .limit = 0.7f,
     .up_add = 1,
     .few = 1},
    {.name = "layer norm, gelu, bias", .norm = NORM_LAYER, .act = ACT_GELU, .bias = true, .scale = 1},
    {.name = "layer norm, quick gelu, residual",
     .norm = NORM_LAYER,
     .act = ACT_GELU_QUICK,
     .residual = RESIDUAL,
     .scale = 1,
     .few = 2},
    {.name = "layer norm, gated gelu, bias, residual in place",
     .gated = true,
     .norm = NORM_LAYER,
     .act = ACT_GELU,
     .bias = true,
     .residual = RESIDUAL_IN_PLACE,
     .scale = 0.5f,
     .few = 1},
    {.name = "layer norm", .norm = NORM_LAYER, .scale = 1},
    {.name = "tanh, bias", .act = ACT_TANH, .bias = true, .scale = 1},
    {.name = "relu, bias", .act = ACT_RELU, .bias = true, .scale = 1},
    {.name = "post norm", .post_norm = NORM_RMS, .scale = 1},
    {.name = "norm, post norm, residual in place",
     .norm = NORM_RMS,
     .post_norm = NORM_RMS,
     .residual = RESIDUAL_IN_PLACE,
     .scale = 1,
     .few = 3},
    {.name = "head: norm, softcap", .head = true, .norm = NORM_RMS, .scale = 1, .softcap = 5},
    {.name = "head: layer norm", .head = true, .norm = NORM_LAYER, .scale = 1},
};

/* rows and cols of the matrix (of each part, if gated); the most tokens of a batch. */
static const struct shape {
  int rows, cols, tokens;
  bool large; /* for matrix units alone, whose kernels follow the sizes */
  bool few;
} shapes[] = {
    {96, 256, 150, false, false}, /* whole tiles, groups and super groups; tokens past every block of rows */
    {100, 320, 33, false, true},  /* a last tile of 4 rows; tails of groups of 128 and of super groups */
    {352, 1280, 257, true, true}, /* codes in whole pieces, whose columns the blocks of a cluster share */
    {33, 100, 5, false, false},   /* tails everywhere */
    {1, 24, 2, false, false},     {16, 16400, 32, true, true}, /* few rows' rings that turn */
    {160, 1088, 600, true, true}, /* many rows', tiles and clusters of every kind, a last tile that is not whole */
};

enum { TOKENS_MOST = 600 };
static const int batch_tokens[] = {1, 2, 5, 9, 32, 33, 64, 65, 150, 257, TOKENS_MOST};
enum { BATCHES = sizeof batch_tokens / sizeof *batch_tokens };

static const struct limits limits = {
    .seats = 2, .tokens = TOKENS_MOST, .outputs = TOKENS_MOST, .length = TOKENS_MOST, .opt_batch = 4, .block_size = 16};

struct linear_case {
  struct op_model model;
  const struct variant *variant;
  const struct shape *shape;
  struct scheme scheme;
  double input_roundoff;           /* of activations that are rounded for a matrix unit; 0: they are not */
  int input_table, residual_table; /* weights that the inputs are rows of */
  int matrix, bias, norm, post_norm;
  bool few, kinds; /* kinds: there are several kernels, by the number of rows */
};

static const float eps = 1e-5f, post_eps = 1e-6f;

/* --- the plan --------------------------------------------------------------------------------------------------- */

/* Batches take tokens 0, 1, 2, … so the vocabulary, which is also the result's width, wraps around them. */
static int token_of(const struct linear_case *c, int index) { return index % c->shape->rows; }

static void case_make(struct linear_case *c) {
  const struct variant *v = c->variant;
  int rows = c->shape->rows, cols = c->shape->cols;
  struct op_model *m = &c->model;
  model_init(m, rows, (uint64_t)(rows * 1000 + cols));
  struct op op = op_make(OP_LINEAR, 0);
  op.in[0] = model_embedded_value(m, cols, 1);
  c->input_table = m->builder.head.n_weight - 1;
  if (v->residual) op.in[1] = model_embedded_value(m, rows, 2);
  c->residual_table = m->builder.head.n_weight - 1;
  if (v->head) {
    struct op select = op_make(OP_SELECT, 0);
    select.in[0] = op.in[0];
    select.out = op.in[0] = plan_add_value(&m->builder, cols, ROWS_OUTPUTS);
    plan_add_op(&m->builder, &select);
  }
  op.out = v->residual == RESIDUAL_IN_PLACE ? op.in[1]
                                            : plan_add_value(&m->builder, rows, v->head ? ROWS_OUTPUTS : ROWS_TOKENS);
  float size = 4 / sqrtf((float)cols);
  op.weight[0] = c->matrix =
      v->gated ? model_gated_matrix(m, c->scheme, rows, cols, size) : model_matrix(m, c->scheme, rows, cols, size);
  if (v->bias) op.weight[1] = v->gated ? model_gated_bias(m, rows, -1, 1) : model_vector(m, rows, -1, 1);
  if (v->norm) op.weight[2] = model_vector(m, v->norm == NORM_LAYER ? 2 * cols : cols, 0.5f, 1.5f);
  if (v->post_norm) op.weight[3] = model_vector(m, rows, -1.5f, 1.5f);
  c->bias = op.weight[1], c->norm = op.weight[2], c->post_norm = op.weight[3];
  op.args.linear = (struct linear_args){.norm = v->norm,
                                        .post_norm = v->post_norm,
                                        .act = v->act,
                                        .gated = v->gated,
                                        .multiply = v->multiply,
                                        .eps = eps,
                                        .post_eps = post_eps,
                                        .scale = v->scale,
                                        .softcap = v->softcap,
                                        .limit = v->limit,
                                        .up_add = v->up_add,
                                        .lora_site = -1};
  plan_add_op(&m->builder, &op);
  model_finish(m, op.out, v->head);
}

/* --- tolerance -------------------------------------------------------------------------------------------------- */

/* A number and how far a float computation of it may be off. */
struct bounded {
  double value, error;
};

/* What the magnitude of an element is to a kernel: codes may be taken as unsigned and the offset subtracted later. */
static double element_magnitude(const struct codes *codes, int row, int col) {
  const struct scheme *s = &codes->scheme;
  if (s->kind != SCHEME_INT) return fabs(codes_value(codes, row, col));
  size_t group = (size_t)row * (size_t)scheme_groups(s, codes->cols) + (size_t)scheme_group_of(s, col);
  size_t super = (size_t)row * (size_t)((codes->cols + SCHEME_SUPER - 1) / SCHEME_SUPER) + (size_t)(col / SCHEME_SUPER);
  bool two = s->scale == SCALE_TWO_LEVEL;
  double scale = two ? (double)half_to_float(codes->super[super]) * codes->sub[group] : (double)codes->scale[group];
  double span = fabs(scale) * (s->codebook ? 256 : 1 << scheme_width(s));
  if (!s->has_min) return span + span / 2;
  return span +
         fabs(two ? (double)half_to_float(codes->super_min[super]) * codes->sub_min[group] : (double)codes->min[group]);
}

/* One input row as the product takes it: magnitudes, and what rounding of int8 activations may do differently. */
struct input {
  double *x, *magnitude; /* [cols] */
  double flip;           /* one step of the coarsest group */
};

/* Columns that share a scale. A step of E4M3's greatest numbers is a fourteenth of them. */
static void input_round(const struct linear_case *c, struct input *in, int first, int end) {
  bool e4m3 = c->scheme.activation == ACTIVATION_E4M3_TOKEN;
  double peak = 0, top = e4m3 ? (double)E4M3_MAX : 127, step = e4m3 ? 32 : 1;
  for (int k = first; k < end; k++) peak = fmax(peak, fabs(in->x[k]));
  for (int k = first; k < end; k++) {
    double code = in->x[k] * top / peak;
    in->x[k] = (e4m3 ? (double)e4m3_to_float(e4m3_from_float((float)code)) : rint(code)) * peak / top;
    in->magnitude[k] += step * peak / (2 * top);
  }
  in->flip = fmax(in->flip, step * peak / top);
}

/* x to its norm: (x − mean) / deviation × weight + shift, of which an RMS norm has no mean and no shift. What is added
 * to each other may leave little, with the error of all of it. */
static void input_norm(const struct linear_case *c, struct input *in) {
  int cols = c->shape->cols;
  bool layer = c->variant->norm == NORM_LAYER;
  const struct codes *weight = &c->model.codes[c->norm];
  double mean = 0, squares = 0;
  for (int k = 0; layer && k < cols; k++) mean += in->x[k] / cols;
  for (int k = 0; k < cols; k++) squares += (in->x[k] - mean) * (in->x[k] - mean);
  double deviation = sqrt(squares / cols + (double)eps);
  for (int k = 0; k < cols; k++) {
    double factor = codes_value(weight, 0, k) / deviation, shift = layer ? codes_value(weight, 0, cols + k) : 0;
    in->magnitude[k] = (fabs(in->x[k]) + fabs(mean)) * factor + fabs(shift);
    in->x[k] = (in->x[k] - mean) * factor + shift;
  }
}

static void input_fill(const struct linear_case *c, int token, struct input *in) {
  int cols = c->shape->cols;
  in->flip = 0;
  for (int k = 0; k < cols; k++) in->x[k] = codes_value(&c->model.codes[c->input_table], token, k);
  for (int k = 0; k < cols; k++) in->magnitude[k] = fabs(in->x[k]);
  if (c->variant->norm) input_norm(c, in);
  if (c->scheme.activation == ACTIVATION_FLOAT) return;
  int group = c->scheme.activation == ACTIVATION_INT8 ? ACTIVATION_GROUP : cols;
  for (int first = 0; first < cols; first += group)
    input_round(c, in, first, first + group < cols ? first + group : cols);
}

/* Float operations that a product's error grows with. Exact integer dots of 32 (or 16) columns are then scaled, offset
 * and added; floats are multiplied and added column by column. A norm adds the error of its sum of squares. */
static double roundings(const struct linear_case *c) {
  int cols = c->shape->cols;
  double norm = c->variant->norm ? cols / 32.0 + 10 : 0;
  if (c->scheme.kind == SCHEME_INT && c->scheme.activation != ACTIVATION_FLOAT) return cols / 32.0 + 10 + norm;
  return cols + 6 + norm; /* 6: a code times its scale plus its minimum, in the exact mode of integers */
}

/* A norm's last bit may move an int8 activation that lies between two codes: about one in 10⁵ does, so that three in a
 * row of a few hundred columns are allowed for. */
enum { FLIPS = 3 };

/* The matrix: values, and their magnitudes to a kernel, [rows][cols] each. */
struct matrix {
  double *value, *magnitude;
};

static struct bounded product_of(const struct linear_case *c, const struct input *in, int row,
                                 const struct matrix *matrix) {
  struct bounded p = {0};
  double sum = 0, largest = 0;
  const double *value = matrix->value + (size_t)row * (size_t)c->shape->cols;
  const double *magnitude = matrix->magnitude + (size_t)row * (size_t)c->shape->cols;
  for (int k = 0; k < c->shape->cols; k++) {
    p.value += in->x[k] * value[k];
    sum += in->magnitude[k] * magnitude[k];
    largest = fabs(value[k]) > largest ? fabs(value[k]) : largest;
  }
  p.error = roundings(c) * ROUNDOFF * sum + c->input_roundoff * sum;
  if (c->variant->norm) p.error += FLIPS * in->flip * largest;
  if (c->bias >= 0) {
    p.value += codes_value(&c->model.codes[c->bias], 0, row);
    p.error += ROUNDOFF * fabs(p.value);
  }
  return p;
}

static double act_value(uint8_t act, double x) {
  switch (act) {
  case ACT_SILU: return x / (1 + exp(-x));
  case ACT_GELU_TANH: return x / (1 + exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
  case ACT_GELU: return x * (1 + erf(x / sqrt(2))) / 2;
  case ACT_TANH: return tanh(x);
  case ACT_RELU: return fmax(x, 0);
  default: return x / (1 + exp(-1.702 * x));
  }
}

/* No activation is steeper than 1.13; float versions are a few roundings of the argument and the result away. */
static struct bounded act_of(uint8_t act, struct bounded x) {
  if (act == ACT_NONE) return x;
  double value = act_value(act, x.value);
  return (struct bounded){value, 1.13 * x.error + 10 * ROUNDOFF * (fabs(value) + fabs(x.value))};
}

static struct bounded tail_of(const struct linear_case *c, struct bounded gate, struct bounded up) {
  const struct variant *v = c->variant;
  if (v->limit > 0) { /* nowhere steeper than 1 */
    gate.value = fmin(gate.value, v->limit);
    up.value = fmax(fmin(up.value, v->limit), -v->limit);
  }
  struct bounded x = act_of(v->act, gate);
  if (v->gated) {
    up.value += v->up_add;
    up.error += ROUNDOFF * fabs(up.value);
    x.error = fabs(up.value) * x.error + fabs(x.value) * up.error + x.error * up.error;
    x.value *= up.value;
    x.error += ROUNDOFF * fabs(x.value);
  }
  x.value *= v->scale;
  x.error = x.error * fabs(v->scale) + ROUNDOFF * fabs(x.value);
  if (v->softcap > 0) { /* nowhere steeper than 1 */
    x.value = v->softcap * tanh(x.value / v->softcap);
    x.error += 10 * ROUNDOFF * v->softcap;
  }
  return x;
}

/* post norm: x / rms × weight, where errors of x reach it directly and through the rms. */
static void post_norm_of(const struct linear_case *c, struct bounded *x) {
  double squares = 0, errors = 0;
  int n = c->shape->rows;
  for (int i = 0; i < n; i++) squares += x[i].value * x[i].value, errors += x[i].error * x[i].error;
  double rms = sqrt(squares / n + (double)post_eps), relative = sqrt(errors / n) / rms + (n / 32.0 + 10) * ROUNDOFF;
  for (int i = 0; i < n; i++) {
    double weight = codes_value(&c->model.codes[c->post_norm], 0, i);
    x[i].error = fabs(weight) / rms * (x[i].error + fabs(x[i].value) * relative);
    x[i].value *= weight / rms;
  }
}

/* Tolerances of one token's result. */
static void token_tolerance(const struct linear_case *c, int token, const struct matrix *matrix, struct input *in,
                            struct bounded *result, double *tolerance) {
  int rows = c->shape->rows;
  input_fill(c, token, in);
  for (int i = 0; i < rows; i++) {
    int gate = c->variant->gated ? i / GATE_INTERLEAVE * 2 * GATE_INTERLEAVE + i % GATE_INTERLEAVE : i;
    struct bounded up = {0};
    if (c->variant->gated) up = product_of(c, in, gate + GATE_INTERLEAVE, matrix);
    result[i] = tail_of(c, product_of(c, in, gate, matrix), up);
  }
  if (c->variant->post_norm) post_norm_of(c, result);
  for (int i = 0; i < rows; i++) {
    double residual = c->variant->residual ? codes_value(&c->model.codes[c->residual_table], token, i) : 0;
    if (c->variant->multiply)
      tolerance[i] = fabs(residual) * (result[i].error + 2 * ROUNDOFF * fabs(result[i].value)) + 1e-37;
    else
      tolerance[i] = result[i].error + 2 * ROUNDOFF * fabs(result[i].value + residual) + 1e-37;
  }
}

static void *array_new(size_t count, size_t size) {
  void *array = calloc(count, size);
  if (!array) op_die("array", &(struct error){.text = "out of memory"});
  return array;
}

static struct matrix matrix_new(const struct codes *codes) {
  size_t cols = (size_t)codes->cols, count = (size_t)codes->rows * cols;
  struct matrix matrix = {array_new(count, sizeof(double)), array_new(count, sizeof(double))};
  for (int i = 0; i < codes->rows; i++)
    for (int k = 0; k < codes->cols; k++) {
      matrix.value[(size_t)i * cols + (size_t)k] = codes_value(codes, i, k);
      matrix.magnitude[(size_t)i * cols + (size_t)k] = element_magnitude(codes, i, k);
    }
  return matrix;
}

/* [tokens][rows] */
static double *case_tolerance(const struct linear_case *c) {
  size_t cols = (size_t)c->shape->cols, rows = (size_t)c->shape->rows, tokens = (size_t)c->shape->tokens;
  struct input in = {array_new(cols, sizeof(double)), array_new(cols, sizeof(double)), 0};
  struct matrix matrix = matrix_new(&c->model.codes[c->matrix]);
  double *tolerance = array_new(tokens * rows, sizeof(double));
  struct bounded *result = array_new(rows, sizeof *result);
  for (size_t t = 0; t < tokens; t++) { /* tokens repeat after `rows` */
    if (t < rows)
      token_tolerance(c, (int)t, &matrix, &in, result, tolerance + t * rows);
    else
      memcpy(tolerance + t * rows, tolerance + (t - rows) * rows, rows * sizeof *tolerance);
  }
  free(in.x);
  free(in.magnitude);
  free(matrix.value);
  free(matrix.magnitude);
  free(result);
  return tolerance;
}

/* --- running ---------------------------------------------------------------------------------------------------- */

/* The first n tokens as one row, all wanted. */
static void case_step(const struct linear_case *c, const struct op_packed *packed, struct program *program, int n,
                      float *result) {
  int32_t token[TOKENS_MOST], out[TOKENS_MOST];
  struct sampling sampling[TOKENS_MOST] = {0};
  struct row row = {.count = n};
  for (int i = 0; i < n; i++) token[i] = token_of(c, i), out[i] = i;
  struct batch batch = {
      .n_row = 1, .n_token = n, .n_out = n, .row = &row, .token = token, .out = out, .sampling = sampling};
  program_step(packed, program, &limits, batch, NULL, result);
}

/* Which numbers of rows to run. The most are what others are compared with where all have the same bytes. */
static bool rows_choose(struct table *table, const struct linear_case *c, bool chosen[BATCHES]) {
  bool any = false;
  for (int i = 0; i < BATCHES; i++) {
    bool most = batch_tokens[i] == c->shape->tokens, left = c->few && i % 3 != c->variant->few - 1 && !most;
    chosen[i] = batch_tokens[i] <= c->shape->tokens && !left && (table_turn(table) || (most && !c->kinds));
    any = any || chosen[i];
  }
  return any;
}

/* One kernel set: each number of rows against the reference; the same bytes with 2 threads and beside other rows.
 * Matrix units have another kernel, whose sums have another order, for more rows: there only the same number of rows
 * must give the same bytes. */
static void subject_run(struct table *table, const struct linear_case *c, const struct op_packed *packed,
                        const struct subject *subject, const float *expected, const double *tolerance,
                        struct family *family) {
  bool chosen[BATCHES];
  if (!rows_choose(table, c, chosen)) return;
  size_t cols = (size_t)c->shape->rows, count = (size_t)c->shape->tokens * cols;
  float *all = array_new(BATCHES * count, sizeof *all), *got = array_new(count, sizeof *got);
  char what[160];
  for (int k = 0; k < (c->few ? 1 : 2); k++) {
    struct program *program = packed_compile(packed, subject->device[k], &limits);
    for (int i = BATCHES - 1; i >= 0; i--) {
      int n = batch_tokens[i];
      if (!chosen[i]) continue;
      snprintf(what, sizeof what, "%s, %d × %d, %s, %d threads, %d rows", c->variant->name, c->shape->rows,
               c->shape->cols, subject->name, k + 1, n);
      case_step(c, packed, program, n, got);
      bool first = k == 0 && (c->kinds || n == c->shape->tokens);
      float *seen = c->kinds ? all + (size_t)i * count : all;
      if (first) memcpy(seen, got, (size_t)n * cols * sizeof *got);
      if (first)
        family_compare(family, what, expected, tolerance, got, (size_t)n * cols);
      else
        family_same(family, what, seen, got, (size_t)n * cols);
    }
    packed->backend->release(program);
  }
  free(all);
  free(got);
}

static void case_run(struct table *table, struct linear_case *c, struct family *family) {
  case_make(c);
  if (family_skips(family, table, &c->model)) {
    model_release(&c->model);
    return;
  }
  float *expected = array_new((size_t)c->shape->tokens * (size_t)c->shape->rows, sizeof *expected);
  double *tolerance = case_tolerance(c);
  struct op_packed packed;
  packed_init(&packed, table->oracle, &c->model);
  struct program *oracle = packed_compile(&packed, table->oracle_device, &limits);
  case_step(c, &packed, oracle, c->shape->tokens, expected);
  table->oracle->release(oracle);
  packed_release(&packed);
  packed_init(&packed, table->tested, &c->model);
  for (int i = 0; i < table->n_subject; i++)
    subject_run(table, c, &packed, &table->subject[i], expected, tolerance, family);
  packed_release(&packed);
  free(expected);
  free(tolerance);
  model_release(&c->model);
}

void linear_cases(struct table *table) {
  for (int s = 0; s < op_scheme_count; s++) {
    struct family family = {0};
    char name[48];
    snprintf(family.name, sizeof family.name, "linear %s", scheme_name(&op_schemes[s], name));
    if (!strstr(name, table->text)) continue;
    double rounding = input_roundoff(table, &op_schemes[s]);
    bool kinds = rounding > 0 || (table->tested->target == TARGET_CUDA && op_schemes[s].activation > ACTIVATION_INT8);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
      if ((shapes[i].large && rounding == 0) || (table->few && !shapes[i].few)) continue;
      for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
        if (table->few && !variants[v].few) continue;
        struct linear_case c = {.variant = &variants[v],
                                .shape = &shapes[i],
                                .scheme = op_schemes[s],
                                .input_roundoff = rounding,
                                .few = table->few,
                                .kinds = kinds};
        case_run(table, &c, &family);
      }
    }
    family_end(table, &family);
  }
}
