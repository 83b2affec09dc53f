#include "op/op_model.h"

#include "base/half.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void op_die(const char *what, const struct error *error) {
  printf("op_table: %s: %s\n", what, error->text);
  exit(1);
}

double random_uniform(uint64_t *state) { /* splitmix64 */
  uint64_t x = *state += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return (double)((x ^ x >> 31) >> 11) * 0x1p-53;
}

/* --- building the plan ------------------------------------------------------------------------------------------ */

void model_init(struct op_model *model, int vocab, uint64_t seed) {
  *model = (struct op_model){.random = seed};
  plan_builder_init(&model->builder, PLAN_DECODER);
  model->builder.head.vocab = vocab;
  model->builder.head.hidden = vocab;
  model->builder.head.max_position = 4096;
  buffer_init(&model->block, 1 << 20);
  arena_init(&model->arena, (size_t)1 << 30);
}

void model_release(struct op_model *model) {
  plan_builder_release(&model->builder);
  buffer_release(&model->block);
  arena_release(&model->arena);
}

static int weight_note(struct op_model *model, int weight, struct scheme scheme, float low, float high) {
  model->scheme[weight] = scheme;
  model->low[weight] = low;
  model->high[weight] = high;
  return weight;
}

int model_matrix(struct op_model *model, struct scheme scheme, int rows, int cols, float size) {
  int weight = plan_add_matrix(&model->builder, "matrix", (const char *[]){"matrix"}, &rows, 1, cols, false);
  return weight_note(model, weight, scheme, -size, size);
}

int model_gated_matrix(struct op_model *model, struct scheme scheme, int part_rows, int cols, float size) {
  const int rows[] = {part_rows, part_rows};
  int weight = plan_add_matrix(&model->builder, "gated", (const char *[]){"gate", "up"}, rows, 2, cols, true);
  return weight_note(model, weight, scheme, -size, size);
}

int model_vector(struct op_model *model, int cols, float low, float high) {
  return weight_note(model, plan_add_vector(&model->builder, "vector", cols, 0), (struct scheme){0}, low, high);
}

int model_gated_bias(struct op_model *model, int part_rows, float low, float high) {
  const int rows[] = {part_rows, part_rows};
  int weight = plan_add_bias(&model->builder, "bias", (const char *[]){"gate.bias", "up.bias"}, rows, 2, true);
  return weight_note(model, weight, (struct scheme){0}, low, high);
}

int model_experts(struct op_model *model, struct scheme scheme, int n_expert, int rows, int cols, bool gated,
                  float size) {
  const struct tensor_slice parts[] = {{.tensor = "{e}.gate", .rows = rows}, {.tensor = "{e}.up", .rows = rows}};
  int weight = plan_add_experts(&model->builder, "experts", parts,
                                &(struct expert_spec){WEIGHT_MATRIX, n_expert, gated ? 2 : 1, cols, gated, 0});
  return weight_note(model, weight, scheme, -size, size);
}

int model_expert_bias(struct op_model *model, int n_expert, int rows, bool gated, float low, float high) {
  const struct tensor_slice parts[] = {{.tensor = "{e}.gate", .rows = rows}, {.tensor = "{e}.up", .rows = rows}};
  int weight = plan_add_experts(&model->builder, "bias", parts,
                                &(struct expert_spec){WEIGHT_VECTOR, n_expert, gated ? 2 : 1, 1, gated, 0});
  return weight_note(model, weight, (struct scheme){0}, low, high);
}

int model_embedded_value(struct op_model *model, int cols, float size) {
  struct op op = op_make(OP_EMBED, 0);
  op.out = plan_add_value(&model->builder, cols, ROWS_TOKENS);
  op.weight[0] = model_matrix(model, (struct scheme){0}, model->builder.head.vocab, cols, size);
  plan_add_op(&model->builder, &op);
  return op.out;
}

/* --- random weights --------------------------------------------------------------------------------------------- */

