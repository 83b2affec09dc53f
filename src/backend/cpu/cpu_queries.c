/* Which queries attention takes together, so that they share the loads of keys and values: neighbouring tokens of one
 * row, and the single tokens of rows that begin with the same blocks (a document that many ask about). The latter are
 * found in the block tables alone: rows in the order of their tables have neighbours with long beginnings in common. */
#include "backend/cpu/cpu_program.h"

enum {
  SHARED_LEAST = 2 * KEY_TILE, /* tokens in common below which rows are taken one by one */
  TOGETHER_LEAST = 4,          /* rows that go together though workers would get none of them */
};

/* Block i of a row that is full before the step; −1 behind the last of them. Other groups' tables are compared later.
 */
static int64_t full_block(const struct program *program, int r, int i) {
  const struct row *row = program->batch->row + r;
  return i < row->length / program->limits.block_size ? (int64_t)row->block[0][i] : -1;
}

static void swap(int32_t *a, int32_t *b) {
  int32_t kept = *a;
  *a = *b, *b = kept;
}

/* Sorts n rows that agree up to block `depth` by what follows: multikey quicksort (Bentley & Sedgewick 1997). */
static void rows_sort(const struct program *program, int32_t *rows, int n, int depth) {
  while (n > 1) {
    int64_t pivot = full_block(program, rows[n / 2], depth);
    int below = 0, above = n;
    for (int i = 0; i < above;) {
      int64_t id = full_block(program, rows[i], depth);
      if (id < pivot)
        swap(&rows[i++], &rows[below++]);
      else if (id > pivot)
        swap(&rows[i], &rows[--above]);
      else
        i++;
    }
    rows_sort(program, rows, below, depth);
    rows_sort(program, rows + above, n - above, depth);
    if (pivot < 0) return;
    rows += below, n = above - below, depth++;
  }
}

/* Leading tokens that two rows have in the same blocks, of every group. */
static int tokens_in_common(const struct program *program, int a, int b) {
  const struct row *left = program->batch->row + a, *right = program->batch->row + b;
  int block_size = program->limits.block_size;
  int most = (left->length < right->length ? left->length : right->length) / block_size;
  for (int g = 0; g < program->plan->n_group; g++)
    for (int i = 0; i < most; i++)
      if (left->block[g][i] != right->block[g][i]) most = i;
  return most * block_size / KEY_TILE * KEY_TILE;
}

static void block_add(struct program *program, int first, int count, int shared) {
  struct query_block *block = &program->query_block[program->n_query_block++];
  *block = (struct query_block){.first = first, .count = count, .shared = shared};
  for (int i = first; i < first + count; i++) {
    int token = program->query_token[i];
    const struct row *row = program->batch->row + program->token_row[token];
    block->cost += (program->n_own ? row->count : row->length + token - row->first) + KEY_TILE;
  }
}

/* The rows of several tokens, each cut by itself; their queries go from `at` on. */
static void long_rows_cut(struct program *program, int at) {
  for (int r = 0; r < program->batch->n_row; r++) {
    const struct row *row = program->batch->row + r;
    if (row->count == 1) continue;
    for (int i = 0; i < row->count; i++) program->query_token[at + i] = row->first + i;
    for (int i = 0, count; i < row->count; i += count, at += count) {
      count = row->count - i < program->query_tokens ? row->count - i : program->query_tokens;
      block_add(program, at, count, SHARED_ALL);
    }
  }
}

/* How many of the n sorted rows go together, as long as each of them makes more loads unnecessary than it costs. */
static int rows_together(const struct program *program, const int32_t *rows, int n, int most, int *shared) {
  int count = 1;
  *shared = SHARED_ALL;
  for (int common = *shared; count < n && count < most; count++) {
    int next = tokens_in_common(program, rows[count - 1], rows[count]);
    next = next < common ? next : common;
    if (next < SHARED_LEAST || (count > 1 && (int64_t)count * next < (int64_t)(count - 1) * common)) break;
    *shared = common = next;
  }
  return count;
}

/* Rows of one token, at most so many together that each worker gets some. Returns how many there are. */
static int single_rows_cut(struct program *program) {
  const struct batch *batch = program->batch;
  int n = 0, at = 0, n_worker = team_size(program->device->team);
  int32_t *rows = program->single_row;
  for (int r = 0; r < batch->n_row; r++)
    if (batch->row[r].count == 1) rows[n++] = r;
  int most = (n + n_worker - 1) / n_worker;
  if (most < TOGETHER_LEAST) most = TOGETHER_LEAST;
  if (most > program->query_tokens) most = program->query_tokens;
  rows_sort(program, rows, n, 0);
  for (int i = 0, count, shared; i < n; i += count, at += count) {
    count = rows_together(program, rows + i, n - i, most, &shared);
    for (int k = 0; k < count; k++) program->query_token[at + k] = batch->row[rows[i + k]].first;
    block_add(program, at, count, shared);
  }
  return at;
}

/* What takes longest as a rule, the ends of rows of many tokens, comes last: blocks are claimed from the end. */
void queries_cut(struct program *program) {
  program->n_query_block = 0;
  for (int r = 0, own = 0; r < program->batch->n_row; r++) {
    const struct row *row = program->batch->row + r;
    for (int i = 0; i < row->count; i++) program->token_row[row->first + i] = r;
    if (program->n_own == 0) continue;
    program->own_first[r] = own;
    own += (row->count + KEY_TILE - 1) / KEY_TILE;
  }
  long_rows_cut(program, single_rows_cut(program));
}
