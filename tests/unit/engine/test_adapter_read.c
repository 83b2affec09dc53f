/* Adapters that do not fit, are damaged, or were made to do harm: each is refused with its sentence. What they compute
 * when they are fine, parity/test_adapters shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <math.h>

#include "adapter_fixture.h"
#include "backend/backends.h"
#include "base/limits.h"
#include "engine/adapter_read.h"
#include "plan/plan_builder.h"

static struct adapter_base base;
static char folder[] = "/tmp/spate-adapter-XXXXXX";

enum { TEXT = 8192 };

static void path_of(const char *name, char path[256]) { snprintf(path, 256, "%s/%s", folder, name); }

static void file_write(const char *name, const void *bytes, size_t size) {
  char path[256];
  path_of(name, path);
  unlink(path);
  if (!bytes) return;
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
}

#define Q                 "base_model.model.model.layers.0.self_attn.q_proj."
#define K                 "base_model.model.model.layers.0.self_attn.k_proj."
#define EMBED             "base_model.model.model.embed_tokens."
#define CONFIG            "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4}"
#define CONFIG_WITH(more) "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4," more "}"
#define QA                Q "lora_A.weight F32 2 32;"
#define QB                Q "lora_B.weight F32 16 2;"
#define MODEL             "adapter_model.safetensors: "
#define SETTINGS          "adapter_config.json: "
#define BEGINNINGS                                                                                                     \
  "; expected true, false, null, \"gaussian\", \"eva\" or \"orthogonal\": others change the base's weights; convert "  \
  "the adapter with path_initial_model_for_weight_conversion of peft's save_pretrained."

/* tensors: "NAME TYPE DIM…;" of halves,, or with "!nan", "!inf" or "!great" of those at element 3. expected: NULL, or
 * the sentence after the folder's name. */
struct bad {
  const char *config, *tensors, *expected;
};

/* Writes the header and the elements, all F32 or BF16. */
static void tensors_write(const char *spec) {
  static char header[TEXT];
  static uint8_t data[TEXT * 4];
  size_t at = 0, used = 8;
  char copy[TEXT], *next = copy;
  snprintf(copy, sizeof copy, "%s", spec);
  used += (size_t)snprintf(header + used, sizeof header - used, "{");
  for (char *one = strsep(&next, ";"); one && *one; one = strsep(&next, ";")) {
    char name[512], type[8], *more = NULL;
    int read = 0;
    size_t count = 1;
    assert_int_equal(sscanf(one, "%511s %7s%n", name, type, &read), 2);
    used += (size_t)snprintf(header + used, sizeof header - used, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                             used > 9 ? "," : "", name, type);
    more = one + read;
    for (int dim, step, first = 1; sscanf(more, "%d%n", &dim, &step) == 1; more += step, first = 0) {
      used += (size_t)snprintf(header + used, sizeof header - used, "%s%d", first ? "" : ",", dim);
      count *= (size_t)dim;
    }
    size_t size = strcmp(type, "F32") == 0 ? 4 : strcmp(type, "I64") == 0 ? 8 : 2;
    const float half = 0.5f, bad = strstr(more, "!nan")     ? NAN
                                   : strstr(more, "!inf")   ? INFINITY
                                   : strstr(more, "!great") ? 1e30f
                                                            : half;
    for (size_t i = 0; i < count; i++) memcpy(data + at + i * size, i == 3 ? &bad : &half, size == 4 ? 4 : 0);
    used +=
        (size_t)snprintf(header + used, sizeof header - used, "],\"data_offsets\":[%zu,%zu]}", at, at + count * size);
    at += count * size;
  }
  header[used++] = '}';
  while (used % 8) header[used++] = ' ';
  uint64_t bytes = used - 8;
  memcpy(header, &bytes, 8);
  static uint8_t all[TEXT * 5];
  memcpy(all, header, used);
  memcpy(all + used, data, at);
  file_write("adapter_model.safetensors", all, used + at);
}

