/* Loading an engine: which limits the program gets, what is refused before anything is allocated, what is undone. */
#include "engine_fixture.h"

#include "engine/loaded_engine.h"

/* A backend that records what it is asked for. */
static struct fake {
  struct footprint footprint;
  struct limits limits;
  bool refuse_compile;
  int refuse_op, refuse_weight, n_open, n_compile, n_load;
} fake;

static bool fake_supports(const struct plan *plan, int op, struct error *error) {
  (void)plan;
  return op != fake.refuse_op || error_set(error, ERROR_UNSUPPORTED, "No op.");
}
static struct device *fake_open(const struct device_options *options, struct error *error) {
  (void)options, (void)error;
  fake.n_open++;
  return (struct device *)&fake;
}
static void fake_close(struct device *device) {
  (void)device;
  fake.n_open--;
}
static bool fake_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                         struct error *error) {
  (void)plan, (void)limits, (void)error;
  *footprint = fake.footprint;
  return true;
}
static struct program *fake_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                                    struct error *error) {
  (void)device, (void)plan;
  fake.limits = *limits;
  error_set(error, ERROR_DEVICE, "No program.");
  if (fake.refuse_compile) return NULL;
  fake.n_compile++;
  return (struct program *)&fake;
}
static bool fake_load(struct program *program, int weight, struct slice packed, struct error *error) {
  (void)program;
  assert_int_equal(packed.data[0], 7 * weight);
  fake.n_load++;
  return weight != fake.refuse_weight || error_set(error, ERROR_DEVICE, "No weight.");
}
static void fake_release(struct program *program) {
  (void)program;
  fake.n_compile--;
}

static const struct backend fake_backend = {.name = "fake",
                                            .target = TARGET_CPU,
                                            .open = fake_open,
                                            .close = fake_close,
                                            .supports = fake_supports,
                                            .measure = fake_measure,
                                            .compile = fake_compile,
                                            .load = fake_load,
                                            .release = fake_release};

enum { MIB = 1 << 20 };

static int setup(void **state) {
  struct engine_fixture *f = calloc(1, sizeof *f);
  fixture_init(f);
  fixture_write(f);
  *state = f;
  fake = (struct fake){
      .footprint = {.weights = 1000, .workspace = 1000, .kv_block = {MIB}}, .refuse_op = -1, .refuse_weight = -1};
  return 0;
}

static int teardown(void **state) {
  assert_int_equal(fake.n_open, 0);
  assert_int_equal(fake.n_compile, 0);
  fixture_release(*state);
  free(*state);
  return 0;
}

static struct engine_options options_make(void) {
  return (struct engine_options){.backend = &fake_backend, .kv_bytes = 20 * MIB};
}

static struct limits limits_of(struct engine_fixture *f, const struct engine_options *options, uint64_t *kv_bytes) {
  struct error error;
  struct loaded_engine *engine = engine_open(f->path, options, &error);
  if (!engine) fail_msg("%s", error.text);
  assert_memory_equal(&engine->limits, &fake.limits, sizeof fake.limits);
  assert_int_equal(fake.n_load, 2);
  *kv_bytes = engine->kv_bytes;
  engine_close(engine);
  return fake.limits;
}

static void test_limits(void **state) {
  struct engine_options options = options_make();
  uint64_t kv_bytes;
  struct limits limits = limits_of(*state, &options, &kv_bytes);
  assert_int_equal(limits.seats, 32);
  assert_int_equal(limits.outputs, 32);
  assert_int_equal(limits.tokens, 512);
  assert_int_equal(limits.length, FIXTURE_POSITIONS);
  assert_int_equal(limits.opt_batch, 16);
  assert_int_equal(limits.block_size, 16);
  assert_int_equal(limits.kv_dtype, KV_F16);
  assert_int_equal(limits.n_block[0], 20);
  assert_int_equal(kv_bytes, 20 * MIB);
}

static void test_options(void **state) {
  struct engine_options options = options_make();
  uint64_t kv_bytes;
  options.block_size = 64;
  options.kv = 1 + KV_F32;
  fake.footprint.kv_block[0] = 1000; /* more fit than all seats can use */
  struct limits limits = limits_of(*state, &options, &kv_bytes);
  assert_int_equal(limits.block_size, 64);
  assert_int_equal(limits.kv_dtype, KV_F32);
  assert_int_equal(limits.n_block[0], 32 * 2);
  assert_int_equal(kv_bytes, 32 * 2 * 1000);
}

