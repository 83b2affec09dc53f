/* The tiny checkpoints that see images (tools/make_vision_fixtures.py): an encoder's rows and the logits of a prompt
 * with images in it against those of transformers, on the reference and on the CPU backend (SPATE_BACKEND names
 * another), in any batch, block size and chunk; and each feature switched off, in config.json, in the plan or in the
 * order of patches, must be refused or show.
 */
#include "../unit/model/model_variant.h"
#include "backend/backends.h"
#include "engine/image_batch.h"
#include "schedule/image_places.h"
#include "engine/image_tiles.h"
#include "engine/loaded_engine.h"
#include "parity_support.h"

static const double tolerance = 1e-4, visible = 1e-3; /* parts of the expected range */

static const char *tested(void) {
  const char *named = getenv("SPATE_BACKEND");
  return named ? named : "cpu";
}

static const char *const models[] = {"idefics3",   "llava",      "gemma3",  "qwen2_vl", "qwen2_5_vl",
                                     "llava_next", "llava_full", "pixtral", "mistral3"};

enum { MODEL_COUNT = sizeof models / sizeof *models, IMAGES = 2, TOKENS_MOST = 128 };

static char folder[] = "/tmp/spate-parity-XXXXXX", engine_path[64];

/* --- what is expected --------------------------------------------------------------------------------------------- */

struct expected_vision {
  int32_t n_image, n_row[IMAGES], cols;
  struct image_pixels image[IMAGES];
  float *rows[IMAGES]; /* [n_row][cols] */
  struct expected_logits text;
};

static struct expected_vision expected_vision_read(const char *name) {
  struct expected_vision e = {0};
  char path[512], magic[8];
  snprintf(path, sizeof path, "%s/vision/%s/expected.vision", FIXTURES, name);
  FILE *file = fopen(path, "rb");
  if (!file) fail_msg("%s cannot be opened", path);
  read_exactly(file, magic, sizeof magic);
  assert_memory_equal(magic, "SPVISION", 8);
  read_exactly(file, &e.n_image, 4);
  assert_int_equal(e.n_image, IMAGES);
  for (int i = 0; i < IMAGES; i++) {
    int32_t size[3];
    read_exactly(file, size, sizeof size);
    e.image[i] = (struct image_pixels){
        size[2], size[1], read_array(file, (size_t)size[0] * (size_t)size[1] * (size_t)size[2], sizeof(float))};
    read_exactly(file, &e.n_row[i], 4);
    read_exactly(file, &e.cols, 4);
    e.rows[i] = read_array(file, (size_t)e.n_row[i] * (size_t)e.cols, sizeof(float));
  }
  struct expected_logits *t = &e.text;
  read_exactly(file, &t->n_token, 4);
  read_exactly(file, &t->vocab, 4);
  t->n_row = t->n_token;
  t->token = read_array(file, (size_t)t->n_token, 4);
  t->position = calloc((size_t)t->n_row, 4);
  for (int i = 0; i < t->n_row; i++) t->position[i] = i;
  t->logits = read_array(file, (size_t)t->n_row * (size_t)t->vocab, sizeof(float));
  fclose(file);
  return e;
}

static void expected_vision_release(struct expected_vision *e) {
  for (int i = 0; i < IMAGES; i++) {
    free((void *)(uintptr_t)e->image[i].number);
    free(e->rows[i]);
  }
  expected_release(&e->text);
}

/* --- an engine's two programs ------------------------------------------------------------------------------------- */

/* What a test does to the vision plan before it is compiled, and to the batch of images before it runs; or NULL. */
typedef void plan_change(struct plan *plan);
typedef void batch_change(struct image_batch *images);

struct rig {
  struct engine_file file;
  const struct backend *backend;
  struct device *device;
  struct plan *plan; /* the vision plan, changed */
  struct program *vision, *decoder;
  struct limits limits; /* of the decoder */
  struct image_batch images;
};

