/* What only encoders of images do: attention within the rows of a batch, embeddings of patches and of positions,
 * outputs that join tokens, each with a norm; whole layers; and the pool whose rows a decoder embeds. Against the
 * reference, and to the byte however many threads share the work and whichever rows a step has. */
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 6, TOKENS = 284, COLS_MOST = 1024 };

static const int row_counts[ROWS] = {1, 5, 64, 65, 146, 3};

/* A plan of role PLAN_VISION that takes patches of c × p × p numbers; its value of them. */
static int patches_begin(struct op_model *m, int channels, int patch, int merge, int lead, uint64_t seed) {
  model_init(m, 1, seed);
  struct plan *head = &m->builder.head;
  head->role = PLAN_VISION;
  head->vocab = 0;
  head->vision = (struct plan_vision){.channels = channels,
                                      .patch = patch,
                                      .frames = 1,
                                      .merge = merge,
                                      .lead = lead,
                                      .grid = 12,
                                      .area = 144,
                                      .sizes = SIZES_SPREAD,
                                      .breaks = -1};
  head->max_position = lead + 12 * 12;
  struct op op = op_make(OP_EMBED, -1);
  op.args.embed.source = EMBED_PATCHES;
  op.out = plan_add_value(&m->builder, channels * patch * patch, ROWS_TOKENS);
  plan_add_op(&m->builder, &op);
  return op.out;
}

static void select_end(struct op_model *m, int value, int cols, int merged, uint8_t norm, bool mean) {
  struct op op = op_make(OP_SELECT, -1);
  op.in[0] = value;
  op.out = plan_add_value(&m->builder, (mean ? 1 : merged) * cols, ROWS_OUTPUTS);
  op.args.select = (struct select_args){.norm = norm, .mean = (uint8_t)(mean ? merged : 0), .eps = 1e-5f};
  if (norm) op.weight[2] = model_vector(m, norm == NORM_LAYER ? 2 * cols : cols, 0.5f, 1.5f);
  plan_add_op(&m->builder, &op);
  model_close(m);
}

/* A batch of rows of so many tokens, of random numbers, all of them wanted. */
struct patch_batch {
  struct row row[ROWS];
  int32_t out[TOKENS], position[TOKENS][3], span[TOKENS][2];
  float *patches;
  struct batch batch;
};

static void batch_make(struct patch_batch *b, const int *counts, int n_row, int cols) {
  uint64_t random = 7;
  *b = (struct patch_batch){.patches = calloc((size_t)TOKENS * (size_t)cols, sizeof(float))};
  if (!b->patches) op_die("patches", &(struct error){.text = "out of memory"});
  b->batch =
      (struct batch){.row = b->row, .out = b->out, .position = (const int32_t(*)[3])b->position, .patches = b->patches};
  for (int r = 0; r < n_row; r++) {
    b->row[b->batch.n_row++] = (struct row){.seat = r, .first = b->batch.n_token, .count = counts[r]};
    b->batch.n_token += counts[r];
  }
  for (int i = 0; i < b->batch.n_token; i++) {
    b->out[b->batch.n_out++] = i;
    b->position[i][0] = i * 5 % 140;
    b->position[i][1] = i * 3 % 61;
    b->position[i][2] = i * 7 % 53;
  }
  for (size_t i = 0; i < (size_t)b->batch.n_token * (size_t)cols; i++)
    b->patches[i] = (float)(2 * random_uniform(&random) - 1);
}

/* Each token sees a run of its row, of 1, 8, 15, … tokens by turns. */
static void spans_make(struct patch_batch *b) {
  for (int r = 0; r < b->batch.n_row; r++)
    for (int at = 0, n = 1, count = b->row[r].count; at < count; at += n, n = n % 71 + 7) {
      int last = at + n < count ? at + n - 1 : count - 1;
      for (int i = at; i <= last; i++) b->span[b->row[r].first + i][0] = at, b->span[b->row[r].first + i][1] = last;
    }
  b->batch.span = (const int32_t(*)[2])b->span;
}

static struct limits encoder_limits(uint8_t kv) {
  return (struct limits){.seats = ROWS,
                         .tokens = TOKENS,
                         .outputs = TOKENS,
                         .length = TOKENS,
                         .opt_batch = 4,
                         .block_size = 16,
                         .kv_dtype = kv};
}