static float random_between(struct op_model *model, float low, float high) {
  return (float)(low + (high - low) * random_uniform(&model->random));
}

static float scale_round(enum scale_kind kind, float value) {
  if (kind == SCALE_F16) return half_to_float(half_from_float(value));
  if (kind == SCALE_BF16) return bfloat_to_float(bfloat_from_float(value));
  return value;
}

static void *model_array(struct op_model *model, size_t count, size_t size) {
  void *array = arena_array(&model->arena, count, size);
  if (!array) op_die("weights", &(struct error){.text = "out of memory"});
  return array;
}

static void dense_fill(struct op_model *model, struct codes *codes, float low, float high) {
  size_t count = (size_t)codes->rows * (size_t)codes->cols;
  float *floats = model_array(model, count, sizeof *floats);
  uint16_t *halves = (uint16_t *)floats;
  for (size_t i = 0; i < count; i++) {
    float value = random_between(model, low, high);
    if (codes->scheme.kind == SCHEME_F32) floats[i] = value;
    if (codes->scheme.kind == SCHEME_F16) halves[i] = half_from_float(value);
    if (codes->scheme.kind == SCHEME_BF16) halves[i] = bfloat_from_float(value);
  }
  codes->dense = floats;
}

/* Scales of either sign such that codes span about [−size, size]; minima of either sign. */
static void one_level_fill(struct op_model *model, struct codes *codes, float unit, float size) {
  size_t count = (size_t)codes->rows * (size_t)scheme_groups(&codes->scheme, codes->cols);
  float *scale = model_array(model, count, sizeof *scale), *min = model_array(model, count, sizeof *min);
  for (size_t i = 0; i < count; i++) {
    float sign = random_uniform(&model->random) < 0.5 ? -1.0f : 1.0f;
    scale[i] = scale_round(codes->scheme.scale, sign * random_between(model, 0.5f * unit, unit));
    min[i] = scale_round(codes->scheme.scale, -sign * random_between(model, 0.5f * size, size));
  }
  codes->scale = scale;
  if (codes->scheme.has_min) codes->min = min;
}

static void two_level_fill(struct op_model *model, struct codes *codes, float unit, float size) {
  size_t count = (size_t)codes->rows * (size_t)scheme_groups(&codes->scheme, codes->cols);
  size_t supers = (size_t)codes->rows * (((size_t)codes->cols + SCHEME_SUPER - 1) / SCHEME_SUPER);
  int8_t *sub = model_array(model, count, 1);
  uint8_t *sub_min = model_array(model, count, 1);
  uint16_t *super = model_array(model, supers, sizeof *super), *super_min = model_array(model, supers, sizeof *super);
  for (size_t i = 0; i < count; i++) {
    sub[i] = (int8_t)random_between(model, -128.9f, 127.9f);
    sub_min[i] = (uint8_t)random_between(model, 0, 255.9f);
  }
  for (size_t i = 0; i < supers; i++) {
    super[i] = half_from_float(random_between(model, 0.5f, 1) * unit / 127);
    super_min[i] = half_from_float(random_between(model, 0.5f, 1) * size / 255);
  }
  codes->sub = sub;
  codes->super = super;
  if (codes->scheme.has_min) codes->sub_min = sub_min, codes->super_min = super_min;
}

/* Every number of E4M3 but NaN. */
static void e4m3_fill(struct op_model *model, struct codes *codes, float size) {
  size_t count = (size_t)codes->rows * (size_t)codes->cols;
  uint8_t *code = model_array(model, count, 1);
  for (size_t i = 0; i < count; i++)
    code[i] = (uint8_t)((int)random_between(model, 0, 126.99f) | (random_uniform(&model->random) < 0.5 ? 0x80 : 0));
  codes->code = code;
  one_level_fill(model, codes, size / E4M3_MAX, size);
}