static void bad_check(const struct bad *bad) {
  struct error error = {0};
  file_write("adapter_config.json", bad->config, bad->config ? strlen(bad->config) : 0);
  if (bad->tensors)
    tensors_write(bad->tensors);
  else
    file_write("adapter_model.safetensors", NULL, 0);
  struct adapter *adapter = adapter_read(folder, &base.engine, LIMIT_ADAPTER_RANK, &error);
  const char *sentence =
      strncmp(error.text, folder, strlen(folder)) == 0 ? error.text + strlen(folder) + 1 : error.text;
  if (bad->expected) {
    if (adapter) print_message("accepted: expected %s\n", bad->expected);
    assert_null(adapter);
    assert_string_equal(sentence, bad->expected);
  } else {
    if (!adapter) print_message("%s\n", error.text);
    assert_non_null(adapter);
  }
  adapter_free(adapter);
}

static void test_fine(void **state) {
  static const struct bad fine[] = {
      {CONFIG, QA QB, NULL},
      {CONFIG, QA QB K "lora_A.weight BF16 2 32;" K "lora_B.weight F16 8 2;", NULL},
      {CONFIG, EMBED "lora_embedding_A F32 2 40;" EMBED "lora_embedding_B F32 32 2;", NULL},
      {CONFIG_WITH("\"rank_pattern\":{\"k_proj\":3}"), K "lora_A.weight F32 3 32;" K "lora_B.weight F32 8 3;", NULL},
      {CONFIG_WITH("\"modules_to_save\":null,\"use_dora\":false,\"target_modules\":[\"q_proj\"],\"unknown\":[1]"),
       QA QB, NULL},
      {CONFIG_WITH("\"use_dora\":true"), QA QB Q "lora_magnitude_vector F32 16;", NULL},
      {CONFIG_WITH("\"init_lora_weights\":null,\"ensure_weight_tying\":false"), QA QB, NULL},
      {CONFIG_WITH("\"init_lora_weights\":false"), QA QB, NULL},
      {CONFIG_WITH("\"init_lora_weights\":\"gaussian\""), QA QB, NULL},
      {CONFIG_WITH("\"init_lora_weights\":\"eva\""), QA QB, NULL},
      {CONFIG_WITH("\"init_lora_weights\":\"orthogonal\""), QA QB, NULL},
      {CONFIG, QA QB "base_model.model.lm_head.lora_A.weight F32 2 32;base_model.model.lm_head.lora_B.weight F32 40 2;",
       NULL},
  };
  (void)state;
  for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) bad_check(&fine[i]);
}