static struct program *program_load(const struct rig *rig, const struct plan *plan, const struct limits *limits,
                                    int first) {
  struct error error = {0};
  struct program *program = rig->backend->compile(rig->device, plan, limits, &error);
  if (!program) fail_msg("%s", error.text);
  for (int i = 0; i < plan->n_weight; i++)
    if (!rig->backend->load(program, i, engine_file_weight(&rig->file, first + i), &error)) fail_msg("%s", error.text);
  return program;
}

static void rig_open(struct rig *rig, const char *backend, int block_size, uint8_t kv, plan_change *change) {
  static uint32_t n_block = 64;
  struct error error = {0};
  *rig = (struct rig){.backend = backend_find(backend)};
  if (!engine_file_open(&rig->file, engine_path, &error)) fail_msg("%s", error.text);
  assert_non_null(rig->file.vision);
  rig->plan = malloc(rig->file.vision->bytes);
  memcpy(rig->plan, rig->file.vision, rig->file.vision->bytes);
  if (change) change(rig->plan);
  rig->device = rig->backend->open(&(struct device_options){.n_thread = 2}, &error);
  if (!rig->device) fail_msg("%s", error.text);
  struct limits vision = image_limits(rig->plan, IMAGES, kv);
  rig->limits = (struct limits){.seats = 1,
                                .tokens = TOKENS_MOST,
                                .outputs = TOKENS_MOST,
                                .length = TOKENS_MOST,
                                .opt_batch = 1,
                                .block_size = block_size,
                                .kv_dtype = kv,
                                .pool = vision.outputs + 1,
                                .n_block = {n_block, n_block}};
  rig->vision = program_load(rig, rig->plan, &vision, rig->file.plan->n_weight);
  rig->decoder = program_load(rig, rig->file.plan, &rig->limits, 0);
  if (!image_batch_init(&rig->images, rig->plan, &vision, &error)) fail_msg("%s", error.text);
}

static void rig_close(struct rig *rig) {
  image_batch_release(&rig->images);
  rig->backend->release(rig->vision);
  rig->backend->release(rig->decoder);
  rig->backend->close(rig->device);
  engine_file_close(&rig->file);
  free(rig->plan);
}

static struct result step_run(const struct rig *rig, struct program *program, const struct batch *batch) {
  struct error error = {0};
  struct result result;
  if (!rig->backend->submit(program, batch, &error) || !rig->backend->finish(program, NULL, &error) ||
      !rig->backend->collect(program, &result, &error))
    fail_msg("%s", error.text);
  return result;
}

/* Encodes images [first, first + n) in one step and puts their rows into the pool behind those of earlier images.
 * Returns the largest difference as a part of the range. */
static double images_encode(struct rig *rig, const struct expected_vision *e, int first, int n, batch_change *change) {
  struct error error = {0};
  double most = 0;
  int32_t before = 0;
  image_batch_clear(&rig->images);
  for (int i = 0; i < first; i++) before += e->n_row[i];
  for (int i = first; i < first + n; i++)
    if (!image_batch_add(&rig->images, &e->image[i], &error)) fail_msg("%s", error.text);
  if (change) change(&rig->images);
  struct result result = step_run(rig, rig->vision, &rig->images.batch);
  const float *rows = result.logits;
  for (int i = first; i < first + n; rows += e->n_row[i] * e->cols, i++) {
    size_t count = (size_t)e->n_row[i] * (size_t)e->cols;
    float range = logits_range(e->rows[i], count), worst = 0;
    for (size_t k = 0; k < count; k++) {
      float d = fabsf(rows[k] - e->rows[i][k]);
      if (!(d <= worst)) worst = d;
    }
    if (!((double)(worst / range) <= most)) most = (double)(worst / range);
  }
  struct pool_source source = {.encoder = rig->vision};
  if (!rig->backend->pool_fill(rig->decoder, before, result.n_out, &source, &error)) fail_msg("%s", error.text);
  return most;
}

