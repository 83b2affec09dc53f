/* Every kernel set that this machine can run against the definition of the schemes, in double: packing, unpacking, and
 * linears over schemes × shapes × rows × tails. The integer kernels are checked against the same quantized activations,
 * so what is left is the rounding of float sums. */
#include "backend/cpu/cpu_kernels.h"
#include "base/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t random_state;

static uint32_t random_bits(void) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(random_state >> 33);
}

static float random_float(void) { return (float)random_bits() * 0x1p-30f - 1; } /* −1 … 1 */

static const struct scheme schemes[] = {
    {.kind = SCHEME_F32},
    {.kind = SCHEME_F16},
    {.kind = SCHEME_BF16},
#define INT(low, up, kind_of_scale, min, group_cols)                                                                   \
  { .kind = SCHEME_INT, .bits = low, .high_bits = up, .scale = kind_of_scale, .has_min = min, .group = group_cols }
    INT(4, 0, SCALE_F16, 1, 32),
    INT(4, 0, SCALE_F16, 0, 32),
    INT(4, 0, SCALE_BF16, 1, 64),
    INT(4, 0, SCALE_F32, 0, 128),
    INT(4, 0, SCALE_F16, 0, 16),
    INT(4, 0, SCALE_TWO_LEVEL, 1, 32),
    INT(4, 1, SCALE_F16, 0, 32),
    INT(4, 1, SCALE_TWO_LEVEL, 1, 32),
    INT(4, 1, SCALE_F16, 1, 16),
    INT(4, 2, SCALE_TWO_LEVEL, 0, 16),
    INT(4, 2, SCALE_BF16, 0, 32),
    INT(8, 0, SCALE_F16, 0, 32),
    INT(8, 0, SCALE_F32, 1, 128),
    INT(8, 0, SCALE_F32, 0, 16),
    INT(8, 0, SCALE_F32, 0, 0),
    INT(2, 0, SCALE_TWO_LEVEL, 1, 16),
    INT(2, 0, SCALE_F16, 0, 64),
    INT(2, 1, SCALE_TWO_LEVEL, 0, 16),
    INT(2, 1, SCALE_F16, 1, 32),
    INT(2, 2, SCALE_F32, 0, 32),
#undef INT
    {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .codebook = CODEBOOK_IQ4, .group = 32},
    {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_TWO_LEVEL, .codebook = CODEBOOK_IQ4, .group = 32},
    {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_BF16, .codebook = CODEBOOK_E2M1, .group = 32},
};

/* A random matrix as codes and packed. */
struct matrix {
  struct weight weight;
  struct codes codes;
  struct cpu_layout layout;
  void *dense;
  uint8_t *code, *sub_min, *packed;
  float *scale, *min;
  int8_t *sub;
  uint16_t *super, *super_min;
  bool rounds_bf16; /* the kernel set that multiplies it */
};

static float level_round(enum scale_kind kind, float value) {
  if (kind == SCALE_F16) return half_to_float(half_from_float(value));
  return kind == SCALE_BF16 ? bfloat_to_float(bfloat_from_float(value)) : value;
}

static void fill_floats(struct matrix *m) {
  size_t n = (size_t)m->codes.rows * m->codes.cols;
  m->dense = malloc(n * 4);
  for (size_t i = 0; i < n; i++) {
    float value = random_float();
    if (m->codes.scheme.kind == SCHEME_F32) ((float *)m->dense)[i] = value;
    if (m->codes.scheme.kind == SCHEME_F16) ((uint16_t *)m->dense)[i] = half_from_float(value);
    if (m->codes.scheme.kind == SCHEME_BF16) ((uint16_t *)m->dense)[i] = bfloat_from_float(value);
  }
}

static void fill_integers(struct matrix *m) {
  const struct scheme *s = &m->codes.scheme;
  size_t n = (size_t)m->codes.rows * m->codes.cols, n_group = (size_t)m->codes.rows * scheme_groups(s, m->codes.cols);
  size_t n_super = (size_t)m->codes.rows * ((m->codes.cols + SCHEME_SUPER - 1) / SCHEME_SUPER);
  m->code = malloc(n);
  m->scale = malloc(n_group * 4), m->min = malloc(n_group * 4);
  m->sub = malloc(n_group), m->sub_min = malloc(n_group);
  m->super = malloc(n_super * 2), m->super_min = malloc(n_super * 2);
  for (size_t i = 0; i < n; i++) m->code[i] = (uint8_t)(random_bits() & ((1u << scheme_width(s)) - 1));
  for (size_t i = 0; i < n_group; i++) {
    m->scale[i] = level_round(s->scale, random_float());
    m->min[i] = level_round(s->scale, random_float() * 8);
    m->sub[i] = (int8_t)random_bits();
    m->sub_min[i] = (uint8_t)random_bits();
  }
  for (size_t i = 0; i < n_super; i++) {
    m->super[i] = half_from_float(random_float() / 100);
    m->super_min[i] = half_from_float(random_float() / 100);
  }
}

