/* The parts of a network that calibration runs one by one, and the factors that it folds away, against the logits that
 * transformers computes of the tiny checkpoint of each family (tools/make_model_fixtures.py). */
#include "../../parity/folded_engine.h"

#include "backend/backends.h"
#include "build/calibration_form.h"
#include "build/input_record.h"
#include "engine/loaded_engine.h"

static const char *const models[] = {"llama2", "llama3", "llama_bias_yarn", "mistral",       "smollm2",
                                     "qwen2",  "qwen3",  "gemma3",          "deepseek_dense"};
enum { MODELS = sizeof models / sizeof *models, THREADS = 2 };

static const double tolerance = 1e-4; /* of the logits' range */

/* A draft of an FP32 build whose steps have the logits of all the fixture's tokens. */
struct network {
  struct draft draft;
  struct expected_logits expected;
};

static void network_open(struct network *network, const char *name) {
  char path[512];
  struct error error;
  snprintf(path, sizeof path, FIXTURES "/model/%s/expected.logits", name);
  network->expected = expected_read(path, false);
  int n_token = network->expected.n_token;
  struct engine_config config = {.quant_mode = QUANT_FP32, .max_batch_size = n_token, .max_num_tokens = n_token};
  snprintf(path, sizeof path, FIXTURES "/model/%s", name);
  draft_init(&network->draft);
  if (!draft_open(&network->draft, path, &error) || !draft_settle(&network->draft, &config, &backend_cpu, &error) ||
      !draft_tokenizer(&network->draft, &error))
    fail_msg("%s: %s", name, error.text);
}

static void network_close(struct network *network) {
  expected_release(&network->expected);
  draft_release(&network->draft);
}

static float *matrix_read(const struct network *network, int weight) {
  struct weight_source source;
  const struct weight *w = plan_weights(draft_plan(&network->draft)) + weight;
  size_t count = (size_t)w->rows * (size_t)w->cols;
  float *out = calloc((size_t)weight_experts(w) * count, sizeof *out);
  struct weight_reader reader;
  assert_true(weight_source_init(&source, draft_plan(&network->draft), weight, network->draft.checkpoint, NULL));
  assert_true(weight_reader_init(&reader, &source, 16, NULL)); /* the draft's scheme is F32 */
  for (int e = 0; e < weight_experts(w); e++)
    assert_true(weight_reader_matrix(&reader, e, out + (size_t)e * count, NULL));
  weight_reader_release(&reader);
  return out;
}

/* --- the walk ------------------------------------------------------------------------------------------------------
 */

/* The sums that calibration takes of a site's inputs are those of its inputs. */
static void sums_check(const struct network_walk *walk, const struct walk_site *site) {
  int cols = walk_site_cols(walk->plan, site), length = walk->data->length;
  float *rows = calloc((size_t)length * (size_t)cols, sizeof *rows), *sums = input_sums_make(walk, site, NULL);
  struct input_record record;
  assert_non_null(sums);
  assert_true(network_walk_inputs(walk, site, 0, rows, NULL));
  assert_true(input_record_make(&record, walk, site, 32, THREADS, NULL));
  for (int i = 0; i < cols; i += 7)
    for (int k = 0; k < cols; k++) {
      double sum = 0, size = 0;
      for (int t = 0; t < length; t++) sum += (double)rows[t * cols + i] * (double)rows[t * cols + k];
      for (int t = 0; t < length; t++) size += fabs((double)rows[t * cols + i] * (double)rows[t * cols + k]);
      assert_true(fabs(sum - (double)sums[i * cols + k]) <= 1e-5 * size);
      if (i / 32 == k / 32) assert_true(fabs(sum - (double)record.metric[i * 32 + k % 32]) <= 1e-5 * size);
    }
  assert_int_equal(record.n_sample, length);
  assert_memory_equal(record.sample, rows, (size_t)length * (size_t)cols * sizeof *rows);
  input_record_release(&record);
  free(rows), free(sums);
}

static void sites_walk(const struct network *network, struct network_walk *walk) {
  struct walk_site site;
  struct error error;
  for (int from = 0; walk_site_find(walk->plan, from, &site); from = site.first + site.n_op) {
    float *matrix[WALK_SITE_LINEARS];
    sums_check(walk, &site);
    for (int i = 0; i < site.n_linear; i++)
      matrix[i] = matrix_read(network, walk_site_op(walk->plan, &site, i)->weight[0]);
    if (!network_walk_run(walk, &site, matrix, &error)) fail_msg("%s", error.text);
    for (int i = 0; i < site.n_linear; i++) free(matrix[i]);
  }
}