/* Where the prompt's images are. */
static void spans_find(const struct rig *rig, const struct expected_vision *e, struct image_span spans[IMAGES]) {
  const struct plan_vision *v = &rig->plan->vision;
  const int32_t *token = e->text.token;
  int32_t at = 0;
  for (int i = 0; i < IMAGES; i++) {
    int32_t unit = v->patch * v->merge;
    while (at < e->text.n_token && token[at] != v->mark) at++;
    spans[i] = (struct image_span){at, e->image[i].height / unit, e->image[i].width / unit};
    at += e->n_row[i];
  }
}

/* Which row of the pool each mark of the prompt is: those of images one after the other; where lines have a row of
 * their own behind them, the two are the whole and the only tile of a picture of 9 × 17, and that row is the pool's
 * next. */
static void marks_fill(struct rig *rig, const struct expected_vision *e, int32_t *row) {
  const struct plan_vision *v = &rig->plan->vision;
  struct error error = {0};
  for (int i = 0; i < TOKENS_MOST; i++) row[i] = i;
  if (v->breaks < 0) return;
  struct image_tiles tiles = {1, 1, v->grid, 9, 17};
  struct slice own = engine_file_weight(&rig->file, rig->file.plan->n_weight + v->breaks);
  struct pool_source source = {.rows = (const float *)(const void *)own.data};
  int32_t last = rig->limits.pool - 1;
  assert_int_equal(own.size, e->cols * (int)sizeof(float));
  if (!rig->backend->pool_fill(rig->decoder, last, 1, &source, &error)) fail_msg("%s", error.text);
  image_tiles_rows(&tiles, row);
  for (int i = 0; i < image_tiles_count(&tiles); i++)
    if (row[i] == IMAGE_BREAK) row[i] = last;
}

/* Whether tests leave out what images are to a decoder beside their rows. */
static bool images_are_text;

/* The prompt in chunks, the marks of images replaced by the pool's rows. */
static double prompt_run(struct rig *rig, const struct expected_vision *e, int chunk) {
  static const struct sampling sampling[TOKENS_MOST];
  uint32_t block[TOKENS_MOST];
  struct image_span spans[IMAGES];
  int32_t see[TOKENS_MOST], place[TOKENS_MOST][3], of_mark[TOKENS_MOST];
  const struct plan_vision *v = &rig->plan->vision;
  int32_t embed[TOKENS_MOST], out[TOKENS_MOST], mark = rig->plan->vision.mark;
  const struct expected_logits *t = &e->text;
  float *logits = calloc((size_t)t->n_token * (size_t)t->vocab, sizeof *logits);
  for (uint32_t i = 0; i < TOKENS_MOST; i++) block[i] = i;
  marks_fill(rig, e, of_mark);
  for (int i = 0, n = 0; i < t->n_token; i++) out[i] = i, embed[i] = t->token[i] == mark ? of_mark[n++] : -1;
  spans_find(rig, e, spans);
  for (int at = 0, n; at < t->n_token; at += n) {
    n = t->n_token - at < chunk ? t->n_token - at : chunk;
    if (v->mutual) n = image_step_end(spans, IMAGES, at, at + n) - at;
    image_see(spans, IMAGES, at, n, see);
    image_positions(spans, IMAGES, at, n, place);
    int32_t n_block = TOKENS_MOST / rig->limits.block_size;
    struct row row = {.count = n, .length = at, .n_block = {n_block, n_block}, .block = {block, block}};
    struct batch batch = {.n_row = 1,
                          .n_token = n,
                          .n_out = n,
                          .row = &row,
                          .token = t->token + at,
                          .embed = embed + at,
                          .see = v->mutual && !images_are_text ? see : NULL,
                          .position = v->axes && !images_are_text ? (const int32_t(*)[3])place : NULL,
                          .out = out,
                          .sampling = sampling,
                          .want_logits = true};
    struct result result = step_run(rig, rig->decoder, &batch);
    memcpy(logits + (size_t)at * (size_t)t->vocab, result.logits, (size_t)n * (size_t)t->vocab * sizeof *logits);
  }
  double difference = logits_difference(t, logits);
  free(logits);
  return difference;
}

static bool path_build(const char *model, const char *target, const char *mode, spate_error *error) {
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = model;
  build.target = target;
  build.output = engine_path;
  build.quant_mode = mode;
  return spate_build(&build, error);
}

