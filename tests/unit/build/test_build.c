/* Whole builds of a small GGUF (tools/make_build_fixtures.py): what lands in the file, what is refused, what is left
 * when a build is cancelled or killed, and inspection of both ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/backends.h"
#include "base/json.h"
#include "build/build.h"
#include "build/calibration_journal.h"
#include "build/inspect.h"
#include "engine/engine_file.h"
#include "format/ggml_dequant.h"
#include "format/gguf.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const char model[] = FIXTURES "/build/tiny.gguf";

struct place {
  char folder[64], path[96];
};

static int setup(void **state) {
  struct place *place = calloc(1, sizeof *place);
  snprintf(place->folder, sizeof place->folder, "/tmp/spate-test-XXXXXX");
  assert_non_null(mkdtemp(place->folder));
  snprintf(place->path, sizeof place->path, "%s/tiny.spate", place->folder);
  *state = place;
  return 0;
}

static int teardown(void **state) {
  struct place *place = *state;
  unlink(place->path);
  assert_int_equal(rmdir(place->folder), 0); /* nothing else was left there */
  free(place);
  return 0;
}

static struct build_options options_make(const struct place *place) {
  return (struct build_options){.model = model, .output = place->path, .backend = &backend_cpu, .n_thread = 2};
}

static void build_done(const struct build_options *options) {
  struct error error;
  if (!build_engine(options, &error)) fail_msg("%s", error.text);
}

/* --- contents ---------------------------------------------------------------------------------------------------- */

/* A backend whose packed form is the values themselves, row by row, so that a file can be compared with its source. */
static size_t plain_strip(const struct weight *weight) { return 16 * (size_t)weight->cols * sizeof(float); }

static void plain_pack(const struct weight *weight, const struct codes *codes, void *out) {
  (void)weight;
  for (int row = 0; row < 16; row++)
    for (int col = 0; col < codes->cols; col++)
      ((float *)out)[row * codes->cols + col] = row < codes->rows ? (float)codes_value(codes, row, col) : 0;
}

static enum scheme_kind refused_kind; /* that the plain backend does not run */

static bool plain_supports(const struct plan *plan, int op, struct error *error) {
  int weight = plan_ops(plan)[op].weight[0];
  if (weight < 0 || plan_weights(plan)[weight].use != WEIGHT_MATRIX) return true;
  const struct scheme *scheme = &plan_weights(plan)[weight].scheme;
  bool joint = scheme->kind == SCHEME_INT && scheme->scale == SCALE_F32;
  if (scheme->kind != refused_kind && !(joint && refused_kind == SCHEME_INT)) return true;
  return error_set(error, ERROR_UNSUPPORTED, "No kernel for it.");
}

static struct footprint plain_footprint;
static uint64_t plain_per_token; /* of workspace */

static bool plain_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                          struct error *error) {
  (void)plan, (void)error;
  *footprint = plain_footprint;
  footprint->workspace += (uint64_t)limits->tokens * plain_per_token;
  return true;
}

static const struct backend plain_backend = {.name = "plain",
                                             .target = TARGET_CPU,
                                             .pack_rows = 16,
                                             .supports = plain_supports,
                                             .measure = plain_measure,
                                             .strip_bytes = plain_strip,
                                             .pack = plain_pack};

/* A file's sections without the checks of opening: the plain backend's sizes are not those of its target. */
struct image {
  struct file file;
  const struct engine_header *header;
  const struct plan *plan;
  const struct engine_weight *weights;
};

static struct image image_open(const char *path) {
  struct image image;
  struct error error;
  assert_true(file_open(&image.file, path, &error));
  image.header = (const void *)image.file.data;
  image.plan = (const void *)(image.file.data + image.header->section[SECTION_PLAN].offset);
  image.weights = (const void *)(image.file.data + image.header->section[SECTION_WEIGHT_TABLE].offset);
  return image;
}

static const float *image_weight(const struct image *image, int weight) {
  return (const void *)(image->file.data + image->header->section[SECTION_WEIGHTS].offset +
                        image->weights[weight].offset);
}

/* The file's own numbers of one row of a tensor. */
static void source_row(const struct gguf *gguf, const char *name, int row, int cols, float *out) {
  const struct tensor *tensor = tensor_find(&gguf->tensors, name);
  assert_non_null(tensor);
  size_t bytes;
  assert_true(tensor_type_bytes(tensor->type, (size_t)cols, &bytes));
  assert_true(tensor_dequantize(tensor->type, tensor->data.data + (size_t)row * bytes, (size_t)cols, out));
}

