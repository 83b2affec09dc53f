/* Attention: head shapes × rotary styles × masks × cache types × block sizes, whole and in chunks, two sequences side
 * by side. The reference takes both prompts whole; the kernels must agree with it, and with themselves to the byte,
 * however the prompts are cut, the blocks are sized and the threads share the work, and whatever the blocks held
 * before.
 */
#include "op/op_table.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  SEQUENCES = 2,
  LENGTH = 512, /* of a sequence, at most */
  TOKENS = 347, /* both prompts */
  SHORT = 64,   /* of a sequence that spoils the cache */
  GROW_FROM = 5,
  LAYERS = 2,
  IDS = 256,                       /* of tokens: the table of their numbers is as large as heads are many and wide */
  LONG_KEY = 576,                  /* of latent attention in a GPU's own kernel */
  BLOCKS = SEQUENCES * LENGTH / 8, /* with the smallest block size; larger ones use fewer */
  WIDTH_MAX = 1024,
  NUMBERS_MAX = TOKENS * 18 * 512, /* of the results of a case */
  WIDE_MOST = 128,                 /* heads of 512 */
};

/* Tokens of each sequence in each step, negative: all but so many; the last entry repeats until the prompts end. */
static const struct schedule {
  const char *name;
  int n;
  int step[6][SEQUENCES];
} schedules[] = {
    {"whole", 1, {{TOKENS, TOKENS}}},
    {"chunks", 5, {{1, 5}, {16, 0}, {47, 1}, {64, 30}, {3, 1}}},
    {"the last five one by one", 2, {{-5, -4}, {1, 1}}},
};

/* Of a few cases: a prompt, two tokens of one sequence beside one of another, one of each. */
static const struct schedule few_schedule = {"a few ways", 3, {{-7, -5}, {2, 1}, {1, 1}}};

static const int block_sizes[] = {8, 16, 64, 256};

struct attend_case {
  const char *name;
  int n_head, n_kv_head, dim_k, dim_v;
  int prompt;               /* of the first sequence; 0: the usual one */
  int rope_style, rope_dim; /* 0: the whole head */
  int window;
  float rope_scale, softcap, clip, grow;
  bool norms, each, sinks, see; /* each: the norms are of each head's own */
  bool slopes, latent;
  uint8_t kv;      /* enum kv_dtype */
  int32_t axis[3]; /* of the rotation; 0: there is one */
};

