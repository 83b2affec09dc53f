/* Experts in the host's memory, as an engine is opened: how many layers' there are, what leaves the device, what is
 * refused before anything is allocated. Needs no GPU. */
#include "backend/backends.h"
#include "engine/engine_memory.h"
#include "plan/expert_layers.h"
#include "plan/plan_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MIB = 1 << 20, LAYERS = 2, EXPERTS = 8, CHOSEN = 2, HIDDEN = 1024, INNER = 1024, VOCAB = 64 };

/* --- a network ---------------------------------------------------------------------------------------------------- */

static int matrix_add(struct plan_builder *b, const char *name, int rows, int cols) {
  return plan_add_matrix(b, name, &name, &rows, 1, cols, false);
}

static int experts_add(struct plan_builder *b, const char *name, int rows, int cols) {
  const struct tensor_slice slice = {.tensor = "{e}.weight", .rows = rows};
  const struct expert_spec spec = {.use = WEIGHT_MATRIX, .n_expert = EXPERTS, .n_part = 1, .cols = cols};
  return plan_add_experts(b, name, &slice, &spec);
}

static void layer_add(struct plan_builder *b, int layer, int x) {
  struct op router = op_make(OP_LINEAR, layer), route = op_make(OP_ROUTE, layer), spread = router, gather = router;
  router.in[0] = spread.in[0] = gather.in[1] = gather.out = x;
  router.out = route.in[0] = plan_add_value(b, EXPERTS, ROWS_TOKENS);
  route.out = spread.in[2] = gather.in[2] = plan_add_choice(b, EXPERTS, CHOSEN);
  spread.out = gather.in[0] = plan_add_value(b, CHOSEN * INNER, ROWS_TOKENS);
  router.weight[0] = matrix_add(b, "router", EXPERTS, HIDDEN);
  spread.weight[0] = experts_add(b, "up", INNER, HIDDEN);
  gather.weight[0] = experts_add(b, "down", HIDDEN, INNER);
  spread.args.linear.expert_mode = EXPERTS_SPREAD, gather.args.linear.expert_mode = EXPERTS_GATHER;
  route.args.route.n_expert = EXPERTS, route.args.route.k = CHOSEN, route.args.route.normalize = 1;
  plan_add_op(b, &router);
  plan_add_op(b, &route);
  plan_add_op(b, &spread);
  plan_add_op(b, &gather);
}

static const struct plan *plan_make(struct buffer *block, int layers) {
  struct plan_builder b;
  struct error error;
  struct op embed = op_make(OP_EMBED, -1), select = op_make(OP_SELECT, -1), head = op_make(OP_LINEAR, -1),
            sample = op_make(OP_SAMPLE, -1);
  plan_builder_init(&b, PLAN_DECODER);
  b.head.vocab = VOCAB, b.head.hidden = HIDDEN, b.head.max_position = 64;
  plan_add_group(&b, (struct kv_group){.n_layer = 1, .n_head = 1, .dim_k = 16, .dim_v = 16});
  int x = embed.out = select.in[0] = plan_add_value(&b, HIDDEN, ROWS_TOKENS);
  embed.weight[0] = head.weight[0] = matrix_add(&b, "embed", VOCAB, HIDDEN);
  plan_add_op(&b, &embed);
  for (int i = 0; i < layers; i++) layer_add(&b, i, x);
  select.out = head.in[0] = plan_add_value(&b, HIDDEN, ROWS_OUTPUTS);
  head.out = sample.in[0] = plan_add_value(&b, VOCAB, ROWS_OUTPUTS);
  plan_add_op(&b, &select);
  plan_add_op(&b, &head);
  plan_add_op(&b, &sample);
  buffer_init(block, 1 << 20);
  if (!plan_finish(&b, block, &error)) fail_msg("%s", error.text);
  plan_builder_release(&b);
  struct plan *plan = (struct plan *)(void *)block->data;
  struct weight *weight = (struct weight *)(void *)((char *)plan + plan->weights);
  for (int i = 0; i < plan->n_weight; i++) weight[i].scheme.kind = SCHEME_BF16;
  if (!plan_check(buffer_slice(block), &error)) fail_msg("%s", error.text);
  return plan;
}

/* --- a device of any size ----------------------------------------------------------------------------------------- */

