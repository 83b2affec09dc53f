/* KV blocks whose bytes lie beyond what 32 bits count, in bytes or in numbers of the cache: the same rows in blocks
 * near the cache's beginning and in far ones, some of which are the near ones modulo 2^32 bytes and 2^32 numbers. The
 * near ones are compared with the reference, too, whose cache is small. On devices with memory of their own. */
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
  HEADS = 4,
  KV_HEADS = 2,
  DIM = 128,
  BLOCK = 16,
  LAYERS = 1024, /* so that a block is large: 16 MiB of fp16, of which the last layer is used */
  SEATS = 4,
  BLOCKS = 4, /* of a sequence */
  SPARE = BLOCKS,
  PROMPT = 44, /* ends within a block; more packed queries than attention of few rows takes */
  LENGTH = 52,
  NEAR_BLOCKS = SEATS * (BLOCKS + 1) + 1,
  FAR_BLOCKS = 513 + BLOCKS + 1,
};

static const float size = 2;

/* A sequence's first block; another follows its last, to which its first is copied before the last step. */
static const uint32_t near[SEATS] = {1, 6, 11, 16}, far[SEATS] = {1, 129, 257, 513};

static void case_make(struct op_model *m) {
  int q = HEADS * DIM, kv = 2 * KV_HEADS * DIM;
  model_init(m, q, 5);
  struct op op = op_make(OP_ATTEND, 0);
  op.in[0] = model_embedded_value(m, q + kv, size);
  op.out = plan_add_value(&m->builder, q, ROWS_TOKENS);
  op.args.attend = (struct attend_args){.n_head = HEADS,
                                        .n_kv_head = KV_HEADS,
                                        .dim_k = DIM,
                                        .dim_v = DIM,
                                        .layer = LAYERS - 1,
                                        .scale = (float)(1 / sqrt(DIM))};
  plan_add_group(&m->builder, (struct kv_group){.n_layer = LAYERS, .n_head = KV_HEADS, .dim_k = DIM, .dim_v = DIM});
  plan_add_op(&m->builder, &op);
  model_finish(m, op.out, false);
}

static struct limits limits_make(uint8_t kv, uint32_t n_block) {
  return step_limits(SEATS, SEATS * PROMPT, LENGTH, BLOCK, kv, n_block);
}

struct far_run {
  const struct op_packed *packed;
  struct program *program;
  struct limits limits;
  uint32_t block[SEATS][BLOCKS];
  float *at; /* where the next step's results go */
};

/* count tokens of each sequence. */
static void step_run(struct far_run *run, int length, int count, const struct kv_copy *copy, int n_copy) {
  struct op_step step;
  step_begin(&step);
  step.batch.copy = copy;
  step.batch.n_copy = n_copy;
  for (int s = 0; s < SEATS; s++) step_add(&step, HEADS * DIM, s, length, count, run->block[s], BLOCKS);
  program_step(run->packed, run->program, &run->limits, step.batch, NULL, run->at);
  run->at += (size_t)step.batch.n_out * HEADS * DIM;
}

enum { RESULTS = SEATS * LENGTH * HEADS * DIM };

/* A prompt, then a token after the other; before the last, each sequence's first block moves. */
static void case_run(const struct op_packed *packed, struct device *device, struct limits limits,
                     const uint32_t first[SEATS], float *result) {
  struct far_run run = {packed, packed_compile(packed, device, &limits), limits, {{0}}, result};
  struct kv_copy copy[SEATS];
  for (uint32_t s = 0; s < SEATS; s++) {
    for (uint32_t b = 0; b < BLOCKS; b++) run.block[s][b] = first[s] + b;
    copy[s] = (struct kv_copy){0, first[s], first[s] + SPARE};
  }
  step_run(&run, 0, PROMPT, NULL, 0);
  for (int length = PROMPT; length < LENGTH - 1; length++) step_run(&run, length, 1, NULL, 0);
  for (int s = 0; s < SEATS; s++) run.block[s][0] += SPARE;
  step_run(&run, LENGTH - 1, 1, copy, SEATS);
  packed->backend->release(run.program);
}

/* Queries and weights of a softmax are rounded to halves on matrix units. */
static void tolerance_make(const float *expected, double *tolerance, uint8_t kv) {
  double magnitude = DIM * (double)size * (double)size / sqrt(DIM);
  double rounding = kv == KV_F16 ? 0x1p-11 : 64 * ROUNDOFF;
  for (int i = 0; i < RESULTS; i++) tolerance[i] = 2 * rounding * (magnitude + 1) * (fabs((double)expected[i]) + 1);
}

static void subject_run(struct table *table, const struct subject *subject, const struct op_model *model, uint8_t kv) {
  static float expected[RESULTS], one[RESULTS], other[RESULTS];
  static double tolerance[RESULTS];
  struct family family = {0};
  struct op_packed packed;
  struct footprint footprint;
  struct limits limits = limits_make(kv, FAR_BLOCKS), small = limits_make(kv, NEAR_BLOCKS);
  snprintf(family.name, sizeof family.name, "blocks beyond 32 bits, %s", kv_dtype_name(kv));
  if (!table->tested->measure(model->plan, &limits, &footprint, &family.refusal)) op_die("far", &family.refusal);
  uint64_t wanted = footprint.workspace + footprint.kv_block[0] * FAR_BLOCKS;
  uint64_t available = 0;
  if (!table->tested->memory(subject->device[1], &available, &family.refusal)) op_die("far", &family.refusal);
  if (wanted > available) {
    error_set(&family.refusal, ERROR_MEMORY, "the GPU has not %.1f GiB free", (double)wanted / (1 << 30));
    family.skipped++;
    family_end(table, &family);
    return;
  }
  packed_init(&packed, table->oracle, model);
  case_run(&packed, table->oracle_device, small, near, expected);
  packed_release(&packed);
  packed_init(&packed, table->tested, model);
  tolerance_make(expected, tolerance, kv);
  case_run(&packed, subject->device[1], small, near, one);
  family_compare(&family, subject->name, expected, tolerance, one, RESULTS);
  case_run(&packed, subject->device[1], limits, far, other);
  family_same(&family, subject->name, one, other, RESULTS);
  packed_release(&packed);
  family_end(table, &family);
}

void far_cases(struct table *table) {
  struct op_model model;
  if (!table->tested->memory) return; /* the host's is for others, too */
  case_make(&model);
  for (int s = 0; s < table->n_subject; s++) {
    subject_run(table, &table->subject[s], &model, KV_F16);
    subject_run(table, &table->subject[s], &model, KV_F32);
  }
  model_release(&model);
}