/* One step on a fresh program. */
static void model_step(const struct op_model *m, const struct backend *backend, struct device *device,
                       const struct limits *limits, struct batch batch, float *result) {
  struct op_packed packed;
  packed_init(&packed, backend, m);
  struct program *program = packed_compile(&packed, device, limits);
  program_step(&packed, program, limits, batch, NULL, result);
  backend->release(program);
  packed_release(&packed);
}

/* The same in slices, as short as they come: bytes do not change. */
static void model_slices(const struct op_model *m, const struct backend *backend, struct device *device,
                         const struct limits *limits, struct batch batch, float *result) {
  struct op_packed packed;
  struct error error = {0};
  struct result found;
  packed_init(&packed, backend, m);
  struct program *program = packed_compile(&packed, device, limits);
  int n_slice = 0;
  bool ok = true;
  batch.want_logits = true;
  for (bool done = false; ok && !done; n_slice++) ok = backend->advance(program, &batch, 1e-3, &done, &error);
  if (!ok || !backend->finish(program, NULL, &error) || !backend->collect(program, &found, &error))
    op_die(backend->name, &error);
  if (n_slice < m->plan->n_op) op_die("slices", &(struct error){.text = "the step was not cut"});
  memcpy(result, found.logits,
         (size_t)found.n_out * (size_t)plan_values(m->plan)[plan_result(m->plan)].cols * sizeof *result);
  backend->release(program);
  packed_release(&packed);
}

static void slices_same(const struct table *table, const struct op_model *m, struct device *device,
                        const struct limits *limits, const struct batch *batch, const char *what, const float *got,
                        size_t count, struct family *family) {
  static float sliced[TOKENS * COLS_MOST];
  if (!table->tested->advance) return;
  model_slices(m, table->tested, device, limits, *batch, sliced);
  family_same(family, what, got, sliced, count);
}

/* --- attention ---------------------------------------------------------------------------------------------------- */

static const struct attend_shape {
  int n_head, n_kv_head, dim, channels, patch; /* channels × patch² = (n_head + 2 × n_kv_head) × dim */
  int32_t axis[3];                             /* of the rotation; 0: there is none */
  bool pairs, local;
} shapes[] = {
    {2, 2, 72, 3, 12, .local = false}, /* of SigLIP so400m */
    {4, 4, 64, 3, 16, .local = false},
    {4, 4, 9, 3, 6, .local = false},
    {2, 1, 64, 4, 8, .local = false},
    {1, 1, 1, 3, 1, .local = false},
    {4, 4, 64, 3, 16, .axis = {0, 16, 16}},
    {4, 4, 64, 3, 16, .axis = {7, 0, 13}, .pairs = true, .local = true},
    {2, 2, 72, 3, 12, .axis = {8, 14, 14}, .local = true},
    {4, 4, 9, 3, 6, .local = true},
};

/* A rotation of so many frequencies of each axis; of none, no rotation. */
static void axes_add(struct op_model *m, struct attend_args *args, const int32_t axis[3], bool pairs) {
  float frequency[64];
  int turned = axis[0] + axis[1] + axis[2];
  if (turned == 0) return;
  for (int i = 0; i < turned; i++) frequency[i] = powf(0.8f, (float)i);
  args->rope_style = pairs ? ROPE_PAIRS : ROPE_HALF;
  args->rope_dim = 2 * turned;
  args->rope_freq = plan_add_floats(&m->builder, frequency, (uint32_t)turned);
  memcpy(args->rope_axis, axis, sizeof args->rope_axis);
}

static void attend_make(struct op_model *m, const struct attend_shape *s) {
  struct op op = op_make(OP_ATTEND, 0);
  op.in[0] = patches_begin(m, s->channels, s->patch, 1, 0, 3);
  op.out = plan_add_value(&m->builder, s->n_head * s->dim, ROWS_TOKENS);
  op.args.attend = (struct attend_args){.n_head = s->n_head,
                                        .n_kv_head = s->n_kv_head,
                                        .dim_k = s->dim,
                                        .dim_v = s->dim,
                                        .group = -1,
                                        .rope_scale = 1,
                                        .local = s->local,
                                        .scale = 2 / sqrtf((float)s->dim)};
  axes_add(m, &op.args.attend, s->axis, s->pairs);
  m->builder.head.vision.window = s->local;
  plan_add_op(&m->builder, &op);
  select_end(m, op.out, s->n_head * s->dim, 1, NORM_NONE, false);
}

