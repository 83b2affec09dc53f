/* The trained checkpoint (tools/train_shapes.py): files of pictures that it was not taught become its answers, all the
 * way through decoding, preprocessing, the encoder and the decoder. In FP32 each answer is that of transformers, token
 * by token, and as sure of its first one; the other modes answer as many questions rightly.
 */
#include "base/file.h"
#include "base/json.h"
#include "engine/image_batch.h"
#include "engine/loaded_engine.h"
#include "image/decode.h"
#include "image/preprocess.h"
#include "parity_support.h"

#define SHAPES FIXTURES "/trained/shapes"

enum { TOKENS_MOST = 128, BLOCK = 16 };

static const char *const kinds[] = {"shape", "colour", "count", "all"};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const double right_least = 0.9, margin_most = 2e-3; /* of 40 logits that answers range over */

static char folder[] = "/tmp/spate-shapes-XXXXXX", engine_path[64];

struct rig {
  struct loaded_engine *engine;
  struct image_batch images;
  struct preprocess_config config;
  json_t *cases; /* pictures.json */
};

static struct slice fixture_open(struct file *file, const char *name) {
  char path[512];
  struct error error = {0};
  snprintf(path, sizeof path, "%s/%s", SHAPES, name);
  if (!file_open(file, path, &error)) fail_msg("%s", error.text);
  return slice_make(file->data, file->size);
}

static void rig_open(struct rig *rig, const char *target, const char *mode) {
  spate_error built = {0};
  struct error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = SHAPES;
  build.target = target;
  build.output = engine_path;
  build.quant_mode = mode;
  if (!spate_build(&build, &built)) fail_msg("%s", built.text);
  struct engine_options options = {.device.n_thread = 1, .kv_bytes = 16 << 20, .images = 1, .outputs = TOKENS_MOST};
  rig->engine = engine_open(engine_path, &options, &error);
  if (!rig->engine) fail_msg("%s", error.text);
  assert_true(image_batch_init(&rig->images, rig->engine->file.vision, &rig->engine->vision_limits, &error));
  struct file file;
  if (!preprocess_config_parse(fixture_open(&file, "preprocessor_config.json"), &rig->config, &error))
    fail_msg("%s", error.text);
  file_close(&file);
  rig->cases = json_load_file(SHAPES "/pictures.json", 0, NULL);
  assert_non_null(rig->cases);
}

static void rig_close(struct rig *rig) {
  json_decref(rig->cases);
  image_batch_release(&rig->images);
  engine_close(rig->engine);
}

static struct result step_run(const struct rig *rig, struct program *program, const struct batch *batch) {
  const struct backend *backend = rig->engine->backend;
  struct error error = {0};
  struct result result;
  if (!backend->submit(program, batch, &error) || !backend->finish(program, NULL, &error) ||
      !backend->collect(program, &result, &error))
    fail_msg("%s", error.text);
  return result;
}

/* The file's rows are in the pool afterwards. */
static void picture_see(struct rig *rig, const char *name) {
  char path[64];
  struct error error = {0};
  struct image image;
  struct preprocess_plan plan;
  struct preprocess_layout layout = preprocess_layout_of(&rig->config);
  snprintf(path, sizeof path, "pictures/%s", name);
  struct file file;
  if (!image_decode(fixture_open(&file, path), &image, &error) ||
      !preprocess_measure(&rig->config, image.width, image.height, &plan, &error))
    fail_msg("%s: %s", name, error.text);
  float *numbers = calloc(preprocess_count(&plan, &layout), sizeof *numbers);
  assert_true(preprocess_run(&rig->config, &plan, &layout, &image, numbers, &error));
  assert_int_equal(plan.tiles, 1);
  image_batch_clear(&rig->images);
  if (!image_batch_add(&rig->images, &(struct image_pixels){plan.tile_width, plan.tile_height, numbers}, &error))
    fail_msg("%s: %s", name, error.text);
  struct result result = step_run(rig, rig->engine->vision, &rig->images.batch);
  struct pool_source source = {.encoder = rig->engine->vision};
  if (!rig->engine->backend->pool_fill(rig->engine->program, 0, result.n_out, &source, &error))
    fail_msg("%s", error.text);
  free(numbers);
  image_release(&image);
  file_close(&file);
}

static int ids_add(int32_t *token, int count, const json_t *ids) {
  for (size_t i = 0; i < json_array_size(ids); i++) {
    assert_true(count < TOKENS_MOST);
    token[count++] = (int32_t)json_integer_value(json_array_get(ids, i));
  }
  return count;
}

static int best_of(const float *logits, int vocab, double *margin) {
  int best = 0;
  float next = -INFINITY;
  for (int i = 1; i < vocab; i++)
    if (logits[i] > logits[best])
      next = logits[best], best = i;
    else if (logits[i] > next)
      next = logits[i];
  *margin = (double)(logits[best] - next);
  return best;
}