static const struct attend_case cases[] = {
    {.name = "one head", .n_head = 1, .n_kv_head = 1, .dim_k = 64, .dim_v = 64},
    {.name = "as many KV heads", .n_head = 4, .n_kv_head = 4, .dim_k = 32, .dim_v = 32, .rope_style = ROPE_HALF},
    {.name = "3 to 1", .n_head = 9, .n_kv_head = 3, .dim_k = 48, .dim_v = 48, .rope_style = ROPE_HALF},
    {.name = "8 to 1, pairs", .n_head = 8, .n_kv_head = 1, .dim_k = 64, .dim_v = 64, .rope_style = ROPE_PAIRS},
    {.name = "partial rope, half",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .rope_style = ROPE_HALF,
     .rope_dim = 24},
    {.name = "partial rope, pairs, scaled",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 40,
     .dim_v = 40,
     .rope_style = ROPE_PAIRS,
     .rope_dim = 20,
     .rope_scale = 1.25f},
    {.name = "q and k norms",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .rope_style = ROPE_HALF,
     .norms = true},
    {.name = "window 1", .n_head = 2, .n_kv_head = 1, .dim_k = 32, .dim_v = 32, .window = 1},
    {.name = "window 16", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .rope_style = ROPE_HALF, .window = 16},
    {.name = "window 100", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .window = 100},
    {.name = "clamped", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .clip = 0.5f},
    {.name = "scores that grow", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .grow = 0.4f},
    {.name = "scores that grow, 8 to 1, window, softcap",
     .n_head = 8,
     .n_kv_head = 1,
     .dim_k = 128,
     .dim_v = 128,
     .rope_style = ROPE_HALF,
     .window = 70,
     .softcap = 6,
     .grow = 0.3f},
    {.name = "bf16, scores that grow, 4 to 1",
     .n_head = 4,
     .n_kv_head = 1,
     .dim_k = 128,
     .dim_v = 128,
     .rope_style = ROPE_HALF,
     .grow = 0.4f,
     .kv = KV_BF16},
    {.name = "fp8, scores that grow",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .rope_style = ROPE_HALF,
     .grow = 0.4f,
     .kv = KV_E4M3},
    {.name = "halves, clamped", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .clip = 0.5f, .kv = KV_F16},
    {.name = "int8, clamped", .n_head = 4, .n_kv_head = 1, .dim_k = 128, .dim_v = 128, .clip = 0.5f, .kv = KV_INT8},
    {.name = "softcap", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .softcap = 4},
    {.name = "sinks", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .sinks = true},
    {.name = "sinks, softcap, window",
     .n_head = 6,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .rope_style = ROPE_HALF,
     .window = 70,
     .softcap = 6,
     .sinks = true},
    {.name = "slopes", .n_head = 4, .n_kv_head = 4, .dim_k = 32, .dim_v = 32, .slopes = true},
    {.name = "slopes, window, softcap, sinks",
     .n_head = 6,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .window = 70,
     .softcap = 6,
     .sinks = true,
     .slopes = true},
    {.name = "halves, slopes", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .slopes = true, .kv = KV_F16},
    {.name = "bf16, slopes", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .slopes = true, .kv = KV_BF16},
    {.name = "int8, slopes", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .slopes = true, .kv = KV_INT8},
    {.name = "fp8, slopes", .n_head = 4, .n_kv_head = 1, .dim_k = 64, .dim_v = 64, .slopes = true, .kv = KV_E4M3},
    {.name = "halves, slopes, 3 to 1, head of 128, window, softcap, sinks",
     .n_head = 6,
     .n_kv_head = 2,
     .dim_k = 128,
     .dim_v = 128,
     .window = 150,
     .softcap = 6,
     .sinks = true,
     .slopes = true,
     .kv = KV_F16},
    {.name = "bf16, slopes, head of 256",
     .n_head = 2,
     .n_kv_head = 2,
     .dim_k = 256,
     .dim_v = 256,
     .slopes = true,
     .kv = KV_BF16},
    {.name = "norms of each head",
     .n_head = 6,
     .n_kv_head = 3,
     .dim_k = 48,
     .dim_v = 48,
     .rope_style = ROPE_PAIRS,
     .norms = true,
     .each = true},
    {.name = "halves, norms of each head, 4 to 1",
     .n_head = 4,
     .n_kv_head = 1,
     .dim_k = 64,
     .dim_v = 64,
     .norms = true,
     .each = true,
     .kv = KV_F16},
    {.name = "values wider than keys", .n_head = 4, .n_kv_head = 2, .dim_k = 24, .dim_v = 40},
    {.name = "odd dimensions", .n_head = 2, .n_kv_head = 2, .dim_k = 7, .dim_v = 19},
    {.name = "head of 256", .n_head = 2, .n_kv_head = 1, .dim_k = 256, .dim_v = 256, .rope_style = ROPE_HALF},
    {.name = "halves", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .kv = KV_F16},
    {.name = "halves, all at once",
     .n_head = 6,
     .n_kv_head = 2,
     .dim_k = 80,
     .dim_v = 80,
     .rope_style = ROPE_HALF,
     .rope_dim = 40,
     .window = 90,
     .softcap = 8,
     .norms = true,
     .sinks = true,
     .kv = KV_F16},
    {.name = "halves, head of 96, 4 to 1",
     .n_head = 4,
     .n_kv_head = 1,
     .dim_k = 96,
     .dim_v = 96,
     .rope_style = ROPE_HALF,
     .kv = KV_F16},
    {.name = "halves, head of 128, window 16",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 128,
     .dim_v = 128,
     .rope_style = ROPE_PAIRS,
     .window = 16,
     .kv = KV_F16},
    {.name = "halves, head of 256, sinks",
     .n_head = 2,
     .n_kv_head = 2,
     .dim_k = 256,
     .dim_v = 256,
     .rope_style = ROPE_HALF,
     .sinks = true,
     .kv = KV_F16},
    {.name = "halves, spans that see ahead",
     .n_head = 6,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .rope_style = ROPE_HALF,
     .see = true,
     .kv = KV_F16},
    {.name = "bf16", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .kv = KV_BF16},
    {.name = "bf16, odd dimensions", .n_head = 2, .n_kv_head = 2, .dim_k = 7, .dim_v = 19, .kv = KV_BF16},
    {.name = "bf16, head of 256", .n_head = 2, .n_kv_head = 1, .dim_k = 256, .dim_v = 256, .kv = KV_BF16},
    {.name = "bf16, all at once",
     .n_head = 6,
     .n_kv_head = 2,
     .dim_k = 80,
     .dim_v = 80,
     .rope_style = ROPE_HALF,
     .rope_dim = 40,
     .window = 90,
     .softcap = 8,
     .norms = true,
     .sinks = true,
     .kv = KV_BF16},
    {.name = "bf16, spans that see ahead",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .see = true,
     .kv = KV_BF16},
    {.name = "bf16, head of 96, 4 to 1, window 16",
     .n_head = 4,
     .n_kv_head = 1,
     .dim_k = 96,
     .dim_v = 96,
     .rope_style = ROPE_HALF,
     .window = 16,
     .kv = KV_BF16},
    {.name = "bf16, head of 128, sinks",
     .n_head = 3,
     .n_kv_head = 1,
     .dim_k = 128,
     .dim_v = 128,
     .rope_style = ROPE_PAIRS,
     .sinks = true,
     .kv = KV_BF16},
    {.name = "int8", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .kv = KV_INT8},
    {.name = "int8, odd dimensions", .n_head = 2, .n_kv_head = 2, .dim_k = 7, .dim_v = 19, .kv = KV_INT8},
    {.name = "int8, head of 96, window 16",
     .n_head = 4,
     .n_kv_head = 1,
     .dim_k = 96,
     .dim_v = 96,
     .window = 16,
     .kv = KV_INT8},
    {.name = "int8, head of 128, sinks",
     .n_head = 3,
     .n_kv_head = 1,
     .dim_k = 128,
     .dim_v = 128,
     .sinks = true,
     .kv = KV_INT8},
    {.name = "int8, head of 256", .n_head = 2, .n_kv_head = 1, .dim_k = 256, .dim_v = 256, .kv = KV_INT8},
    {.name = "int8, all at once",
     .n_head = 6,
     .n_kv_head = 2,
     .dim_k = 80,
     .dim_v = 80,
     .rope_style = ROPE_HALF,
     .rope_dim = 40,
     .window = 90,
     .softcap = 8,
     .norms = true,
     .sinks = true,
     .kv = KV_INT8},
    {.name = "int8, spans that see ahead",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .see = true,
     .kv = KV_INT8},
    {.name = "fp8", .n_head = 4, .n_kv_head = 2, .dim_k = 64, .dim_v = 64, .kv = KV_E4M3},
    {.name = "fp8, odd dimensions", .n_head = 2, .n_kv_head = 2, .dim_k = 7, .dim_v = 19, .kv = KV_E4M3},
    {.name = "fp8, head of 96, window 16",
     .n_head = 4,
     .n_kv_head = 1,
     .dim_k = 96,
     .dim_v = 96,
     .window = 16,
     .kv = KV_E4M3},
    {.name = "fp8, head of 128, sinks",
     .n_head = 3,
     .n_kv_head = 1,
     .dim_k = 128,
     .dim_v = 128,
     .sinks = true,
     .kv = KV_E4M3},
    {.name = "fp8, head of 256", .n_head = 2, .n_kv_head = 1, .dim_k = 256, .dim_v = 256, .kv = KV_E4M3},
    {.name = "fp8, all at once",
     .n_head = 6,
     .n_kv_head = 2,
     .dim_k = 80,
     .dim_v = 80,
     .rope_style = ROPE_HALF,
     .rope_dim = 40,
     .window = 90,
     .softcap = 8,
     .norms = true,
     .sinks = true,
     .kv = KV_E4M3},
    {.name = "fp8, spans that see ahead",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .see = true,
     .kv = KV_E4M3},
    {.name = "spans that see ahead",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .rope_style = ROPE_HALF,
     .see = true},
    {.name = "three axes",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .rope_style = ROPE_HALF,
     .axis = {8, 12, 12}},
    {.name = "three axes of a part, pairs",
     .n_head = 4,
     .n_kv_head = 2,
     .dim_k = 40,
     .dim_v = 40,
     .rope_style = ROPE_PAIRS,
     .rope_dim = 20,
     .axis = {2, 0, 8}},
    {.name = "halves, three axes",
     .n_head = 6,
     .n_kv_head = 2,
     .dim_k = 64,
     .dim_v = 64,
     .rope_style = ROPE_HALF,
     .kv = KV_F16,
     .axis = {8, 12, 12}},
    {.name = "bf16, three axes, head of 128",
     .n_head = 4,
     .n_kv_head = 1,
     .dim_k = 128,
     .dim_v = 128,
     .rope_style = ROPE_HALF,
     .kv = KV_BF16,
     .axis = {16, 24, 24}},
};

