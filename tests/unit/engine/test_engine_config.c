/* Defaults of the build configuration, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/engine_config.h"

static void test_defaults(void **state) {
  (void)state;
  struct engine_config c = {0};
  struct error error;
  assert_true(engine_config_complete(&c, 131072, &error));
  assert_int_equal(c.max_batch_size, 32);
  assert_int_equal(c.opt_batch_size, 16);
  assert_int_equal(c.max_seq_len, 8192);
  assert_int_equal(c.max_input_len, 8191);
  assert_int_equal(c.max_num_tokens, 512);
  assert_int_equal(c.kv_cache_type, KV_CACHE_PAGED);
  assert_int_equal(c.quant_mode, QUANT_AS_FILE);
  c = (struct engine_config){.max_batch_size = 600, .max_seq_len = 100};
  assert_true(engine_config_complete(&c, 2048, &error));
  assert_int_equal(c.opt_batch_size, 16);
  assert_int_equal(c.max_input_len, 99);
  assert_int_equal(c.max_num_tokens, 600);
  c = (struct engine_config){.max_batch_size = 2};
  assert_true(engine_config_complete(&c, 2048, &error));
  assert_int_equal(c.opt_batch_size, 2);
  assert_int_equal(c.max_seq_len, 2048);
}

static const struct {
  struct engine_config config;
  const char *sentence;
} refused[] = {
    {{.max_batch_size = -1}, "max_batch_size is -1; it must be from 1 to 1024."},
    {{.max_batch_size = 1025}, "max_batch_size is 1025; it must be from 1 to 1024."},
    {{.max_batch_size = 8, .opt_batch_size = 9}, "opt_batch_size is 9; it must be from 1 to 8, the max_batch_size."},
    {{.opt_batch_size = -2}, "opt_batch_size is -2; it must be from 1 to 32, the max_batch_size."},
    {{.max_seq_len = 2049},
     "max_seq_len is 2049; it must be from 2 to 2048, the longest that this model was made for."},
    {{.max_seq_len = 1}, "max_seq_len is 1; it must be from 2 to 2048, the longest that this model was made for."},
    {{.max_seq_len = 100, .max_input_len = 100},
     "max_input_len is 100; it must be from 1 to 99: max_seq_len is 100 and an answer needs a token."},
    {{.max_num_tokens = 1 << 17}, "max_num_tokens is 131072; it must be from 1 to 65536."},
    {{.max_batch_size = 64, .max_num_tokens = 63},
     "max_num_tokens is 63 and max_batch_size is 64; a step takes a token of each sequence: raise max_num_tokens or "
     "lower "
     "max_batch_size."},
    {{.kv_cache_type = 9}, "kv_cache_type 9 is not known."},
    {{.quant_mode = 200}, "quant_mode 200 is not known."},
    {{.quant_method = 200}, "quant_algo 200 is not known."},
    {{.quant_method = QUANT_AWQ},
     "quant_algo is AWQ and quant_mode is AS_FILE; it finds integers: choose quant_mode INT8_WEIGHT, INT4_WEIGHT, "
     "W8A8 or auto, or leave quant_algo out."},
};

static void test_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    struct engine_config c = refused[i].config;
    struct error error = {0};
    assert_false(engine_config_complete(&c, 2048, &error));
    assert_string_equal(error.text, refused[i].sentence);
    assert_int_equal(error.code, ERROR_INVALID);
  }
}

/* What an opening chooses, and what follows from it. */
static void test_limits_of_an_opening(void **state) {
  (void)state;
  static const struct {
    struct step_limits chosen, become;
    const char *sentence;
  } table[] = {
      {{0}, {8, 4, 100}, NULL},
      {{.max_batch_size = 2}, {2, 2, 100}, NULL},
      {{.max_batch_size = 200}, {200, 4, 200}, NULL},
      {{.max_num_tokens = 8, .opt_batch_size = 8}, {8, 8, 8}, NULL},
      {{1024, 1024, 65536}, {1024, 1024, 65536}, NULL},
      {{.max_batch_size = -1}, {0}, "max_batch_size is -1; it must be from 1 to 1024."},
      {{.opt_batch_size = 9}, {0}, "opt_batch_size is 9; it must be from 1 to 8, the max_batch_size."},
      {{.max_num_tokens = 7},
       {0},
       "max_num_tokens is 7 and max_batch_size is 8; a step takes a token of each sequence: raise max_num_tokens or "
       "lower max_batch_size."},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct engine_config c = {.max_batch_size = 8, .opt_batch_size = 4, .max_num_tokens = 100};
    struct error error = {0};
    assert_true(engine_config_complete(&c, 2048, &error));
    assert_int_equal(engine_config_limit(&c, &table[i].chosen, 2048, &error), !table[i].sentence);
    if (table[i].sentence) {
      assert_string_equal(error.text, table[i].sentence);
      continue;
    }
    const struct step_limits become = {c.max_batch_size, c.opt_batch_size, c.max_num_tokens};
    assert_memory_equal(&become, &table[i].become, sizeof become);
    assert_int_equal(c.max_seq_len, 2048);
  }
}