static void test_bad_tensors(void **state) {
  static const struct bad bad[] = {
      {CONFIG, Q "lora_A.weight F32 3 32;" QB,
       MODEL "\"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\" has the shape [3, 32]; the base model "
             "and adapter_config.json want [2, 32]."},
      {CONFIG, QA Q "lora_B.weight F32 15 2;",
       MODEL "\"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight\" has the shape [15, 2]; the base model "
             "and adapter_config.json want [16, 2]."},
      {CONFIG, Q "lora_A.weight F32 32 2;" QB,
       MODEL "\"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\" has the shape [32, 2]; the base model "
             "and adapter_config.json want [2, 32]."},
      {CONFIG, Q "lora_A.weight F32 64;" QB,
       MODEL "\"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\" has the shape [64]; the base model "
             "and adapter_config.json want [2, 32]."},
      {CONFIG, Q "lora_A.weight F32 0 32;" QB,
       MODEL "\"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\" has the shape [0, 32]; the base model "
             "and adapter_config.json want [2, 32]."},
      {CONFIG, QA,
       MODEL "The adapter has one of lora_A and lora_B of \"model.layers.0.self_attn.q_proj\" and lacks the other."},
      {CONFIG, QB,
       MODEL "The adapter has one of lora_A and lora_B of \"model.layers.0.self_attn.q_proj\" and lacks the other."},
      {CONFIG, Q "lora_A.weight F32 2 32 !nan;" QB,
       MODEL "Element 3 of \"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\" is no finite number."},
      {CONFIG, QA Q "lora_B.weight F32 16 2 !inf;",
       MODEL "Element 3 of \"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight\" is no finite number."},
      {CONFIG, Q "lora_A.weight I64 2 32;" QB,
       MODEL "Tensor \"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\" is of type I64, which does not "
             "load; these do: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ1_S, "
             "IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4, NVFP4."},
      {CONFIG, QA QB "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight F32 2 32;",
       MODEL "\"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight\" belongs to no module of the base "
             "model that adapters can change."},
      {CONFIG, QA QB "../../../etc/passwd F32 1;",
       MODEL "\"../../../etc/passwd\" belongs to no module of the base model that adapters can change."},
      {CONFIG, QA QB "model.layers.0.self_attn.q_proj.lora_A.weight F32 2 32;",
       MODEL "\"model.layers.0.self_attn.q_proj.lora_A.weight\" belongs to no module of the base model that adapters "
             "can change."},
      {CONFIG, QA QB Q "lora_magnitude_vector F32 16;",
       MODEL "\"model.layers.0.self_attn.q_proj\" has a lora_magnitude_vector, and use_dora is false."},
      {CONFIG_WITH("\"use_dora\":true"), QA QB,
       MODEL "\"model.layers.0.self_attn.q_proj\" has no lora_magnitude_vector, and use_dora is true."},
      {CONFIG_WITH("\"use_dora\":true"), QA QB Q "lora_magnitude_vector F32 15;",
       MODEL "\"base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector\" has the shape [15]; the base "
             "model wants [16]."},
      {CONFIG_WITH("\"use_dora\":true"), QA Q "lora_B.weight F32 16 2 !great;" Q "lora_magnitude_vector F32 16;",
       MODEL
       "\"base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector\" needs squares of norms that are "
       "not finite: the factors' or the base's numbers are too great."},
      {CONFIG_WITH("\"use_dora\":true"),
       EMBED "lora_embedding_A F32 2 40 !great;" EMBED "lora_embedding_B F32 32 2;" EMBED
             "lora_magnitude_vector F32 32;",
       MODEL
       "\"base_model.model.model.embed_tokens.lora_magnitude_vector\" needs squares of norms that are not finite: "
       "the factors' or the base's numbers are too great."},
      {CONFIG, QA QB Q "lora_B.bias F32 15;",
       MODEL "\"base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias\" has the shape [15]; the base model "
             "wants [16]."},
      {CONFIG, EMBED "lora_embedding_A F32 2 39;" EMBED "lora_embedding_B F32 32 2;",
       MODEL "\"base_model.model.model.embed_tokens.lora_embedding_A\" has the shape [2, 39]; the base model and "
             "adapter_config.json want [2, 40]."},
      {CONFIG, EMBED "lora_A.weight F32 2 32;" EMBED "lora_B.weight F32 40 2;",
       MODEL "\"base_model.model.model.embed_tokens.lora_A.weight\" belongs to no module of the base model that "
             "adapters can change."},
      {CONFIG, QA QB EMBED "base_layer.weight F32 41 32;",
       MODEL "\"base_model.model.model.embed_tokens.base_layer.weight\" has the shape [41, 32]; the base model and "
             "adapter_config.json want [40, 32]."},
      {CONFIG, "", MODEL "The adapter has no tensors: there is nothing to apply."},
      {CONFIG, NULL, "adapter_model.safetensors cannot be opened: No such file or directory."},
  };
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) bad_check(&bad[i]);
}

