/* Where an adapter's factors lie on a GPU, and the host's part of bringing them there: floats become bf16 in the order
 * in which kernels read them. Host code without a device. */
#include "backend/cuda/cuda_program.h"

#include <string.h>

enum { ALIGN = 256 };

static size_t aligned(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

int32_t cuda_adapter_rank(int32_t rank) { return (rank + RANK_STRIP - 1) / RANK_STRIP * RANK_STRIP; }

bool cuda_adapter_floats(const struct weight *weight) { return weight->scheme.kind == SCHEME_F32; }

int32_t cuda_adapter_splits(int32_t cols, int32_t n) {
  return n <= SHRINK_APART ? (cols + SPLIT_COLS - 1) / SPLIT_COLS : 1;
}

static size_t whole_cols(const struct weight *weight) {
  return ((size_t)weight->cols + PIECE_COLS - 1) / PIECE_COLS * PIECE_COLS;
}

/* --- sizes -------------------------------------------------------------------------------------------------------- */

static int32_t expert_sites(const struct plan *plan, const struct op *op) {
  return cuda_op_has_experts(op) ? adapter_sites(plan, op) : 0;
}

int32_t cuda_adapter_experts(const struct plan *plan) {
  int32_t n = 0;
  for (int i = 0; i < plan->n_op; i++) n += expert_sites(plan, plan_ops(plan) + i);
  return n;
}

size_t cuda_adapter_lay(const struct plan *plan, const struct limits *limits, struct cuda_adapter_place *place) {
  size_t used = 0, rank = (size_t)cuda_adapter_rank(limits->adapter_rank);
  int32_t expert = 0;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (place) place[i].expert = expert;
    expert += expert_sites(plan, op);
    if ((op->kind != OP_LINEAR && op->kind != OP_EMBED) || cuda_op_has_experts(op)) continue;
    const struct weight *w = plan_weights(plan) + op->weight[0];
    bool embed = op->kind == OP_EMBED;
    size_t number = cuda_adapter_floats(w) ? sizeof(float) : 2, rows = (size_t)(embed ? w->cols : w->rows);
    size_t a = (embed ? (size_t)w->rows : (size_t)w->n_part * whole_cols(w)) * rank * number;
    size_t b = rows * rank * number;
    if (place) place[i] = (struct cuda_adapter_place){used, used + aligned(a), used + aligned(a) + aligned(b), expert};
    used += aligned(a) + aligned(b) + aligned(rows * VECTORS * sizeof(float));
  }
  return used;
}

struct cuda_adapter_place cuda_adapter_expert_lay(const struct plan *plan, const struct adapter_op *from,
                                                  size_t *used) {
  const struct weight *w = plan_weights(plan) + plan_ops(plan)[from->op].weight[0];
  size_t number = cuda_adapter_floats(w) ? sizeof(float) : 2, rank = (size_t)cuda_adapter_rank(from->rank);
  size_t a = aligned((size_t)w->n_part * whole_cols(w) * rank * number), b = aligned((size_t)w->rows * rank * number);
  struct cuda_adapter_place place = {.a = *used, .b = *used + a};
  *used += a + b;
  return place;
}

bool cuda_adapter_paired(const struct plan *plan, const struct limits *limits, const struct op *op) {
  if (op->kind != OP_LINEAR || limits->batch_invariant || limits->adapters == 0 || cuda_op_has_experts(op))
    return false;
  return !cuda_adapter_floats(plan_weights(plan) + op->weight[0]);
}

static size_t tokens_of(const struct limits *limits, int32_t most) {
  return (size_t)(limits->tokens < most ? limits->tokens : most);
}

/* Of a slice of the tokens: a short one's products, where no other op wants room for more, a long one's sums. */
static void experts_need(const struct plan *plan, const struct limits *limits, const struct op *op,
                         struct cuda_adapter_needs *most) {
  const struct weight *w = plan_weights(plan) + op->weight[0];
  size_t results = (size_t)cuda_expert_results(plan, op), rank = (size_t)cuda_adapter_rank(limits->adapter_rank);
  most->h = larger(most->h, tokens_of(limits, EXPERT_SLICE) * results * USES * (size_t)w->n_part * rank);
  most->product = larger(most->product, tokens_of(limits, EXPERT_ADAPTED) * results * (size_t)w->rows);
}