static const float eps = 1e-6f, input_size = 2.5f, norm_most = 2, slope_most = 0.5f;

/* Tiles of 64 or 128 keys and a bit, of caches that a GPU has its own kernels for also more than a piece of 256, which
 * several blocks share; less than one tile. */
static int prompt_of(const struct attend_case *c, int sequence) {
  if (sequence == 0 && c->prompt) return c->prompt;
  return sequence > 0 ? 37 : c->kv == KV_F32 ? 155 : 310;
}

/* --- the plan --------------------------------------------------------------------------------------------------- */

static int rope_dim(const struct attend_case *c) { return c->rope_dim ? c->rope_dim : c->dim_k; }

static uint32_t slopes_add(struct op_model *m, int n) {
  float slopes[16];
  for (int i = 0; i < n; i++) slopes[i] = slope_most / (float)(1 << i);
  return plan_add_floats(&m->builder, slopes, (uint32_t)n);
}

static size_t result_cols(const struct attend_case *c) { return (size_t)c->n_head * (size_t)c->dim_v; }

static void case_make(const struct attend_case *c, struct op_model *m) {
  float frequency[WIDTH_MAX];
  int q = c->n_head * c->dim_k, kv = c->n_kv_head * (c->dim_k + (c->latent ? 0 : c->dim_v)), half = rope_dim(c) / 2;
  model_init(m, IDS, (uint64_t)(q + kv));
  for (int i = 0; i < half; i++) frequency[i] = (float)pow(1000, -(double)i / half);
  struct op op = op_make(OP_ATTEND, 0), select = op_make(OP_SELECT, 0);
  op.in[0] = model_embedded_value(m, q + kv, input_size);
  op.out = select.in[0] = plan_add_value(&m->builder, c->n_head * c->dim_v, ROWS_TOKENS);
  select.out = plan_add_value(&m->builder, c->n_head * c->dim_v, ROWS_OUTPUTS);
  if (c->norms) op.weight[0] = model_vector(m, c->dim_k * (c->each ? c->n_head : 1), 0.5f, norm_most);
  if (c->norms) op.weight[1] = model_vector(m, c->dim_k * (c->each ? c->n_kv_head : 1), 0.5f, norm_most);
  if (c->sinks) op.weight[2] = model_vector(m, c->n_head, -1, 4);
  plan_add_floats(&m->builder, frequency, 1); /* so that the first index is not 0 */
  op.args.attend = (struct attend_args){.n_head = c->n_head,
                                        .n_kv_head = c->n_kv_head,
                                        .dim_k = c->dim_k,
                                        .dim_v = c->dim_v,
                                        .layer = LAYERS - 1,
                                        .rope_style = c->rope_style,
                                        .rope_dim = rope_dim(c),
                                        .rope_freq = plan_add_floats(&m->builder, frequency, (uint32_t)half),
                                        .rope_scale = c->rope_scale > 0 ? c->rope_scale : 1,
                                        .eps = eps,
                                        .scale = (float)(1 / sqrt(c->dim_k)),
                                        .softcap = c->softcap,
                                        .clip = c->clip,
                                        .grow = c->grow,
                                        .grow_from = c->grow > 0 ? GROW_FROM : 0,
                                        .head_norms = c->each,
                                        .alibi = c->slopes,
                                        .value_in_key = c->latent};
  if (c->slopes) op.args.attend.alibi_slope = slopes_add(m, c->n_head);
  memcpy(op.args.attend.rope_axis, c->axis, sizeof c->axis);
  plan_add_group(&m->builder, (struct kv_group){.n_layer = LAYERS,
                                                .n_head = c->n_kv_head,
                                                .dim_k = c->dim_k,
                                                .dim_v = c->dim_v,
                                                .window = c->window,
                                                .value_in_key = c->latent});
  plan_add_op(&m->builder, &op);
  plan_add_op(&m->builder, &select);
  model_close(m);
}

