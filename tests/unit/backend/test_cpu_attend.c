/* Attention's kernels: works of tokens of several rows. What one row alone sees must not reach another that shares its
 * beginning, be it infinite. */
#include "backend/cpu/cpu_kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
  ROWS = 2,
  HEADS = 4,
  DIM = 48,
  BLOCK = 16,
  SHARED = 2 * KEY_TILE,
  LENGTH = SHARED + 24,
  BLOCKS = LENGTH / BLOCK + 1
};

struct scene {
  const struct kernel_set *set;
  struct kv_layout layout;
  uint8_t *data;
  uint32_t block[ROWS][BLOCKS];
  float query[ROWS][HEADS][DIM], out[ROWS][HEADS * DIM];
  float *scratch;
};

static float number(int i) { return (float)(i * 7919 % 1000) / 500 - 1; }

/* Row 0 has blocks of its own behind those that all share, row 1 others. */
static void scene_init(struct scene *s, const struct kernel_set *set, uint8_t dtype, bool in_key) {
  const struct kv_group group = {.n_layer = 1, .n_head = 1, .dim_k = DIM, .dim_v = DIM, .value_in_key = in_key};
  const struct limits limits = {.block_size = BLOCK, .kv_dtype = dtype};
  *s = (struct scene){.set = set, .layout = kv_layout_of(&group, &limits, set->attend.quads)};
  s->data = calloc(ROWS * BLOCKS, s->layout.block_bytes);
  s->scratch = aligned_alloc(64, (attend_scratch_floats(ROWS * HEADS, DIM, DIM) + 16) / 16 * 64);
  for (int r = 0; r < ROWS; r++) {
    for (int b = 0; b < BLOCKS; b++) s->block[r][b] = (uint32_t)(b < SHARED / BLOCK ? b : r * BLOCKS + b);
    for (int i = 0; i < HEADS * DIM; i++) s->query[r][i / DIM][i % DIM] = number(i + 31 * r) / 8;
  }
}

static void scene_release(struct scene *s) {
  free(s->data);
  free(s->scratch);
}

static void token_store(struct scene *s, int row, int token, float value) {
  float key[DIM], values[DIM];
  uint16_t key_half[DIM], value_half[DIM];
  struct kv_head kv = {&s->layout, s->data, s->block[row]};
  for (int d = 0; d < DIM; d++) key[d] = number(token * DIM + d), values[d] = number(token * DIM + d + 7) + value;
  if (s->layout.value_in_key) memcpy(key, values, sizeof key);
  struct kv_numbers keys = {key, 1}, numbers = {values, 1};
  if (s->layout.dtype != KV_F32) {
    keys = (struct kv_numbers){key_half, s->set->attend.narrow(key, DIM, s->layout.dtype, key_half)};
    numbers = (struct kv_numbers){value_half, s->set->attend.narrow(values, DIM, s->layout.dtype, value_half)};
  }
  kv_head_store(&kv, token, keys, numbers);
}

/* The last token of n rows from `first` on. */
static void rows_attend(struct scene *s, int first, int n) {
  int32_t from[ROWS] = {0}, last[ROWS] = {LENGTH - 1, LENGTH - 1};
  const uint32_t *block[ROWS] = {s->block[first], s->block[ROWS - 1]};
  float *out[ROWS] = {s->out[first], s->out[ROWS - 1]};
  s->set->attend.attend(&(struct attend_work){.kv = {&s->layout, s->data, s->block[first]},
                                              .shared = SHARED,
                                              .block = block,
                                              .n_token = n,
                                              .n_head = HEADS,
                                              .query = s->query[first][0],
                                              .first = from,
                                              .last = last,
                                              .out = out,
                                              .scratch = s->scratch});
}

static void rows_check(const struct kernel_set *set, uint8_t dtype, bool in_key) {
  struct scene s;
  float alone[HEADS * DIM];
  scene_init(&s, set, dtype, in_key);
  for (int r = 0; r < ROWS; r++)
    for (int t = 0; t < LENGTH; t++) token_store(&s, r, t, t == LENGTH - 3 && r == 0 ? INFINITY : 0);
  rows_attend(&s, 1, 1);
  memcpy(alone, s.out[1], sizeof alone);
  rows_attend(&s, 0, ROWS);
  assert_false(isfinite(s.out[0][0]));
  if (memcmp(alone, s.out[1], sizeof alone) != 0)
    fail_msg("%s, type %d: %g beside another row, %g alone", set->name, dtype, (double)s.out[1][0], (double)alone[0]);
  scene_release(&s);
}

