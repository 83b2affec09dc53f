/* Facts of engines from inspections, on a machine with 4 GiB available. */
#include "doctor/engine_facts.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MIB 1048576.0
#define MEMORY                                                                                                         \
  "\"memory\":{\"weights\":104857600,\"workspace\":10485760,\"kv_per_token\":1024,\"kv_per_sequence\":8388608}"
#define CONFIG                                                                                                         \
  "\"config\":{\"max_batch_size\":32,\"max_seq_len\":8192,\"max_num_tokens\":512,\"quant_mode\":\"AS_FILE\"}"
#define ENGINE(of)                                                                                                     \
  "{\"kind\":\"engine\"," MEMORY ",\"manifest\":{\"target\":\"" of "\",\"name\":\"m\"," CONFIG ",\"average_bits\":4."  \
  "5}}"

static struct facts *facts_of(const char *inspection, const struct engine_use *use, double gpus) {
  struct facts *facts = calloc(1, sizeof *facts);
  struct error error;
  assert_non_null(facts);
  fact_set(facts, FACT_MEMORY_AVAILABLE, 4096 * MIB);
  fact_set(facts, FACT_GPUS, gpus);
  if (!engine_facts_find(facts, slice_text(inspection), use, &error)) fail_msg("%s", error.text);
  return facts;
}

static void test_engine(void **state) {
  (void)state;
  struct facts *facts = facts_of(ENGINE("cpu"), &(struct engine_use){0}, 0);
  assert_string_equal(facts->text[FACT_TARGET], "cpu");
  assert_true(facts->value[FACT_MEMORY_NEEDED] == 118 * MIB);
  assert_true(facts->value[FACT_MEMORY_SHARE] == 118.0 / 4096);
  assert_true(facts->value[FACT_CONTEXT] == 2048);
  assert_true(facts->value[FACT_KV_BYTES] == 256 * MIB); /* 32 sequences of 8192: less than 0.3 of what is left */
  assert_true(facts->value[FACT_KV_SEQUENCES] == 128);
  assert_true(facts->value[FACT_KV_WANTED] == 64 * MIB);
  assert_true(facts->value[FACT_SEATS_FILLED] == 4);
  assert_true(facts->value[FACT_TARGET_AWAY] == 0 && facts->value[FACT_TARGET_SLOW] == 0);
  assert_false(facts->known[FACT_KL] || facts->known[FACT_PERPLEXITY]);
  free(facts);
}

static void test_use(void **state) {
  (void)state;
  struct facts *facts = facts_of(ENGINE("cpu"), &(struct engine_use){.context = 8192, .kv_bytes = 16 * MIB}, 1);
  assert_true(facts->value[FACT_KV_SEQUENCES] == 2 && facts->value[FACT_SEATS_FILLED] == 2.0 / 32);
  assert_true(facts->value[FACT_TARGET_SLOW] == 1);
  free(facts);
  facts = facts_of(ENGINE("cpu"), &(struct engine_use){.memory_fraction = 0.05}, 0);
  assert_true(fabs(facts->value[FACT_KV_BYTES] - 0.05 * (4096 - 110) * MIB) < 1);
  free(facts);
}

/* Nothing is said about the memory of a GPU. */
static void test_target(void **state) {
  (void)state;
  struct facts *facts = facts_of(ENGINE("cuda"), &(struct engine_use){0}, 0);
  assert_true(facts->value[FACT_TARGET_AWAY] == 1);
  assert_false(facts->known[FACT_MEMORY_SHARE] || facts->known[FACT_KV_SEQUENCES]);
  free(facts);
  facts = facts_of(ENGINE("cuda"), &(struct engine_use){.kv_bytes = 64 * MIB}, 1);
  assert_true(facts->value[FACT_TARGET_AWAY] == 0 && facts->value[FACT_KV_SEQUENCES] == 32);
  free(facts);
}

/* Of a GPU's weights the experts of so many layers are the host's, and its workspace has a buffer for them. */
static void test_cpu_experts(void **state) {
  (void)state;
  static const struct {
    int asked;
    double layers, bytes, workspace;
  } cases[] = {{0, 0, 0, 10}, {1, 1, 30, 25}, {2, 2, 70, 31}, {9, 2, 70, 31}};
  static const char inspection[] =
      "{\"kind\":\"engine\",\"memory\":{\"weights\":104857600,\"workspace\":10485760,\"kv_per_token\":1024,"
      "\"kv_per_sequence\":8388608,\"experts\":[31457280,41943040],\"experts_workspace\":[26214400,32505856]},"
      "\"manifest\":{\"target\":\"cuda\"," CONFIG "}}";
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct facts *facts = facts_of(inspection, &(struct engine_use){.cpu_experts = cases[i].asked}, 1);
    bool any = cases[i].layers > 0;
    assert_true(facts->value[FACT_WEIGHTS] == (100 - cases[i].bytes) * MIB);
    assert_true(facts->value[FACT_WORKSPACE] == cases[i].workspace * MIB);
    assert_true(facts->value[FACT_MEMORY_NEEDED] == (108 + cases[i].workspace - cases[i].bytes) * MIB);
    assert_int_equal(facts->known[FACT_HOST_EXPERTS], any);
    if (any) assert_true(facts->value[FACT_CPU_EXPERTS] == cases[i].layers);
    if (any) assert_true(facts->value[FACT_HOST_EXPERTS] == cases[i].bytes * MIB);
    if (any) assert_true(facts->value[FACT_HOST_SHARE] == cases[i].bytes / 4096);
    free(facts);
  }
}