static void engine_build(const char *name, const char *target, const char *mode) {
  spate_error error = {0};
  char model[512];
  snprintf(model, sizeof model, "%s/vision/%s", FIXTURES, name);
  if (!path_build(model, target, mode, &error)) fail_msg("%s: %s", model, error.text);
}

/* A device without kernels for an encoder has an engine without it. */
static bool encoder_there(void) {
  struct engine_file file;
  struct error error;
  if (!engine_file_open(&file, engine_path, &error)) fail_msg("%s", error.text);
  bool there = file.vision != NULL;
  engine_file_close(&file);
  return there;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void model_check(const char *name, const char *backend) {
  static const struct {
    int block_size, together, chunk;
  } ways[] = {{16, IMAGES, TOKENS_MOST}, {32, 1, 7}, {16, IMAGES, 1}};
  struct expected_vision e = expected_vision_read(name);
  engine_build(name, backend, "FP32");
  if (!encoder_there()) {
    printf("%s, %s: SKIPPED, for its encoder has no kernels there\n", name, backend);
    expected_vision_release(&e);
    return;
  }
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    struct rig rig;
    double rows = 0;
    rig_open(&rig, backend, ways[i].block_size, KV_F32, NULL);
    for (int k = 0; k < IMAGES; k += ways[i].together)
      rows = fmax(rows, images_encode(&rig, &e, k, ways[i].together, NULL));
    double logits = prompt_run(&rig, &e, ways[i].chunk);
    printf("%s, %s, %d images a step, chunks of %d: rows %.1e, logits %.1e of the range\n", name, backend,
           ways[i].together, ways[i].chunk, rows, logits);
    if (!(rows <= tolerance) || !(logits <= tolerance)) fail_msg("more than %g", tolerance);
    rig_close(&rig);
  }
  expected_vision_release(&e);
}

static void test_parity(void **state) {
  (void)state;
  for (int i = 0; i < MODEL_COUNT; i++) {
    model_check(models[i], "reference");
    model_check(models[i], tested());
  }
}

/* An engine that is opened with its encoder: both programs share the device, and the pool has the rows of a step. */
static void test_loaded(void **state) {
  (void)state;
  struct error error = {0};
  struct expected_vision e = expected_vision_read("llava");
  struct engine_options options = {.device.n_thread = 1, .kv_bytes = 16 << 20, .images = IMAGES};
  engine_build("llava", tested(), "FP32");
  struct loaded_engine *engine = engine_open(engine_path, &options, &error);
  if (!engine) fail_msg("%s", error.text);
  assert_int_equal(engine->limits.pool, IMAGES * 16);
  assert_int_equal(engine->vision_limits.kv_dtype, KV_F32);
  struct rig rig = {.backend = engine->backend,
                    .plan = (struct plan *)(uintptr_t)engine->file.vision,
                    .vision = engine->vision,
                    .decoder = engine->program,
                    .limits = engine->limits};
  assert_true(image_batch_init(&rig.images, rig.plan, &engine->vision_limits, &error));
  assert_true(images_encode(&rig, &e, 0, IMAGES, NULL) <= tolerance);
  assert_true(prompt_run(&rig, &e, 16) <= tolerance);
  image_batch_release(&rig.images);
  engine_close(engine);
  options.images = 4000;
  assert_null(engine_open(engine_path, &options, &error));
  assert_string_equal(error.text, "4000 images a step were asked for, expected 0 to 3855 of this model's.");
  options.images = 0; /* texts alone */
  engine = engine_open(engine_path, &options, &error);
  assert_non_null(engine);
  assert_null(engine->vision);
  assert_int_equal(engine->limits.pool, 0);
  engine_close(engine);
  expected_vision_release(&e);
}

/* A network of texts alone has no encoder to be opened with. */
static void test_text_only(void **state) {
  (void)state;
  struct error error = {0};
  spate_error built = {0};
  struct engine_options options = {.device.n_thread = 1, .kv_bytes = 16 << 20, .images = 1};
  if (!path_build(FIXTURES "/model/llama2", "cpu", "FP32", &built)) fail_msg("%s", built.text);
  assert_null(engine_open(engine_path, &options, &error));
  assert_string_equal(error.text, "The model llama2 sees no images.");
}