/* Whether each token of transformers' answer is the best one after those before it, which is to say the same answer. */
static bool answer_same(struct rig *rig, const json_t *prompt, const json_t *answer, double *margin) {
  static const struct sampling sampling[TOKENS_MOST];
  uint32_t block[TOKENS_MOST / BLOCK];
  int32_t token[TOKENS_MOST], embed[TOKENS_MOST], out[TOKENS_MOST];
  int vocab = rig->engine->plan->vocab, asked = ids_add(token, 0, prompt);
  int count = ids_add(token, asked, json_object_get(answer, "ids"));
  for (uint32_t i = 0; i < TOKENS_MOST / BLOCK; i++) block[i] = i;
  for (int i = 0, row = 0; i < count; i++)
    out[i] = i, embed[i] = token[i] == rig->engine->file.vision->vision.mark ? row++ : -1;
  struct row row = {.count = count, .n_block = {TOKENS_MOST / BLOCK}, .block = {block}};
  struct batch batch = {.n_row = 1,
                        .n_token = count,
                        .n_out = count,
                        .row = &row,
                        .token = token,
                        .embed = embed,
                        .out = out,
                        .sampling = sampling,
                        .want_logits = true};
  const float *logits = step_run(rig, rig->engine->program, &batch).logits;
  double other;
  bool same = best_of(logits + (size_t)(asked - 1) * (size_t)vocab, vocab, margin) == token[asked];
  for (int at = asked; same && at + 1 < count; at++)
    same = best_of(logits + (size_t)at * (size_t)vocab, vocab, &other) == token[at + 1];
  return same;
}

struct score {
  int asked, same, right; /* same: answers that are those of transformers */
  double margin;          /* the largest difference from theirs */
};

static struct score pictures_ask(struct rig *rig) {
  struct score score = {0};
  const json_t *prompts = json_object_get(rig->cases, "prompts");
  size_t i;
  json_t *picture;
  json_array_foreach(json_object_get(rig->cases, "pictures"), i, picture) {
    picture_see(rig, json_string_value(json_object_get(picture, "file")));
    for (int k = 0; k < KINDS; k++) {
      const json_t *answer = json_object_get(json_object_get(picture, "answers"), kinds[k]);
      double margin, expected = json_number_value(json_object_get(answer, "margin"));
      bool same = answer_same(rig, json_object_get(prompts, kinds[k]), answer, &margin);
      bool right = strcmp(json_string_value(json_object_get(answer, "text")),
                          json_string_value(json_object_get(picture, kinds[k]))) == 0;
      score.asked++, score.same += same, score.right += same && right;
      score.margin = fmax(score.margin, fabs(margin - expected));
    }
  }
  return score;
}

static void test_as_transformers(void **state) {
  (void)state;
  static const char *const targets[] = {"reference", "cpu"};
  for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
    struct rig rig;
    rig_open(&rig, targets[i], "FP32");
    struct score score = pictures_ask(&rig);
    printf("FP32, %s: %d of %d as transformers, %d right, margins within %.1e\n", targets[i], score.same, score.asked,
           score.right, score.margin);
    assert_true(score.asked >= 160);
    assert_int_equal(score.same, score.asked);
    assert_true(score.right >= right_least * score.asked);
    assert_true(score.margin <= margin_most);
    rig_close(&rig);
  }
}

static void test_modes(void **state) {
  (void)state;
  static const char *const modes[] = {"BF16", "INT8_WEIGHT", "W8A8", "INT4_WEIGHT"};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    struct rig rig;
    rig_open(&rig, "cpu", modes[i]);
    struct score score = pictures_ask(&rig);
    printf("%s: %d of %d right\n", modes[i], score.right, score.asked);
    assert_true(score.right >= right_least * score.asked);
    rig_close(&rig);
  }
}

/* Answers are of the picture that was seen: hardly one of them is right for the next one. */
static void test_other_picture(void **state) {
  (void)state;
  struct rig rig;
  int same = 0;
  double margin;
  rig_open(&rig, "cpu", "FP32");
  const json_t *pictures = json_object_get(rig.cases, "pictures"),
               *prompt = json_object_get(json_object_get(rig.cases, "prompts"), "all");
  size_t count = json_array_size(pictures);
  for (size_t i = 0; i < count; i++) {
    const json_t *other = json_array_get(pictures, (i + 1) % count);
    picture_see(&rig, json_string_value(json_object_get(json_array_get(pictures, i), "file")));
    same += answer_same(&rig, prompt, json_object_get(json_object_get(other, "answers"), "all"), &margin);
  }
  printf("%d of %zu pictures are what the next one is\n", same, count);
  assert_true(same <= (int)count / 8);
  rig_close(&rig);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_as_transformers),
      cmocka_unit_test(test_modes),
      cmocka_unit_test(test_other_picture),
  };
  if (!mkdtemp(folder)) return 1;
  snprintf(engine_path, sizeof engine_path, "%s/engine.spate", folder);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(engine_path);
  rmdir(folder);
  return failed;
}