static struct fake {
  uint64_t available, each; /* bytes of the device; of the experts of a weight */
  uint64_t stage;           /* of the device, for any that are on the host */
  struct limits limits;
} fake;

static bool fake_memory(const struct device *device, uint64_t *bytes, struct error *error) {
  (void)device, (void)error;
  *bytes = fake.available;
  return true;
}
static bool fake_rate(struct program *program, double *gbs, struct error *error) {
  (void)program, (void)error;
  *gbs = 50;
  return true;
}
static bool fake_supports(const struct plan *plan, int op, struct error *error) {
  (void)plan, (void)op, (void)error;
  return true;
}
static struct device *fake_open(const struct device_options *options, struct error *error) {
  (void)options, (void)error;
  return (struct device *)&fake;
}
static void fake_close(struct device *device) { (void)device; }
static bool fake_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                         struct error *error) {
  (void)error;
  *footprint = (struct footprint){.weights = 10 * MIB, .workspace = 50 * MIB, .kv_block = {MIB}};
  for (int i = 0; i < plan->n_weight; i++) {
    if (plan_expert_layer(plan, i) < 0) continue;
    *(plan_weight_on_host(plan, i, limits->cpu_experts) ? &footprint->host_weights : &footprint->weights) += fake.each;
  }
  if (footprint->host_weights > 0) footprint->workspace += fake.stage;
  return true;
}
static struct program *fake_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                                    struct error *error) {
  (void)device, (void)plan, (void)error;
  fake.limits = *limits;
  return (struct program *)&fake;
}
static void fake_release(struct program *program) { (void)program; }

static const struct backend fake_gpu = {.name = "fake",
                                        .target = TARGET_CPU,
                                        .open = fake_open,
                                        .close = fake_close,
                                        .memory = fake_memory,
                                        .host_rate = fake_rate,
                                        .supports = fake_supports,
                                        .measure = fake_measure,
                                        .compile = fake_compile,
                                        .release = fake_release};

static const struct engine_facts facts = {.name = "mixture",
                                          .config = {.max_batch_size = 4, .max_seq_len = 64, .max_num_tokens = 64}};

/* What an engine with so many is opened with; the sentence, where there is one. */
static struct loaded_engine opened(const struct plan *plan, const struct backend *backend, int cpu_experts,
                                   const char *sentence) {
  struct engine_options options = {.backend = backend, .cpu_experts = cpu_experts, .memory_fraction = 1};
  struct error error = {0};
  struct loaded_engine seen = {0}, *engine = engine_open_made(&facts, plan, &options, &error);
  if (!engine != (sentence != NULL)) fail_msg("%s", error.text);
  if (sentence && strcmp(error.text, sentence) != 0) fail_msg("%s", error.text);
  if (engine) seen = *engine;
  if (engine) assert_memory_equal(&engine->limits, &fake.limits, sizeof fake.limits);
  engine_close(engine);
  return seen;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_counts(void **state) {
  (void)state;
  static const struct { int asked, layers; } cases[] = {{0, 0}, {1, 1}, {2, 2}, {3, 2}, {1024, 2}};
  struct buffer block;
  const struct plan *plan = plan_make(&block, LAYERS);
  fake = (struct fake){.available = 1000 * MIB, .each = 100 * MIB};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint64_t moved = (uint64_t)cases[i].layers * 200 * MIB;
    struct loaded_engine e = opened(plan, &fake_gpu, cases[i].asked, NULL);
    assert_int_equal(e.limits.cpu_experts, cases[i].layers);
    assert_int_equal(e.footprint.host_weights, moved);
    assert_int_equal(e.footprint.weights, 410 * MIB - moved);
  }
  buffer_release(&block);
}

/* What leaves the device is the cache's: as many blocks as the seats can use, or all that is left. */
static void test_cache_grows(void **state) {
  (void)state;
  struct buffer block;
  const struct plan *plan = plan_make(&block, LAYERS);
  fake = (struct fake){.available = 465 * MIB, .each = 100 * MIB};
  assert_int_equal(opened(plan, &fake_gpu, 0, NULL).limits.n_block[0], 5);
  assert_int_equal(opened(plan, &fake_gpu, 1, NULL).limits.n_block[0], 16);
  buffer_release(&block);
}