static void test_names(void **state) {
  (void)state;
  struct error error;
  uint8_t value;
  for (int i = KV_CACHE_PAGED; i <= KV_CACHE_CONTIGUOUS; i++)
    assert_true(kv_cache_type_parse(kv_cache_type_name(i), &value, &error) && value == i);
  for (int i = QUANT_AS_FILE; i <= QUANT_AUTO; i++)
    assert_true(quant_mode_parse(quant_mode_name(i), &value, &error) && value == i);
  assert_true(quant_mode_parse("int8_weight", &value, &error) && value == QUANT_INT8_WEIGHT);
  assert_true(quant_mode_parse(NULL, &value, &error) && value == QUANT_AS_FILE);
  assert_true(kv_cache_type_parse(NULL, &value, &error) && value == KV_CACHE_PAGED);
  assert_false(quant_mode_parse("INT3", &value, &error));
  assert_string_equal(
      error.text, "quant_mode is \"INT3\"; it must be FP32, FP16, BF16, INT8_WEIGHT, INT4_WEIGHT, FP8, W8A8 or auto, "
                  "or be left out to keep the weights as the file has them.");
  assert_false(kv_cache_type_parse("", &value, &error));
  assert_string_equal(error.text, "kv_cache_type is \"\"; it must be PAGED or CONTIGUOUS.");
}

/* Algorithms, alone and with a mode. */
static void test_algorithms(void **state) {
  (void)state;
  static const struct {
    const char *name;
    uint8_t given, mode, method; /* method 0: refused */
  } table[] = {
      {NULL, QUANT_AS_FILE, QUANT_AS_FILE, QUANT_ROUND},
      {"gptq", QUANT_INT4_WEIGHT, QUANT_INT4_WEIGHT, QUANT_GPTQ},
      {"AWQ", QUANT_AS_FILE, QUANT_AS_FILE, QUANT_AWQ}, /* refused when the configuration is whole */
      {"W8A8", QUANT_AS_FILE, QUANT_W8A8, QUANT_ROUND},
      {"W8A8", QUANT_INT4_WEIGHT, QUANT_INT4_WEIGHT, QUANT_ROUND},
      {"W8A8_SQ_PER_CHANNEL", QUANT_AS_FILE, QUANT_W8A8, QUANT_SMOOTH},
      {"W8A8_SQ_PER_CHANNEL", QUANT_INT4_WEIGHT, 0, 0},
      {"FP8", QUANT_AS_FILE, QUANT_FP8, QUANT_ROUND},
      {"FP8", QUANT_W8A8, 0, 0},
      {"W8A8", QUANT_AUTO, QUANT_AUTO, QUANT_ROUND},
      {"W8A16", QUANT_AS_FILE, QUANT_INT8_WEIGHT, QUANT_ROUND},
      {"W8A16_GPTQ", QUANT_AS_FILE, QUANT_INT8_WEIGHT, QUANT_GPTQ},
      {"W4A16", QUANT_AS_FILE, QUANT_INT4_WEIGHT, QUANT_ROUND},
      {"w4a16_awq", QUANT_INT4_WEIGHT, QUANT_INT4_WEIGHT, QUANT_AWQ},
      {"W4A8_AWQ", QUANT_AS_FILE, QUANT_INT4_WEIGHT, QUANT_AWQ},
      {"W4A16_GPTQ", QUANT_INT8_WEIGHT, 0, 0},
      {"W4A16_GPTQ", QUANT_AS_FILE, QUANT_INT4_WEIGHT, QUANT_GPTQ},
      {"AWQ2", QUANT_AS_FILE, 0, 0},
  };
  struct error error;
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    uint8_t mode = table[i].given, method = 0;
    assert_int_equal(quant_algo_parse(table[i].name, &mode, &method, &error), table[i].method != 0);
    if (table[i].method) assert_int_equal(mode, table[i].mode);
    if (table[i].method) assert_int_equal(method, table[i].method);
  }
  assert_string_equal(error.text, "quant_algo is \"AWQ2\"; it must be RTN, AWQ, GPTQ or SMOOTHQUANT, or a name of "
                                  "TensorRT-LLM's: W8A8, W8A8_SQ_PER_CHANNEL, W8A16, W8A16_GPTQ, W4A16, W4A16_AWQ, "
                                  "W4A8_AWQ, W4A16_GPTQ or FP8.");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_defaults), cmocka_unit_test(test_refused),    cmocka_unit_test(test_limits_of_an_opening),
      cmocka_unit_test(test_names),    cmocka_unit_test(test_algorithms),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