static void matrix_init(struct matrix *m, const struct scheme *scheme, int rows, int cols) {
  *m = (struct matrix){.weight = {.rows = rows, .cols = cols, .scheme = *scheme},
                       .codes = {.scheme = *scheme, .rows = rows, .cols = cols}};
  if (scheme->kind == SCHEME_INT)
    fill_integers(m);
  else
    fill_floats(m);
  m->codes.dense = m->dense, m->codes.code = m->code, m->codes.scale = m->scale, m->codes.min = m->min;
  m->codes.sub = m->sub, m->codes.sub_min = m->sub_min;
  m->codes.super = m->super, m->codes.super_min = m->super_min;
  m->layout = cpu_layout_of(&m->weight);
  int n_tile = (rows + TILE_ROWS - 1) / TILE_ROWS;
  m->packed = aligned_alloc(64, n_tile * m->layout.tile_bytes);
}

static void matrix_pack(struct matrix *m) {
  const struct scheme *s = &m->codes.scheme;
  for (int row = 0; row < m->codes.rows; row += TILE_ROWS) {
    struct codes strip = m->codes;
    size_t at = (size_t)row * strip.cols, super = (size_t)row * ((strip.cols + SCHEME_SUPER - 1) / SCHEME_SUPER);
    strip.rows = strip.rows - row < TILE_ROWS ? strip.rows - row : TILE_ROWS;
    if (s->kind == SCHEME_INT) {
      size_t group = (size_t)row * scheme_groups(s, strip.cols);
      strip.code += at, strip.scale += group, strip.min += group, strip.sub += group, strip.sub_min += group;
      strip.super += super, strip.super_min += super;
    } else {
      strip.dense = (const char *)strip.dense + at * scheme_element(s);
    }
    cpu_pack_tile(&m->weight, &strip, m->packed + row / TILE_ROWS * m->layout.tile_bytes);
  }
}

