/* A tiny engine file for tests: an embedding, one attention layer's cache, a head, on a backend whose packed strips are
 * plain bytes. */
#ifndef SPATE_TESTS_ENGINE_FIXTURE_H
#define SPATE_TESTS_ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/backends.h"
#include "engine/engine_writer.h"
#include "plan/plan_builder.h"

enum { FIXTURE_VOCAB = 40, FIXTURE_HIDDEN = 32, FIXTURE_POSITIONS = 100 };

struct engine_fixture {
  char folder[64], path[96];
  struct buffer plan;
  struct engine_facts facts;
};

static void fixture_plan(struct buffer *block) {
  struct plan_builder builder;
  plan_builder_init(&builder, PLAN_DECODER);
  builder.head.vocab = FIXTURE_VOCAB;
  builder.head.hidden = FIXTURE_HIDDEN;
  builder.head.max_position = FIXTURE_POSITIONS;
  int stream = plan_add_value(&builder, FIXTURE_HIDDEN, ROWS_TOKENS);
  int picked = plan_add_value(&builder, FIXTURE_HIDDEN, ROWS_OUTPUTS);
  int logits = plan_add_value(&builder, FIXTURE_VOCAB, ROWS_OUTPUTS);
  plan_add_group(&builder, (struct kv_group){.n_layer = 1, .n_head = 1, .dim_k = 16, .dim_v = 16});
  const char *names[] = {"embed.weight"};
  int rows[] = {FIXTURE_VOCAB};
  int norm = plan_add_vector(&builder, "norm.weight", FIXTURE_HIDDEN, 0);
  int table = plan_add_matrix(&builder, "embed", names, rows, 1, FIXTURE_HIDDEN, false);
  struct op embed = op_make(OP_EMBED, -1), select = op_make(OP_SELECT, -1), head = op_make(OP_LINEAR, -1),
            sample = op_make(OP_SAMPLE, -1);
  embed.weight[0] = head.weight[0] = table;
  head.weight[2] = norm;
  head.args.linear.norm = NORM_RMS;
  embed.out = select.in[0] = stream;
  select.out = head.in[0] = picked;
  head.out = sample.in[0] = logits;
  plan_add_op(&builder, &embed);
  plan_add_op(&builder, &select);
  plan_add_op(&builder, &head);
  plan_add_op(&builder, &sample);
  struct error error;
  if (!plan_finish(&builder, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(&builder);
}

static void fixture_init(struct engine_fixture *f) {
  snprintf(f->folder, sizeof f->folder, "/tmp/spate-test-XXXXXX");
  assert_non_null(mkdtemp(f->folder));
  snprintf(f->path, sizeof f->path, "%s/model.spate", f->folder);
  buffer_init(&f->plan, 1 << 20);
  fixture_plan(&f->plan);
  f->facts = (struct engine_facts){.name = "Tiny", .architecture = "tiny", .created = 7, .generation.temperature = 1};
  struct error error;
  if (!engine_config_complete(&f->facts.config, FIXTURE_POSITIONS, &error)) fail_msg("%s", error.text);
}

static void fixture_release(struct engine_fixture *f) {
  buffer_release(&f->plan);
  unlink(f->path);
  assert_int_equal(rmdir(f->folder), 0); /* nothing else was left there */
}

static const struct plan *fixture_plan_of(const struct engine_fixture *f) { return (const void *)f->plan.data; }

static const char fixture_tokenizer[] = "tokens", fixture_template[] = "{{ prompt }}", fixture_manifest[] = "{}";

static const struct engine_fold fixture_folds[2]; /* of its two weights: nothing */
static const struct hash128 fixture_base = {7, 8};

/* Begins a file and writes its weights: byte i of weight w is 7w + i. */
static bool fixture_fill(struct engine_fixture *f, struct engine_writer *writer, struct error *error) {
  struct engine_contents contents = {.facts = &f->facts,
                                     .plan = fixture_plan_of(f),
                                     .tokenizer = slice_text(fixture_tokenizer),
                                     .chat_template = slice_text(fixture_template)};
  if (!engine_writer_init(writer, f->path, contents.plan, contents.vision, &backend_cpu, error) ||
      !engine_writer_begin(writer, &contents, error))
    return false;
  for (int w = 0; w < writer->n_weight; w++) {
    size_t size = writer->weights[w].bytes;
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(7 * w + (int)i);
    struct slice all = slice_make(bytes, size);
    bool written = engine_writer_weight(writer, w, 0, all, error);
    engine_writer_hash(writer, w, hash_bytes(all, 0));
    free(bytes);
    if (!written) return false;
  }
  return true;
}

static void fixture_write(struct engine_fixture *f) {
  struct engine_writer writer;
  struct error error;
  struct engine_ending ending = {.folds = slice_make(fixture_folds, sizeof fixture_folds),
                                 .base = fixture_base,
                                 .manifest = slice_text(fixture_manifest)};
  if (!fixture_fill(f, &writer, &error) || !engine_writer_commit(&writer, &ending, &error)) fail_msg("%s", error.text);
  engine_writer_release(&writer);
}

#endif
