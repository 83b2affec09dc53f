/* Decode steps of every size: each sequence's tokens have the bytes that they have in its prompt, however many others
 * go on in the same step. A GPU rounds the rows of such steps up. */
#include "op/op_table.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEATS = 20, PROMPT = 6, DECODED = 12, LENGTH = PROMPT + DECODED, BLOCK = 16, BLOCKS = 2 };

/* Rows of a step, from a sequence on that is another each time. */
static const int steps[] = {20, 1, 2, 3, 5, 7, 8, 9, 11, 13, 15, 16, 17, 19, 20, 4, 6, 10};
enum { STEPS = sizeof steps / sizeof *steps };

struct decode_case {
  const char *name;
  int n_head, n_kv_head, dim;
  uint8_t kv;
};

static const struct decode_case cases[] = {
    {"fp32", 2, 1, 32, KV_F32},
    {"fp16", 4, 2, 64, KV_F16},
    {"fp16, 65 heads to 1", 65, 1, 64, KV_F16}, /* more than attention of few rows takes */
};

static void case_make(const struct decode_case *c, struct op_model *m) {
  int q = c->n_head * c->dim, kv = 2 * c->n_kv_head * c->dim;
  model_init(m, q, (uint64_t)q);
  struct op op = op_make(OP_ATTEND, 0);
  op.in[0] = model_embedded_value(m, q + kv, 2);
  op.out = plan_add_value(&m->builder, q, ROWS_TOKENS);
  op.args.attend = (struct attend_args){
      .n_head = c->n_head, .n_kv_head = c->n_kv_head, .dim_k = c->dim, .dim_v = c->dim, .scale = 0.1f};
  plan_add_group(&m->builder,
                 (struct kv_group){.n_layer = 1, .n_head = c->n_kv_head, .dim_k = c->dim, .dim_v = c->dim});
  plan_add_op(&m->builder, &op);
  model_finish(m, op.out, false);
}

struct decode_run {
  const struct op_packed *packed;
  struct program *program;
  struct limits limits;
  int done[SEATS];
  float *result; /* [SEATS][LENGTH][vocab] */
};

/* One step: count tokens of each of n sequences from `first` on. */
static void step_run(struct decode_run *run, int first, int n, int count) {
  uint32_t block[SEATS][BLOCKS];
  struct op_step step;
  size_t vocab = (size_t)run->packed->model->plan->vocab;
  float *logits = malloc(sizeof(float) * vocab * (size_t)(n * count));
  if (!logits) op_die("decode", &(struct error){.text = "out of memory"});
  step_begin(&step);
  for (int r = 0; r < n; r++) {
    int q = (first + r) % SEATS;
    for (uint32_t i = 0; i < BLOCKS; i++) block[r][i] = (uint32_t)q * BLOCKS + (BLOCKS - 1 - i);
    step_add(&step, (int)vocab, q, run->done[q], count, block[r], BLOCKS);
  }
  program_step(run->packed, run->program, &run->limits, step.batch, NULL, logits);
  for (int i = 0; i < n * count; i++) {
    const struct row *row = &step.row[i / count];
    float *to = run->result + ((size_t)row->seat * LENGTH + (size_t)(row->length + i % count)) * vocab;
    memcpy(to, logits + (size_t)i * vocab, vocab * sizeof *logits);
  }
  for (int r = 0; r < n; r++) run->done[step.row[r].seat] += count;
  free(logits);
}

static void decode_init(struct decode_run *run, const struct op_packed *packed, struct device *device, uint8_t kv) {
  size_t vocab = (size_t)packed->model->plan->vocab;
  *run = (struct decode_run){.packed = packed,
                             .limits = step_limits(SEATS, SEATS * LENGTH, LENGTH, BLOCK, kv, SEATS * BLOCKS),
                             .result = calloc(SEATS * LENGTH * vocab, sizeof *run->result)};
  if (!run->result) op_die("decode", &(struct error){.text = "out of memory"});
  run->program = packed_compile(packed, device, &run->limits);
}

static void decode_release(struct decode_run *run) {
  run->packed->backend->release(run->program);
  free(run->result);
}

static void subject_run(const struct op_packed *packed, const struct subject *subject, const struct decode_case *c,
                        struct family *family) {
  struct decode_run whole, decoded;
  size_t vocab = (size_t)packed->model->plan->vocab;
  decode_init(&whole, packed, subject->device[1], c->kv);
  decode_init(&decoded, packed, subject->device[1], c->kv);
  step_run(&whole, 0, SEATS, LENGTH);
  step_run(&decoded, 0, SEATS, PROMPT);
  for (int i = 0, first = 0; i < STEPS; first = (first + steps[i++]) % SEATS) step_run(&decoded, first, steps[i], 1);
  for (size_t q = 0; q < SEATS; q++)
    family_same(family, subject->name, whole.result + q * LENGTH * vocab, decoded.result + q * LENGTH * vocab,
                (size_t)decoded.done[q] * vocab);
  decode_release(&whole);
  decode_release(&decoded);
}

void decode_cases(struct table *table) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct family family = {0};
    struct op_model model;
    struct op_packed packed;
    snprintf(family.name, sizeof family.name, "decode together, %s", cases[i].name);
    case_make(&cases[i], &model);
    packed_init(&packed, table->tested, &model);
    for (int s = 0; s < table->n_subject; s++) subject_run(&packed, &table->subject[s], &cases[i], &family);
    packed_release(&packed);
    model_release(&model);
    family_end(table, &family);
  }
}
