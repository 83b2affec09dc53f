/* An adapter that several threads read is the one that one thread reads, number for number; of what is wrong in it the
 * first is told. Its base is a network of 135 million parameters, of which only the plan is made. */
#include "engine/adapter_module.h"
#include "engine/adapter_read.h"
#include "model/family.h"
#include "model/known_model.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/backends.h"

enum { RANK = 64, PLAN_BYTES = 16 << 20, HEADER_BYTES = 1 << 20 };

static struct engine_facts facts;
static struct engine_header header;
static struct engine_file engine;
static struct buffer plan;
static char folder[] = "/tmp/spate-threads-XXXXXX", paths[2][64];
static size_t data_start, bytes; /* of the tensors in the file; of them all */

static void plan_make(void) {
  struct error error;
  struct checkpoint *checkpoint = known_model_open("smollm2-135m", &error);
  buffer_init(&plan, PLAN_BYTES);
  const struct family *family = checkpoint ? family_find(checkpoint, &error) : NULL;
  if (!family || !family_outline(family, checkpoint, 0, &plan, &error)) fail_msg("%s", error.text);
  checkpoint_close(checkpoint);
  struct weight *weights = (struct weight *)(void *)(plan.data + ((struct plan *)(void *)plan.data)->weights);
  for (int i = 0; i < ((struct plan *)(void *)plan.data)->n_weight; i++) weights[i].scheme.kind = SCHEME_BF16;
  engine = (struct engine_file){
      .header = &header, .facts = &facts, .plan = (const void *)plan.data, .backend = &backend_cpu};
}

static void tensor_name(struct buffer *out, const char *module, const char *half, int rows, int cols) {
  size_t size = (size_t)rows * (size_t)cols * 2;
  buffer_print(out,
               "%s\"base_model.model.%s.%s.weight\":{\"dtype\":\"BF16\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]}",
               bytes ? "," : "{", module, half, rows, cols, bytes, bytes + size);
  bytes += size;
}

/* Of every matrix of the layers. */
static void names_make(struct buffer *out) {
  for (int i = 0; i < engine.plan->n_op; i++) {
    const struct op *op = plan_ops(engine.plan) + i;
    if (op->kind != OP_LINEAR || op->layer < 0) continue;
    const struct weight *weight = plan_weights(engine.plan) + op->weight[0];
    for (int p = 0; p < weight->n_part; p++) {
      struct adapter_module module;
      if (!adapter_module_of(engine.plan, op, p, "", false, &module)) continue;
      tensor_name(out, module.name, "lora_A", RANK, weight->cols);
      tensor_name(out, module.name, "lora_B", weight->part[p].rows, RANK);
    }
  }
  buffer_print(out, "}");
  while (out->size % 8) buffer_print(out, " ");
}

static void file_make(void) {
  struct buffer names;
  buffer_init(&names, HEADER_BYTES);
  names_make(&names);
  FILE *file = fopen(paths[0], "w");
  fprintf(file, "{\"peft_type\":\"LORA\",\"r\":%d,\"lora_alpha\":8}", RANK);
  fclose(file);
  file = fopen(paths[1], "wb");
  uint64_t size = names.size;
  fwrite(&size, sizeof size, 1, file);
  fwrite(names.data, 1, names.size, file);
  data_start = sizeof size + names.size;
  uint32_t seed = 1;
  for (size_t i = 0; i < bytes / 2; i++) {
    seed = seed * 1664525 + 1013904223;
    uint16_t number = (uint16_t)(0x3C00 + (seed >> 20) % 512);
    fwrite(&number, sizeof number, 1, file);
  }
  assert_int_equal(fclose(file), 0);
  buffer_release(&names);
}

static int setup(void **state) {
  (void)state;
  if (!mkdtemp(folder)) return 1;
  snprintf(paths[0], sizeof paths[0], "%s/adapter_config.json", folder);
  snprintf(paths[1], sizeof paths[1], "%s/adapter_model.safetensors", folder);
  plan_make();
  file_make();
  return 0;
}

static int teardown(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) unlink(paths[i]);
  rmdir(folder);
  buffer_release(&plan);
  return 0;
}

/* By as many threads as there are processors, or by one. */
static struct adapter *adapter_take(bool alone, struct error *error) {
  cpu_set_t all, one;
  assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
    if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
  if (alone) sched_setaffinity(0, sizeof one, &one);
  struct adapter *adapter = adapter_read(folder, &engine, RANK, error);
  sched_setaffinity(0, sizeof all, &all);
  return adapter;
}

static void test_same(void **state) {
  (void)state;
  struct error error = {0};
  struct adapter *alone = adapter_take(true, &error), *beside = adapter_take(false, &error);
  if (!alone || !beside) fail_msg("%s", error.text);
  assert_int_equal(beside->n_op, alone->n_op);
  assert_int_equal(beside->rank, RANK);
  assert_int_equal(beside->bytes, alone->bytes);
  assert_true(alone->bytes >= bytes); /* parts of lower rank have zeros */
  for (int i = 0; i < alone->n_op; i++) {
    const struct adapter_op *a = &alone->op[i], *b = &beside->op[i];
    const struct weight *weight = plan_weights(engine.plan) + plan_ops(engine.plan)[a->op].weight[0];
    size_t row = (size_t)RANK * factor_bytes(a->a.type);
    assert_int_equal(b->op, a->op);
    assert_memory_equal(b->gain, a->gain, sizeof a->gain);
    assert_memory_equal(b->a.numbers, a->a.numbers, row * (size_t)weight->cols * (size_t)weight->n_part);
    assert_memory_equal(b->b.numbers, a->b.numbers, row * (size_t)weight->rows);
  }
  adapter_free(alone);
  adapter_free(beside);
}

static void number_put(size_t at, uint16_t number) {
  FILE *file = fopen(paths[1], "r+b");
  fseek(file, (long)(data_start + at), SEEK_SET);
  fwrite(&number, sizeof number, 1, file);
  fclose(file);
}

/* Infinite numbers at a tenth and at nine tenths of the file. */
static void test_first_wrong(void **state) {
  (void)state;
  struct error alone = {0}, beside = {0};
  number_put(bytes / 10 / 2 * 2, 0x7F80);
  number_put(bytes / 10 / 2 * 18, 0x7F80);
  assert_null(adapter_take(true, &alone));
  assert_null(adapter_take(false, &beside));
  assert_string_equal(beside.text, alone.text);
  assert_non_null(strstr(alone.text, "is no finite number"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same), cmocka_unit_test(test_first_wrong)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
