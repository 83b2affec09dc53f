/* Which queries attention takes together: tokens of a row, and rows that begin with the same blocks. */
#include "backend/cpu/cpu_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCK = 16, BLOCKS = 64, ROWS = 40, TOKENS = 200 };

/* A program with all that queries_cut reads and writes. */
struct fixture {
  struct device device;
  struct program program;
  struct plan plan;
  struct batch batch;
  struct row row[ROWS];
  uint32_t block[ROWS][BLOCKS];
  struct query_block query_block[TOKENS];
  int32_t query_token[TOKENS], single_row[TOKENS], token_row[TOKENS];
};

static struct fixture *fixture_new(int n_thread) {
  struct fixture *f = calloc(1, sizeof *f);
  struct error error;
  f->device.team = team_open(n_thread, &error);
  assert_non_null(f->device.team);
  f->plan.n_group = 1;
  f->batch.row = f->row;
  f->program = (struct program){.device = &f->device,
                                .plan = &f->plan,
                                .limits = {.block_size = BLOCK},
                                .batch = &f->batch,
                                .query_tokens = 16,
                                .query_block = f->query_block,
                                .query_token = f->query_token,
                                .single_row = f->single_row,
                                .token_row = f->token_row};
  for (uint32_t r = 0; r < ROWS; r++)
    for (uint32_t i = 0; i < BLOCKS; i++) f->block[r][i] = 1000 * (r + 1) + i;
  return f;
}

static void fixture_free(struct fixture *f) {
  team_close(f->device.team);
  free(f);
}

/* A row whose first n_common blocks are `like`'s. */
static void row_add(struct fixture *f, int like, int n_common, int length, int count) {
  struct batch *b = &f->batch;
  memcpy(f->block[b->n_row], f->block[like], (size_t)n_common * sizeof **f->block);
  f->row[b->n_row] = (struct row){.first = b->n_token, .count = count, .length = length, .block = {f->block[b->n_row]}};
  b->n_row++;
  b->n_token += count;
}

/* Every token is in one block, and the rows of a block agree in what they share. */
static void blocks_check(const struct fixture *f) {
  bool seen[TOKENS] = {0};
  int n = 0;
  for (int i = 0; i < f->program.n_query_block; i++) {
    const struct query_block *q = &f->query_block[i];
    const struct row *leader = f->row + f->token_row[f->query_token[q->first]];
    assert_int_equal(q->first, n);
    assert_in_range(q->count, 1, f->program.query_tokens);
    for (int k = 0; k < q->count; k++, n++) {
      int token = f->query_token[q->first + k];
      const struct row *row = f->row + f->token_row[token];
      assert_false(seen[token]);
      seen[token] = true;
      if (q->shared == SHARED_ALL)
        assert_ptr_equal(row, leader);
      else
        assert_memory_equal(row->block[0], leader->block[0], (size_t)(q->shared / BLOCK) * sizeof **row->block);
    }
  }
  assert_int_equal(n, f->batch.n_token);
}

/* Blocks that share exactly so many tokens, and their rows. */
static int rows_sharing(const struct fixture *f, int shared, int *n_block) {
  int rows = *n_block = 0;
  for (int i = 0; i < f->program.n_query_block; i++)
    if (f->query_block[i].shared == shared) rows += f->query_block[i].count, ++*n_block;
  return rows;
}

static void test_two_documents_among_strangers(void **state) {
  (void)state;
  struct fixture *f = fixture_new(2);
  int n_block;
  for (int i = 0; i < 12; i++) { /* in turn: 0, 3, 6 … one document, 1, 4, 7 … another, the rest alone */
    row_add(f, i % 3, i % 3 == 2 ? 0 : 20 + i % 3 * 4, 500 + i, 1);
  }
  row_add(f, 0, 20, 500, 40); /* a prefill, cut by itself */
  queries_cut(&f->program);
  blocks_check(f);
  assert_int_equal(rows_sharing(f, 20 * BLOCK, &n_block), 4);
  assert_int_equal(n_block, 1);
  assert_int_equal(rows_sharing(f, 24 * BLOCK, &n_block), 4);
  assert_int_equal(n_block, 1);
  assert_int_equal(rows_sharing(f, SHARED_ALL, &n_block), 4 + 40);
  assert_int_equal(n_block, 4 + 3);
  fixture_free(f);
}

/* All begin with 8 blocks of instructions, and half go on with the same document: these are not held back by the rest.
 */
static void test_a_document_behind_instructions(void **state) {
  (void)state;
  struct fixture *f = fixture_new(1);
  int n_block;
  for (int i = 0; i < 16; i++) row_add(f, 0, i % 2 ? 8 : 28, 500, 1);
  queries_cut(&f->program);
  blocks_check(f);
  assert_int_equal(rows_sharing(f, 28 * BLOCK, &n_block), 8);
  assert_int_equal(rows_sharing(f, 8 * BLOCK, &n_block), 8);
  fixture_free(f);
}

static void test_work_for_every_thread(void **state) {
  (void)state;
  struct fixture *f = fixture_new(4);
  int n_block;
  for (int i = 0; i < 32; i++) row_add(f, 0, 28, 500, 1);
  queries_cut(&f->program);
  blocks_check(f);
  assert_int_equal(rows_sharing(f, 28 * BLOCK, &n_block), 32);
  assert_int_equal(n_block, 4);
  fixture_free(f);
}

/* Only full blocks count, whole tiles of 64 tokens, and two of them at least. */
static void test_short_beginnings(void **state) {
  (void)state;
  static const struct {
    int n_common, length, shared;
  } cases[] = {
      {28, 500, 28 * BLOCK}, {11, 500, 8 * BLOCK}, {7, 500, SHARED_ALL}, {28, 140, 8 * BLOCK}, {28, 127, SHARED_ALL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct fixture *f = fixture_new(1);
    row_add(f, 0, 0, 500, 1);
    row_add(f, 0, cases[i].n_common, cases[i].length, 1);
    queries_cut(&f->program);
    blocks_check(f);
    assert_int_equal(f->query_block[0].shared, cases[i].shared);
    fixture_free(f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_two_documents_among_strangers),
      cmocka_unit_test(test_a_document_behind_instructions),
      cmocka_unit_test(test_work_for_every_thread),
      cmocka_unit_test(test_short_beginnings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