/* --- switched off in config.json ---------------------------------------------------------------------------------- */

/* Of the features, those without which the checkpoint's tensors fit the config no more, or that are asked for. */
static bool feature_refused(const char *feature) {
  static const char *const refused[] = {"layers",
                                        "patch",
                                        "grid",
                                        "merge",
                                        "class token",
                                        "act of the projector",
                                        "frames",
                                        "act of the encoder",
                                        "layer of features",
                                        "bias of the projector"};
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    if (strcmp(refused[i], feature) == 0) return true;
  return false;
}

static void feature_check(const char *name, const char *feature, const json_t *change) {
  struct model_variant variant;
  spate_error error = {0};
  struct expected_vision e = expected_vision_read(name);
  variant_make_in(&variant, "vision", name, change);
  bool built = path_build(variant.path, "reference", "FP32", &error);
  if (built == feature_refused(feature)) fail_msg("%s without %s: %s", name, feature, built ? "built" : error.text);
  if (built) {
    struct rig rig;
    rig_open(&rig, "reference", 16, KV_F32, NULL);
    double rows = images_encode(&rig, &e, 0, IMAGES, NULL), logits = prompt_run(&rig, &e, TOKENS_MOST);
    printf("%s without %s: rows %.1e, logits %.1e of the range\n", name, feature, rows, logits);
    if (!(logits > visible)) fail_msg("the fixture does not show it");
    rig_close(&rig);
  } else {
    printf("%s without %s: %s\n", name, feature, error.text);
  }
  variant_remove(&variant);
  expected_vision_release(&e);
}

static void test_config_features(void **state) {
  (void)state;
  for (int i = 0; i < MODEL_COUNT; i++) {
    char path[512];
    snprintf(path, sizeof path, "%s/vision/%s/off.json", FIXTURES, models[i]);
    json_t *off = json_load_file(path, 0, NULL), *change;
    const char *feature;
    assert_non_null(off);
    json_object_foreach(off, feature, change) feature_check(models[i], feature, change);
    json_decref(off);
  }
}

/* --- switched off in the plan, or in the order of patches --------------------------------------------------------- */

static struct op *op_of(struct plan *plan, int kind, int nth) {
  struct op *op = (struct op *)((char *)plan + plan->ops);
  for (; op->kind != kind || nth-- > 0; op++) {
  }
  return op;
}

static void select_unnormed(struct plan *plan) { op_of(plan, OP_SELECT, 0)->args.select.norm = NORM_NONE; }
static void embed_unnormed(struct plan *plan) { op_of(plan, OP_EMBED, 1)->args.embed.norm = NORM_NONE; }
static void no_positions(struct plan *plan) { op_of(plan, OP_EMBED, 1)->args.embed.scale = 0; }
static void no_class_token(struct plan *plan) { op_of(plan, OP_EMBED, 1)->weight[1] = -1; }
static void no_patch_bias(struct plan *plan) { op_of(plan, OP_LINEAR, 0)->weight[1] = -1; }
static void linear_unnormed(struct plan *plan) { op_of(plan, OP_LINEAR, 1)->args.linear.norm = NORM_NONE; }
static void norm_without_mean(struct plan *plan) { op_of(plan, OP_LINEAR, 1)->args.linear.norm = NORM_RMS; }
static void no_qkv_bias(struct plan *plan) { op_of(plan, OP_LINEAR, 1)->weight[1] = -1; }
static void no_act(struct plan *plan) { op_of(plan, OP_LINEAR, 3)->args.linear.act = ACT_NONE; }
static void no_residual(struct plan *plan) { op_of(plan, OP_LINEAR, 2)->in[1] = -1; }
static void other_scale(struct plan *plan) { op_of(plan, OP_ATTEND, 0)->args.attend.scale *= 2; }