/* Numbers are within ±1, so scores are within 2 · √dim; a score's error is that of so many sums, and of parts of 16
 * bits on matrix units. */
static double attend_tolerance(const struct attend_shape *s, uint8_t kv) {
  double score = 2 * sqrt(s->dim), parts = kv == KV_BF16 ? 0x1p-17 : 0;
  double weight = score * (4 * sqrt(s->dim + 4) * ROUNDOFF + parts) + (2 * score + 6) * ROUNDOFF;
  return 2 * weight + parts + 8 * sqrt(146 + 8) * ROUNDOFF;
}

/* Each row by itself has the bytes that it has beside the others. */
static void rows_alone(const struct table *table, const struct op_model *m, const struct subject *subject,
                       const struct patch_batch *all, const struct limits *limits, size_t cols, const float *got,
                       struct family *family) {
  static float alone[TOKENS * COLS_MOST];
  for (int r = 0; r < ROWS; r++) {
    struct row row = all->row[r];
    struct batch batch = all->batch;
    batch.patches += (size_t)row.first * (size_t)plan_values(m->plan)[plan_embed(m->plan, EMBED_PATCHES)->out].cols;
    batch.position += row.first;
    if (batch.span) batch.span += row.first;
    row.first = 0;
    batch.n_row = 1, batch.row = &row, batch.n_token = batch.n_out = row.count;
    model_step(m, table->tested, subject->device[0], limits, batch, alone);
    family_same(family, "a row alone", got + (size_t)all->row[r].first * cols, alone, (size_t)row.count * cols);
  }
}

static void attend_case(struct table *table, const struct attend_shape *s, uint8_t kv, struct family *family) {
  static float expected[TOKENS * COLS_MOST], got[TOKENS * COLS_MOST], other[TOKENS * COLS_MOST];
  static double tolerance[TOKENS * COLS_MOST];
  struct op_model m;
  struct patch_batch b;
  struct limits limits = encoder_limits(kv);
  attend_make(&m, s);
  if (family_skips(family, table, &m)) {
    model_release(&m);
    return;
  }
  batch_make(&b, row_counts, ROWS, s->channels * s->patch * s->patch);
  if (s->local) spans_make(&b);
  size_t cols = (size_t)(s->n_head * s->dim), count = TOKENS * cols;
  for (size_t i = 0; i < count; i++) tolerance[i] = attend_tolerance(s, kv);
  model_step(&m, table->oracle, table->oracle_device, &limits, b.batch, expected);
  for (int i = 0; i < table->n_subject; i++) {
    char what[80];
    const struct subject *subject = &table->subject[i];
    snprintf(what, sizeof what, "%d heads of %d%s%s, %s", s->n_head, s->dim, s->axis[2] ? ", axes" : "",
             s->local ? ", local" : "", subject->name);
    model_step(&m, table->tested, subject->device[1], &limits, b.batch, got);
    family_compare(family, what, expected, tolerance, got, count);
    model_step(&m, table->tested, subject->device[0], &limits, b.batch, other);
    family_same(family, what, got, other, count);
    slices_same(table, &m, subject->device[1], &limits, &b.batch, what, got, count, family);
    if (!table->few) rows_alone(table, &m, subject, &b, &limits, cols, got, family);
  }
  free(b.patches);
  model_release(&m);
}

/* --- a layer ------------------------------------------------------------------------------------------------------ */

static const struct layer_shape {
  int n_head, dim, patch, ff, act;
  int32_t axis[3]; /* of the rotation; 0: there is none */
  bool local, norms;
} layers[] = {
    {8, 72, 6, 1080, ACT_GELU_TANH, .local = false}, /* of SigLIP so400m, half as wide; no widths are whole tiles */
    {4, 64, 5, 512, ACT_GELU_QUICK, .local = false},
    {2, 96, 3, 200, ACT_GELU, .local = false},
    {4, 80, 4, 320, ACT_SILU, .local = false},
    {1, 128, 2, 64, ACT_NONE, .local = false},
    {3, 8, 2, 52, ACT_GELU_TANH, .local = false}, /* none of what attention on matrix units wants */
    {4, 80, 5, 320, ACT_GELU_QUICK, .axis = {0, 20, 20}},
    {4, 80, 5, 320, ACT_SILU, .axis = {0, 20, 20}, .local = true},
    {2, 96, 3, 200, ACT_GELU, .local = true, .norms = true},
};