/* Where there are no experts, or all are in the host's memory anyway. */
static void test_nothing_to_keep(void **state) {
  (void)state;
  struct backend without = fake_gpu;
  struct buffer mixture, dense;
  const struct plan *plan = plan_make(&mixture, LAYERS), *other = plan_make(&dense, 0);
  without.host_rate = NULL;
  fake = (struct fake){.available = 1000 * MIB, .each = 100 * MIB};
  assert_int_equal(opened(plan, &without, 2, NULL).limits.cpu_experts, 0);
  assert_int_equal(opened(other, &fake_gpu, 2, NULL).limits.cpu_experts, 0);
  buffer_release(&mixture);
  buffer_release(&dense);
}

static void test_refused(void **state) {
  (void)state;
  struct buffer block;
  const struct plan *plan = plan_make(&block, LAYERS);
  fake = (struct fake){.available = 300 * MIB, .each = 100 * MIB};
  opened(plan, &fake_gpu, 0,
         "The engine needs 410 MiB for its weights and 50 MiB for its workspace, and 300 MiB of memory are available; "
         "free some, or keep the experts of 1 layers in the host's memory (--cpu-experts 1).");
  fake.available = 263 * MIB; /* no sequence would fit with one */
  opened(plan, &fake_gpu, 0,
         "The engine needs 410 MiB for its weights and 50 MiB for its workspace, and 263 MiB of memory are available; "
         "free some, or keep the experts of 2 layers in the host's memory (--cpu-experts 2).");
  fake.available = 63 * MIB;
  opened(plan, &fake_gpu, 0,
         "The engine needs 410 MiB for its weights and 50 MiB for its workspace, and 63 MiB of memory are available; "
         "free some, or choose a smaller model.");
  buffer_release(&block);
}

/* As program_make asks, of a machine of any size. */
static bool planned(const struct plan *plan, const struct plan *encoder, struct engine_options options,
                    struct engine_room room, struct error *error) {
  struct loaded_engine engine = {.plan = plan, .backend = &fake_gpu, .limits = engine_limits(&facts.config, &options)};
  engine.limits.cpu_experts = options.cpu_experts;
  engine.file.vision = encoder;
  engine.vision_limits.tokens = encoder != NULL;
  return engine_memory_plan(&engine, &options, &room, error);
}

static void sentence_check(bool refused, const struct error *error, const char *sentence) {
  assert_true(refused);
  assert_int_equal(error->code, ERROR_MEMORY);
  assert_string_equal(error->text, sentence);
}

/* In whole pages. */
static void test_host_refused(void **state) {
  (void)state;
  static const char *const sentence =
      "The experts of 2 layers take 402 MiB of the host's memory, and 401 MiB of it are available; "
      "free some, or keep those of fewer layers there (--cpu-experts).";
  struct buffer block;
  const struct plan *plan = plan_make(&block, LAYERS);
  struct engine_options options = {.cpu_experts = 2};
  struct engine_room room = {.device = 1000 * MIB, .host = 402 * MIB};
  struct error error = {0};
  fake = (struct fake){.each = 100 * MIB + 1}; /* four of them */
  if (!planned(plan, NULL, options, room, &error)) fail_msg("%s", error.text);
  room.host--;
  sentence_check(!planned(plan, NULL, options, room, &error), &error, sentence);
  buffer_release(&block);
}

/* With what is left to a cache by default, 0.9, and with what was asked for. */
static void test_cache_refused(void **state) {
  (void)state;
  struct buffer block;
  const struct plan *plan = plan_make(&block, LAYERS);
  struct engine_room room = {.device = 464 * MIB, .host = 1000 * MIB};
  struct error error = {0};
  fake = (struct fake){.each = 100 * MIB};
  sentence_check(
      !planned(plan, NULL, (struct engine_options){0}, room, &error), &error,
      "One sequence of max_seq_len 64 takes 4 MiB of KV cache and 3 MiB are given to it, enough for 48 "
      "tokens; raise free_gpu_memory_fraction or kv_cache_memory, keep the experts of 1 layers in the host's "
      "memory (--cpu-experts 1), or build the engine with a max_seq_len that fits.");
  room.host = 100 * MIB; /* those of none */
  sentence_check(!planned(plan, NULL, (struct engine_options){0}, room, &error), &error,
                 "One sequence of max_seq_len 64 takes 4 MiB of KV cache and 3 MiB are given to it, enough for 48 "
                 "tokens; raise free_gpu_memory_fraction or kv_cache_memory, or build the engine with a max_seq_len "
                 "that fits.");
  room.host = 1000 * MIB;
  sentence_check(!planned(plan, NULL, (struct engine_options){.kv_bytes = 20 * MIB}, room, &error), &error,
                 "A KV cache of 20 MiB was asked for, and 4 MiB of memory are left after the weights and the "
                 "workspace; ask for that at most, or keep the experts of 1 layers in the host's memory (--cpu-experts "
                 "1).");
  sentence_check(!planned(plan, NULL, (struct engine_options){.kv_bytes = 500 * MIB}, room, &error), &error,
                 "A KV cache of 500 MiB was asked for, and 4 MiB of memory are left after the weights and the "
                 "workspace; ask for that at most.");
  buffer_release(&block);
}

