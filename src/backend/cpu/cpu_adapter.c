/* Slots of adapters: what backend.adapter_load packs. All of an adapter lies in an arena of its slot, which no step
 * reads while it is filled. */
#include "backend/cpu/cpu_program.h"

#include <stdlib.h>
#include <string.h>

enum { LINE_FLOATS = LINE_BYTES / 4 };

/* An op's factors on their way: of the weight's parts what they have in a and where that begins. */
struct packing {
  struct arena *arena;
  const struct weight *weight;
  const struct adapter_op *from;
  int rank[PLAN_PARTS], first[PLAN_PARTS]; /* rank: without the zeros at its end */
};

/* Zeros that begin with a cache line; NULL: there is no memory. */
static float *floats_take(struct arena *arena, size_t rows, size_t cols) {
  size_t count;
  if (__builtin_mul_overflow(rows, cols, &count) || __builtin_add_overflow(count, LINE_FLOATS, &count)) return NULL;
  char *memory = arena_array(arena, count, sizeof(float));
  return memory ? (float *)(void *)(memory + (-(uintptr_t)memory & (LINE_BYTES - 1))) : NULL;
}

static size_t whole(size_t count, size_t unit) { return (count + unit - 1) / unit * unit; }

static bool row_is_zero(const float *row, int cols) {
  int c = 0;
  while (c < cols && row[c] == 0) c++;
  return c == cols;
}

static const float *part_row(const struct packing *p, int part, int k) {
  return p->from->a + ((size_t)part * (size_t)p->from->rank + (size_t)k) * (size_t)p->weight->cols;
}

static int ranks_find(struct packing *p) {
  int all = 0;
  for (int i = 0; i < p->weight->n_part; i++) {
    p->rank[i] = p->from->rank;
    while (p->rank[i] > 0 && row_is_zero(part_row(p, i, p->rank[i] - 1), p->weight->cols)) p->rank[i]--;
    p->first[i] = all;
    all += p->rank[i];
  }
  return all;
}

static bool a_pack(const struct packing *p, struct adapter_factors *to) {
  float *a = floats_take(p->arena, (size_t)to->rank, to->a_stride);
  to->a = a;
  for (int i = 0; a && i < p->weight->n_part; i++)
    for (int k = 0; k < p->rank[i]; k++)
      memcpy(a + (size_t)(p->first[i] + k) * to->a_stride, part_row(p, i, k), (size_t)p->weight->cols * sizeof *a);
  return a != NULL;
}

/* The parts that a tile has rows of follow one another; so do their columns in h. */
static struct factor_tile tile_of(const struct packing *p, int index, size_t b) {
  int first = p->weight->n_part, last = -1;
  for (int i = index * TILE_ROWS, part, row; i < (index + 1) * TILE_ROWS && i < p->weight->rows; i++) {
    if (!weight_row_source(p->weight, i, &part, &row)) continue;
    first = part < first ? part : first;
    last = part > last ? part : last;
  }
  struct factor_tile tile = {.b = b};
  if (last < 0) return tile;
  tile.first = p->first[first];
  tile.count = p->first[last] + p->rank[last] - tile.first;
  return tile;
}

static void tile_fill(const struct packing *p, const struct factor_tile *tile, int index, float *b) {
  for (int i = index * TILE_ROWS, part, row; i < (index + 1) * TILE_ROWS && i < p->weight->rows; i++) {
    if (!weight_row_source(p->weight, i, &part, &row)) continue;
    for (int k = 0; k < p->rank[part]; k++)
      b[(p->first[part] - tile->first + k) * TILE_ROWS + i % TILE_ROWS] =
          p->from->b[(size_t)i * (size_t)p->from->rank + (size_t)k];
  }
}

static bool b_pack(const struct packing *p, struct adapter_factors *to) {
  int n_tile = (p->weight->rows + TILE_ROWS - 1) / TILE_ROWS;
  size_t columns = 0;
  struct factor_tile *tile = arena_array(p->arena, (size_t)n_tile, sizeof *tile);
  to->tile = tile;
  for (int t = 0; tile && t < n_tile; t++) {
    tile[t] = tile_of(p, t, columns * TILE_ROWS);
    columns += (size_t)tile[t].count;
  }
  float *b = tile ? floats_take(p->arena, columns, TILE_ROWS) : NULL;
  to->b = b;
  for (int t = 0; b && t < n_tile; t++) tile_fill(p, &tile[t], t, b + tile[t].b);
  return b != NULL;
}

/* Vectors of the result's rows, whole tiles of them; a norm of 1 beyond the last. */
static const float *rows_pack(struct arena *arena, const float *from, int rows, float beyond, bool *ok) {
  if (!from) return NULL;
  size_t count = whole((size_t)rows, TILE_ROWS);
  float *to = floats_take(arena, count, 1);
  *ok = *ok && to;
  if (!to) return NULL;
  memcpy(to, from, (size_t)rows * sizeof *to);
  for (size_t i = (size_t)rows; i < count; i++) to[i] = beyond;
  return to;
}