/* A linear with a bias from value to value, or to a new one (out −1); without a norm it adds to what is there. Returns
 * its result's value. */
static int linear_add(struct op_model *m, int in, int cols, int rows, int out, uint8_t norm, uint8_t act) {
  struct op op = op_make(OP_LINEAR, 0);
  op.in[0] = in;
  op.in[1] = out;
  op.out = out >= 0 ? out : plan_add_value(&m->builder, rows, ROWS_TOKENS);
  op.args.linear.norm = norm, op.args.linear.act = act, op.args.linear.eps = 1e-5f;
  op.weight[0] = model_matrix(m, (struct scheme){.kind = SCHEME_BF16}, rows, cols, 2 / sqrtf((float)cols));
  op.weight[1] = model_vector(m, rows, -0.5f, 0.5f);
  if (norm) op.weight[2] = model_vector(m, 2 * cols, 0.5f, 1.5f);
  plan_add_op(&m->builder, &op);
  return op.out;
}

static void layer_make(struct op_model *m, const struct layer_shape *s) {
  int numbers = 3 * s->patch * s->patch, cols = s->n_head * s->dim;
  int x = linear_add(m, patches_begin(m, 3, s->patch, 1, 0, 13), numbers, cols, -1, NORM_NONE, ACT_NONE);
  struct op attend = op_make(OP_ATTEND, 0);
  attend.in[0] = linear_add(m, x, cols, 3 * cols, -1, NORM_LAYER, ACT_NONE);
  attend.out = plan_add_value(&m->builder, cols, ROWS_TOKENS);
  attend.args.attend = (struct attend_args){.n_head = s->n_head,
                                            .n_kv_head = s->n_head,
                                            .dim_k = s->dim,
                                            .dim_v = s->dim,
                                            .group = -1,
                                            .rope_scale = 1,
                                            .eps = 1e-5f,
                                            .local = s->local,
                                            .scale = 1 / sqrtf((float)s->dim)};
  axes_add(m, &attend.args.attend, s->axis, false);
  for (int i = 0; s->norms && i < 2; i++) attend.weight[i] = model_vector(m, s->dim, 0.5f, 1.5f);
  m->builder.head.vision.window = s->local;
  plan_add_op(&m->builder, &attend);
  linear_add(m, attend.out, cols, cols, x, NORM_NONE, ACT_NONE);
  int up = linear_add(m, x, cols, s->ff, -1, NORM_LAYER, (uint8_t)s->act);
  linear_add(m, up, s->ff, cols, x, NORM_NONE, ACT_NONE);
  select_end(m, x, cols, 1, NORM_LAYER, false);
}

/* A layer as towers have it, whose parts may leave each other 16 bits: results are normed, so of size 1, and each
 * number is off by some roundings to bf16, of its own size and of those that it was made of. */
static void layer_case(struct table *table, const struct layer_shape *s, struct family *family) {
  static float expected[TOKENS * COLS_MOST], got[TOKENS * COLS_MOST], other[TOKENS * COLS_MOST];
  static double tolerance[TOKENS * COLS_MOST];
  struct op_model m;
  struct patch_batch b;
  struct limits limits = encoder_limits(KV_F16);
  layer_make(&m, s);
  if (family_skips(family, table, &m)) {
    model_release(&m);
    return;
  }
  batch_make(&b, row_counts, ROWS, 3 * s->patch * s->patch);
  if (s->local) spans_make(&b);
  size_t cols = (size_t)(s->n_head * s->dim), count = TOKENS * cols;
  for (size_t i = 0; i < count; i++) tolerance[i] = 16 * 0x1p-9;
  model_step(&m, table->oracle, table->oracle_device, &limits, b.batch, expected);
  for (int i = 0; i < table->n_subject; i++) {
    char what[80];
    const struct subject *subject = &table->subject[i];
    snprintf(what, sizeof what, "a layer of %d heads of %d%s%s%s, %s", s->n_head, s->dim, s->axis[2] ? ", axes" : "",
             s->local ? ", local" : "", s->norms ? ", norms" : "", subject->name);
    model_step(&m, table->tested, subject->device[1], &limits, b.batch, got);
    family_compare(family, what, expected, tolerance, got, count);
    model_step(&m, table->tested, subject->device[0], &limits, b.batch, other);
    family_same(family, what, got, other, count);
    slices_same(table, &m, subject->device[1], &limits, &b.batch, what, got, count, family);
    if (!table->few) rows_alone(table, &m, subject, &b, &limits, cols, got, family);
  }
  free(b.patches);
  model_release(&m);
}

