/* Slots of adapters: what backend.adapter_load packs. All of an adapter lies in an arena of its slot, which no step
 * reads while it is filled, and whose memory the slot's next adapter is put into. */
#include "backend/cpu/cpu_program.h"

#include <stdlib.h>
#include <string.h>

/* An op's factors on their way: of the weight's parts what they have in a and where that begins. */
struct packing {
  struct arena *arena;
  const struct weight *weight;
  const struct adapter_op *from;
  int rank[PLAN_PARTS], first[PLAN_PARTS]; /* rank: without the zeros at its end */
};

/* Zeros that begin with a cache line; NULL: there is no memory. */
static void *lines_take(struct arena *arena, size_t count, size_t each) {
  size_t bytes;
  if (__builtin_mul_overflow(count, each, &bytes) || __builtin_add_overflow(bytes, LINE_BYTES, &bytes)) return NULL;
  char *memory = arena_alloc(arena, bytes);
  return memory ? memory + (-(uintptr_t)memory & (LINE_BYTES - 1)) : NULL;
}

static float *floats_take(struct arena *arena, size_t rows, size_t cols) {
  size_t count;
  return __builtin_mul_overflow(rows, cols, &count) ? NULL : lines_take(arena, count, sizeof(float));
}

static size_t whole(size_t count, size_t unit) { return (count + unit - 1) / unit * unit; }

/* --- a ------------------------------------------------------------------------------------------------------------ */

static const char *part_row(const struct packing *p, int part, int k) {
  size_t row = (size_t)part * (size_t)p->from->rank + (size_t)k;
  return (const char *)p->from->a.numbers + row * (size_t)p->weight->cols * factor_bytes(p->from->a.type);
}

static bool row_is_zero(const struct packing *p, const char *row) {
  size_t bytes = (size_t)p->weight->cols * factor_bytes(p->from->a.type);
  return row[0] == 0 && memcmp(row, row + 1, bytes - 1) == 0;
}

static int ranks_find(struct packing *p) {
  int all = 0;
  for (int i = 0; i < p->weight->n_part; i++) {
    p->rank[i] = p->from->rank;
    while (p->rank[i] > 0 && row_is_zero(p, part_row(p, i, p->rank[i] - 1))) p->rank[i]--;
    p->first[i] = all;
    all += p->rank[i];
  }
  return all;
}

/* A row to its places in the blocks of its group; each: bytes of a number, constant where it is called. */
static inline __attribute__((always_inline)) void row_spread(const char *from, size_t cols, size_t each, char *to) {
  size_t c = 0;
  for (; c + FACTOR_COLUMNS <= cols; c += FACTOR_COLUMNS, to += FACTOR_BLOCK * each)
    memcpy(to, from + c * each, FACTOR_COLUMNS * each);
  memcpy(to, from + c * each, (cols - c) * each);
}

static bool a_pack(const struct packing *p, struct adapter_factors *to) {
  size_t each = factor_bytes(p->from->a.type), cols = (size_t)p->weight->cols;
  char *a = lines_take(p->arena, (size_t)to->rank * to->a_stride, each);
  to->a = a;
  to->a_type = p->from->a.type;
  for (int i = 0; a && i < p->weight->n_part; i++)
    for (int k = 0; k < p->rank[i]; k++) {
      size_t row = (size_t)p->first[i] + (size_t)k, group = row / FACTOR_ROWS * FACTOR_ROWS;
      char *place = a + (group * to->a_stride + row % FACTOR_ROWS * FACTOR_COLUMNS) * each;
      if (each == 2)
        row_spread(part_row(p, i, k), cols, 2, place);
      else
        row_spread(part_row(p, i, k), cols, 4, place);
    }
  return a != NULL;
}

/* --- b ------------------------------------------------------------------------------------------------------------ */

/* Rows of a tile that are there: the first so many, and of parts that follow one another, as their columns in h do. */
struct tile_rows {
  int count, first_part, last_part;
};

static struct tile_rows tile_rows_of(const struct weight *weight, int tile) {
  struct tile_rows rows = {0};
  int first = tile * TILE_ROWS, end = first + TILE_ROWS < weight->rows ? first + TILE_ROWS : weight->rows, row;
  while (end > first && !weight_row_source(weight, end - 1, &rows.last_part, &row)) end--;
  if (end == first) return rows;
  rows.count = end - first;
  weight_row_source(weight, first, &rows.first_part, &row);
  return rows;
}

static struct factor_tile tile_of(const struct packing *p, int index, size_t b) {
  struct tile_rows rows = tile_rows_of(p->weight, index);
  struct factor_tile tile = {.b = (uint32_t)b};
  if (rows.count == 0) return tile;
  tile.first = (uint16_t)p->first[rows.first_part];
  tile.count = (uint16_t)(p->first[rows.last_part] + p->rank[rows.last_part] - p->first[rows.first_part]);
  return tile;
}

/* n rows of `rank` numbers, `stride` of them apart, to columns of TILE_ROWS. */
#define ROWS_TURN(type, from, stride, n, rank, to)                                                                     \
  do {                                                                                                                 \
    const type *row_ = (const type *)(from);                                                                           \
    type *to_ = (type *)(to);                                                                                          \
    for (int i_ = 0; i_ < (n); i_++, row_ += (stride))                                                                 \
      for (int k_ = 0; k_ < (rank); k_++) to_[k_ * TILE_ROWS + i_] = row_[k_];                                         \
  } while (0)