/* --- tolerance -------------------------------------------------------------------------------------------------- */

/* Where number i of head `head` of q or of k lies in the inputs. */
static int column_of(const struct attend_case *c, bool key, int head, int i) {
  int first = c->dim_k - c->dim_v;
  if (key) return (c->n_head + head) * c->dim_k + i;
  if (!c->latent) return head * c->dim_k + i;
  return i < first ? head * first + i : c->n_head * first + head * c->dim_v + i - first;
}

/* The greatest length of a head of q or of k, after norm and rotation. */
static double head_length(const struct attend_case *c, const struct op_model *m, bool key) {
  int n_head = key ? c->n_kv_head : c->n_head;
  double largest = 0;
  for (int row = 0; row < m->codes[0].rows; row++)
    for (int h = 0; h < n_head; h++) {
      double squares = 0;
      for (int i = 0; i < c->dim_k; i++) {
        double x = codes_value(&m->codes[0], row, column_of(c, key, h, i));
        squares += x * x;
      }
      largest = fmax(largest, sqrt(squares));
    }
  if (c->norms) largest = norm_most * sqrt(c->dim_k);
  return largest * (c->rope_scale > 0 ? (double)c->rope_scale : 1);
}

/* One number for the whole case. A score is a dot product of dim_k terms whose magnitudes sum to at most |q| |k|; n
 * roundings of either sign add up to four times √n, seldom more (Higham and Mary, "A new approach to probabilistic
 * rounding error analysis", 2019). q and k are off by their norms' and rotations' roundings; a key stored in
 * 16 bits or 8 may, when it lies on the border between two, become the other: one such element a key is allowed for.
 * Beside keys in bf16 or E4M3 a matrix unit takes queries and weights in two parts, which leave 2^-17 of them, beside
 * int8 in two digits, which leave 2^-16 of their row's peak. A weight
 * e^(score − highest) is off by the score's absolute error as a relative one, the result by twice the weights' and the
 * sums' roundings, all times the largest value. A GPU's matrix units multiply what the cache holds with numbers of the
 * same type: queries and weights are rounded to 2^-11 of them beside fp16, to 2^-8 beside bf16, which is what its keys
 * and values have been rounded to before. Codes are widened to fp16: their scale and its product with the code are
 * rounded to 2^-11, too. */
static double case_tolerance(const struct table *table, const struct attend_case *c, const struct op_model *m) {
  double scale = 1 / sqrt(c->dim_k), q = head_length(c, m, false);
  double k = head_length(c, m, true), magnitude = scale * q * k;
  double prepared = (c->norms ? 4 * sqrt(c->dim_k / 32.0 + 10) : 0) + (c->rope_style ? 6 : 0);
  double score = magnitude * (4 * sqrt(c->dim_k + 4) + 2 * prepared) * ROUNDOFF;
  bool units = table->tested->target == TARGET_CUDA;
  static const double borders[] = {[KV_F16] = 0x1p-10, [KV_BF16] = 0x1p-7, [KV_E4M3] = 0x1p-3, [KV_INT8] = 0x1p-5};
  double border = borders[c->kv];
  static const double cpu[] = {[KV_BF16] = 0x1p-17, [KV_E4M3] = 0x1p-17, [KV_INT8] = 0x1p-15};
  static const double gpu[] = {[KV_F16] = 0x1p-11, [KV_BF16] = 0x1p-8, [KV_E4M3] = 0x3p-11, [KV_INT8] = 0x3p-11};
  double parts = (units ? gpu : cpu)[c->kv];
  if (c->norms || c->rope_style) score += magnitude * border * 2 / sqrt(c->dim_k);
  score += magnitude * parts;
  if (c->softcap > 0) score += 12 * ROUNDOFF * c->softcap;
  double weight = score + (2 * (c->softcap > 0 ? (double)c->softcap : magnitude) + 6) * ROUNDOFF;
  int keys = c->window ? c->window : prompt_of(c, 0);
  if (c->slopes) weight += 4 * ROUNDOFF * (double)slope_most * keys;
  return input_size * (2 * weight + parts + 2 * 4 * sqrt(keys + 8) * ROUNDOFF);
}