/* --- embeddings and outputs --------------------------------------------------------------------------------------- */

static void rows_make(struct op_model *m, int patch, int merge, int lead, uint8_t norm, bool mean,
                      struct scheme scheme) {
  int cols = 3 * patch * patch;
  struct op op = op_make(OP_EMBED, -1);
  op.in[0] = patches_begin(m, 3, patch, merge, lead, 5);
  op.out = plan_add_value(&m->builder, cols, ROWS_TOKENS);
  op.args.embed = (struct embed_args){.scale = 0.7f, .source = EMBED_POSITIONS, .norm = norm, .eps = 1e-5f};
  op.weight[0] = model_matrix(m, scheme, lead + 12 * 12, cols, 1);
  if (lead) op.weight[1] = model_vector(m, cols, -1, 1);
  if (norm) op.weight[2] = model_vector(m, norm == NORM_LAYER ? 2 * cols : cols, 0.5f, 1.5f);
  plan_add_op(&m->builder, &op);
  select_end(m, op.out, cols, merge * merge, norm, mean);
}

/* Outputs of joined tokens with gaps between some of them, within the rows. */
static void outputs_make(struct patch_batch *b, int merged) {
  b->batch.n_out = 0;
  for (int r = 0; r < b->batch.n_row; r++)
    for (int i = b->row[r].first + r % 2; i + merged <= b->row[r].first + b->row[r].count; i += merged + (r == 2))
      b->out[b->batch.n_out++] = i;
}

static void rows_case(struct table *table, int patch, int merge, int lead, uint8_t norm, bool mean,
                      struct scheme scheme, struct family *family) {
  static float expected[TOKENS * COLS_MOST], got[TOKENS * COLS_MOST];
  static double tolerance[TOKENS * COLS_MOST];
  const int counts[] = {9, 1, 20, 18};
  struct op_model m;
  struct patch_batch b;
  struct limits limits = encoder_limits(KV_F32);
  rows_make(&m, patch, merge, lead, norm, mean, scheme);
  if (family_skips(family, table, &m)) {
    model_release(&m);
    return;
  }
  batch_make(&b, counts, 4, 3 * patch * patch);
  outputs_make(&b, merge * merge);
  size_t count = (size_t)b.batch.n_out * (size_t)((mean ? 1 : merge * merge) * 3 * patch * patch);
  /* Numbers before a norm are at most 2.7, and behind one 1.5 · 4 + 1.5, about; its sums are of parts of 32. */
  double roundings = norm ? 2 * (3 * patch * patch / 32.0 + 10) : 3;
  for (size_t i = 0; i < count; i++) tolerance[i] = roundings * ROUNDOFF * 8;
  model_step(&m, table->oracle, table->oracle_device, &limits, b.batch, expected);
  for (int i = 0; i < table->n_subject; i++)
    for (int k = 0; k < 2; k++) {
      char what[80];
      snprintf(what, sizeof what, "patch %d, merge %d, lead %d, norm %d%s, %s", patch, merge, lead, norm,
               mean ? ", mean" : "", table->subject[i].name);
      model_step(&m, table->tested, table->subject[i].device[k], &limits, b.batch, got);
      family_compare(family, what, expected, tolerance, got, count);
      slices_same(table, &m, table->subject[i].device[k], &limits, &b.batch, what, got, count, family);
    }
  free(b.patches);
  model_release(&m);
}

/* --- the pool ----------------------------------------------------------------------------------------------------- */

enum { POOL = 24, POOL_COLS = 48, POOL_TOKENS = 12 };

/* A decoder whose logits are its embeddings. */
static void decoder_make(struct op_model *m) {
  model_init(m, POOL_COLS, 9);
  int value = model_embedded_value(m, POOL_COLS, 1);
  model_finish(m, value, false);
}