static bool vectors_pack(struct arena *arena, const struct adapter_op *from, int rows, struct adapter_factors *to) {
  bool ok = true;
  to->shift = rows_pack(arena, from->shift, rows, 0, &ok);
  to->magnitude = rows_pack(arena, from->magnitude, rows, 1, &ok);
  to->w2 = rows_pack(arena, from->w2, rows, 1, &ok);
  to->wd = rows_pack(arena, from->wd, rows, 0, &ok);
  to->d2 = rows_pack(arena, from->d2, rows, 0, &ok);
  return ok;
}

static bool linear_pack(struct arena *arena, const struct weight *weight, const struct adapter_op *from,
                        struct adapter_factors *to) {
  struct packing p = {.arena = arena, .weight = weight, .from = from};
  to->rank = (int)whole((size_t)ranks_find(&p), FACTOR_ROWS);
  to->a_stride = whole((size_t)weight->cols, FACTOR_COLUMNS);
  return a_pack(&p, to) && b_pack(&p, to) && vectors_pack(arena, from, weight->rows, to);
}

static bool embedding_pack(struct arena *arena, const struct weight *weight, const struct adapter_op *from,
                           struct adapter_factors *to) {
  size_t rank = (size_t)from->rank, cols = (size_t)weight->cols;
  to->rank = from->rank;
  to->a_stride = rank;
  float *a = floats_take(arena, (size_t)weight->rows, rank), *b = floats_take(arena, rank, cols);
  to->a = a;
  to->b = b;
  if (!a || !b) return false;
  memcpy(a, from->a, (size_t)weight->rows * rank * sizeof *a);
  for (size_t i = 0; i < cols; i++)
    for (size_t k = 0; k < rank; k++) b[k * cols + i] = from->b[i * rank + k];
  return vectors_pack(arena, from, weight->cols, to);
}

static bool op_pack(const struct program *program, struct adapter_slot *slot, const struct adapter_op *from) {
  const struct op *op = program->calls[from->op].op;
  const struct weight *weight = plan_weights(program->plan) + op->weight[0];
  struct adapter_factors *to = arena_alloc(&slot->arena, sizeof *to);
  if (!to) return false;
  slot->factors[from->op] = to;
  return op->kind == OP_EMBED ? embedding_pack(&slot->arena, weight, from, to)
                              : linear_pack(&slot->arena, weight, from, to);
}

bool cpu_adapter_load(struct program *program, int index, const struct adapter *adapter, struct error *error) {
  const struct limits *limits = &program->limits;
  if (!adapter_check(adapter, program->plan, index, limits->adapters, limits->adapter_rank, error)) return false;
  struct adapter_slot slot = {0};
  arena_init(&slot.arena, SIZE_MAX);
  bool ok = true;
  if (adapter) {
    slot.factors = arena_array(&slot.arena, (size_t)program->n_call, sizeof *slot.factors);
    ok = slot.factors != NULL;
  }
  for (int i = 0; ok && adapter && i < adapter->n_op; i++) ok = op_pack(program, &slot, &adapter->op[i]);
  if (!ok) {
    arena_release(&slot.arena);
    return error_set(error, ERROR_MEMORY, "There is no memory for an adapter of %llu bytes.",
                     (unsigned long long)adapter->bytes);
  }
  arena_release(&program->slot[index].arena);
  program->slot[index] = slot;
  return true;
}

void adapter_slots_release(struct program *program) {
  for (int i = 0; program->slot && i < program->limits.adapters; i++) arena_release(&program->slot[i].arena);
  free(program->slot);
}

/* Numbers that an adapter's shrink has of one row, at most. */
static size_t shrunk_stride_of(const struct plan *plan, const struct limits *limits) {
  size_t parts = 0;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_LINEAR && plan_weights(plan)[op->weight[0]].n_part > parts)
      parts = plan_weights(plan)[op->weight[0]].n_part;
  }
  return whole(parts * (size_t)limits->adapter_rank, LINE_FLOATS);
}

size_t adapters_lay(struct program *program, uint8_t *memory) {
  const struct limits *limits = &program->limits;
  size_t slots = (size_t)limits->adapters, uses = slots ? (size_t)limits->tokens * ROW_LORAS : 0, used = 0;
  program->shrunk_stride = shrunk_stride_of(program->plan, limits);
  const struct {
    void *to; /* the address of a pointer */
    size_t bytes;
  } pieces[] = {
      {&program->slot_used, slots * sizeof *program->slot_used},
      {&program->slot_count, slots * sizeof *program->slot_count},
      {&program->pair, uses * sizeof *program->pair},
      {&program->use, uses * sizeof *program->use},
      {&program->shrunk, uses * program->shrunk_stride * sizeof *program->shrunk},
  };
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
    void *piece = memory ? memory + used : NULL;
    memcpy(pieces[i].to, &piece, sizeof piece);
    used += whole(pieces[i].bytes, LINE_BYTES);
  }
  return used;
}
