/* Embedding by every scheme; selecting outputs; sampling and masks. */
#include "backend/sampler.h"
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 33, WIDTH_MAX = 320 };

static const struct limits limits = {
    .seats = 2, .tokens = TOKENS, .outputs = TOKENS, .length = 64, .opt_batch = 4, .block_size = 16};

/* Tokens in an order of their own, of which every `step`-th is wanted. */
struct tokens {
  struct row row;
  int32_t token[TOKENS], out[TOKENS];
  struct sampling sampling[TOKENS];
  struct batch batch;
};

static void tokens_make(struct tokens *t, int vocab, int step) {
  *t = (struct tokens){.row = {.count = TOKENS}};
  t->batch = (struct batch){
      .n_row = 1, .n_token = TOKENS, .row = &t->row, .token = t->token, .out = t->out, .sampling = t->sampling};
  for (int i = 0; i < TOKENS; i++) t->token[i] = (i * 7 + 3) % vocab;
  for (int i = step - 1; i < TOKENS; i += step) t->out[t->batch.n_out++] = i;
}

/* A table of vocab × vocab, looked up and scaled. */
static void embed_model(struct op_model *m, struct scheme scheme, int width, float scale) {
  model_init(m, width, (uint64_t)width);
  struct op op = op_make(OP_EMBED, 0);
  op.weight[0] = model_matrix(m, scheme, width, width, 1);
  op.out = plan_add_value(&m->builder, width, ROWS_TOKENS);
  op.args.embed.scale = scale;
  plan_add_op(&m->builder, &op);
  model_finish(m, op.out, false);
}

/* The packed table's rows as the backend unpacks them are those that a step looks up. */
static void unpack_case(const struct op_packed *packed, const struct tokens *tokens, struct family *family,
                        const double *tolerance) {
  static float expected[TOKENS * WIDTH_MAX], got[TOKENS * WIDTH_MAX];
  const struct codes *codes = &packed->model->codes[0];
  const struct weight *weight = plan_weights(packed->model->plan);
  int n_out = tokens->batch.n_out;
  for (int i = 0; i < n_out; i++) {
    int token = tokens->token[tokens->out[i]];
    packed->backend->unpack_row(weight, packed->weight[0], token, got + (size_t)i * (size_t)codes->cols);
    for (int c = 0; c < codes->cols; c++) expected[i * codes->cols + c] = (float)codes_value(codes, token, c);
  }
  family_compare(family, "unpacked", expected, tolerance, got, (size_t)n_out * (size_t)codes->cols);
}

static void embed_case(const struct table *table, struct scheme scheme, int width, struct family *family) {
  static float expected[TOKENS * WIDTH_MAX], got[TOKENS * WIDTH_MAX];
  static double tolerance[TOKENS * WIDTH_MAX];
  const float scale = 1.7f;
  struct op_model model;
  struct tokens tokens;
  embed_model(&model, scheme, width, scale);
  if (family_skips(family, table, &model)) {
    model_release(&model);
    return;
  }
  tokens_make(&tokens, width, 2);
  size_t count = (size_t)tokens.batch.n_out * (size_t)width;
  for (size_t i = 0; i < count; i++) {
    int token = tokens.token[tokens.out[i / (size_t)width]];
    double value = codes_value(&model.codes[0], token, (int)(i % (size_t)width)) * (double)scale;
    expected[i] = (float)value;
    /* a scale (itself a product, perhaps) times a code, plus a minimum, times the op's scale: the parts are at most
     * twice the size that the weights were made with */
    tolerance[i] = ROUNDOFF * (fabs(value) + (scheme_is_plain(&scheme) ? 1e-30 : 5 * 2 * (double)scale));
  }
  struct op_packed packed;
  packed_init(&packed, table->tested, &model);
  for (int i = 0; i < table->n_subject; i++) {
    char what[80];
    snprintf(what, sizeof what, "width %d, %s", width, table->subject[i].name);
    struct program *program = packed_compile(&packed, table->subject[i].device[1], &limits);
    program_step(&packed, program, &limits, tokens.batch, NULL, got);
    family_compare(family, what, expected, tolerance, got, count);
    table->tested->release(program);
  }
  unpack_case(&packed, &tokens, family, tolerance);
  packed_release(&packed);
  model_release(&model);
}