/* --- running ---------------------------------------------------------------------------------------------------- */

struct sequences {
  uint32_t block[SEQUENCES][BLOCKS];
  int n_block;
  int done[SEQUENCES];
};

static struct limits limits_make(int block_size, uint8_t kv) {
  return step_limits(SEQUENCES, TOKENS, LENGTH, block_size, kv, (uint32_t)(SEQUENCES * LENGTH / block_size));
}

/* Blocks dealt out in no order. */
static void sequences_init(struct sequences *s, int block_size) {
  *s = (struct sequences){.n_block = LENGTH / block_size};
  uint32_t total = (uint32_t)(SEQUENCES * s->n_block), at = 0;
  for (int q = 0; q < SEQUENCES; q++)
    for (int i = 0; i < s->n_block; i++) s->block[q][i] = (at++ * 5 + 3) % total; /* 5 and a power of two */
}

/* Spans of nine tokens, each of which sees up to the span's end. */
static int32_t span_end(const struct attend_case *c, int sequence, int token) {
  int end = token / 9 * 9 + 8, prompt = prompt_of(c, sequence);
  return end < prompt ? end : prompt - 1;
}

/* Where a token is: every other nine are three lines of three. */
static void place_find(int32_t place[3], int token, int done) {
  int first = token / 9 * 9, image = first % 2;
  for (int axis = 0; axis < 3; axis++) place[axis] = token - done;
  if (!image) return;
  place[0] = first - done, place[1] = first + token % 9 / 3 - done, place[2] = first + token % 3 - done;
}

/* Where the results of a sequence's tokens go, in all schedules. */
static int result_row(const struct attend_case *c, int sequence, int token) {
  return sequence == 0 ? token : prompt_of(c, 0) + token;
}

/* One step of count[q] tokens of each sequence (those with 0 are not in the batch), the second sequence first. */
static void sequences_step(struct sequences *s, const struct attend_case *c, const struct op_packed *packed,
                           struct program *program, const struct limits *limits, const int count[SEQUENCES],
                           float *result) {
  static float logits[NUMBERS_MAX];
  int32_t see[TOKENS], place[TOKENS], position[TOKENS][3];
  size_t cols = result_cols(c);
  struct op_step step;
  step_begin(&step);
  step.batch.see = c->see ? see : NULL;
  step.batch.position = c->axis[2] ? (const int32_t(*)[3])position : NULL;
  for (int q = SEQUENCES - 1; q >= 0; q--) {
    int at = step.batch.n_token;
    if (count[q] == 0) continue;
    step_add(&step, IDS, q, s->done[q], count[q], s->block[q], s->n_block);
    for (int i = 0; i < count[q]; i++) {
      place[at + i] = result_row(c, q, s->done[q] + i);
      see[at + i] = span_end(c, q, s->done[q] + i) - s->done[q];
      place_find(position[at + i], s->done[q] + i, s->done[q]);
    }
    s->done[q] += count[q];
  }
  program_step(packed, program, limits, step.batch, NULL, logits);
  for (int i = 0; i < step.batch.n_out; i++)
    memcpy(result + (size_t)place[i] * cols, logits + (size_t)i * cols, cols * sizeof *result);
}

static void embedded_load(const struct op_packed *packed, struct program *program, struct slice weight) {
  struct error error;
  if (!packed->backend->load(program, 0, weight, &error)) op_die("an embedding", &error);
}

/* Fills the whole cache with what is no number, as sequences do whose own numbers have left their range: their blocks
 * are others' afterwards. They are short ones, of which each has some of the blocks: long ones would attend to all. */
static void cache_spoil(const struct op_packed *packed, struct program *program, const struct limits *limits,
                        const struct sequences *s) {
  static float spoilt[WIDE_MOST * 512];
  size_t size = (packed->weight[0].size + 63) / 64 * 64;
  void *nothing = aligned_alloc(64, size);
  memset(nothing, 0xff, size);
  embedded_load(packed, program, slice_make(nothing, packed->weight[0].size));
  int tokens = LENGTH / s->n_block, n_block = tokens < SHORT ? SHORT / tokens : 1;
  for (int q = 0; q < SEQUENCES; q++)
    for (int at = 0; at < s->n_block; at += n_block) {
      struct op_step step;
      step_begin(&step);
      step_add(&step, IDS, q, 0, n_block * tokens, s->block[q] + at, n_block);
      step.batch.n_out = 1; /* others have no room */
      program_step(packed, program, limits, step.batch, NULL, spoilt);
      if (!isnan(spoilt[0])) op_die("a spoilt cache", &(struct error){.text = "its numbers are finite"});
    }
  embedded_load(packed, program, packed->weight[0]);
  free(nothing);
}