/* Runs of rows of one part. */
static void tile_fill(const struct packing *p, const struct factor_tile *tile, int index, char *b) {
  size_t stride = (size_t)p->from->rank, each = factor_bytes(p->from->b.type);
  struct tile_rows rows = tile_rows_of(p->weight, index);
  for (int i = 0, run, part, other, row; i < rows.count; i += run) {
    int at = index * TILE_ROWS + i;
    weight_row_source(p->weight, at, &part, &row);
    for (run = 1; i + run < rows.count && rows.first_part != rows.last_part; run++)
      if (weight_row_source(p->weight, at + run, &other, &row) && other != part) break;
    if (rows.first_part == rows.last_part) run = rows.count;
    const char *from = (const char *)p->from->b.numbers + (size_t)at * stride * each;
    char *to = b + ((size_t)(p->first[part] - tile->first) * TILE_ROWS + (size_t)i) * each;
    if (each == 2)
      ROWS_TURN(uint16_t, from, stride, run, p->rank[part], to);
    else
      ROWS_TURN(uint32_t, from, stride, run, p->rank[part], to);
  }
}

static bool b_pack(const struct packing *p, struct adapter_factors *to) {
  int n_tile = (p->weight->rows + TILE_ROWS - 1) / TILE_ROWS;
  size_t columns = 0, column_bytes = TILE_ROWS * factor_bytes(p->from->b.type);
  struct factor_tile *tile = arena_array(p->arena, (size_t)n_tile, sizeof *tile);
  to->tile = tile;
  for (int t = 0; tile && t < n_tile; t++) {
    tile[t] = tile_of(p, t, columns);
    columns += tile[t].count;
  }
  char *b = tile ? lines_take(p->arena, columns, column_bytes) : NULL;
  to->b = b;
  to->b_type = p->from->b.type;
  for (int t = 0; b && t < n_tile; t++) tile_fill(p, &tile[t], t, b + tile[t].b * column_bytes);
  return b != NULL;
}

static bool gain_pack(const struct packing *p, struct adapter_factors *to) {
  float *gain = floats_take(p->arena, (size_t)to->rank, 1);
  to->gain = gain;
  for (int i = 0; gain && i < p->weight->n_part; i++)
    for (int k = 0; k < p->rank[i]; k++) gain[p->first[i] + k] = p->from->gain[i];
  return gain != NULL;
}

/* --- ops ---------------------------------------------------------------------------------------------------------- */

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
  return a_pack(&p, to) && b_pack(&p, to) && gain_pack(&p, to) && vectors_pack(arena, from, weight->rows, to);
}

static bool embedding_pack(struct arena *arena, const struct weight *weight, const struct adapter_op *from,
                           struct adapter_factors *to) {
  size_t rank = (size_t)from->rank, rows = (size_t)weight->rows, cols = (size_t)weight->cols;
  size_t a_each = factor_bytes(from->a.type), b_each = factor_bytes(from->b.type);
  char *a = lines_take(arena, rows * rank, a_each), *b = lines_take(arena, rank * cols, b_each);
  float *gain = floats_take(arena, 1, 1);
  *to = (struct adapter_factors){.rank = from->rank,
                                 .a_stride = rank,
                                 .most = to->most,
                                 .a_type = from->a.type,
                                 .b_type = from->b.type,
                                 .a = a,
                                 .b = b,
                                 .gain = gain};
  if (!a || !b || !gain) return false;
  gain[0] = from->gain[0];
  memcpy(a, from->a.numbers, rows * rank * a_each);
  for (size_t i = 0; i < cols; i++)
    for (size_t k = 0; k < rank; k++)
      memcpy(b + (k * cols + i) * b_each, (const char *)from->b.numbers + (i * rank + k) * b_each, b_each);
  return vectors_pack(arena, from, weight->cols, to);
}

static bool op_pack(const struct program *program, struct adapter_slot *slot, const struct adapter_op *from) {
  const struct op *op = program->calls[from->op].op;
  const struct weight *weight = plan_weights(program->plan) + op->weight[0];
  struct adapter_factors *to = arena_alloc(&slot->arena, sizeof *to);
  if (!to) return false;
  slot->factors[program->calls[from->op].site + from->expert] = to;
  slot->changes[from->op] = true;
  to->most = adapter_most(program->plan, op, program->limits.kv_dtype == KV_F16);
  return op->kind == OP_EMBED ? embedding_pack(&slot->arena, weight, from, to)
                              : linear_pack(&slot->arena, weight, from, to);
}

bool cpu_adapter_load(struct program *program, int index, const struct adapter *adapter, struct error *error) {
  const struct limits *limits = &program->limits;
  if (!adapter_check(adapter, program->plan, index, limits->adapters, limits->adapter_rank, error)) return false;
  struct adapter_slot *slot = &program->slot[index];
  slot->arena.max = SIZE_MAX;
  slot->factors = NULL;
  slot->changes = NULL;
  if (!adapter) {
    arena_release(&slot->arena);
    return true;
  }
  arena_renew(&slot->arena, adapter->bytes + adapter->bytes / 32);
  slot->factors = arena_array(&slot->arena, (size_t)program->n_site, sizeof *slot->factors);
  slot->changes = arena_array(&slot->arena, (size_t)program->n_call, sizeof *slot->changes);
  bool ok = slot->factors && slot->changes;
  for (int i = 0; ok && i < adapter->n_op; i++) ok = op_pack(program, slot, &adapter->op[i]);
  if (ok) return true;
  slot->factors = NULL;
  arena_release(&slot->arena);
  return error_set(error, ERROR_MEMORY, "There is no memory for an adapter of %llu bytes.",
                   (unsigned long long)adapter->bytes);
}

void adapter_slots_release(struct program *program) {
  for (int i = 0; program->slot && i < program->limits.adapters; i++) arena_release(&program->slot[i].arena);
  free(program->slot);
}
