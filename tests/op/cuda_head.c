/* Which steps' heads leave the greatest alone in place of logits (cuda_part_greatest): by the weights, what else the
 * linear does, how many outputs, the path and the limits. Needs no GPU. */
#include "backend/cuda/cuda_program.h"
#include "op/op_model.h"

#include <stdio.h>

enum { COLS = 128, VOCAB = 64 };

static int failed;

/* A head and the draw. */
static void model_make(struct op_model *m, struct scheme scheme, struct linear_args args, bool biased) {
  struct op select = op_make(OP_SELECT, 0), linear = op_make(OP_LINEAR, 0);
  model_init(m, VOCAB, 1);
  select.in[0] = model_embedded_value(m, COLS, 1);
  select.out = linear.in[0] = plan_add_value(&m->builder, COLS, ROWS_OUTPUTS);
  plan_add_op(&m->builder, &select);
  linear.weight[0] = model_matrix(m, scheme, VOCAB, COLS, 0.3f);
  if (biased) linear.weight[1] = model_vector(m, VOCAB, -1, 1);
  linear.out = plan_add_value(&m->builder, VOCAB, ROWS_OUTPUTS);
  args.lora_site = -1, args.scale = 1;
  linear.args.linear = args;
  plan_add_op(&m->builder, &linear);
  model_finish(m, linear.out, true);
}

static const struct scheme bf16 = {.kind = SCHEME_BF16}, f16 = {.kind = SCHEME_F16}, f32 = {.kind = SCHEME_F32},
                           fp8 = {.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN},
                           w8a8 = {.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN},
                           int8 = {.kind = SCHEME_INT, .bits = 8};

static void head_check(const char *what, const char *isa, struct scheme scheme, struct linear_args args, bool biased,
                       bool invariant, int n_out, bool expected) {
  struct op_model model;
  struct error error = {0};
  struct device device = {.path = cuda_path_choose(isa, 90, "Test", &error)};
  model_make(&model, scheme, args, biased);
  struct program program = {.plan = model.plan, .device = &device, .limits = {.batch_invariant = invariant}};
  program.n_body = model.plan->n_op - 3; /* select, the head, the draw */
  if (cuda_part_greatest(&program, n_out) != expected) {
    printf("FAILED %s, %d outputs: %s\n", what, n_out, expected ? "logits are written" : "no logits are written");
    failed++;
  }
  model_release(&model);
}

int main(void) {
  struct linear_args plain = {0}, capped = {.softcap = 30}, curved = {.act = ACT_SILU};
  head_check("BF16", NULL, bf16, plain, false, false, 33, true);
  head_check("BF16 in streams", NULL, bf16, plain, false, false, 32, false);
  head_check("BF16 in tiles, batch invariant", NULL, bf16, plain, false, true, 1, true);
  head_check("BF16 on sm80", "sm80", bf16, plain, false, false, 300, false);
  head_check("a bias", NULL, bf16, plain, true, false, 33, false);
  head_check("a softcap", NULL, bf16, capped, false, false, 33, false);
  head_check("a curve", NULL, bf16, curved, false, false, 33, false);
  head_check("FP8 in tiles", NULL, fp8, plain, false, false, 17, true);
  head_check("FP8 in streams", NULL, fp8, plain, false, false, 16, false);
  head_check("W8A8 in tiles", NULL, w8a8, plain, false, false, 9, true);
  head_check("W8A8 in streams", NULL, w8a8, plain, false, false, 8, false);
  head_check("int8 with 16-bit tokens", NULL, int8, plain, false, false, 300, false);
  head_check("F16", NULL, f16, plain, false, false, 300, false);
  head_check("F32", NULL, f32, plain, false, false, 300, false);
  printf("%d failed\n", failed);
  return failed > 0;
}
