/* A base for adapters that has no file: an embedding of 40 × 32 that the head shares, and q and k of one layer in one
 * matrix of 16 + 8 rows. Its weights, which only magnitudes read, are all a half. */
#ifndef SPATE_TESTS_ADAPTER_FIXTURE_H
#define SPATE_TESTS_ADAPTER_FIXTURE_H

#include "backend/backends.h"
#include "engine/engine_file.h"
#include "plan/plan_builder.h"

#include <stdlib.h>

struct adapter_base {
  struct engine_header header;
  struct engine_file engine;
  struct engine_facts facts;
  struct buffer block;
};

static inline void adapter_base_row(const struct weight *weight, struct slice packed, int row, float *out) {
  (void)packed, (void)row;
  for (int i = 0; i < weight->cols; i++) out[i] = 0.5f;
}

static inline void adapter_base_init(struct adapter_base *base) {
  static const char *const joined[] = {"model.layers.0.self_attn.q_proj.weight",
                                       "model.layers.0.self_attn.k_proj.weight"};
  static const char *const table[] = {"model.embed_tokens.weight"};
  static const int rows[] = {16, 8}, vocab = 40;
  static const struct engine_weight places[2];
  static const struct backend backend = {.name = "halves", .unpack_row = adapter_base_row};
  struct plan_builder builder;
  struct error error;
  plan_builder_init(&builder, PLAN_DECODER);
  builder.head.vocab = vocab;
  builder.head.hidden = 32;
  builder.head.max_position = 64;
  int stream = plan_add_value(&builder, 32, ROWS_TOKENS), qk = plan_add_value(&builder, 24, ROWS_TOKENS);
  int picked = plan_add_value(&builder, 32, ROWS_OUTPUTS), logits = plan_add_value(&builder, vocab, ROWS_OUTPUTS);
  struct op embed = op_make(OP_EMBED, -1), linear = op_make(OP_LINEAR, 0), select = op_make(OP_SELECT, -1),
            head = op_make(OP_LINEAR, -1), sample = op_make(OP_SAMPLE, -1);
  embed.weight[0] = head.weight[0] = plan_add_matrix(&builder, "embed", (void *)(uintptr_t)table, &vocab, 1, 32, false);
  linear.weight[0] = plan_add_matrix(&builder, "qk", (void *)(uintptr_t)joined, rows, 2, 32, false);
  embed.out = linear.in[0] = select.in[0] = stream;
  linear.out = qk;
  select.out = head.in[0] = picked;
  head.out = sample.in[0] = logits;
  plan_add_op(&builder, &embed);
  plan_add_op(&builder, &linear);
  plan_add_op(&builder, &select);
  plan_add_op(&builder, &head);
  plan_add_op(&builder, &sample);
  buffer_init(&base->block, 1 << 20);
  if (!plan_finish(&builder, &base->block, &error)) abort();
  plan_builder_release(&builder);
  base->header = (struct engine_header){0};
  base->facts = (struct engine_facts){.name = "Tiny"};
  base->engine = (struct engine_file){.file = {.data = (const void *)base->block.data},
                                      .header = &base->header,
                                      .facts = &base->facts,
                                      .plan = (const void *)base->block.data,
                                      .weights = places,
                                      .backend = &backend};
}

static inline void adapter_base_release(struct adapter_base *base) { buffer_release(&base->block); }

#endif