static void test_bad_settings(void **state) {
  static const struct bad bad[] = {
      {NULL, QA QB, "adapter_config.json cannot be opened: No such file or directory."},
      {"", QA QB, SETTINGS "Not valid JSON at line 1, column 0: '[' or '{' expected near end of file."},
      {"{", QA QB, SETTINGS "Not valid JSON at line 1, column 1: string or '}' expected near end of file."},
      {"[]", QA QB, SETTINGS "It is no JSON object."},
      {"{\"peft_type\":\"IA3\"}", QA QB, SETTINGS "peft_type is \"IA3\"; expected \"LORA\"."},
      {"{\"r\":2}", QA QB, SETTINGS "peft_type is missing; expected \"LORA\"."},
      {"{\"peft_type\":\"LORA\",\"lora_alpha\":4}", QA QB,
       SETTINGS "r is missing; expected a whole number from 1 to 1024."},
      {"{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":4}", QA QB,
       SETTINGS "r is 0; expected a whole number from 1 to 1024."},
      {"{\"peft_type\":\"LORA\",\"r\":-8,\"lora_alpha\":4}", QA QB,
       SETTINGS "r is -8; expected a whole number from 1 to 1024."},
      {"{\"peft_type\":\"LORA\",\"r\":1.5,\"lora_alpha\":4}", QA QB,
       SETTINGS "r is 1.5; expected a whole number from 1 to 1024."},
      {"{\"peft_type\":\"LORA\",\"r\":1025,\"lora_alpha\":4}", QA QB,
       SETTINGS "r is 1025; expected a whole number from 1 to 1024."},
      {"{\"peft_type\":\"LORA\",\"r\":\"2\",\"lora_alpha\":4}", QA QB,
       SETTINGS "r is \"2\"; expected a whole number from 1 to 1024."},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":null}", QA QB,
       SETTINGS "lora_alpha is null; expected a number."},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":1e999}", QA QB,
       SETTINGS "Not valid JSON at line 1, column 44: real number overflow near '1e999'."},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":1e300}", QA QB,
       MODEL
       "\"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight\" times alpha ÷ rank has numbers that are "
       "not finite."},
      {CONFIG_WITH("\"fan_in_fan_out\":true"), QA QB,
       SETTINGS "fan_in_fan_out is true; expected false: the layers of Spate's families are not transposed."},
      {CONFIG_WITH("\"modules_to_save\":[\"lm_head\"]"), QA QB,
       SETTINGS
       "modules_to_save is [\"lm_head\"]; expected none: whole modules that were trained belong into the base model."},
      {CONFIG_WITH("\"trainable_token_indices\":[1,2]"), QA QB,
       SETTINGS
       "trainable_token_indices is [1,2]; expected none: token rows that were trained belong into the base model."},
      {CONFIG_WITH("\"ensure_weight_tying\":true"), QA QB,
       SETTINGS "ensure_weight_tying is true; expected false: the embedding and the head have adapters of their own."},
      {CONFIG_WITH("\"target_parameters\":\"experts.down_proj\""), QA QB,
       SETTINGS "target_parameters is \"experts.down_proj\"; expected a list of experts' gate_up_proj and down_proj."},
      {CONFIG_WITH("\"target_parameters\":[1]"), QA QB,
       SETTINGS "target_parameters is [1]; expected a list of experts' gate_up_proj and down_proj."},
      {CONFIG_WITH("\"target_parameters\":[\"q_proj.weight\"]"), QA QB,
       SETTINGS "target_parameters is [\"q_proj.weight\"]; expected a list of experts' gate_up_proj and down_proj."},
      {CONFIG_WITH("\"use_dora\":true,\"target_parameters\":[\"down_proj\"]"), QA QB,
       SETTINGS "use_dora is true; expected false beside target_parameters."},
      {CONFIG_WITH("\"init_lora_weights\":\"pissa_niter_16\""), QA QB,
       SETTINGS "init_lora_weights is \"pissa_niter_16\"" BEGINNINGS},
      {CONFIG_WITH("\"init_lora_weights\":\"olora\""), QA QB, SETTINGS "init_lora_weights is \"olora\"" BEGINNINGS},
      {CONFIG_WITH("\"init_lora_weights\":[]"), QA QB, SETTINGS "init_lora_weights is []" BEGINNINGS},
      {CONFIG_WITH("\"rank_pattern\":[1]"), QA QB,
       SETTINGS "rank_pattern is [1]; expected an object of numbers by module."},
      {CONFIG_WITH("\"rank_pattern\":{\"q_proj\":0}"), QA QB,
       SETTINGS "rank_pattern.q_proj is 0; expected a whole number from 1 to 1024."},
      {CONFIG_WITH("\"alpha_pattern\":{\"q_proj\":\"2\"}"), QA QB,
       SETTINGS "alpha_pattern.q_proj is \"2\"; expected a number."},
      {CONFIG_WITH("\"rank_pattern\":{\"(q_proj\":2}"), QA QB,
       SETTINGS "\"(q_proj\" in rank_pattern is no regular expression that can be read."},
      {CONFIG_WITH("\"rank_pattern\":{\"((.|_)*)*[^\\\\s\\\\S]\":2}"), QA QB,
       MODEL "A pattern of adapter_config.json takes more than 8192 steps to compare with "
             "\"model.layers.0.self_attn.q_proj\"."},
      {CONFIG_WITH("\"rank_pattern\":{\"q_proj\":4}"), QA QB,
       MODEL "\"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\" has the shape [2, 32]; the base model "
             "and adapter_config.json want [4, 32]."},
  };
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) bad_check(&bad[i]);
}