/* Row r of the weight made of gate and up, in runs of 16, each padded with zeros; −1: padding. */
static int gate_row(int row, const char **tensor) {
  static const char *const names[] = {"blk.1.ffn_gate.weight", "blk.1.ffn_up.weight"};
  int within = row / 32 * 16 + row % 16;
  *tensor = names[row / 16 % 2];
  return within < 40 ? within : -1;
}

/* Row r of the weight made of q (64 rows), k and v (32 each); in layer 0 v has another type and is its own weight. */
static int qkv_row(int row, int layer, const char **tensor) {
  static const char *const names[2][3] = {{"blk.0.attn_q.weight", "blk.0.attn_k.weight", NULL},
                                          {"blk.1.attn_q.weight", "blk.1.attn_k.weight", "blk.1.attn_v.weight"}};
  *tensor = names[layer][row < 64 ? 0 : row / 32 - 1];
  return row < 64 ? row : row % 32;
}

static int row_find(const struct image *image, const struct weight *weight, int row, const char **tensor) {
  const char *name = plan_name(image->plan, weight->name);
  if (strcmp(name, "gate_up.1") == 0) return gate_row(row, tensor);
  if (strcmp(name, "qk.0") == 0) return qkv_row(row, 0, tensor);
  if (strcmp(name, "qkv.1") == 0) return qkv_row(row, 1, tensor);
  *tensor = plan_name(image->plan, weight->part[0].tensor);
  return row;
}

/* Every number of the engine is that of the checkpoint, up to a share of the row's largest. */
static void weights_compare(const char *path, double tolerance) {
  struct error error;
  struct image image = image_open(path);
  struct gguf *gguf = gguf_open(model, &error);
  assert_non_null(gguf);
  for (int w = 0; w < image.plan->n_weight; w++) {
    const struct weight *weight = &plan_weights(image.plan)[w];
    float expected[256];
    assert_true(weight->cols <= 256);
    for (int row = 0; row < weight->rows; row++) {
      const char *tensor;
      int from = row_find(&image, weight, row, &tensor);
      memset(expected, 0, sizeof expected);
      if (from >= 0) source_row(gguf, tensor, from, weight->cols, expected);
      double largest = 0;
      for (int col = 0; col < weight->cols; col++) largest = fmax(largest, fabs((double)expected[col]));
      for (int col = 0; col < weight->cols; col++) {
        double actual = (double)image_weight(&image, w)[row * weight->cols + col];
        if (fabs(actual - (double)expected[col]) > tolerance * largest)
          fail_msg("%s [%d][%d]: %.9g, expected %.9g", plan_name(image.plan, weight->name), row, col, actual,
                   (double)expected[col]);
      }
    }
  }
  gguf_close(gguf);
  file_close(&image.file);
}

static const struct {
  enum quant_mode mode;
  double tolerance;
} modes[] = {
    {QUANT_AS_FILE, 0},         {QUANT_FP32, 0},           {QUANT_FP16, 0x1p-11}, {QUANT_BF16, 0x1p-8},
    {QUANT_INT8_WEIGHT, 0.015}, {QUANT_INT4_WEIGHT, 0.25},
};

static void test_modes(void **state) {
  refused_kind = (enum scheme_kind) - 1;
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    struct build_options options = options_make(*state);
    options.backend = &plain_backend;
    options.config.quant_mode = (uint8_t)modes[i].mode;
    build_done(&options);
    weights_compare(options.output, modes[i].tolerance);
  }
}

/* --- schemes ----------------------------------------------------------------------------------------------------- */

static char *scheme_of(const char *path, const char *name, char out[48]) {
  struct image image = image_open(path);
  strcpy(out, "absent");
  for (int w = 0; w < image.plan->n_weight; w++)
    if (strcmp(plan_name(image.plan, plan_weights(image.plan)[w].name), name) == 0)
      scheme_name(&plan_weights(image.plan)[w].scheme, out);
  file_close(&image.file);
  return out;
}