static void schedule_run(const struct schedule *schedule, const struct attend_case *c, const struct op_packed *packed,
                         struct device *device, int block_size, bool spoilt, float *result) {
  struct limits limits = limits_make(block_size, c->kv);
  struct program *program = packed_compile(packed, device, &limits);
  struct sequences s;
  sequences_init(&s, block_size);
  if (spoilt) cache_spoil(packed, program, &limits, &s);
  for (int i = 0; s.done[0] < prompt_of(c, 0) || s.done[1] < prompt_of(c, 1); i++) {
    const int *step = schedule->step[i < schedule->n ? i : schedule->n - 1];
    int count[SEQUENCES];
    for (int q = 0; q < SEQUENCES; q++) {
      int left = prompt_of(c, q) - s.done[q], wanted = step[q] < 0 ? left + step[q] : step[q];
      count[q] = wanted < left ? wanted : left;
    }
    sequences_step(&s, c, packed, program, &limits, count, result);
  }
  packed->backend->release(program);
}

static void subject_run(const struct attend_case *c, const struct op_packed *packed, const struct subject *subject,
                        const float *expected, const double *tolerance, struct family *family) {
  static float all[NUMBERS_MAX], got[NUMBERS_MAX];
  size_t n = (size_t)result_row(c, 1, prompt_of(c, 1)) * result_cols(c);
  bool first = true;
  for (size_t b = 0; b < sizeof block_sizes / sizeof *block_sizes; b++)
    for (size_t s = 0; s < sizeof schedules / sizeof *schedules; s++)
      for (int k = 0; k < 2; k++) {
        if (c->see && s > 0) continue;                         /* a span is not cut */
        if (c->kv >= KV_BF16 && block_sizes[b] < 16) continue; /* they have no smaller ones */
        char what[160];
        snprintf(what, sizeof what, "%s, %s, blocks of %d, %s, %d threads", c->name, schedules[s].name, block_sizes[b],
                 subject->name, k + 1);
        schedule_run(&schedules[s], c, packed, subject->device[k], block_sizes[b], k > 0, first ? all : got);
        if (first)
          family_compare(family, what, expected, tolerance, all, n);
        else
          family_same(family, what, all, got, n);
        first = false;
      }
}

/* One run of the case, through all of its kernels. */
static void few_run(const struct attend_case *c, const struct op_packed *packed, const struct subject *subject,
                    const float *expected, const double *tolerance, struct family *family) {
  static float got[NUMBERS_MAX];
  size_t n = (size_t)result_row(c, 1, prompt_of(c, 1)) * result_cols(c);
  schedule_run(c->see ? &schedules[0] : &few_schedule, c, packed, subject->device[0], 16, true, got);
  family_compare(family, subject->name, expected, tolerance, got, n);
}

static void case_run(struct table *table, const struct attend_case *c) {
  static float expected[NUMBERS_MAX];
  static double tolerance[NUMBERS_MAX];
  struct family family = {0};
  struct op_model model;
  struct op_packed packed;
  snprintf(family.name, sizeof family.name, "attend %s", c->name);
  case_make(c, &model);
  if (family_skips(&family, table, &model)) {
    model_release(&model);
    family_end(table, &family);
    return;
  }
  tolerance[0] = case_tolerance(table, c, &model);
  size_t n = (size_t)result_row(c, 1, prompt_of(c, 1)) * result_cols(c);
  assert(n <= NUMBERS_MAX && c->n_head <= WIDE_MOST);
  for (size_t i = 1; i < n; i++) tolerance[i] = tolerance[0];
  packed_init(&packed, table->oracle, &model);
  schedule_run(&schedules[0], c, &packed, table->oracle_device, 16, false, expected);
  packed_release(&packed);
  packed_init(&packed, table->tested, &model);
  for (int i = 0; i < table->n_subject; i++)
    (table->few ? few_run : subject_run)(c, &packed, &table->subject[i], expected, tolerance, &family);
  packed_release(&packed);
  model_release(&model);
  family_end(table, &family);
}

/* --- copying blocks --------------------------------------------------------------------------------------------- */

/* The first sequence stores 41 tokens; the second takes copies of its blocks and goes on from there, as after a fork.
 */
static void fork_run(const struct attend_case *c, const struct op_packed *packed, struct device *device,
                     float *result) {
  static float first[TOKENS * WIDTH_MAX];
  struct limits limits = limits_make(16, c->kv);
  struct program *program = packed_compile(packed, device, &limits);
  struct sequences s;
  sequences_init(&s, 16);
  sequences_step(&s, c, packed, program, &limits, (const int[]){41, 0}, first);
  struct kv_copy copy[3];
  for (int i = 0; i < 3; i++) copy[i] = (struct kv_copy){.from = s.block[0][i], .to = s.block[1][i]};
  struct op_step step;
  step_begin(&step);
  step_add(&step, IDS, 1, 41, 1, s.block[1], s.n_block);
  step.batch.copy = copy;
  step.batch.n_copy = 3;
  program_step(packed, program, &limits, step.batch, NULL, result);
  packed->backend->release(program);
}