static void integer_fill(struct op_model *model, struct codes *codes, float size) {
  const struct scheme *s = &codes->scheme;
  size_t count = (size_t)codes->rows * (size_t)codes->cols;
  uint8_t *code = model_array(model, count, 1);
  for (size_t i = 0; i < count; i++) code[i] = (uint8_t)random_between(model, 0, (float)(1 << scheme_width(s)) - 0.01f);
  codes->code = code;
  float largest = s->codebook == CODEBOOK_IQ4    ? 127
                  : s->codebook == CODEBOOK_E2M1 ? 12
                                                 : (float)(1 << scheme_width(s)) / 2;
  if (s->scale == SCALE_TWO_LEVEL)
    two_level_fill(model, codes, size / largest, size);
  else
    one_level_fill(model, codes, size / largest, size);
}

void model_close(struct op_model *model) {
  struct error error = {0};
  if (!plan_finish(&model->builder, &model->block, &error)) op_die("plan", &error);
  model->plan = (const struct plan *)(const void *)model->block.data;
  for (int i = 0; i < model->plan->n_weight; i++) {
    struct weight *w = (struct weight *)(model->block.data + model->plan->weights) + i;
    w->scheme = model->scheme[i];
    model->codes[i] = (struct codes){.scheme = w->scheme, .rows = weight_rows(w), .cols = w->cols};
    if (w->scheme.kind == SCHEME_INT)
      integer_fill(model, &model->codes[i], model->high[i]);
    else if (w->scheme.kind == SCHEME_F8)
      e4m3_fill(model, &model->codes[i], model->high[i]);
    else
      dense_fill(model, &model->codes[i], model->low[i], model->high[i]);
  }
  if (!plan_check(buffer_slice(&model->block), &error)) op_die("plan", &error);
}

void model_finish(struct op_model *model, int value, bool selected) {
  struct op select = op_make(OP_SELECT, 0), sample = op_make(OP_SAMPLE, 0);
  sample.in[0] = value;
  if (!selected) {
    select.in[0] = value;
    select.out = sample.in[0] = plan_add_value(&model->builder, model->builder.head.vocab, ROWS_OUTPUTS);
    plan_add_op(&model->builder, &select);
  }
  plan_add_op(&model->builder, &sample);
  model_close(model);
}

/* --- running ---------------------------------------------------------------------------------------------------- */

/* Rows [first, first + rows) of codes. */
static struct codes codes_rows(const struct codes *all, int first, int rows) {
  struct codes part = *all;
  size_t at = (size_t)first, cols = (size_t)all->cols;
  part.rows = rows;
  if (scheme_is_plain(&all->scheme)) {
    part.dense = (const uint8_t *)all->dense + at * cols * (size_t)scheme_element(&all->scheme);
    return part;
  }
  size_t groups = at * (size_t)scheme_groups(&all->scheme, all->cols),
         supers = at * ((cols + SCHEME_SUPER - 1) / SCHEME_SUPER);
  part.code += at * cols;
  if (part.scale) part.scale += groups;
  if (part.min) part.min += groups;
  if (part.sub) part.sub += groups, part.super += supers;
  if (part.sub_min) part.sub_min += groups, part.super_min += supers;
  return part;
}

void packed_init(struct op_packed *packed, const struct backend *backend, const struct op_model *model) {
  *packed = (struct op_packed){.backend = backend, .model = model};
  for (int i = 0; i < model->plan->n_weight; i++) {
    const struct weight *w = plan_weights(model->plan) + i;
    size_t bytes = backend_packed_bytes(backend, w), aligned = (bytes + 4095) / 4096 * 4096;
    uint8_t *memory = aligned_alloc(4096, aligned);
    if (!memory) op_die("weights", &(struct error){.text = "out of memory"});
    memset(memory, 0xA5, aligned);
    if (w->use == WEIGHT_VECTOR) memcpy(memory, model->codes[i].dense, bytes);
    uint8_t *to = memory;
    for (int row = 0, rows; w->use == WEIGHT_MATRIX && row < weight_rows(w); row += rows) {
      int left = w->rows - row % w->rows;
      rows = left < backend->pack_rows ? left : backend->pack_rows;
      struct codes strip = codes_rows(&model->codes[i], row, rows);
      backend->pack(w, &strip, to);
      to += backend->strip_bytes(w);
    }
    packed->weight[i] = slice_make(memory, bytes);
  }
}