static const struct {
  const char *weight, *as_file, *int4;
} schemes[] = {
    {"embed", "int8 g32 f16 a8", "int8 g32 f16 a8"},
    {"qk.0", "int4 g32 two-level min a8", "int4 g32 f16 min a8"},
    {"v.0", "int5 g32 f16 a8", "int4 g32 f16 min a8"},
    {"out.0", "int4 g32 f16 min a8", "int4 g32 f16 min a8"},
    {"gate.0", "int4 g32 two-level iq4 a8", "int4 g32 f16 min a8"},
    {"up.0", "int6 g16 two-level a8", "int4 g32 f16 min a8"},
    {"down.0", "F32", "int4 g32 f16 min a8"},
    {"qkv.1", "int4 g32 two-level min a8", "int4 g32 f16 min a8"},
    {"gate_up.1", "int4 g32 two-level iq4 a8", "int4 g32 f16 min a8"},
    {"head", "F16", "int8 g32 f16 a8"},
    {"blk.0.attn_norm.weight", "F32", "F32"},
};

static void test_schemes(void **state) {
  struct build_options options = options_make(*state);
  char name[48];
  build_done(&options);
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
    assert_string_equal(scheme_of(options.output, schemes[i].weight, name), schemes[i].as_file);
  options.config.quant_mode = QUANT_INT4_WEIGHT;
  build_done(&options);
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
    assert_string_equal(scheme_of(options.output, schemes[i].weight, name), schemes[i].int4);
}

static bool manifest_has(const char *path, const char *text) {
  struct image image = image_open(path);
  const struct engine_section *section = &image.header->section[SECTION_MANIFEST];
  bool has = memmem(image.file.data + section->offset, section->bytes, text, strlen(text));
  file_close(&image.file);
  return has;
}

/* Where the backend lacks a scheme, the numbers stay the same and the manifest tells. */
static void test_fallback(void **state) {
  struct build_options options = options_make(*state);
  options.backend = &plain_backend;
  refused_kind = SCHEME_INT;
  build_done(&options);
  weights_compare(options.output, 0);
  char name[48];
  assert_string_equal(scheme_of(options.output, "gate_up.1", name), "F32");
  assert_true(manifest_has(options.output, "\"note\":\"the backend lacks the file's type: dequantized to F32\""));
}

/* Bytes do not depend on the number of threads. */
static void test_threads(void **state) {
  struct place *place = *state;
  struct build_options options = options_make(place);
  build_done(&options);
  struct image two = image_open(place->path);
  unlink(place->path);
  options.n_thread = 1;
  build_done(&options);
  struct image one = image_open(place->path);
  assert_int_equal(one.plan->n_weight, two.plan->n_weight);
  for (int w = 0; w < one.plan->n_weight; w++)
    assert_memory_equal(&one.weights[w], &two.weights[w], sizeof *one.weights);
  file_close(&one.file);
  file_close(&two.file);
}

/* Opens, and every section and weight has its hash. */
static void file_verified(const char *path) {
  struct engine_file file;
  struct engine_verify verify = {0};
  struct error error = {0};
  if (!engine_file_open(&file, path, &error) || !engine_file_verify(&file, &verify, &error))
    fail_msg("%s: %s", path, error.text);
  engine_file_close(&file);
}

static const enum quant_method methods[] = {QUANT_AWQ, QUANT_GPTQ, QUANT_SMOOTH};
enum { METHODS = sizeof methods / sizeof *methods };

/* Calibrated builds: the numbers stay near the file's where no factors are folded, the schemes are those of the mode,
 * and bytes do not depend on the number of threads. */
static void test_methods(void **state) {
  struct place *place = *state;
  for (int i = 0; i < METHODS; i++) {
    struct build_options options = options_make(place);
    char name[48];
    options.config.quant_mode = QUANT_INT4_WEIGHT;
    options.config.quant_method = (uint8_t)methods[i];
    build_done(&options);
    for (size_t k = 0; k < sizeof schemes / sizeof *schemes; k++)
      assert_string_equal(scheme_of(options.output, schemes[k].weight, name), schemes[k].int4);
    file_verified(place->path);
    struct image two = image_open(place->path);
    unlink(place->path);
    options.n_thread = 1;
    build_done(&options);
    struct image one = image_open(place->path);
    for (int w = 0; w < one.plan->n_weight; w++)
      assert_memory_equal(&one.weights[w], &two.weights[w], sizeof *one.weights);
    file_close(&one.file);
    file_close(&two.file);
    unlink(place->path);
  }
  struct build_options options = options_make(place);
  refused_kind = (enum scheme_kind) - 1;
  options.backend = &plain_backend; /* has no device: the CPU's is used */
  options.config.quant_mode = QUANT_INT4_WEIGHT;
  options.config.quant_method = QUANT_GPTQ;
  build_done(&options);
  weights_compare(options.output, 0.5);
}