/* Rows of an encoder's step, or of the host, are embedded as they are, between ids. */
static void pool_case(struct table *table, struct device *device, bool of_host, struct family *family) {
  static const struct sampling sampling[POOL_TOKENS];
  struct op_model decoder, encoder;
  struct op_packed packed, encoder_packed;
  struct patch_batch b;
  struct error error = {0};
  struct limits limits = encoder_limits(KV_F32), of_images = limits;
  decoder_make(&decoder);
  patches_begin(&encoder, 3, 4, 1, 0, 11);
  select_end(&encoder, 0, POOL_COLS, 1, NORM_NONE, false);
  batch_make(&b, (int[]){7, 9}, 2, POOL_COLS);
  limits.pool = POOL;
  packed_init(&packed, table->tested, &decoder);
  packed_init(&encoder_packed, table->tested, &encoder);
  struct program *program = packed_compile(&packed, device, &limits);
  struct program *images = packed_compile(&encoder_packed, device, &of_images);
  program_step(&encoder_packed, images, &of_images, b.batch, NULL, NULL);
  struct pool_source source = {.encoder = images, .first = 2};
  if (of_host) source = (struct pool_source){.rows = b.patches + 2 * POOL_COLS};
  bool filled = table->tested->pool_fill(program, 5, 14, &source, &error);
  int32_t token[POOL_TOKENS], embed[POOL_TOKENS], out[POOL_TOKENS];
  float got[POOL_TOKENS * POOL_COLS];
  for (int i = 0; i < POOL_TOKENS; i++) token[i] = i * 3, out[i] = i, embed[i] = i % 3 ? 5 + i : -1;
  struct row row = {.count = POOL_TOKENS};
  struct batch batch = {.n_row = 1,
                        .n_token = POOL_TOKENS,
                        .n_out = POOL_TOKENS,
                        .row = &row,
                        .token = token,
                        .embed = embed,
                        .out = out,
                        .sampling = sampling};
  program_step(&packed, program, &limits, batch, NULL, got);
  for (int i = 0; i < POOL_TOKENS; i++) {
    const float *expected = embed[i] < 0 ? (const float *)decoder.codes[0].dense + token[i] * POOL_COLS
                                         : b.patches + (embed[i] - 5 + 2) * POOL_COLS;
    family_same(family, of_host ? "rows of the host" : "an encoder's rows", expected, got + i * POOL_COLS, POOL_COLS);
  }
  source = (struct pool_source){.encoder = images, .first = 3};
  bool beyond = table->tested->pool_fill(program, 5, 14, &source, &error) ||
                table->tested->pool_fill(program, POOL - 1, 2, &(struct pool_source){.rows = got}, &error);
  family_note(family, "what is beyond the rows or the pool is refused", filled && !beyond);
  table->tested->release(program);
  table->tested->release(images);
  packed_release(&packed);
  packed_release(&encoder_packed);
  free(b.patches);
  model_release(&decoder);
  model_release(&encoder);
}

void encode_cases(struct table *table) {
  static const uint8_t types[] = {KV_F32, KV_F16, KV_BF16, KV_INT8};
  for (size_t t = 0; t < sizeof types; t++) {
    struct family family = {0};
    snprintf(family.name, sizeof family.name, "encode attend %s", kv_dtype_name(types[t]));
    for (size_t i = 0; i < (table->few ? 1 : sizeof shapes / sizeof *shapes); i++)
      if (types[t] == KV_F32 || shapes[i].axis[2] == 0) /* a rotation's last bit can move a rounded key */
        attend_case(table, &shapes[i], types[t], &family);
    family_end(table, &family);
  }
  struct family layer = {.name = "encode layers"};
  for (size_t i = table->few ? 1 : 0; i < (table->few ? 2 : sizeof layers / sizeof *layers); i++)
    layer_case(table, &layers[i], &layer);
  family_end(table, &layer);
  struct family family = {.name = "encode positions, norms, joined outputs, means"};
  for (uint8_t norm = NORM_NONE; norm <= NORM_LAYER; norm++)
    for (int merge = 1; merge <= 3; merge++) {
      for (int mean = 0; mean < 2; mean++) {
        rows_case(table, 8, merge, 0, norm, mean, (struct scheme){0}, &family);
        rows_case(table, 2, merge, 1, norm, mean, (struct scheme){.kind = SCHEME_BF16}, &family);
      }
    }
  family_end(table, &family);
  family = (struct family){.name = "encode pool"};
  for (int i = 0; table->tested->pool_fill && i < table->n_subject; i++)
    for (int of_host = 0; of_host < 2; of_host++) pool_case(table, table->subject[i].device[1], of_host, &family);
  if (family.cases) family_end(table, &family);
}