static void matrix_release(struct matrix *m) {
  void *all[] = {m->dense, m->code, m->sub_min, m->packed, m->scale, m->min, m->sub, m->super, m->super_min};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* The activation that a prepared row stands for. */
static double prepared_value(const struct matrix *m, const void *row, int col) {
  const struct cpu_layout *layout = &m->layout;
  if (layout->scheme.kind == SCHEME_BF16 && m->rounds_bf16) return bfloat_to_float(((const uint16_t *)row)[col]);
  if (layout->scheme.kind != SCHEME_INT || layout->scheme.activation == ACTIVATION_FLOAT)
    return ((const float *)row)[col];
  const struct activation_unit *unit = (const struct activation_unit *)row + col / UNIT_COLS;
  return (double)unit->scale * unit->q[col % UNIT_COLS];
}

static double act_exact(int act, double x) {
  if (act == ACT_SILU) return x / (1 + exp(-x));
  if (act == ACT_GELU_TANH) return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  return x;
}

/* Product of a row with the activations and the sum of magnitudes that its rounding error is measured by. */
static double product_exact(const struct matrix *m, const void *row, int weight_row, double *magnitude) {
  double sum = 0;
  *magnitude = 0;
  for (int col = 0; col < m->codes.cols; col++) {
    double x = prepared_value(m, row, col), w = codes_value(&m->codes, weight_row, col);
    sum += x * w;
    *magnitude += fabs(x * w);
  }
  return sum;
}

struct linear_case {
  int rows, cols, n_row;
  bool bias, residual;
  float scale, softcap;
  uint8_t act, gated;
};

static const struct linear_case cases[] = {
    {.rows = 16, .cols = 32, .n_row = 1, .scale = 1},
    {.rows = 35, .cols = 96, .n_row = 1, .scale = 1, .bias = true},
    {.rows = 160, .cols = 288, .n_row = 1, .scale = 1, .residual = true},
    {.rows = 64, .cols = 576, .n_row = 3, .scale = 0.5f, .bias = true, .residual = true},
    {.rows = 40, .cols = 40, .n_row = 5, .scale = 1, .act = ACT_GELU_TANH},
    {.rows = 64, .cols = 320, .n_row = 1, .scale = 1, .act = ACT_SILU, .gated = 1},
    {.rows = 64, .cols = 512, .n_row = 70, .scale = 1, .act = ACT_SILU, .gated = 1, .bias = true},
    {.rows = 24, .cols = 7, .n_row = 150, .scale = 1, .softcap = 30},
    {.rows = 48, .cols = 2100, .n_row = 37, .scale = 1, .residual = true},
};

static void *rows_prepare(const struct kernel_set *set, const struct cpu_layout *layout, int n_row) {
  uint8_t *rows = aligned_alloc(64, n_row * layout->row_bytes);
  float *x = malloc(layout->cols * sizeof *x);
  for (int i = 0; i < n_row; i++) {
    for (int col = 0; col < layout->cols; col++) x[col] = random_float() * 3;
    set->prepare(layout, x, rows + i * layout->row_bytes);
  }
  free(x);
  return rows;
}

static double tail_exact(const struct linear_case *c, double product, double up, double residual) {
  double value = act_exact(c->act, product);
  if (c->gated) value *= up;
  value *= (double)c->scale;
  if (c->softcap > 0) value = (double)c->softcap * tanh(value / (double)c->softcap);
  return value + residual;
}

static void check_outputs(const struct matrix *m, const struct linear_case *c, const struct linear_input *input,
                          const struct linear_tail *tail, const float *before, const float *out, size_t stride) {
  for (int i = 0; i < input->n_row; i++) {
    const char *row = (const char *)input->rows + i * input->row_bytes;
    for (int col = 0; col < tail->out_cols; col++) {
      int from = c->gated ? col / TILE_ROWS * 2 * TILE_ROWS + col % TILE_ROWS : col;
      double magnitude, up_magnitude = 0, up = 0;
      double product = product_exact(m, row, from, &magnitude);
      if (c->gated) up = product_exact(m, row, from + TILE_ROWS, &up_magnitude);
      if (c->bias) product += (double)tail->bias[from];
      if (c->bias && c->gated) up += (double)tail->bias[from + TILE_ROWS];
      double expected = tail_exact(c, product, up, c->residual ? (double)before[i * stride + col] : 0);
      double error = magnitude * (c->gated ? fabs(up) + 1 : 1) + up_magnitude * (fabs(product) + 1);
      double allowed = error * 3e-6 + 3e-5;
      if (fabs(expected - (double)out[i * stride + col]) <= allowed) continue;
      char name[48];
      fail_msg("%s, row %d column %d: %g, expected %g ± %g", scheme_name(&m->codes.scheme, name), i, col,
               (double)out[i * stride + col], expected, allowed);
    }
    assert_true(isnan(out[i * stride + tail->out_cols])); /* nothing beyond the last column */
  }
}

/* Splits and single rows (which are never arranged) must give the same bytes as the whole. */
static void check_parts(const struct kernel_set *set, const struct matrix *m, const struct linear_input *input,
                        const struct linear_tail *tail, const float *out, size_t stride) {
  int n_tile = (m->codes.rows + TILE_ROWS - 1) / TILE_ROWS, step = tail->gated ? 2 : 1;
  float *part = malloc(input->n_row * stride * sizeof *part);
  for (int tile = 0; tile < n_tile; tile += step)
    set->linear(&m->layout, m->packed, tile, step, input, tail, part, stride);
  for (int i = 0; i < input->n_row; i++)
    assert_memory_equal(part + i * stride, out + i * stride, tail->out_cols * sizeof *out);
  for (int i = 0; i < input->n_row; i++) {
    struct linear_input one = {(const char *)input->rows + i * input->row_bytes, input->row_bytes, 1, NULL};
    struct linear_tail its = *tail;
    if (its.residual) its.residual += i * its.residual_stride;
    set->linear(&m->layout, m->packed, 0, n_tile, &one, &its, part, stride);
    assert_memory_equal(part, out + i * stride, tail->out_cols * sizeof *out);
  }
  free(part);
}

/* The rows in blocks, if the set takes any such; NULL if not. */
static uint8_t *rows_arrange(const struct kernel_set *set, const struct cpu_layout *layout, const void *rows, int n) {
  if (!set->arrange || !layout->arranged_bytes) return NULL;
  uint8_t *blocks = aligned_alloc(64, (size_t)(n / ARRANGED_ROWS + 1) * layout->arranged_bytes);
  for (int i = 0; i < n; i += ARRANGED_ROWS)
    set->arrange(layout, (const uint8_t *)rows + (size_t)i * layout->row_bytes,
                 n - i < ARRANGED_ROWS ? n - i : ARRANGED_ROWS,
                 blocks + (size_t)(i / ARRANGED_ROWS) * layout->arranged_bytes);
  return blocks;
}

static void check_case(const struct kernel_set *set, const struct scheme *scheme, const struct linear_case *c) {
  struct matrix m;
  matrix_init(&m, scheme, c->rows, c->cols);
  matrix_pack(&m);
  m.rounds_bf16 = set->rounds_bf16;
  int out_cols = c->gated ? c->rows / 2 - 3 : c->rows;
  size_t stride = out_cols + 1;
  float *out = malloc(c->n_row * stride * sizeof *out), *before = malloc(c->n_row * stride * sizeof *before);
  float *bias = malloc(c->rows * sizeof *bias);
  for (int i = 0; i < c->rows; i++) bias[i] = random_float();
  for (size_t i = 0; i < c->n_row * stride; i++) before[i] = random_float(), out[i] = NAN;
  void *rows = rows_prepare(set, &m.layout, c->n_row);
  uint8_t *arranged = rows_arrange(set, &m.layout, rows, c->n_row);
  struct linear_input input = {.rows = rows, .row_bytes = m.layout.row_bytes, .n_row = c->n_row, .arranged = arranged};
  struct linear_tail tail = {.bias = c->bias ? bias : NULL,
                             .residual = c->residual ? before : NULL,
                             .residual_stride = stride,
                             .scale = c->scale,
                             .softcap = c->softcap,
                             .out_cols = out_cols,
                             .act = c->act,
                             .gated = c->gated};
  set->linear(&m.layout, m.packed, 0, (c->rows + TILE_ROWS - 1) / TILE_ROWS, &input, &tail, out, stride);
  check_outputs(&m, c, &input, &tail, before, out, stride);
  check_parts(set, &m, &input, &tail, out, stride);
  if (c->residual) { /* the residual may be where the result goes */
    set->linear(&m.layout, m.packed, 0, (c->rows + TILE_ROWS - 1) / TILE_ROWS, &input, &tail, before, stride);
    for (int i = 0; i < c->n_row; i++)
      assert_memory_equal(before + i * stride, out + i * stride, out_cols * sizeof *out);
  }
  free(arranged), free(rows), free(bias), free(before), free(out);
  matrix_release(&m);
}

static uint8_t integer_activation(const struct scheme *scheme) {
  return scheme->group ? ACTIVATION_INT8 : ACTIVATION_INT8_TOKEN;
}

static void check_scheme(const struct kernel_set *set, struct scheme scheme) {
  struct error error;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (!scheme_check(&scheme, &error)) fail_msg("%s", error.text);
    check_case(set, &scheme, &cases[i]);
    if (scheme.kind != SCHEME_INT) continue;
    struct scheme integer = scheme;
    integer.activation = integer_activation(&scheme);
    check_case(set, &integer, &cases[i]);
  }
}