/* The plan and every weight of a file, by its hash. */
static void files_alike(const struct image *one, const struct image *two) {
  const struct engine_section *a = &one->header->section[SECTION_PLAN], *b = &two->header->section[SECTION_PLAN];
  assert_int_equal(a->bytes, b->bytes);
  assert_memory_equal(one->plan, two->plan, a->bytes);
  for (int w = 0; w < one->plan->n_weight; w++)
    assert_memory_equal(&one->weights[w], &two->weights[w], sizeof *one->weights);
}

/* FP8 and W8A8 with each method that they have: the same input makes the same bytes, with as many threads or fewer. */
static void test_twice(void **state) {
  static const struct {
    enum quant_mode mode;
    enum quant_method method;
  } ways[] = {
      {QUANT_FP8, QUANT_ROUND}, {QUANT_W8A8, QUANT_ROUND}, {QUANT_W8A8, QUANT_SMOOTH}, {QUANT_W8A8, QUANT_GPTQ}};
  struct place *place = *state;
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    struct build_options options = options_make(place);
    options.emulate = true;
    options.config.quant_mode = (uint8_t)ways[i].mode;
    options.config.quant_method = (uint8_t)ways[i].method;
    build_done(&options);
    struct image first = image_open(place->path);
    for (int threads = 2; threads > 0; threads--) {
      unlink(place->path);
      options.n_thread = threads;
      build_done(&options);
      struct image again = image_open(place->path);
      files_alike(&first, &again);
      file_close(&again.file);
    }
    file_close(&first.file);
    unlink(place->path);
  }
}

/* Hugging Face directories, sharded or not, of every family. */
static void test_directories(void **state) {
  static const char *const families[] = {"llama2", "llama3", "mistral", "smollm2", "qwen2", "qwen3", "gemma3"};
  struct build_options options = options_make(*state);
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    char path[256];
    snprintf(path, sizeof path, FIXTURES "/model/%s", families[i]);
    options.model = path;
    build_done(&options);
    file_verified(options.output);
  }
}

/* --- what goes wrong --------------------------------------------------------------------------------------------- */

static void build_refused(const struct build_options *options, enum error_code code, const char *sentence) {
  struct error error = {0};
  assert_false(build_engine(options, &error));
  assert_string_equal(error.text, sentence);
  assert_int_equal(error.code, code);
  assert_int_equal(access(options->output, F_OK), -1);
}

static void test_refused(void **state) {
  struct build_options options = options_make(*state);
  options.config.max_seq_len = 65;
  build_refused(&options, ERROR_INVALID,
                "max_seq_len is 65; it must be from 2 to 64, the longest that this model was made for.");
  options = options_make(*state);
  options.backend = &plain_backend;
  options.config.quant_mode = QUANT_BF16;
  refused_kind = SCHEME_BF16;
  build_refused(&options, ERROR_UNSUPPORTED,
                "embed: No kernel for it. Choose another quant_mode, or one for this weight with quant_override.");
}

static void test_calibration_refused(void **state) {
  struct build_options options = options_make(*state);
  char text[64] = "/tmp/spate-test-XXXXXX", sentence[256];
  int descriptor = mkstemp(text);
  assert_true(descriptor >= 0 && write(descriptor, "too short", 9) == 9);
  close(descriptor);
  options.config.quant_mode = QUANT_INT4_WEIGHT;
  options.config.quant_method = QUANT_AWQ;
  options.calib_data = text;
  snprintf(sentence, sizeof sentence,
           "%s has 9 tokens; calibration needs at least 64, and some thousands to be of use.", text);
  build_refused(&options, ERROR_INVALID, sentence);
  unlink(text);
}

static size_t vast_strip(const struct weight *weight) {
  (void)weight;
  return (size_t)1 << 46;
}