/* A decoder's table of positions: of tokens in the middle of a sequence, many and one. */
static void positions_case(struct table *table) {
  static float expected[TOKENS * WIDTH_MAX], got[TOKENS * WIDTH_MAX];
  static double tolerance[TOKENS * WIDTH_MAX];
  enum { WIDTH = 37, LENGTH = 20 };
  struct family family = {.name = "embed positions of a decoder"};
  struct op_model model;
  struct tokens tokens;
  struct op_packed packed;
  model_init(&model, WIDTH, 5);
  int x = model_embedded_value(&model, WIDTH, 1);
  struct op op = op_make(OP_EMBED, -1);
  op.in[0] = op.out = x;
  op.args.embed.source = EMBED_POSITIONS;
  op.args.embed.scale = 0.5f;
  op.weight[0] = model_matrix(&model, (struct scheme){0}, 64, WIDTH, 2);
  plan_add_op(&model.builder, &op);
  model.builder.head.max_position = 64;
  model_finish(&model, x, false);
  tokens_make(&tokens, WIDTH, 2);
  tokens.row.length = LENGTH;
  size_t count = (size_t)tokens.batch.n_out * WIDTH;
  for (size_t i = 0; i < count; i++) {
    int at = tokens.out[i / WIDTH], col = (int)(i % WIDTH);
    expected[i] = (float)(codes_value(&model.codes[0], tokens.token[at], col) +
                          0.5 * codes_value(&model.codes[1], LENGTH + at, col));
    tolerance[i] = 4 * ROUNDOFF;
  }
  bool skips = family_skips(&family, table, &model);
  if (!skips) packed_init(&packed, table->tested, &model);
  for (int i = 0; !skips && i < table->n_subject; i++) {
    struct program *program = packed_compile(&packed, table->subject[i].device[1], &limits);
    program_step(&packed, program, &limits, tokens.batch, NULL, got);
    family_compare(&family, table->subject[i].name, expected, tolerance, got, count);
    struct tokens one = tokens; /* the second, which is wanted */
    one.row.length = LENGTH + 1, one.row.count = one.batch.n_token = one.batch.n_out = 1;
    one.token[0] = tokens.token[1], one.out[0] = 0;
    one.batch.row = &one.row, one.batch.token = one.token, one.batch.out = one.out;
    program_step(&packed, program, &limits, one.batch, NULL, got);
    family_compare(&family, table->subject[i].name, expected, tolerance, got, WIDTH);
    table->tested->release(program);
  }
  if (!skips) packed_release(&packed);
  model_release(&model);
  family_end(table, &family);
}

void embed_cases(struct table *table) {
  positions_case(table);
  for (int s = 0; s < op_scheme_count; s++) {
    struct family family = {0};
    char name[48];
    snprintf(family.name, sizeof family.name, "embed %s", scheme_name(&op_schemes[s], name));
    embed_case(table, op_schemes[s], 320, &family);
    if (!table->few) { /* the same kernels */
      embed_case(table, op_schemes[s], 256, &family);
      embed_case(table, op_schemes[s], 37, &family);
    }
    family_end(table, &family);
  }
}

/* --- sampling --------------------------------------------------------------------------------------------------- */

static void sampling_make(struct tokens *t) {
  for (int i = 0; i < t->batch.n_out; i++)
    t->sampling[i] = (struct sampling){.temperature = (float)(i % 4) * 0.7f,
                                       .top_p = i % 3 ? 1 : 0.8f,
                                       .top_k = i % 5 ? 0 : 20,
                                       .n_top = i % 4 * 5,
                                       .want_logprob = true,
                                       .seed = 11,
                                       .index = (uint64_t)i};
}

/* Each token is what the sampler draws from the logits that the step returned, mask included. */
static bool samples_right(const struct result *result, const struct tokens *t, const struct masks *masks, int vocab) {
  void *scratch = aligned_alloc(64, (sampler_scratch_bytes(vocab) + 63) / 64 * 64);
  bool right = scratch != NULL;
  for (int i = 0; right && i < result->n_out; i++) {
    struct sample sample;
    struct error error = {0};
    const float *logits = result->logits + (size_t)i * (size_t)vocab;
    right = sampler_draw(logits, vocab, &t->sampling[i], masks->mask[i], scratch, &sample, &error) &&
            sample.token == result->token[i] && fabsf(sample.logprob - result->logprob[i]) < 1e-5f &&
            memcmp(sample.top, result->top + i * TOP_LOGPROBS, (size_t)t->sampling[i].n_top * sizeof *sample.top) == 0;
  }
  free(scratch);
  return right;
}

void sample_cases(struct table *table) {
  struct family family = {.name = "select, sample, masks"};
  struct op_model model;
  struct op_packed packed;
  uint32_t bits[8];
  const uint32_t *mask[TOKENS] = {0};
  const int width = 250;
  for (int i = 0; i < 8; i++) bits[i] = 0x5A5A5A5A;
  for (int i = 0; i < TOKENS; i += 2) mask[i] = bits;
  struct masks masks = {mask};
  embed_model(&model, (struct scheme){0}, width, 3);
  packed_init(&packed, table->tested, &model);
  for (int i = 0; i < table->n_subject; i++)
    for (int step = 1; step <= 7; step += 3) {
      struct tokens tokens;
      tokens_make(&tokens, width, step);
      sampling_make(&tokens);
      struct program *program = packed_compile(&packed, table->subject[i].device[1], &limits);
      struct result result = program_step(&packed, program, &limits, tokens.batch, &masks, NULL);
      family_note(&family, table->subject[i].name, samples_right(&result, &tokens, &masks, width));
      table->tested->release(program);
    }
  packed_release(&packed);
  model_release(&model);
  family_end(table, &family);
}