static void test_rows_do_not_touch_each_other(void **state) {
  (void)state;
  for (int i = 0; kernel_sets[i]; i++)
    for (uint8_t dtype = KV_F32; dtype <= KV_INT8; dtype++)
      for (int in_key = 0; in_key < 2; in_key++)
        if (kernel_sets[i]->available()) rows_check(kernel_sets[i], dtype, in_key);
}

/* Latent attention keeps a token's rotated part and latent, once: DeepSeek's 64 + 512 numbers. */
static void test_latents_are_kept_once(void **state) {
  (void)state;
  static const size_t token_bytes[] = {
      [KV_F32] = 2304, [KV_F16] = 1152, [KV_BF16] = 1152, [KV_E4M3] = 580, [KV_INT8] = 580};
  const struct kv_group group = {.n_layer = 61, .n_head = 1, .dim_k = 576, .dim_v = 512, .value_in_key = 1};
  for (uint8_t dtype = KV_F32; dtype <= KV_INT8; dtype++)
    for (int quads = 0; quads < 2; quads++) {
      const struct limits limits = {.block_size = BLOCK, .kv_dtype = dtype};
      struct kv_layout layout = kv_layout_of(&group, &limits, quads);
      assert_int_equal(layout.block_bytes, BLOCK * 61 * token_bytes[dtype]);
    }
}

/* n tokens of a row from `first` on lie where they do one by one, bit for bit, and nothing lies where others' do; their
 * tile has zeros behind the last of a row. */
static void tokens_check(const struct kernel_set *set, int first, int n) {
  enum { STRIDE = 3 * DIM + 5 };
  struct scene together, apart;
  float in[ATTEND_LANES][STRIDE];
  scene_init(&together, set, KV_F32, false);
  scene_init(&apart, set, KV_F32, false);
  for (int i = 0; i < ATTEND_LANES * STRIDE; i++) in[i / STRIDE][i % STRIDE] = i % 11 ? number(i) : -0.0f;
  for (int t = 0; t < first; t++) token_store(&together, 1, t, 0), token_store(&apart, 1, t, 0);
  struct kv_head to = {&together.layout, together.data, together.block[1]};
  struct kv_head one = {&apart.layout, apart.data, apart.block[1]};
  set->attend.store(&(struct attend_rows){
      .key = in[0] + 1,
      .value = in[0] + 1 + DIM,
      .stride = STRIDE,
      .n = n,
      .dim_k = DIM,
      .dim_v = DIM,
      .to_key = (float *)(void *)kv_head_keys(&to, first) + first % BLOCK % together.layout.tile,
      .to_value = (float *)(void *)kv_head_value(&to, first),
      .tile = (size_t)together.layout.tile,
      .stored_v = (size_t)together.layout.stored_v,
  });
  for (int i = 0; i < n; i++)
    kv_head_store(&one, first + i, (struct kv_numbers){in[i] + 1, 1}, (struct kv_numbers){in[i] + 1 + DIM, 1});
  if (memcmp(together.data, apart.data, ROWS * BLOCKS * together.layout.block_bytes) != 0)
    fail_msg("%s: %d tokens from %d on lie elsewhere than one by one", set->name, n, first);
  scene_release(&together);
  scene_release(&apart);
}

static void test_tokens_are_stored_together_as_one_by_one(void **state) {
  (void)state;
  for (int i = 0; kernel_sets[i]; i++)
    for (int n = 1; n <= ATTEND_LANES && kernel_sets[i]->available(); n++) {
      tokens_check(kernel_sets[i], 0, n);
      tokens_check(kernel_sets[i], SHARED, n);
      tokens_check(kernel_sets[i], SHARED - ATTEND_LANES, n);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_do_not_touch_each_other),
                                     cmocka_unit_test(test_latents_are_kept_once),
                                     cmocka_unit_test(test_tokens_are_stored_together_as_one_by_one)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
