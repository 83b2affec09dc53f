/* A packed matrix as kernels see it, and the numbers that they know by names of their own. */
#include "backend/cuda/cuda_program.h"

#define SAME(ours, plans) _Static_assert((int)(ours) == (int)(plans), "kernels know the plan's numbers by other names")
SAME(KIND_F32, SCHEME_F32);
SAME(KIND_F16, SCHEME_F16);
SAME(KIND_BF16, SCHEME_BF16);
SAME(KIND_INT, SCHEME_INT);
SAME(KIND_F8, SCHEME_F8);
SAME(ROUND_INT8, ACTIVATION_INT8);
SAME(ROUND_INT8_TOKEN, ACTIVATION_INT8_TOKEN);
SAME(ROUND_E4M3_TOKEN, ACTIVATION_E4M3_TOKEN);
SAME(LEVEL_F32, SCALE_F32);
SAME(LEVEL_F16, SCALE_F16);
SAME(LEVEL_BF16, SCALE_BF16);
SAME(LEVEL_TWO, SCALE_TWO_LEVEL);
SAME(CURVE_GELU, ACT_GELU_TANH);
SAME(ROTATE_PAIRS, ROPE_PAIRS);
SAME(CACHE_F32, KV_F32);
SAME(CACHE_F16, KV_F16);
SAME(CACHE_BF16, KV_BF16);
SAME(CACHE_E4M3, KV_E4M3);
SAME(CACHE_INT8, KV_INT8);

/* Where the parts of a block of integers lie. */
static void block_describe(const struct cpu_layout *c, struct cuda_matrix *m) {
  m->block_cols = c->block_units * UNIT_COLS;
  m->high_at = (uint32_t)c->high_at;
  m->scale_at = (uint32_t)c->scale_at;
  m->min_at = (uint32_t)c->min_at;
  m->super_at = (uint32_t)c->super_at;
  m->super_min_at = (uint32_t)c->super_min_at;
  m->block_bytes = (uint32_t)c->block_bytes;
}

static struct cuda_matrix scheme_numbers(const struct scheme *s) {
  return (struct cuda_matrix){.kind = s->kind,
                              .bits = s->bits,
                              .high_bits = s->high_bits,
                              .scale = s->scale,
                              .has_min = s->has_min,
                              .codebook = s->codebook,
                              .unit = codebook_unit(s->codebook),
                              .activation = s->activation,
                              .group = s->group,
                              .offset = s->kind == SCHEME_INT ? scheme_offset(s) : 0};
}

struct cuda_matrix cuda_matrix_of(const struct program *p, int weight) {
  struct cuda_layout layout = cuda_layout_of(plan_weights(p->plan) + weight);
  struct cuda_matrix m = scheme_numbers(&layout.cpu.scheme);
  m.data = p->weight[weight];
  m.rows = layout.rows;
  m.cols = layout.cols;
  m.strip_bytes = layout.strip_bytes;
  m.piece_bytes = (int32_t)layout.piece_bytes;
  m.head_bytes = (int32_t)layout.head_bytes;
  m.pieces = layout.pieces;
  m.bytes = layout.bytes;
  m.nibbles = layout.nibbles;
  m.exponent = p->exponent[weight];
  block_describe(&layout.cpu, &m);
  return m;
}
