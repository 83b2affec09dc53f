/* How attention's work is shared out, against the enumeration of all pieces: each is in one share, in order; shares are
 * as equal as pieces allow; cut units have rows of parts of their own and know their holders. */
#include "backend/cuda/attend_split.h"
#include "plan/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SHARES = 132, ROWS = 256 };

struct place {
  int row, chunk, head, piece, pieces;
};

static int least(int a, int b) { return a < b ? a : b; }

/* All pieces in the order of the units. */
static int pieces_list(const struct attend_heads *h, const struct cuda_row *row, int n_row, struct place *list) {
  int n = 0;
  for (int r = 0; r < n_row; r++) {
    int packed = row[r].count * h->queries, first = h->window ? row[r].length + 1 - h->window : 0;
    if (packed > attend_few(h)) continue;
    if (first < 0) first = 0;
    int from = first / ATTEND_PIECE, to = (row[r].length + row[r].count - 1) / ATTEND_PIECE + 1;
    for (int c = 0; c * attend_packed(h) < packed; c++)
      for (int k = 0; k < h->n_kv_head; k++)
        for (int p = from; p < to; p++) list[n++] = (struct place){r, c, k, p - from, to - from};
  }
  return n;
}

static int at_cut(const struct place *p, const struct cuda_cut *c) {
  return p->row == c->row && p->chunk == c->chunk && p->head == c->head && p->piece == c->piece;
}

/* Which piece each cut stands before. */
static void cuts_find(const struct place *list, int n, const struct cuda_cut *cut, int n_row, int *where) {
  int at = 0;
  for (int i = 0; i < SHARES; i++) {
    while (at < n && !at_cut(list + at, cut + i)) at++;
    where[i] = at;
    if (at == n) assert_int_equal(cut[i].row, n_row);
  }
  where[SHARES] = n;
  assert_int_equal(where[0], 0);
  assert_int_equal(cut[SHARES].row, n_row);
}

/* Rows of parts, and how often each is some piece's. */
struct parts {
  int n;
  uint8_t *used;
};

/* Of a unit's pieces [begin, end) of the list: who holds some, and whose rows of parts are taken. */
static void unit_check(const struct attend_heads *h, const struct cuda_row *row, const struct place *unit, int begin,
                       int end, const struct cuda_cut *cut, const int *where, const struct parts *parts) {
  int holders = 0, owner = -1, packed = attend_packed(h);
  int rows = least(packed, row[unit->row].count * h->queries - unit->chunk * packed);
  for (int s = 0; s < SHARES; s++)
    if (where[s] < end && where[s + 1] > begin && where[s] < where[s + 1]) owner = holders++ ? owner : s;
  int part = -1;
  for (int s = 1; s < SHARES; s++) {
    if (where[s] <= begin || where[s] >= end) continue;
    assert_int_equal(cut[s].holders, holders);
    assert_int_equal(cut[s].owner, owner);
    assert_true(part < 0 || cut[s].part == part);
    part = cut[s].part;
  }
  if (part < 0) return;
  assert_in_range(part + (end - begin) * rows, 0, parts->n);
  for (int i = 0; i < (end - begin) * rows; i++) assert_int_equal(parts->used[part + i]++, 0);
}

/* Returns the largest share's pieces less the mean. */
static double split_check(const struct attend_heads *h, const struct cuda_row *row, int n_row, int n_part) {
  static struct cuda_cut cut[SHARES + 1];
  int most = 0, where[SHARES + 1];
  struct place *list = calloc(1 << 20, sizeof *list);
  struct parts parts = {n_part, calloc((size_t)n_part + 1, 1)};
  int n = pieces_list(h, row, n_row, list);
  memset(cut, 0xA5, sizeof cut);
  assert_int_equal(attend_split(h, row, n_row, SHARES, n_part, cut), n > 0);
  if (n > 0) {
    cuts_find(list, n, cut, n_row, where);
    for (int begin = 0, end; begin < n; begin = end) {
      end = begin + list[begin].pieces;
      unit_check(h, row, list + begin, begin, end, cut, where, &parts);
    }
    for (int s = 0; s < SHARES; s++) most = where[s + 1] - where[s] > most ? where[s + 1] - where[s] : most;
  }
  free(list);
  free(parts.used);
  return most - (double)n / SHARES;
}

static void test_one_long_row(void **state) {
  (void)state;
  struct cuda_row row = {0, 1, 32767, 0, 0, 0};
  assert_true(split_check(&(struct attend_heads){.queries = 4, .n_kv_head = 8}, &row, 1, ATTEND_PARTS) < 1.01);
}

static void test_short_rows(void **state) {
  (void)state;
  struct cuda_row row[ROWS];
  for (int n = 1; n <= ROWS; n *= 2) {
    for (int i = 0; i < n; i++) row[i] = (struct cuda_row){i, 1, 1023, 0, 0, 0};
    assert_true(split_check(&(struct attend_heads){.queries = 4, .n_kv_head = 8}, row, n, ATTEND_PARTS) < 4);
  }
}

/* Units of few pieces are whole where there are enough of them to go round, and cut where there are not. */
static void test_brief_units(void **state) {
  (void)state;
  struct cuda_row row[16];
  struct cuda_cut cut[SHARES + 1];
  for (int i = 0; i < 16; i++) row[i] = (struct cuda_row){i, 1, 600, 0, 0, 0};
  for (int n = 1; n <= 16; n *= 2) {
    int cuts = 0;
    assert_true(attend_split(&(struct attend_heads){.queries = 4, .n_kv_head = 8}, row, n, SHARES, ATTEND_PARTS, cut));
    for (int i = 0; i < SHARES; i++) cuts += cut[i].piece != 0;
    assert_int_equal(cuts > 0, n * 8 * 100 < SHARES * 40);
  }
}