static void projector_plain(struct plan *plan) {
  struct op *op = op_of(plan, OP_SELECT, 0) + 1;
  op->args.linear.act = ACT_NONE;
}

/* Squares whose lines and columns change places. */
static void squares_turned(struct image_batch *images) {
  size_t numbers = 3 * 4 * 4;
  for (int i = 0; i < images->batch.n_out; i++) {
    float *a = images->patches + (size_t)(images->out[i] + 1) * numbers, *b = a + numbers, kept[3 * 4 * 4];
    int32_t *p = images->position[images->out[i] + 1], *q = images->position[images->out[i] + 2], position = *p;
    memcpy(kept, a, sizeof kept), memcpy(a, b, sizeof kept), memcpy(b, kept, sizeof kept);
    *p = *q, *q = position;
  }
}

static void not_spread(struct image_batch *images) {
  const struct row *row = &images->row[1];
  for (int i = row->first; i < row->first + row->count; i++) images->position[i][0] = i - row->first;
}

static void class_token_kept(struct image_batch *images) {
  for (int i = 0; i < images->batch.n_out; i++) images->out[i]--;
}

/* One image's patches see the other's. */
static void rows_joined(struct image_batch *images) {
  images->limits.length = images->row[0].count += images->row[1].count;
  images->batch.n_row = 1;
}

static void no_axes(struct plan *plan) {
  for (int i = 0; i < 2; i++) {
    struct attend_args *a = &op_of(plan, OP_ATTEND, i)->args.attend;
    a->rope_axis[1] += a->rope_axis[2], a->rope_axis[2] = 0;
  }
}

static void projector_unnormed(struct plan *plan) {
  struct op *op = op_of(plan, OP_SELECT, 0) + 1;
  op->args.linear.norm = NORM_NONE;
}

static void first_unnormed(struct plan *plan) { op_of(plan, OP_LINEAR, 0)->args.linear.post_norm = NORM_NONE; }

static void not_local(struct plan *plan) { op_of(plan, OP_ATTEND, 0)->args.attend.local = 0; }

/* Rows in the order of windows. */
static void windows_kept(struct image_batch *images) {
  for (int i = 0; i < images->batch.n_out; i++) images->out[i] = 4 * i;
}

static const struct {
  const char *model, *feature;
  plan_change *plan;
  batch_change *batch;
} parts[] = {
    {"idefics3", "norm behind the layers", select_unnormed, NULL},
    {"idefics3", "positions", no_positions, NULL},
    {"idefics3", "bias of patches", no_patch_bias, NULL},
    {"idefics3", "norm of a linear", linear_unnormed, NULL},
    {"idefics3", "mean of a norm", norm_without_mean, NULL},
    {"idefics3", "bias of q, k, v", no_qkv_bias, NULL},
    {"idefics3", "activation", no_act, NULL},
    {"idefics3", "residual", no_residual, NULL},
    {"idefics3", "scale of attention", other_scale, NULL},
    {"idefics3", "order in a square", NULL, squares_turned},
    {"idefics3", "spread of positions", NULL, not_spread},
    {"gemma3", "norm of the projector", projector_unnormed, NULL},
    {"gemma3", "norm behind the layers", select_unnormed, NULL},
    {"qwen2_vl", "columns in rotations", no_axes, NULL},
    {"qwen2_vl", "norm of the merger", select_unnormed, NULL},
    {"qwen2_vl", "activation of the merger", projector_plain, NULL},
    {"qwen2_vl", "bias of q, k, v", no_qkv_bias, NULL},
    {"qwen2_5_vl", "windows", not_local, NULL},
    {"qwen2_5_vl", "order of the prompt", NULL, windows_kept},
    {"qwen2_5_vl", "bias of q, k, v", no_qkv_bias, NULL},
    {"pixtral", "columns in rotations", no_axes, NULL},
    {"pixtral", "norm of patches", first_unnormed, NULL},
    {"pixtral", "images apart", NULL, rows_joined},
    {"mistral3", "columns in rotations", no_axes, NULL},
    {"mistral3", "norm of joined patches", select_unnormed, NULL},
    {"mistral3", "order in a square", NULL, squares_turned},
    {"llava", "norm before the layers", embed_unnormed, NULL},
    {"llava", "class token", no_class_token, NULL},
    {"llava", "activation of the projector", projector_plain, NULL},
    {"llava", "leaving out the class token", NULL, class_token_kept},
};