/* The greatest codes times the greatest activations: sums that are short of bits would overflow. One row holds
 * `odd`, a NaN or an infinity, which must reach its results and no others. */
static void check_extremes(const struct kernel_set *set, struct scheme scheme, float x, float odd, float softcap) {
  enum { ROWS = 16, COLS = 64, N_ROW = 6, ODD_ROW = 4 };
  struct matrix m;
  matrix_init(&m, &scheme, ROWS, COLS);
  if (m.code) memset(m.code, (1 << scheme_width(&scheme)) - 1, ROWS * COLS);
  matrix_pack(&m);
  m.rounds_bf16 = set->rounds_bf16;
  float line[COLS], out[N_ROW * (ROWS + 1)], part[ROWS + 1];
  for (int i = 0; i < N_ROW * (ROWS + 1); i++) out[i] = NAN;
  uint8_t *rows = aligned_alloc(64, N_ROW * m.layout.row_bytes);
  for (int i = 0; i < N_ROW; i++) {
    for (int col = 0; col < COLS; col++) line[col] = i == ODD_ROW && col == 37 ? odd : x;
    set->prepare(&m.layout, line, rows + i * m.layout.row_bytes);
  }
  struct linear_case c = {.rows = ROWS, .cols = COLS, .n_row = ODD_ROW, .scale = 1, .softcap = softcap};
  struct linear_tail tail = {.scale = 1, .softcap = softcap, .out_cols = ROWS};
  struct linear_input input = {.rows = rows, .row_bytes = m.layout.row_bytes, .n_row = N_ROW};
  set->linear(&m.layout, m.packed, 0, 1, &input, &tail, out, ROWS + 1);
  input.n_row = ODD_ROW;
  check_outputs(&m, &c, &input, &tail, NULL, out, ROWS + 1);
  for (int col = 0; col < ROWS; col++) {
    assert_false(isfinite(out[ODD_ROW * (ROWS + 1) + col]));
    assert_true(isfinite(out[(ODD_ROW + 1) * (ROWS + 1) + col]));
  }
  input.n_row = 1;
  for (int i = 0; i < N_ROW; i++) {
    input.rows = rows + i * m.layout.row_bytes;
    set->linear(&m.layout, m.packed, 0, 1, &input, &tail, part, ROWS + 1);
    for (int col = 0; col < ROWS; col++) {
      if (i == ODD_ROW) assert_false(isfinite(part[col]));
      if (i != ODD_ROW) assert_memory_equal(&part[col], &out[i * (ROWS + 1) + col], sizeof *part);
    }
  }
  free(rows);
  matrix_release(&m);
}