/* Any rows; few and many tokens, with and without a window, of latent attention too, and with too little room for
 * parts. */
static void test_any_rows(void **state) {
  (void)state;
  struct cuda_row row[ROWS];
  srand(5);
  for (int turn = 0; turn < 300; turn++) {
    struct attend_heads heads = {
        .queries = 1 + rand() % 24, .n_kv_head = 1 + rand() % 8, .window = rand() % 3 ? 0 : 1 + rand() % 3000};
    int n = 1 + rand() % 40, first = 0;
    if (turn % 3 == 2) heads.latent = true, heads.n_kv_head = 1;
    for (int i = 0; i < n; i++) {
      row[i] =
          (struct cuda_row){first, rand() % 4 ? 1 : 1 + rand() % 70, rand() % (rand() % 8 ? 2000 : 20000), 0, 0, 0};
      first += row[i].count;
    }
    split_check(&heads, row, n, turn % 2 ? ATTEND_PARTS : 100);
  }
}

static void test_chunks(void **state) {
  (void)state;
  const struct attend_heads heads = {.queries = 4, .n_kv_head = 8};
  const struct cuda_row row[] = {
      {0, 1, 500, 0, 0, 0}, {1, 100, 0, 0, 0, 0}, {101, 16, 9, 0, 0, 0}, {117, 17, 0, 0, 0, 0}};
  struct cuda_chunk chunk[8];
  assert_in_range(attend_chunks(&heads, row, 4, chunk), 5, attend_chunks_most(&heads, 134, 4));
  static const int expected[][2] = {{1, 3}, {1, 2}, {1, 1}, {1, 0}, {3, 0}};
  for (int i = 0; i < 5; i++) {
    assert_int_equal(chunk[i].row, expected[i][0]);
    assert_int_equal(chunk[i].chunk, expected[i][1]);
  }
}

/* Units of latent attention: 16 packed rows where a token has no more, 32 otherwise and of prompts. */
static void test_latents(void **state) {
  (void)state;
  const struct attend_heads few = {.queries = 16, .n_kv_head = 1, .latent = true},
                            many = {.queries = 128, .n_kv_head = 1, .latent = true};
  const struct cuda_row row[] = {{0, 1, 500, 0, 0, 0}, {1, 129, 0, 0, 0, 0}, {130, 16, 0, 0, 0, 0}};
  struct cuda_cut cut[SHARES + 1];
  struct cuda_chunk chunk[600];
  assert_int_equal(attend_packed(&few), 16);
  assert_int_equal(attend_packed(&many), 32);
  assert_int_equal(attend_chunks(&few, row, 3, chunk), 129 * 16 / 32 + 1);
  assert_int_equal(chunk[0].row, 1);
  assert_int_equal(chunk[0].chunk, 64);
  assert_int_equal(attend_chunks(&many, row, 3, chunk), 129 * 128 / 32);
  assert_true(attend_split(&many, row + 2, 1, SHARES, ATTEND_PARTS, cut));
}

/* What a program of latent attention has room for: long sequences of 128 heads are cut, and a prompt's last tokens,
 * whose units are many, take nothing from those beside them. Where there is too little room the longest are cut. */
static void test_latent_parts(void **state) {
  (void)state;
  const struct limits limits = {.seats = 64, .tokens = 2048, .length = 163841};
  const struct attend_heads heads = {.queries = 128, .n_kv_head = 1, .latent = true},
                            few = {.queries = 16, .n_kv_head = 1, .latent = true};
  int most = attend_parts_most(&heads, &limits);
  struct cuda_row row[9];
  assert_int_equal(most, LATENT_PARTS);
  row[0] = (struct cuda_row){0, 1, 163840, 0, 0, 0};
  assert_true(split_check(&heads, row, 1, most) < 1.01);
  assert_true(split_check(&few, row, 1, attend_parts_most(&few, &limits)) < 1.01);
  for (int i = 0; i < 8; i++) row[i] = (struct cuda_row){i, 1, 32767, 0, 0, 0};
  assert_true(split_check(&heads, row, 8, most) < 2);
  row[8] = (struct cuda_row){8, 16, 8300, 0, 0, 0};
  assert_true(split_check(&heads, row, 9, most) < 2);
  row[8].length = 16000;
  assert_true(split_check(&heads, row, 9, 8 * 128 * 128) < 64); /* its units have 63 pieces, the others' 128 */
}

/* No more parts than a program's longest sequences need, of any kind. */
static void test_parts_most(void **state) {
  (void)state;
  const struct limits brief = {.seats = 2, .tokens = 64, .length = 512},
                      usual = {.seats = 64, .tokens = 2048, .length = 32768};
  const struct attend_heads heads = {.queries = 4, .n_kv_head = 8},
                            near = {.queries = 4, .n_kv_head = 8, .window = 512},
                            latent = {.queries = 16, .n_kv_head = 1, .latent = true};
  assert_int_equal(attend_parts_most(&heads, &usual), ATTEND_PARTS);
  assert_int_equal(attend_parts_most(&latent, &usual), ATTEND_PARTS);
  assert_true(attend_parts_most(&near, &usual) < ATTEND_PARTS / 2);
  assert_true(attend_parts_most(&latent, &brief) < ATTEND_PARTS / 8);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_long_row), cmocka_unit_test(test_short_rows), cmocka_unit_test(test_brief_units),
      cmocka_unit_test(test_any_rows),     cmocka_unit_test(test_chunks),     cmocka_unit_test(test_latents),
      cmocka_unit_test(test_latent_parts), cmocka_unit_test(test_parts_most),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