/* Select, norm and head by hand. */
static void head_run(const struct network *network, const struct network_walk *walk, float *logits) {
  const struct plan *plan = walk->plan;
  const struct op *head = plan_ops(plan) + plan->n_op - 2, *select = head - 1;
  const struct weight *w = plan_weights(plan) + head->weight[0];
  float *matrix = matrix_read(network, head->weight[0]), *norm = calloc((size_t)w->cols, sizeof *norm);
  struct weight_source source;
  assert_true(select->kind == OP_SELECT && head->kind == OP_LINEAR);
  assert_true(weight_source_init(&source, plan, head->weight[2], network->draft.checkpoint, NULL));
  assert_true(weight_source_vector(&source, norm, NULL));
  for (int t = 0; t < walk->data->length; t++) {
    const float *x = walk->value[select->in[0]] + (size_t)t * (size_t)w->cols;
    double squares = 0, cap = (double)head->args.linear.softcap;
    for (int i = 0; i < w->cols; i++) squares += (double)x[i] * (double)x[i];
    double rms = sqrt(squares / w->cols + (double)head->args.linear.eps);
    for (int row = 0; row < plan->vocab; row++) {
      double sum = 0;
      for (int i = 0; i < w->cols; i++) sum += (double)x[i] / rms * (double)norm[i] * (double)matrix[row * w->cols + i];
      logits[t * plan->vocab + row] = (float)(cap > 0 ? cap * tanh(sum / cap) : sum);
    }
  }
  free(matrix), free(norm);
}

static void models_walk(const struct backend *backend) {
  struct float_device device;
  struct error error;
  assert_true(float_device_open(&device, backend, THREADS, &error));
  for (int i = 0; i < MODELS; i++) {
    struct network network;
    network_open(&network, models[i]);
    struct calibration_data data = {.token = network.expected.token, .n_window = 1, .length = network.expected.n_token};
    struct network_walk walk = {
        .plan = draft_plan(&network.draft), .checkpoint = network.draft.checkpoint, .data = &data, .device = &device};
    float *logits = calloc((size_t)data.length * (size_t)network.expected.vocab, sizeof *logits);
    if (!network_walk_init(&walk, &error) || !network_walk_begin(&walk, &error)) fail_msg("%s", error.text);
    sites_walk(&network, &walk);
    head_run(&network, &walk, logits);
    double difference = logits_difference(&network.expected, logits);
    printf("%s, site by site on %s: %.1e of the range\n", models[i], device.backend->name, difference);
    assert_true(difference <= tolerance);
    network_walk_release(&walk);
    network_close(&network);
    free(logits);
  }
  float_device_close(&device);
}

/* Where there is a GPU SPATE_BACKEND=cuda has it tested too. */
static void test_walk(void **state) {
  (void)state;
  const char *name = getenv("SPATE_BACKEND");
  models_walk(&backend_cpu);
  models_walk(&backend_reference);
  if (name) models_walk(backend_find(name));
}

/* --- factors that are folded away -----------------------------------------------------------------------------------
 */

/* All tokens in one step. */
static double engine_difference(const struct expected_logits *expected, const char *path) {
  struct error error;
  struct result result;
  struct loaded_engine *engine = engine_open(path, &(struct engine_options){0}, &error);
  if (!engine) fail_msg("%s", error.text);
  int n = expected->n_token;
  uint32_t *blocks = calloc((size_t)n, sizeof *blocks);
  int32_t *out = calloc((size_t)n, sizeof *out);
  struct sampling *sampling = calloc((size_t)n, sizeof *sampling);
  struct row row = {.count = n};
  for (int i = 0; i < n; i++) out[i] = i, blocks[i] = (uint32_t)i;
  for (int i = 0; i < PLAN_GROUPS; i++) row.block[i] = blocks, row.n_block[i] = (n + 15) / 16;
  struct batch batch = {.n_row = 1,
                        .n_token = n,
                        .n_out = n,
                        .row = &row,
                        .token = expected->token,
                        .out = out,
                        .sampling = sampling,
                        .want_logits = true};
  if (!engine->backend->submit(engine->program, &batch, &error) ||
      !engine->backend->finish(engine->program, NULL, &error) ||
      !engine->backend->collect(engine->program, &result, &error))
    fail_msg("%s", error.text);
  double difference = logits_difference(expected, result.logits);
  engine_close(engine);
  free(blocks), free(out), free(sampling);
  return difference;
}