static void copy_case(struct table *table, uint8_t kv) {
  struct family family = {0};
  const struct attend_case c = {.name = "fork", .n_head = 4, .n_kv_head = 2, .dim_k = 24, .dim_v = 24, .kv = kv};
  snprintf(family.name, sizeof family.name, "attend after copying blocks%s%s", kv == KV_F16 ? "" : " of ",
           kv == KV_F16 ? "" : kv_dtype_name(kv));
  float expected[WIDTH_MAX], got[WIDTH_MAX];
  double tolerance[WIDTH_MAX];
  struct op_model model;
  struct op_packed packed;
  case_make(&c, &model);
  tolerance[0] = case_tolerance(table, &c, &model);
  for (int i = 1; i < WIDTH_MAX; i++) tolerance[i] = tolerance[0];
  packed_init(&packed, table->oracle, &model);
  fork_run(&c, &packed, table->oracle_device, expected);
  packed_release(&packed);
  packed_init(&packed, table->tested, &model);
  for (int i = 0; i < table->n_subject; i++)
    for (int k = 0; k < 2; k++) {
      fork_run(&c, &packed, table->subject[i].device[k], got);
      family_compare(&family, table->subject[i].name, expected, tolerance, got, result_cols(&c));
    }
  packed_release(&packed);
  model_release(&model);
  family_end(table, &family);
}

/* Shapes of latent attention, of every type. */
static const struct attend_case latents[] = {
    {.name = "latent, 4 to 1",
     .n_head = 4,
     .n_kv_head = 1,
     .dim_k = 40,
     .dim_v = 32,
     .rope_style = ROPE_PAIRS,
     .rope_dim = 8,
     .latent = true},
    {.name = "latent, 128 to 1", .n_head = 128, .n_kv_head = 1, .dim_k = 12, .dim_v = 8, .latent = true},
    {.name = "latent, head of 576",
     .n_head = 2,
     .n_kv_head = 1,
     .dim_k = 576,
     .dim_v = 512,
     .rope_style = ROPE_PAIRS,
     .rope_dim = 64,
     .latent = true},
    {.name = "latent, all at once",
     .n_head = 6,
     .n_kv_head = 2,
     .dim_k = 83,
     .dim_v = 67,
     .rope_style = ROPE_HALF,
     .rope_dim = 16,
     .window = 90,
     .softcap = 8,
     .norms = true,
     .sinks = true,
     .latent = true},
};

/* For a GPU's own kernel: more heads than half a unit has rows, as many, than a unit, V3's, and two KV heads; prompts
 * that are not split.
 */
static const struct attend_case latents_wide[] = {
    {.name = "latent, 17 heads of 576",
     .n_head = 17,
     .n_kv_head = 1,
     .dim_k = 576,
     .dim_v = 512,
     .rope_style = ROPE_HALF,
     .rope_dim = 48,
     .window = 290,
     .softcap = 8,
     .sinks = true,
     .latent = true},
    {.name = "latent, 16 heads of 576",
     .n_head = 16,
     .n_kv_head = 1,
     .dim_k = 576,
     .dim_v = 512,
     .rope_style = ROPE_PAIRS,
     .rope_dim = 64,
     .latent = true},
    {.name = "latent, 40 heads of 576",
     .n_head = 40,
     .n_kv_head = 1,
     .dim_k = 576,
     .dim_v = 512,
     .prompt = 100,
     .rope_style = ROPE_PAIRS,
     .rope_dim = 64,
     .latent = true},
    {.name = "latent, 128 heads of 576",
     .n_head = 128,
     .n_kv_head = 1,
     .dim_k = 576,
     .dim_v = 512,
     .prompt = 10,
     .rope_style = ROPE_PAIRS,
     .rope_dim = 64,
     .latent = true},
    {.name = "latent, 2 x 9 heads of 576",
     .n_head = 18,
     .n_kv_head = 2,
     .dim_k = 576,
     .dim_v = 512,
     .rope_style = ROPE_PAIRS,
     .rope_dim = 64,
     .latent = true},
};

static void latent_case(struct table *table, const struct attend_case *shape, uint8_t kv) {
  static const char *const types[] = {
      [KV_F32] = "", [KV_F16] = "halves, ", [KV_BF16] = "bf16, ", [KV_E4M3] = "fp8, ", [KV_INT8] = "int8, "};
  char name[64];
  struct attend_case c = *shape;
  snprintf(name, sizeof name, "%s%s", types[kv], c.name);
  c.name = name, c.kv = kv;
  case_run(table, &c);
}

/* --- long sequences ----------------------------------------------------------------------------------------------
 * A sequence whose table names the same few blocks over and over is long in no time: its keys are those of 64 tokens,
 * and at last others. */

enum { LONG_TOKENS = 3, LONG_LENGTH = 1097, LONG_BLOCKS = LONG_LENGTH / 16 + 1, LONG_LIMIT = 1120, STORED = 64 };