/* What the device's attention is fastest with, unless something was asked for. */
static uint8_t fake_kv_best(const struct device *device, int32_t block_size, bool kept) {
  assert_non_null(device);
  assert_true(kept);
  return block_size >= 16 ? KV_BF16 : KV_F16;
}

static uint8_t kv_type_of(struct engine_fixture *f, const struct engine_options *options) {
  uint64_t kv_bytes;
  fake.n_load = 0;
  return limits_of(f, options, &kv_bytes).kv_dtype;
}

static void test_kv_type(void **state) {
  struct engine_fixture *f = *state;
  struct backend backend = fake_backend;
  struct engine_options options = options_make();
  backend.kv_best = fake_kv_best;
  options.backend = &backend;
  assert_int_equal(kv_type_of(f, &options), KV_BF16);
  options.block_size = 8;
  assert_int_equal(kv_type_of(f, &options), KV_F16);
  options.kv = 1 + KV_F16, options.block_size = 16;
  assert_int_equal(kv_type_of(f, &options), KV_F16);
  options.kv = 0;
  f->facts.config.quant_mode = QUANT_FP32;
  fixture_write(f);
  assert_int_equal(kv_type_of(f, &options), KV_F32);
  options.backend = &fake_backend, options.kv = 1 + KV_BF16;
  assert_int_equal(kv_type_of(f, &options), KV_BF16);
}

static void test_contiguous(void **state) {
  struct engine_fixture *f = *state;
  struct engine_options options = options_make();
  uint64_t kv_bytes;
  f->facts.config.kv_cache_type = KV_CACHE_CONTIGUOUS;
  f->facts.config.quant_mode = QUANT_FP32;
  fixture_write(f);
  struct limits limits = limits_of(f, &options, &kv_bytes);
  assert_int_equal(limits.block_size, 128); /* the power of two above 100 */
  assert_int_equal(limits.n_block[0], 20);
  assert_int_equal(limits.kv_dtype, KV_F32);
}

/* A fraction of what is available: at least the one sequence that a megabyte holds. */
static void test_fraction(void **state) {
  struct engine_options options = options_make();
  uint64_t kv_bytes;
  options.kv_bytes = 0;
  fake.footprint.kv_block[0] = 1;
  assert_int_equal(limits_of(*state, &options, &kv_bytes).n_block[0], 32 * 7);
}

static void open_refused(struct engine_fixture *f, const struct engine_options *options, const char *start,
                         const char *end) {
  struct error error = {0};
  assert_null(engine_open(f->path, options, &error));
  size_t size = strlen(error.text), tail = strlen(end);
  if (strncmp(error.text, start, strlen(start)) != 0 || size < tail || strcmp(error.text + size - tail, end) != 0)
    fail_msg("%s", error.text);
}

static void test_memory_refused(void **state) {
  struct engine_options options = options_make();
  options.kv_bytes = 6 * MIB;
  open_refused(
      *state, &options,
      "One sequence of max_seq_len 100 takes 7 MiB of KV cache and 6 MiB are given to it, enough for 96 tokens; "
      "raise free_gpu_memory_fraction or kv_cache_memory, or build the engine with a max_seq_len that fits.",
      "");
  options.kv_bytes = (uint64_t)1 << 60;
  open_refused(*state, &options, "A KV cache of 1099511627776 MiB was asked for, and ",
               " MiB of memory are left after the weights and the workspace; ask for that at most.");
  fake.footprint.weights = (uint64_t)1 << 60;
  open_refused(*state, &options, "The engine needs 1099511627776 MiB for its weights and 1 MiB for its workspace, and ",
               " MiB of memory are available; free some, or build it with quant_mode INT4_WEIGHT: its weights take "
               "about 1 MiB.");
  fake.footprint.workspace = (uint64_t)1 << 60;
  open_refused(*state, &options,
               "The engine needs 1099511627776 MiB for its weights and 1099511627776 MiB for its workspace, and ",
               " MiB of memory are available; free some, or choose a smaller model.");
  assert_int_equal(fake.n_load, 0);
}