void packed_release(struct op_packed *packed) {
  for (int i = 0; i < packed->model->plan->n_weight; i++) free((void *)(uintptr_t)packed->weight[i].data);
}

struct program *packed_compile(const struct op_packed *packed, struct device *device, const struct limits *limits) {
  struct error error = {0};
  const struct backend *backend = packed->backend;
  const struct plan *plan = packed->model->plan;
  for (int i = 0; i < plan->n_op; i++)
    if (!backend->supports(plan, i, &error)) op_die(backend->name, &error);
  struct program *program = backend->compile(device, plan, limits, &error);
  if (!program) op_die(backend->name, &error);
  for (int i = 0; i < plan->n_weight; i++)
    if (!backend->load(program, i, packed->weight[i], &error)) op_die(backend->name, &error);
  return program;
}

struct result program_step(const struct op_packed *packed, struct program *program, const struct limits *limits,
                           struct batch batch, const struct masks *masks, float *logits) {
  struct error error = {0};
  struct result result;
  const struct backend *backend = packed->backend;
  batch.want_logits = true;
  if (!batch_check(&batch, packed->model->plan, limits, &error) || !backend->submit(program, &batch, &error) ||
      !backend->finish(program, masks, &error) || !backend->collect(program, &result, &error))
    op_die(backend->name, &error);
  const struct plan *plan = packed->model->plan;
  size_t count = (size_t)result.n_out * (size_t)plan_values(plan)[plan_result(plan)].cols;
  if (logits) memcpy(logits, result.logits, count * sizeof *logits);
  return result;
}

struct limits step_limits(int seats, int tokens, int length, int block_size, uint8_t kv, uint32_t n_block) {
  return (struct limits){.seats = seats,
                         .tokens = tokens,
                         .outputs = tokens,
                         .length = length,
                         .opt_batch = seats,
                         .block_size = block_size,
                         .kv_dtype = kv,
                         .n_block = {n_block}};
}

void step_begin(struct op_step *step) {
  static const struct sampling sampling[STEP_TOKENS];
  step->batch = (struct batch){.row = step->row, .token = step->token, .out = step->out, .sampling = sampling};
}

void step_add(struct op_step *step, int vocab, int sequence, int length, int count, const uint32_t *block,
              int n_block) {
  struct batch *b = &step->batch;
  assert(b->n_row < STEP_ROWS && b->n_token + count <= STEP_TOKENS);
  step->row[b->n_row++] = (struct row){
      .seat = sequence, .first = b->n_token, .count = count, .length = length, .n_block = {n_block}, .block = {block}};
  for (int i = 0; i < count; i++, b->n_token++) {
    step->token[b->n_token] = (sequence * 17 + (length + i) * 5) % vocab;
    step->out[b->n_token] = b->n_token;
  }
  b->n_out = b->n_token;
}

void program_tokens(const struct op_packed *packed, struct program *program, const struct limits *limits, int n,
                    float *logits) {
  enum { MOST = 1024 };
  static const struct sampling sampling[MOST];
  int32_t token[MOST], out[MOST];
  struct row row = {.count = n};
  assert(n <= MOST);
  for (int i = 0; i < n; i++) token[i] = i % packed->model->plan->vocab, out[i] = i;
  struct batch batch = {
      .n_row = 1, .n_token = n, .n_out = n, .row = &row, .token = token, .out = out, .sampling = sampling};
  program_step(packed, program, limits, batch, NULL, logits);
}