static const struct attend_case latent_long = {.name = "latent, 17 heads of 576, 1,100 keys",
                                               .n_head = 17,
                                               .n_kv_head = 1,
                                               .dim_k = LONG_KEY,
                                               .dim_v = 512,
                                               .prompt = LONG_LENGTH + LONG_TOKENS,
                                               .rope_style = ROPE_PAIRS,
                                               .rope_dim = 64,
                                               .latent = true};

/* Three tokens of the long sequence and, unless it is alone, one of a short one, which comes after. */
static void long_run(const struct attend_case *c, const struct op_packed *packed, struct device *device, bool alone,
                     float *result) {
  static float stored[NUMBERS_MAX];
  struct limits limits = step_limits(SEQUENCES, STORED, LONG_LIMIT, 16, c->kv, 2 * LONG_LIMIT / 16);
  struct program *program = packed_compile(packed, device, &limits);
  uint32_t table[LONG_BLOCKS], apart[] = {7, 5, 6};
  struct op_step step;
  for (uint32_t i = 0; i < LONG_BLOCKS; i++) table[i] = i + 1 < LONG_BLOCKS ? i % (STORED / 16) : 4;
  step_begin(&step);
  step_add(&step, IDS, 0, 0, STORED, table, STORED / 16);
  program_step(packed, program, &limits, step.batch, NULL, stored);
  step_begin(&step);
  step_add(&step, IDS, 0, 0, 16, table + LONG_BLOCKS - 1, 1);
  step_add(&step, IDS, 1, 0, 36, apart, 3);
  program_step(packed, program, &limits, step.batch, NULL, stored);
  step_begin(&step);
  step_add(&step, IDS, 0, LONG_LENGTH, LONG_TOKENS, table, LONG_BLOCKS);
  if (!alone) step_add(&step, IDS, 1, 36, 1, apart, 3);
  program_step(packed, program, &limits, step.batch, NULL, result);
  packed->backend->release(program);
}

static void long_case(struct table *table, uint8_t kv) {
  static float expected[4 * 17 * 512], got[4 * 17 * 512];
  static double tolerance[4 * 17 * 512];
  struct family family = {0};
  struct attend_case c = latent_long;
  if (table->few) c.n_head = 3, c.name = "latent, 3 heads of 576, 1,100 keys";
  struct op_model model;
  struct op_packed packed;
  c.kv = kv;
  snprintf(family.name, sizeof family.name, "attend %s, %s", kv_dtype_name(kv), c.name);
  case_make(&c, &model);
  size_t n = (LONG_TOKENS + 1) * result_cols(&c);
  tolerance[0] = case_tolerance(table, &c, &model);
  for (size_t i = 1; i < n; i++) tolerance[i] = tolerance[0];
  packed_init(&packed, table->oracle, &model);
  long_run(&c, &packed, table->oracle_device, false, expected);
  packed_release(&packed);
  packed_init(&packed, table->tested, &model);
  for (int i = 0; i < table->n_subject; i++) {
    static float alone[LONG_TOKENS * 17 * 512];
    const struct subject *subject = &table->subject[i];
    long_run(&c, &packed, subject->device[0], false, got);
    family_compare(&family, subject->name, expected, tolerance, got, n);
    long_run(&c, &packed, subject->device[1], true, alone);
    family_same(&family, "a long sequence alone", got, alone, LONG_TOKENS * result_cols(&c));
  }
  packed_release(&packed);
  model_release(&model);
  family_end(table, &family);
}

/* The table's text is a type of caches, or in the case's name. */
static bool wanted(const struct table *table, const struct attend_case *c, uint8_t kv) {
  return strstr(kv_dtype_name(kv), table->text) || strstr(c->name, table->text);
}

void attend_cases(struct table *table) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    bool left = table->few && cases[i].kv == KV_F32 && i % 4 > 0; /* all run in the same kernels */
    if (!left && wanted(table, &cases[i], cases[i].kv)) case_run(table, &cases[i]);
  }
  for (uint8_t kv = KV_F32; kv <= KV_INT8; kv++) {
    size_t n = table->few && kv == KV_F32 ? 1 : sizeof latents / sizeof *latents;
    bool units = table->tested->target == TARGET_CUDA && (kv == KV_F16 || kv == KV_BF16);
    bool few_of_cpu = table->few && table->tested->target != TARGET_CUDA;
    for (size_t i = 0; i < n; i++) {
      bool left =
          few_of_cpu && latents[i].n_head == WIDE_MOST && kv != KV_F16; /* no type has kernels of its own for it */
      if (!left && wanted(table, latents + i, kv)) latent_case(table, latents + i, kv);
    }
    for (size_t i = 0; units && i < sizeof latents_wide / sizeof *latents_wide; i++)
      if (wanted(table, latents_wide + i, kv)) latent_case(table, latents_wide + i, kv);
    if ((units || kv == KV_F16) && wanted(table, &latent_long, kv)) long_case(table, kv);
    if (kv != KV_F32 && strstr(kv_dtype_name(kv), table->text)) copy_case(table, kv);
  }
}