/* What such a workspace is not said to be is not guessed. */
static void test_no_workspace(void **state) {
  (void)state;
  static const char *const without[] = {"", ",\"experts_workspace\":[]", ",\"experts_workspace\":[\"x\"]"};
  for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
    char inspection[512];
    snprintf(inspection, sizeof inspection,
             "{\"kind\":\"engine\",\"memory\":{\"weights\":104857600,\"workspace\":10485760,\"kv_per_sequence\":1,"
             "\"experts\":[31457280]%s},\"manifest\":{\"target\":\"cuda\"," CONFIG "}}",
             without[i]);
    struct facts *facts = facts_of(inspection, &(struct engine_use){.cpu_experts = 1}, 1);
    assert_true(facts->value[FACT_WEIGHTS] == 70 * MIB);
    assert_false(facts->known[FACT_WORKSPACE] || facts->known[FACT_MEMORY_NEEDED]);
    free(facts);
  }
}

static void test_losses(void **state) {
  (void)state;
  struct facts *facts = facts_of("{\"kind\":\"engine\",\"manifest\":{\"evaluation\":{\"text\":{\"perplexity\":20.5},"
                                 "\"against\":{\"mean_kl\":0.25,\"same_top\":0.75}}}}",
                                 &(struct engine_use){0}, 0);
  assert_true(facts->value[FACT_PERPLEXITY] == 20.5 && facts->value[FACT_KL] == 0.25);
  assert_true(facts->value[FACT_SAME_TOP] == 0.75);
  free(facts);
}

static void test_checkpoint(void **state) {
  (void)state;
  struct facts *facts = facts_of("{\"kind\":\"checkpoint\",\"model\":{\"name\":\"a\\u001b[2Jb\"}," MEMORY
                                 ",\"problem\":\"Layer 0 is odd.\"}",
                                 &(struct engine_use){0}, 0);
  assert_string_equal(facts->text[FACT_MODEL], "a?[2Jb");
  assert_true(facts->value[FACT_ENGINE_REFUSED] == 1 && facts->known[FACT_MEMORY_NEEDED]);
  free(facts);
}

/* Whatever stands in a file, nothing but finite numbers is taken from it. */
static void test_strange(void **state) {
  (void)state;
  static const char *const strange[] = {
      "{\"kind\":\"engine\"}",
      "{\"kind\":\"engine\",\"memory\":[],\"manifest\":7}",
      "{\"kind\":\"engine\",\"memory\":{\"weights\":\"x\",\"kv_per_token\":0}}",
      "{\"kind\":\"engine\",\"memory\":{\"weights\":-1,\"workspace\":1e308,\"kv_per_token\":-5,\"kv_per_sequence\":"
      "1e308},"
      "\"manifest\":{\"config\":{\"max_batch_size\":0,\"max_seq_len\":-3}}}",
  };
  for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
    struct facts *facts = facts_of(strange[i], &(struct engine_use){0}, 0);
    assert_false(facts->known[FACT_KV_SEQUENCES] || facts->known[FACT_SEATS_FILLED]);
    for (int id = 0; id < FACT_COUNT; id++)
      if (facts->known[id]) assert_true(isfinite(facts->value[id]));
    free(facts);
  }
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *sentence;
  } refused[] = {
      {"{}", "The inspection names no kind of file."},
      {"[]", "The inspection names no kind of file."},
      {"{\"kind\":5}", "The inspection names no kind of file."},
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    struct facts *facts = calloc(1, sizeof *facts);
    struct error error;
    assert_non_null(facts);
    assert_false(engine_facts_find(facts, slice_text(refused[i].text), &(struct engine_use){0}, &error));
    assert_string_equal(error.text, refused[i].sentence);
    assert_false(engine_facts_measure(facts, slice_text(refused[i].text), &error));
    assert_string_equal(error.text, "The measurement has no read rate.");
    assert_false(engine_facts_find(facts, slice_text("{"), &(struct engine_use){0}, &error));
    free(facts);
  }
}

static void test_measured(void **state) {
  (void)state;
  static const char machine[] =
      "{\"machine\":{\"read\":[{\"bytes\":1048576,\"gbs\":300},{\"bytes\":268435456,\"gbs\":20},"
      "{\"bytes\":536870912,\"gbs\":10}]}}";
  struct facts *facts = facts_of(ENGINE("cpu"), &(struct engine_use){0}, 0);
  struct error error;
  assert_true(engine_facts_measure(facts, slice_text(machine), &error));
  assert_true(facts->value[FACT_READ_RATE] == 20e9);
  assert_true(facts->value[FACT_STEP_FLOOR] == 104857600 / 20e9);
  free(facts);
  facts = calloc(1, sizeof *facts); /* no engine: the largest working set */
  assert_non_null(facts);
  assert_true(engine_facts_measure(facts, slice_text(machine), &error));
  assert_true(facts->value[FACT_READ_RATE] == 10e9 && !facts->known[FACT_STEP_FLOOR]);
  free(facts);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_engine),      cmocka_unit_test(test_use),          cmocka_unit_test(test_target),
      cmocka_unit_test(test_cpu_experts), cmocka_unit_test(test_no_workspace), cmocka_unit_test(test_losses),
      cmocka_unit_test(test_checkpoint),  cmocka_unit_test(test_strange),      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_measured),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