struct cuda_adapter_needs cuda_adapter_most(const struct plan *plan, const struct limits *limits) {
  struct cuda_adapter_needs most = {0};
  size_t rank = (size_t)cuda_adapter_rank(limits->adapter_rank);
  if (limits->adapters == 0) return most;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (expert_sites(plan, op) > 0) experts_need(plan, limits, op, &most);
    if (op->kind != OP_LINEAR || cuda_op_has_experts(op)) continue;
    const struct weight *w = plan_weights(plan) + op->weight[0];
    size_t n = (size_t)(plan_values(plan)[op->in[0]].rows == ROWS_OUTPUTS ? limits->outputs : limits->tokens);
    size_t few = n < SHRINK_APART ? n : SHRINK_APART, width = (size_t)w->n_part * rank;
    size_t uses = USES * larger(n, few * (size_t)cuda_adapter_splits(w->cols, 1));
    bool apart = op->args.linear.gated || op->in[1] >= 0 || op->args.linear.post_norm != NORM_NONE;
    most.h = larger(most.h, uses * width);
    most.squares = larger(most.squares, uses);
    most.counts = larger(most.counts, SHRINK_COUNTS(width));
    size_t panels = ((size_t)w->cols + PIECE_COLS - 1) / PIECE_COLS;
    if (cuda_adapter_paired(plan, limits, op)) most.part_bytes = larger(most.part_bytes, panels * ADAPTER_UNITS * 512);
    if (apart) most.product = larger(most.product, (n < ADAPTED_SLICE ? n : ADAPTED_SLICE) * (size_t)w->rows);
  }
  struct cuda_adapter_lists lists;
  most.slab = cuda_adapter_slab_lay(limits->tokens, limits->outputs, NULL, &lists, &lists);
  return most;
}

static void *take(uint8_t *slab, size_t *used, size_t bytes) {
  void *at = slab + *used;
  *used += (bytes + 15) / 16 * 16;
  return at;
}

static void lists_lay(int32_t n, uint8_t *slab, size_t *used, struct cuda_adapter_lists *lists) {
  size_t uses = (size_t)n * USES;
  lists->use = take(slab, used, uses * sizeof *lists->use);
  lists->n_chunk = take(slab, used, sizeof *lists->n_chunk);
  lists->chunk = take(slab, used, uses * sizeof *lists->chunk);
  lists->place = take(slab, used, uses * sizeof *lists->place);
  lists->first = take(slab, used, LINEAR_FEW * sizeof *lists->first);
  lists->n_pair = take(slab, used, sizeof *lists->n_pair);
  lists->pair = take(slab, used, ADAPTER_PAIRS * sizeof *lists->pair);
}

size_t cuda_adapter_slab_lay(int32_t n_token, int32_t n_out, uint8_t *slab, struct cuda_adapter_lists *tokens,
                             struct cuda_adapter_lists *outputs) {
  size_t used = 0;
  lists_lay(n_token, slab, &used, tokens);
  lists_lay(n_out, slab, &used, outputs);
  return used;
}

/* --- packing ------------------------------------------------------------------------------------------------------ */

/* To nearest, ties to even; what would be infinite is the greatest number, since kernels multiply zeros with it. */
static void halves_round(const float *from, size_t n, uint16_t *to) {
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, from + i, sizeof bits);
    uint32_t sign = bits & 0x80000000, magnitude = bits & 0x7fffffff;
    magnitude = magnitude < 0x7f7f0000 ? magnitude : 0x7f7f0000;
    to[i] = (uint16_t)((sign | (magnitude + 0x7fff + (magnitude >> 16 & 1))) >> 16);
  }
}

static size_t number_bytes(const struct cuda_adapter_pack *p) { return p->floats ? sizeof(float) : 2; }

/* A row of the result; index < 0: zeros. */
struct pack_row {
  int64_t index; /* among those that are given */
  float gain;
};

static struct pack_row row_of(const struct cuda_adapter_pack *p, size_t row) {
  size_t within = row % (size_t)p->group;
  if (within >= (size_t)p->given) return (struct pack_row){.index = -1};
  struct pack_row of = {.index = (int64_t)(row / (size_t)p->group * (size_t)p->given + within), .gain = 1};
  int part = 0, tensor_row;
  if (p->gain && (!p->weight || weight_row_source(p->weight, (int)row, &part, &tensor_row))) of.gain = p->gain[part];
  return of;
}

/* The numbers given from `at` on, n ≤ PIECE_COLS; those that have 16 bits go as they are. */
static void piece_put(const struct cuda_adapter_pack *p, size_t at, float gain, size_t n, uint8_t *to) {
  float floats[PIECE_COLS];
  if (p->numbers.type == FACTOR_BF16 && gain == 1 && !p->floats) {
    memcpy(to, (const uint16_t *)p->numbers.numbers + at, n * 2);
    return;
  }
  factor_floats(p->numbers, at, n, floats);
  for (size_t i = 0; i < n; i++) floats[i] *= gain;
  if (p->floats)
    memcpy(to, floats, n * sizeof *floats);
  else
    halves_round(floats, n, (uint16_t *)(void *)to);
}

static void given_put(const struct cuda_adapter_pack *p, size_t at, float gain, size_t n, uint8_t *to) {
  for (size_t i = 0; i < n; i += PIECE_COLS)
    piece_put(p, at + i, gain, n - i < PIECE_COLS ? n - i : PIECE_COLS, to + i * number_bytes(p));
}

/* Numbers [first, first + n) of a row. */
static void numbers_put(const struct cuda_adapter_pack *p, struct pack_row row, size_t first, size_t n, uint8_t *to) {
  size_t have = row.index >= 0 && first < (size_t)p->have ? (size_t)p->have - first : 0, size = number_bytes(p);
  if (have > n) have = n;
  given_put(p, (size_t)row.index * (size_t)p->have + first, row.gain, have, to);
  memset(to + have * size, 0, (n - have) * size);
}