/* Names by the thousand, and long ones. */
static void test_many_patterns(void **state) {
  static char config[1 << 16];
  size_t used =
      (size_t)snprintf(config, sizeof config, "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"rank_pattern\":{");
  (void)state;
  for (int i = 0; i < 1025; i++)
    used += (size_t)snprintf(config + used, sizeof config - used, "%s\"module_%d\":2", i ? "," : "", i);
  snprintf(config + used, sizeof config - used, "}}");
  bad_check(&(struct bad){config, QA QB, SETTINGS "rank_pattern names 1025 modules; at most 1024 are read."});
  used =
      (size_t)snprintf(config, sizeof config, "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"alpha_pattern\":{\"");
  memset(config + used, 'x', 513);
  snprintf(config + used + 513, sizeof config - used - 513, "\":2}}");
  bad_check(&(struct bad){config, QA QB, SETTINGS "A name in alpha_pattern has 513 bytes; at most 512 are read."});
}

/* Patterns each of which takes almost as long as one may. */
static void test_long_patterns(void **state) {
  static char config[1 << 16];
  size_t used =
      (size_t)snprintf(config, sizeof config, "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"rank_pattern\":{");
  (void)state;
  for (int i = 0; i < 1024; i++)
    used += (size_t)snprintf(config + used, sizeof config - used, "%s\".?.?.?.?.?.?.?.?(?:x%d)?[^\\\\s\\\\S]\":2",
                             i ? "," : "", i);
  snprintf(config + used, sizeof config - used, "}}");
  bad_check(&(struct bad){config, QA QB,
                          MODEL "The patterns of adapter_config.json take more than 524288 steps to compare with "
                                "\"model.layers.0.self_attn.q_proj\": fewer or simpler ones are wanted."});
}

/* A fixture's bytes with one run of them replaced. */
static void test_bad_gguf(void **state) {
  static const struct {
    const char *from, *to, *expected;
  } bad[] = {
      {"adapter.type", "adaptor.type", "adapter.gguf: The file has no key \"adapter.type\" (expected: string)."},
      {"\7\0\0\0\0\0\0\0adapter", "\7\0\0\0\0\0\0\0control",
       "adapter.gguf: general.type is \"control\"; expected \"adapter\"."},
      {"\4\0\0\0\0\0\0\0lora", "\4\0\0\0\0\0\0\0lore", "adapter.gguf: adapter.type is \"lore\"; expected \"lora\"."},
      {"blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_c",
       "adapter.gguf: The adapter has one of lora_A and lora_B of \"model.layers.0.self_attn.q_proj\" and lacks the "
       "other."},
      {"blk.0.attn_q.weight.lora_b", "../../etc/passwd/././././.",
       "adapter.gguf: The adapter has one of lora_A and lora_B of \"model.layers.0.self_attn.q_proj\" and lacks the "
       "other."},
      {"GGUF", "GGUF",
       "adapter.gguf: \"blk.0.attn_q.weight.lora_a\" has the shape [4, 60]; the base model and lora_b want [4, 32]."},
      {"\5\0\0\0\0\0\0\0llama", "\5\0\0\0\0\0\0\0qwen2",
       "adapter.gguf: general.architecture is \"qwen2\", and the base model is of \"llama\": the adapter is for "
       "another "
       "one."},
      {"\5\0\0\0\0\0\0\0llama", "\5\0\0\0\0\0\0\0lla\0a",
       "adapter.gguf: general.architecture has 5 bytes, or a zero byte; expected a name of less than 64."},
  };
  static const size_t sizes[] = {12, 15, 12, 26, 26, 4, 13, 13};
  static uint8_t bytes[1 << 17];
  char path[256];
  FILE *file = fopen(FIXTURES "/adapter/all/adapter.gguf", "rb");
  (void)state;
  assert_non_null(file);
  size_t size = fread(bytes, 1, sizeof bytes, file);
  fclose(file);
  path_of("adapter.gguf", path);
  strcpy(base.facts.gguf_architecture, "llama");
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct error error = {0};
    uint8_t *at = memmem(bytes, size, bad[i].from, sizes[i]);
    assert_non_null(at);
    memcpy(at, bad[i].to, sizes[i]);
    file_write("adapter.gguf", bytes, size);
    memcpy(at, bad[i].from, sizes[i]);
    assert_null(adapter_read(path, &base.engine, LIMIT_ADAPTER_RANK, &error));
    assert_string_equal(error.text + strlen(folder) + 1, bad[i].expected);
  }
  strcpy(base.facts.gguf_architecture, "");
  file_write("adapter.gguf", NULL, 0);
}