static void test_no_memory(void **state) {
  struct build_options options = options_make(*state);
  struct backend vast = plain_backend;
  struct error error = {0};
  vast.strip_bytes = vast_strip;
  refused_kind = (enum scheme_kind) - 1;
  options.backend = &vast;
  assert_false(build_engine(&options, &error));
  unsigned long long need, available;
  char rest[40];
  assert_int_equal(
      sscanf(error.text, "Packing needs %llu MiB of memory and %llu MiB are %39[^\n]", &need, &available, rest), 3);
  assert_string_equal(rest, "available; free some.");
  assert_int_equal(need, (1ull << 26) + 1); /* one strip and the numbers of one thread */
  assert_true(available < need);
  assert_int_equal(error.code, ERROR_MEMORY);
}

/* A build replaces engines, and nothing else that stands under its output's name. */
static void test_output_in_use(void **state) {
  struct place *place = *state;
  struct build_options options = options_make(place);
  struct error error = {0};
  char sentence[256];
  FILE *stream = fopen(place->path, "wb");
  assert_true(stream && fputs("somebody's notes", stream) >= 0 && fclose(stream) == 0);
  assert_false(build_engine(&options, &error));
  snprintf(sentence, sizeof sentence, "%s exists and is no engine file; remove it or name another output.",
           place->path);
  assert_string_equal(error.text, sentence);
  assert_int_equal(error.code, ERROR_INVALID);
  options.output = place->folder;
  assert_false(build_engine(&options, &error));
  snprintf(sentence, sizeof sentence, "%s exists and is no engine file; remove it or name another output.",
           place->folder);
  assert_string_equal(error.text, sentence);
}

/* What a build writes into the log. */
static void build_logged(const struct build_options *options, char *text, size_t size) {
  FILE *log = tmpfile();
  int kept = dup(STDERR_FILENO);
  assert_true(log && kept >= 0);
  dup2(fileno(log), STDERR_FILENO);
  struct error error;
  bool built = build_engine(options, &error);
  dup2(kept, STDERR_FILENO);
  close(kept);
  if (!built) fail_msg("%s", error.text);
  rewind(log);
  text[fread(text, 1, size - 1, log)] = '\0';
  fclose(log);
}

/* An engine that this machine cannot serve is built all the same, with a warning. */
static void test_too_large_to_serve(void **state) {
  struct build_options options = options_make(*state);
  char text[2048];
  options.backend = &plain_backend;
  build_logged(&options, text, sizeof text);
  assert_string_equal(text, "");
  plain_footprint.weights = (uint64_t)1 << 60;
  build_logged(&options, text, sizeof text);
  plain_footprint = (struct footprint){.kv_block = {(uint64_t)1 << 58}};
  assert_non_null(strstr(text, " warning The engine of Tiny cannot be served on this machine as it is now. The engine "
                               "needs 1099511627776 MiB for its weights "));
  assert_non_null(strstr(text, "It would fit with no quant_mode: lower max_seq_len, max_batch_size or max_num_tokens, "
                               "free memory, or choose a smaller model."));
  build_logged(&options, text, sizeof text);
  plain_footprint = (struct footprint){0};
  assert_non_null(strstr(text,
                         " warning The engine of Tiny cannot be served on this machine as it is now. One sequence "
                         "of max_seq_len 64 takes 1099511627776 MiB of KV cache "));
}

/* It is judged by the steps that it is going to be opened with. */
static void test_too_large_for_its_steps(void **state) {
  struct build_options options = options_make(*state);
  char text[2048];
  options.backend = &plain_backend;
  plain_per_token = (uint64_t)1 << 48; /* 512 tokens, the default, are too many anywhere */
  build_logged(&options, text, sizeof text);
  assert_non_null(strstr(text, "needs 0 MiB for its weights and 137438953472 MiB for its workspace"));
  options.steps.max_num_tokens = 1024;
  build_logged(&options, text, sizeof text);
  assert_non_null(strstr(text, "and 274877906944 MiB for its workspace"));
  plain_per_token = 1 << 18;
  options.steps.max_num_tokens = 32;
  build_logged(&options, text, sizeof text);
  plain_per_token = 0;
  assert_string_equal(text, "");
}

static bool progress_cancel(void *user, const char *stage, uint64_t done, uint64_t total) {
  (void)done, (void)total;
  return strcmp(stage, user) != 0;
}