/* The logits' difference once factors are folded away; the sites that have none are added to missed. */
static double folded_difference(const char *name, const char *path, int *missed) {
  struct network network;
  network_open(&network, name);
  struct weight_transform *transforms = calloc((size_t)draft_plan(&network.draft)->n_weight, sizeof *transforms);
  struct arena factors;
  arena_init(&factors, SIZE_MAX);
  *missed += factors_set(draft_plan(&network.draft), transforms, &factors);
  folded_engine_write(&network.draft, transforms, &backend_cpu, path);
  double difference = engine_difference(&network.expected, path);
  printf("%s, with factors folded away: %.1e of the range\n", name, difference);
  free(transforms);
  arena_release(&factors);
  network_close(&network);
  return difference;
}

/* The function stays: through norms, biases, heads that share keys, gates. */
static void test_folds(void **state) {
  (void)state;
  char path[] = "/tmp/spate-test-XXXXXX";
  int descriptor = mkstemp(path), missed = 0;
  assert_true(descriptor >= 0);
  close(descriptor);
  for (int i = 0; i < MODELS; i++) assert_true(folded_difference(models[i], path, &missed) <= tolerance);
  assert_int_equal(missed, 2); /* of latent attention's two layers what heads make */
  unlink(path);
}

/* A clamp of v comes between the matrix and what reads it: nothing is folded through it. OLMoE has factors everywhere
 * else, MPT, whose norms are about a mean, nowhere. */
static void test_clamps(void **state) {
  (void)state;
  char path[] = "/tmp/spate-test-XXXXXX";
  int descriptor = mkstemp(path), missed = 0, all = 0;
  assert_true(descriptor >= 0);
  close(descriptor);
  assert_true(folded_difference("olmoe_clip", path, &missed) <= tolerance);
  assert_true(folded_difference("mpt_clip", path, &all) <= tolerance);
  assert_true(missed == 2 && all == 8); /* of two layers the attention's; all sites */
  unlink(path);
}

/* --- mixtures ------------------------------------------------------------------------------------------------------
 */

/* Every mixture that a family has is a site; one of another form is refused. */
static void test_mixtures(void **state) {
  (void)state;
  static const char *const mixtures[] = {"mixtral", "qwen3_moe",   "qwen3_moe_mixed", "olmoe",        "granite_moe",
                                         "gpt_oss", "deepseek_v2", "deepseek_v3",     "deepseek_lite"};
  const struct engine_config config = {.quant_mode = QUANT_INT4_WEIGHT};
  for (size_t i = 0; i < sizeof mixtures / sizeof *mixtures; i++) {
    struct draft draft;
    struct error error = {0};
    char path[512];
    snprintf(path, sizeof path, FIXTURES "/model/%s", mixtures[i]);
    draft_init(&draft);
    if (!draft_open(&draft, path, &error) || !draft_settle(&draft, &config, &backend_cpu, &error))
      fail_msg("%s: %s", mixtures[i], error.text);
    if (!calibration_follows(draft_plan(&draft), &error)) fail_msg("%s: %s", mixtures[i], error.text);
    struct op *op = (struct op *)(uintptr_t)plan_ops(draft_plan(&draft)) + draft_plan(&draft)->n_op - 1;
    while (op->kind != OP_LINEAR || op->args.linear.expert_mode != EXPERTS_SPREAD) op--;
    op->args.linear.norm = op->args.linear.norm == NORM_NONE ? NORM_RMS : NORM_NONE;
    assert_false(calibration_follows(draft_plan(&draft), &error));
    snprintf(path, sizeof path,
             "Layer %d has a mixture of experts of a form that calibration does not know; choose quant_algo RTN.",
             op->layer);
    assert_string_equal(error.text, path);
    draft_release(&draft);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_walk), cmocka_unit_test(test_folds),
                                     cmocka_unit_test(test_clamps), cmocka_unit_test(test_mixtures)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