static void test_extremes(void **state) {
  (void)state;
  for (const struct kernel_set *const *set = kernel_sets; *set; set++) {
    if (!(*set)->available()) continue;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
      struct scheme scheme = schemes[i];
      check_extremes(*set, scheme, 1, NAN, 0);
      if (scheme.kind == SCHEME_INT) scheme.activation = integer_activation(&scheme);
      check_extremes(*set, scheme, 1, NAN, 0);
      check_extremes(*set, scheme, -1, INFINITY, 0);
      check_extremes(*set, scheme, 1, NAN, 30);
      check_extremes(*set, scheme, 1, -INFINITY, 30);
    }
  }
}

static void test_linear(void **state) {
  (void)state;
  const char *forced = getenv("SPATE_ISA");
  for (const struct kernel_set *const *set = kernel_sets; *set; set++) {
    if (!(*set)->available() || (forced && strcmp(forced, (*set)->name) != 0)) {
      printf("kernel set %s: SKIPPED\n", (*set)->name);
      continue;
    }
    random_state = 1;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) check_scheme(*set, schemes[i]);
    printf("kernel set %s: %zu schemes\n", (*set)->name, sizeof schemes / sizeof *schemes);
  }
}

static void test_unpack(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
    struct matrix m;
    matrix_init(&m, &schemes[i], 21, 300);
    matrix_pack(&m);
    assert_int_equal(m.layout.block_bytes % 64, 0);
    float row[300];
    for (int r = 0; r < 21; r++) {
      cpu_unpack_row(&m.layout, m.packed, r, row);
      for (int col = 0; col < 300; col++) {
        double expected = codes_value(&m.codes, r, col);
        assert_true(fabs((double)row[col] - expected) <= 1e-6 * (fabs(expected) + 8));
      }
    }
    matrix_release(&m);
  }
}

static void test_rms_norm(void **state) {
  (void)state;
  float x[77], weight[77], y[77];
  for (const struct kernel_set *const *set = kernel_sets; *set; set++) {
    if (!(*set)->available()) continue;
    double squares = 0;
    for (int i = 0; i < 77; i++)
      x[i] = random_float() * 5, weight[i] = random_float(), squares += (double)x[i] * (double)x[i];
    (*set)->rms_norm(x, weight, 77, 1e-5f, y);
    for (int i = 0; i < 77; i++) {
      double expected = (double)x[i] * (double)weight[i] / sqrt(squares / 77 + 1e-5);
      assert_true(fabs((double)y[i] - expected) <= 1e-6 * fabs(expected));
    }
  }
}

static void test_choice(void **state) {
  (void)state;
  struct error error;
  unsetenv("SPATE_ISA");
  assert_non_null(kernel_set_choose(NULL, &error));
  assert_string_equal(kernel_set_choose("scalar", &error)->name, "scalar");
  assert_null(kernel_set_choose("sse9", &error));
  assert_memory_equal(error.text, "Kernel set 'sse9' cannot run on this machine; these can: ", 57);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unpack),   cmocka_unit_test(test_linear), cmocka_unit_test(test_extremes),
      cmocka_unit_test(test_rms_norm), cmocka_unit_test(test_choice),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