static void test_cancelled(void **state) {
  static const char *const stages[] = {"plan", "tokenizer", "calibrate", "pack"};
  struct build_options options = options_make(*state);
  options.progress = progress_cancel;
  options.config.quant_mode = QUANT_INT4_WEIGHT;
  options.config.quant_method = QUANT_GPTQ;
  for (int i = 0; i < 4; i++) {
    char sentence[128];
    snprintf(sentence, sizeof sentence, "Cancelled by the caller in the stage \"%s\".", stages[i]);
    options.user = (void *)(uintptr_t)stages[i];
    struct error error = {0};
    assert_false(build_engine(&options, &error));
    assert_string_equal(error.text, sentence);
    assert_int_equal(error.code, ERROR_CANCELLED);
    assert_int_equal(access(options.output, F_OK), -1);
  }
  calibration_journal_remove(options.output); /* a calibration that was cancelled can be gone on with */
}

static bool progress_die(void *user, const char *stage, uint64_t done, uint64_t total) {
  (void)user, (void)done, (void)total;
  if (strcmp(stage, "pack") == 0) raise(SIGKILL);
  return true;
}

static void test_killed(void **state) {
  struct build_options options = options_make(*state);
  pid_t child = fork();
  if (child == 0) {
    options.progress = progress_die;
    build_engine(&options, NULL);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(access(options.output, F_OK), -1);
}

/* --- inspection -------------------------------------------------------------------------------------------------- */

static json_t *inspect(const char *path) {
  struct build_progress progress = {0};
  struct buffer text;
  struct error error;
  buffer_init(&text, 1 << 24);
  if (!inspect_path(path, &progress, &text, &error)) fail_msg("%s", error.text);
  json_t *json = json_parse(buffer_slice(&text), &error);
  if (!json) fail_msg("%s", error.text);
  buffer_release(&text);
  return json;
}

static const char *text_at(json_t *json, const char *a, const char *b) {
  return json_string_value(json_object_get(json_object_get(json, a), b));
}

static void test_inspect_model(void **state) {
  (void)state;
  json_t *json = inspect(model);
  assert_string_equal(json_string_value(json_object_get(json, "kind")), "checkpoint");
  assert_string_equal(text_at(json, "model", "architecture"), "llama");
  assert_string_equal(text_at(json, "tokenizer", "kind"), "byte-level BPE (gpt-2)");
  assert_int_equal(json_array_size(json_object_get(json, "tensors")), 21);
  assert_true(json_integer_value(json_object_get(json_object_get(json, "memory"), "kv_per_token")) > 0);
  assert_null(json_object_get(json, "problem"));
  json_decref(json);
}

static void test_inspect_engine(void **state) {
  struct build_options options = options_make(*state);
  build_done(&options);
  json_t *json = inspect(options.output), *manifest = json_object_get(json, "manifest");
  assert_string_equal(json_string_value(json_object_get(json, "kind")), "engine");
  assert_int_equal(json_array_size(json_object_get(json, "sections")), SECTION_COUNT);
  assert_string_equal(text_at(manifest, "config", "quant_mode"), "AS_FILE");
  assert_int_equal(json_array_size(json_object_get(manifest, "weights")), 17);
  assert_string_equal(json_string_value(json_object_get(manifest, "name")), "Tiny");
  json_decref(json);
}

static void test_inspect_nothing(void **state) {
  struct place *place = *state;
  struct build_progress progress = {0};
  struct buffer text;
  struct error error = {0};
  buffer_init(&text, 1000);
  assert_false(inspect_path(place->path, &progress, &text, &error));
  assert_int_equal(error.code, ERROR_NOT_FOUND);
  buffer_release(&text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_modes, setup, teardown),
      cmocka_unit_test_setup_teardown(test_schemes, setup, teardown),
      cmocka_unit_test_setup_teardown(test_fallback, setup, teardown),
      cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
      cmocka_unit_test_setup_teardown(test_methods, setup, teardown),
      cmocka_unit_test_setup_teardown(test_twice, setup, teardown),
      cmocka_unit_test_setup_teardown(test_directories, setup, teardown),
      cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(test_calibration_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
      cmocka_unit_test_setup_teardown(test_output_in_use, setup, teardown),
      cmocka_unit_test_setup_teardown(test_too_large_to_serve, setup, teardown),
      cmocka_unit_test_setup_teardown(test_too_large_for_its_steps, setup, teardown),
      cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
      cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
      cmocka_unit_test_setup_teardown(test_inspect_model, setup, teardown),
      cmocka_unit_test_setup_teardown(test_inspect_engine, setup, teardown),
      cmocka_unit_test_setup_teardown(test_inspect_nothing, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