/* How many of up to n rows, the first of which is `of`, follow one another in what is given, too, by one gain. */
static size_t rows_alike(const struct cuda_adapter_pack *p, size_t row, struct pack_row of, size_t n) {
  size_t alike = 1;
  if (p->width != p->have || of.index < 0) return alike;
  for (; alike < n; alike++) {
    struct pack_row next = row_of(p, row + alike);
    if (next.index != of.index + (int64_t)alike || next.gain != of.gain) break;
  }
  return alike;
}

static void rows_fill(const void *source, size_t at, size_t bytes, uint8_t *to) {
  const struct cuda_adapter_pack *p = source;
  size_t size = number_bytes(p), width = (size_t)p->width;
  for (size_t i = at / size, end = (at + bytes) / size, n; i < end; to += n * size, i += n) {
    size_t row = i / width, first = i % width, left = end - i;
    struct pack_row of = row_of(p, row);
    if (first == 0 && left >= width) {
      size_t rows = rows_alike(p, row, of, left / width);
      n = rows * width;
      if (rows > 1) given_put(p, (size_t)of.index * width, of.gain, n, to);
      if (rows > 1) continue;
    }
    n = width - first < left ? width - first : left;
    numbers_put(p, of, first, n, to);
  }
}

/* Pieces of 16 ranks × 64 columns, pairs of neighbours in the order of adapter_index. */
static void strips_fill(const void *source, size_t at, size_t bytes, uint8_t *to) {
  const struct cuda_adapter_pack *p = source;
  size_t n_piece = (size_t)p->width / PIECE_COLS;
  for (size_t i = at / PIECE_BYTES, end = (at + bytes) / PIECE_BYTES; i < end; i++, to += PIECE_BYTES)
    for (int r = 0; r < STRIP_ROWS; r++) {
      uint32_t pairs[PIECE_COLS / 2];
      struct pack_row row = row_of(p, i / n_piece * STRIP_ROWS + (size_t)r);
      numbers_put(p, row, i % n_piece * PIECE_COLS, PIECE_COLS, (uint8_t *)pairs);
      for (int k = 0; k < PIECE_COLS / 2; k++) memcpy(to + adapter_index(r, 2 * k) * 2, pairs + k, sizeof *pairs);
    }
}

static struct upload_job pack_job(const struct cuda_adapter_pack *pack, uint8_t *to) {
  size_t numbers = (size_t)pack->n_row * (size_t)pack->width;
  return (struct upload_job){.to = to,
                             .from = {.size = numbers * number_bytes(pack)},
                             .fill = pack->strips ? strips_fill : rows_fill,
                             .source = pack};
}

/* Factors that have a rank are there; a piece of a file's buffer is a whole number of pieces of strips. */
_Static_assert(UPLOAD_BYTES % PIECE_BYTES == 0, "strips are packed by whole pieces");

static void factors_pack(const struct adapter_op *from, const struct weight *w, bool embed,
                         struct cuda_adapter_pack packs[2]) {
  bool floats = cuda_adapter_floats(w);
  int32_t rank = cuda_adapter_rank(from->rank);
  struct cuda_adapter_pack by_rank = {.width = rank, .have = from->rank, .group = 1, .given = 1, .floats = floats};
  packs[0] = packs[1] = by_rank;
  packs[0].numbers = from->a, packs[1].numbers = from->b;
  packs[0].n_row = w->rows, packs[1].n_row = embed ? w->cols : w->rows;
  packs[1].gain = from->gain, packs[1].weight = embed ? NULL : w;
  if (embed) return;
  packs[0].n_row = w->n_part * rank, packs[0].width = (int32_t)whole_cols(w), packs[0].have = w->cols;
  packs[0].group = rank, packs[0].given = from->rank;
  packs[0].strips = !floats && w->n_expert == 0; /* which kernels of experts want row by row */
}

int cuda_adapter_jobs(const struct plan *plan, const struct adapter_op *from, const struct cuda_adapter_place *place,
                      uint8_t *slot, struct cuda_adapter_pack packs[2], struct upload_job jobs[ADAPTER_JOBS]) {
  const struct op *op = plan_ops(plan) + from->op;
  const struct weight *w = plan_weights(plan) + op->weight[0];
  bool embed = op->kind == OP_EMBED;
  const float *const vectors[VECTORS] = {from->shift, from->magnitude, from->w2, from->wd, from->d2};
  size_t bytes = (size_t)(embed ? w->cols : w->rows) * sizeof(float);
  int n = 0;
  factors_pack(from, w, embed, packs);
  if (from->rank > 0) {
    jobs[n++] = pack_job(&packs[0], slot + place->a);
    jobs[n++] = pack_job(&packs[1], slot + place->b);
  }
  for (int i = 0; i < VECTORS; i++)
    if (vectors[i])
      jobs[n++] =
          (struct upload_job){.to = slot + place->vectors + (size_t)i * bytes, .from = slice_make(vectors[i], bytes)};
  return n;
}