static int suggested(const char *text) {
  const char *at = strstr(text, "(--cpu-experts ");
  return at ? atoi(at + strlen("(--cpu-experts ")) : 0;
}

/* The number in a sentence is the least that opens, and there is none where none does. */
static int suggestion_check(const struct plan *plan, const struct plan *encoder, struct engine_options options,
                            struct engine_room room) {
  struct error error = {0};
  int least = 1;
  options.cpu_experts = 0;
  if (planned(plan, encoder, options, room, &error)) return 0;
  for (; least <= LAYERS; least++) {
    options.cpu_experts = least;
    if (planned(plan, encoder, options, room, NULL)) break;
  }
  if (suggested(error.text) != (least <= LAYERS ? least : 0))
    fail_msg("%d opens, with %d MiB: %s", least, (int)(room.device / MIB), error.text);
  return suggested(error.text);
}

static void test_suggestions(void **state) {
  (void)state;
  static const struct engine_options asked[] = {
      {0}, {.memory_fraction = 0.3}, {.memory_fraction = 1}, {.kv_bytes = 2 * MIB}, {.kv_bytes = 90 * MIB}};
  static const int host[] = {199, 200, 399, 400}; /* MiB */
  int count[LAYERS + 1] = {0};
  struct buffer mixture, dense;
  const struct plan *plan = plan_make(&mixture, LAYERS), *encoder = plan_make(&dense, 0);
  fake = (struct fake){.each = 100 * MIB, .stage = 30 * MIB};
  for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
    for (size_t h = 0; h < sizeof host / sizeof *host; h++)
      for (uint64_t device = 40; device < 640; device++) {
        struct engine_room room = {.device = device * MIB, .host = (uint64_t)host[h] * MIB};
        count[suggestion_check(plan, NULL, asked[i], room)]++;
        count[suggestion_check(plan, encoder, asked[i], room)]++;
      }
  for (int n = 0; n <= LAYERS; n++) assert_true(count[n] > 0);
  buffer_release(&mixture);
  buffer_release(&dense);
}

/* The GPU's own figures: nothing is lost on the way, and a buffer for one of the weights is taken. Weights are in whole
 * pages of 2 MiB, of which what is left over counts as workspace. */
static void test_cuda_measure(void **state) {
  (void)state;
  enum { MATRIX = EXPERTS * HIDDEN * INNER * 2 };
  struct buffer block;
  const struct plan *plan = plan_make(&block, LAYERS);
  struct limits limits = {.seats = 4, .tokens = 64, .outputs = 4, .length = 64, .block_size = 16, .kv_dtype = KV_F16};
  struct footprint all, some;
  struct error error = {0};
  assert_true(backend_cuda.measure(plan, &limits, &all, &error));
  assert_int_equal(all.host_weights, 0);
  for (limits.cpu_experts = 1; limits.cpu_experts <= LAYERS; limits.cpu_experts++) {
    assert_true(backend_cuda.measure(plan, &limits, &some, &error));
    assert_int_equal(some.host_weights, (uint64_t)limits.cpu_experts * 2 * MATRIX);
    assert_int_equal(some.weights + some.host_weights, all.weights);
    assert_in_range(some.workspace, all.workspace + MATRIX - 2 * MIB, all.workspace + MATRIX + 3 * MIB);
  }
  buffer_release(&block);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_counts),      cmocka_unit_test(test_cache_grows),  cmocka_unit_test(test_nothing_to_keep),
      cmocka_unit_test(test_refused),     cmocka_unit_test(test_host_refused), cmocka_unit_test(test_cache_refused),
      cmocka_unit_test(test_suggestions), cmocka_unit_test(test_cuda_measure),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