static void test_part_features(void **state) {
  (void)state;
  const char *built = "";
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    struct expected_vision e = expected_vision_read(parts[i].model);
    struct rig rig;
    if (strcmp(built, parts[i].model) != 0) engine_build(parts[i].model, "reference", "FP32");
    built = parts[i].model;
    rig_open(&rig, "reference", 16, KV_F32, parts[i].plan);
    double rows = images_encode(&rig, &e, 0, IMAGES, parts[i].batch);
    printf("%s without %s: rows %.1e of the range\n", parts[i].model, parts[i].feature, rows);
    if (!(rows > visible)) fail_msg("the fixture does not show it");
    rig_close(&rig);
    expected_vision_release(&e);
  }
}

/* The same networks as llama.cpp's pairs of GGUF files, whose matrices are rounded to fp16. */
static void test_pairs(void **state) {
  (void)state;
  static const char *const of[] = {"gemma3",   "idefics3",   "pixtral", "mistral3",
                                   "qwen2_vl", "qwen2_5_vl", "llava",   "llava_next"};
  for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
    char folder_of[64];
    struct expected_vision e = expected_vision_read(of[i]);
    struct rig rig;
    snprintf(folder_of, sizeof folder_of, "%s/gguf", of[i]);
    engine_build(folder_of, "cpu", "FP32");
    rig_open(&rig, "cpu", 16, KV_F32, NULL);
    double rows = images_encode(&rig, &e, 0, IMAGES, NULL), logits = prompt_run(&rig, &e, TOKENS_MOST);
    printf("%s of GGUF files: rows %.1e, logits %.1e of the range\n", of[i], rows, logits);
    if (!(rows <= tolerance) || !(logits <= tolerance)) fail_msg("more than %g", tolerance);
    rig_close(&rig);
    expected_vision_release(&e);
  }
}

/* What an encoder's file says, said otherwise: `count` bytes behind a key and its type. */
static const struct {
  const char *of, *key, *bytes;
  size_t count;
} said[] = {
    {"llava", "clip.use_gelu", "\1", 1},
    {"llava", "clip.vision.attention.head_count", "\2", 1},
    {"llava", "clip.vision.attention.layer_norm_epsilon", "\0\0\0\x3f", 4}, /* 0.5 */
    {"llava_next", "clip.use_gelu", "\1", 1},
};

static void pair_copy(const char *of, const char *name, const char *key, const char *bytes, size_t count) {
  char path[512], *whole = NULL;
  size_t size;
  snprintf(path, sizeof path, "%s/vision/%s/gguf/%s", FIXTURES, of, name);
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  fseek(file, 0, SEEK_END);
  size = (size_t)ftell(file);
  rewind(file);
  whole = malloc(size);
  read_exactly(file, whole, size);
  fclose(file);
  char *at = count ? memmem(whole, size, key, strlen(key)) : whole;
  assert_non_null(at);
  if (count) memcpy(at + strlen(key) + 4, bytes, count);
  snprintf(path, sizeof path, "%s/%s", folder, name);
  file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(whole, 1, size, file), size);
  fclose(file);
  free(whole);
}

static void test_pair_features(void **state) {
  (void)state;
  static const char *const names[] = {"model.gguf", "mmproj-model.gguf"};
  for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
    spate_error error = {0};
    struct expected_vision e = expected_vision_read(said[i].of);
    struct rig rig;
    for (int k = 0; k < 2; k++) pair_copy(said[i].of, names[k], said[i].key, said[i].bytes, k ? said[i].count : 0);
    if (!path_build(folder, "reference", "FP32", &error)) fail_msg("%s", error.text);
    rig_open(&rig, "reference", 16, KV_F32, NULL);
    double rows = images_encode(&rig, &e, 0, IMAGES, NULL);
    printf("%s of GGUF files with another %s: rows %.1e of the range\n", said[i].of, said[i].key, rows);
    if (!(rows > visible)) fail_msg("the fixture does not show it");
    rig_close(&rig);
    expected_vision_release(&e);
  }
  for (int k = 0; k < 2; k++) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, names[k]);
    unlink(path);
  }
}