/* The same sentences before there is an engine, for a machine of any size. */
static void test_fits(void **state) {
  struct engine_fixture *f = *state;
  static const struct {
    uint64_t available;
    const char *sentence;
  } table[] = {
      {2000 + 7 * MIB, NULL},
      {2000 + 7 * MIB - 1,
       "One sequence of max_seq_len 100 takes 7 MiB of KV cache and 6 MiB are given to it, enough for 96 tokens; raise "
       "free_gpu_memory_fraction or kv_cache_memory, or build the engine with a max_seq_len that fits."},
      {1999, "The engine needs 1 MiB for its weights and 1 MiB for its workspace, and 0 MiB of memory are available; "
             "free some, or build it with quant_mode INT4_WEIGHT: its weights take about 1 MiB."},
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct error error = {0};
    const struct plan *plan = (const struct plan *)(void *)f->plan.data;
    bool fits = engine_fits(plan, &fake_backend, &f->facts.config, table[i].available, &error);
    assert_int_equal(fits, table[i].sentence == NULL);
    if (!fits) assert_string_equal(error.text, table[i].sentence);
  }
}

static void test_options_refused(void **state) {
  struct engine_options options = options_make();
  options.block_size = 24;
  open_refused(*state, &options, "block_size is 24; it must be a power of two up to 256.", "");
  options.block_size = 512;
  open_refused(*state, &options, "block_size is 512; it must be a power of two up to 256.", "");
  options = options_make();
  options.memory_fraction = 1.5;
  open_refused(*state, &options, "free_gpu_memory_fraction is 1.5; it must be more than 0 and at most 1.", "");
  options = options_make();
  struct backend other = fake_backend;
  other.target = TARGET_REFERENCE;
  options.backend = &other;
  open_refused(*state, &options,
               "The engine is packed for cpu, which the backend fake does not read; build it with --target reference.",
               "");
  options = options_make();
  options.adapters = 4;
  open_refused(*state, &options,
               "The backend fake has no adapters: leave --lora-dir out, or build with one (--merge-lora).", "");
}

/* Whatever fails, what was made before is given back (teardown counts). */
static void test_undone(void **state) {
  struct engine_options options = options_make();
  fake.refuse_op = 2;
  open_refused(*state, &options, "No op.", "");
  fake.refuse_op = -1;
  fake.refuse_compile = true;
  open_refused(*state, &options, "No program.", "");
  fake.refuse_compile = false;
  fake.refuse_weight = 1;
  open_refused(*state, &options, "No weight.", "");
}

static bool goes_on(void *user, int done, int total) {
  assert_true(done >= 0 && done <= total);
  return (*(int *)user)-- > 0;
}

/* How often it is asked until the engine is open; whenever the answer is no, nothing stays open. */
static int times_asked(const struct engine_fixture *f, bool verify) {
  struct engine_options options = options_make();
  struct loaded_engine *engine = NULL;
  int asked = 0;
  for (; asked < 100 && !engine; asked++) {
    struct error error = {0};
    int left = asked;
    fake.n_load = 0;
    options.verify = verify;
    options.goes_on = goes_on;
    options.user = &left;
    engine = engine_open(f->path, &options, &error);
    assert_int_equal(fake.n_open, engine != NULL);
    if (engine) continue;
    assert_int_equal(error.code, ERROR_CANCELLED);
    assert_string_equal(error.text, "The engine was not opened: that was broken off.");
    assert_true(fake.n_load <= 2);
  }
  engine_close(engine);
  return asked;
}

/* Before each part of the hash, and each weight that is loaded. */
static void test_broken_off(void **state) {
  assert_int_equal(times_asked(*state, true), 1 + 3 + 3); /* the manifest and two weights, these again, and the end */
  assert_int_equal(times_asked(*state, false), 1 + 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
      cmocka_unit_test_setup_teardown(test_options, setup, teardown),
      cmocka_unit_test_setup_teardown(test_kv_type, setup, teardown),
      cmocka_unit_test_setup_teardown(test_contiguous, setup, teardown),
      cmocka_unit_test_setup_teardown(test_fraction, setup, teardown),
      cmocka_unit_test_setup_teardown(test_memory_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(test_fits, setup, teardown),
      cmocka_unit_test_setup_teardown(test_options_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(test_undone, setup, teardown),
      cmocka_unit_test_setup_teardown(test_broken_off, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