/* Nobody writes to them: whoever waited would wait for ever. */
static void test_fifos(void **state) {
  static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors", "adapter.gguf"};
  (void)state;
  file_write(names[0], CONFIG, sizeof CONFIG - 1);
  tensors_write(QA QB);
  for (int i = 2; i >= 0; i--) {
    char path[256], sentence[512];
    struct error error = {0};
    path_of(names[i], path);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(sentence, sizeof sentence, "%s is not a regular file.", path);
    assert_null(adapter_read(i == 2 ? path : folder, &base.engine, LIMIT_ADAPTER_RANK, &error));
    assert_string_equal(error.text, sentence);
    unlink(path);
  }
}

/* Told before the numbers are looked at, of which one is bad. */
static void test_great_ranks(void **state) {
  struct error error = {0};
  char sentence[512];
  (void)state;
  file_write("adapter_config.json", CONFIG, sizeof CONFIG - 1);
  tensors_write(QA Q "lora_B.weight F32 16 2 !nan;");
  snprintf(sentence, sizeof sentence, "The adapter \"%s\" has rank 2, more than --max-lora-rank 1 allows.",
           strrchr(folder, '/') + 1);
  assert_null(adapter_read(folder, &base.engine, 1, &error));
  assert_int_equal(error.code, ERROR_LIMIT);
  assert_string_equal(error.text, sentence);
  tensors_write(QA QB);
  struct adapter *adapter = adapter_read(folder, &base.engine, 2, &error);
  assert_non_null(adapter);
  assert_int_equal(adapter->rank, 2);
  adapter_free(adapter);
}

/* What tells of another base than the engine's. */
static void test_other_bases(void **state) {
#define DIGEST "0123456789abcdef00000000000000ff"
  static const struct bad cases[] = {
      {CONFIG_WITH("\"spate_base_digest\":\"" DIGEST "\""), QA QB, NULL},
      {CONFIG_WITH("\"spate_base_digest\":null"), QA QB, NULL},
      {CONFIG_WITH("\"spate_base_digest\":\"0123456789abcdef00000000000000fe\""), QA QB,
       MODEL "The adapter is for the base model with the digest 0123456789abcdef00000000000000fe, and this one "
             "has " DIGEST ": the weights are others."},
      {CONFIG_WITH("\"spate_base_digest\":\"0123456789ABCDEF00000000000000ff\""), QA QB,
       SETTINGS
       "spate_base_digest is \"0123456789ABCDEF00000000000000ff\"; expected 32 lower-case hexadecimal digits."},
      {CONFIG_WITH("\"spate_base_digest\":\"" DIGEST "0\""), QA QB,
       SETTINGS "spate_base_digest is \"" DIGEST "0\"; expected 32 lower-case hexadecimal digits."},
      {CONFIG_WITH("\"spate_base_digest\":7"), QA QB,
       SETTINGS "spate_base_digest is 7; expected 32 lower-case hexadecimal digits."},
  };
  (void)state;
  bad_check(&(struct bad){cases[2].config, QA QB, NULL}); /* the engine's is unknown */
  base.header.base = (struct hash128){.high = 0x0123456789abcdef, .low = 0xff};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) bad_check(&cases[i]);
  base.header.base = (struct hash128){0};
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fine),          cmocka_unit_test(test_bad_tensors),   cmocka_unit_test(test_bad_settings),
      cmocka_unit_test(test_many_patterns), cmocka_unit_test(test_long_patterns), cmocka_unit_test(test_other_bases),
      cmocka_unit_test(test_bad_gguf),      cmocka_unit_test(test_fifos),         cmocka_unit_test(test_great_ranks),
  };
  if (!mkdtemp(folder)) return 1;
  adapter_base_init(&base);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  file_write("adapter_config.json", NULL, 0);
  file_write("adapter_model.safetensors", NULL, 0);
  rmdir(folder);
  adapter_base_release(&base);
  return failed;
}