/* Images whose tokens see only what is before them, or whose places are those of a text. */
static void test_decoder_features(void **state) {
  (void)state;
  static const char *const of[] = {"gemma3", "qwen2_vl", "qwen2_5_vl"};
  for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
    struct expected_vision e = expected_vision_read(of[i]);
    struct rig rig;
    engine_build(of[i], "cpu", "FP32");
    rig_open(&rig, "cpu", 16, KV_F32, NULL);
    images_encode(&rig, &e, 0, IMAGES, NULL);
    assert_true(prompt_run(&rig, &e, TOKENS_MOST) <= tolerance);
    images_are_text = true;
    double logits = prompt_run(&rig, &e, TOKENS_MOST);
    images_are_text = false;
    printf("%s with images as a text's tokens: logits %.1e of the range\n", of[i], logits);
    if (!(logits > visible)) fail_msg("the fixture does not show it");
    rig_close(&rig);
    expected_vision_release(&e);
  }
}

/* A row of the batch is all that its patches see: two images as one row differ. The reference, whose scores have the
 * length of one image, is not asked. */
static void test_images_apart(void **state) {
  (void)state;
  struct expected_vision e = expected_vision_read("llava");
  struct rig rig;
  engine_build("llava", "cpu", "FP32");
  rig_open(&rig, "cpu", 16, KV_F32, NULL);
  struct error error = {0};
  image_batch_clear(&rig.images);
  for (int i = 0; i < IMAGES; i++) assert_true(image_batch_add(&rig.images, &e.image[i], &error));
  rows_joined(&rig.images);
  assert_false(rig.backend->submit(rig.vision, &rig.images.batch, &error));
  assert_string_equal(error.text, "Row 0 has 0 + 34 tokens, more than the engine's 17.");
  rig_close(&rig);
  expected_vision_release(&e);
}

/* --- quantized ---------------------------------------------------------------------------------------------------- */

/* Encoders keep their files' 16 bits under the modes that make codes of the decoder. */
static void test_quantized(void **state) {
  (void)state;
  static const char *const modes[] = {"INT4_WEIGHT", "INT8_WEIGHT", "W8A8"};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    struct expected_vision e = expected_vision_read("idefics3");
    struct rig rig;
    engine_build("idefics3", tested(), modes[i]);
    rig_open(&rig, tested(), 16, KV_F16, NULL);
    for (int w = 0; w < rig.plan->n_weight; w++) {
      const struct weight *weight = plan_weights(rig.plan) + w;
      if (weight->use == WEIGHT_MATRIX) assert_int_equal(weight->scheme.kind, SCHEME_BF16);
    }
    double rows = images_encode(&rig, &e, 0, IMAGES, NULL), logits = prompt_run(&rig, &e, TOKENS_MOST);
    printf("idefics3, %s: rows %.1e, logits %.1e of the range\n", modes[i], rows, logits);
    if (!(rows <= 2e-2) || !(logits <= 0.25)) fail_msg("more than rounding makes of it");
    rig_close(&rig);
    expected_vision_release(&e);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_parity),        cmocka_unit_test(test_config_features),
      cmocka_unit_test(test_part_features), cmocka_unit_test(test_images_apart),
      cmocka_unit_test(test_quantized),     cmocka_unit_test(test_loaded),
      cmocka_unit_test(test_text_only),     cmocka_unit_test(test_decoder_features),
      cmocka_unit_test(test_pairs),         cmocka_unit_test(test_pair_features),
  };
  if (!mkdtemp(folder)) return 1;
  snprintf(engine_path, sizeof engine_path, "%s/engine.spate", folder);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(engine_path);
  rmdir(folder);
  return failed;
}
