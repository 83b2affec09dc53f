/* Calibration that a GPU runs makes the engine that a CPU's makes: of one checkpoint, for a GPU, once in a process that
 * sees none. Its scales and factors come of floats that were added in another order, so a code here and there is its
 * neighbour; by GPTQ all that follow in its row may be others, as good ones. Skipped where there is no GPU. */
#include "parity_support.h"
#include "quantized_checkpoint.h"

#include "backend/backends.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { TOKENS = 40 };

static const struct method {
  const char *mode, *algo;
} methods[] = {{"INT4_WEIGHT", "AWQ"}, {"INT4_WEIGHT", "GPTQ"}, {"W8A8", "SMOOTHQUANT"}};

/* Of the engine's bytes those that may differ, and by what share quantization may move the logits more or less. */
static const double bytes_most = 0.01, share_most = 0.05;

enum { METHODS = sizeof methods / sizeof *methods, PATH_BYTES = 64 };

static char folder[] = "/tmp/spate-calibration-XXXXXX";

static char *path_of(char path[PATH_BYTES], const char *what, int method) {
  snprintf(path, PATH_BYTES, "%s/%s-%d.spate", folder, what, method);
  return path;
}

static bool present_here(void) { return backend_find("cuda")->present && backend_find("cuda")->present(NULL); }

static void engine_build(const char *mode, const char *algo, const char *output) {
  spate_error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = folder;
  build.target = "cuda";
  build.output = output;
  build.quant_mode = mode;
  build.quant_algo = algo;
  build.max_batch_size = 2;
  build.max_num_tokens = 128;
  build.max_seq_len = 64;
  if (!spate_build(&build, &error)) fail_msg("%s", error.text);
}

static void engines_build(const char *what) {
  char path[PATH_BYTES];
  for (int i = 0; i < METHODS; i++) engine_build(methods[i].mode, methods[i].algo, path_of(path, what, i));
}

static int blind_build(void) {
  setenv("CUDA_VISIBLE_DEVICES", "", 1);
  if (present_here()) return 1;
  engines_build("cpu");
  return 0;
}

static int gpu_seek(void) { return present_here() ? 0 : 1; }

/* In a process of its own, as one that has looked for GPUs does not look again. */
static bool alone_done(int (*work)(void)) {
  fflush(stdout);
  int status;
  pid_t child = fork();
  if (child == 0) _exit(work());
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static uint8_t *file_bytes(const char *path, size_t *size) {
  struct stat info;
  FILE *stream = fopen(path, "rb");
  if (!stream || fstat(fileno(stream), &info) != 0) fail_msg("%s cannot be read", path);
  *size = (size_t)info.st_size;
  uint8_t *bytes = malloc(*size);
  if (!bytes) abort();
  read_exactly(stream, bytes, *size);
  fclose(stream);
  return bytes;
}

static double bytes_differ(const char *one, const char *other) {
  size_t size, other_size, differ = 0;
  uint8_t *a = file_bytes(one, &size), *b = file_bytes(other, &other_size);
  assert_int_equal(size, other_size);
  for (size_t i = 0; i < size; i++) differ += a[i] != b[i];
  free(a), free(b);
  return (double)differ / (double)size;
}

static void logits_of(const char *path, float *logits) {
  spate_error error = {0};
  int32_t tokens[TOKENS];
  spate_engine *engine = engine_start(path, "cuda", 16, 1);
  for (int i = 0; i < TOKENS; i++) tokens[i] = (i * 7919 + 13) % VOCAB;
  if (!spate_logits(engine, tokens, TOKENS, TOKENS, logits, &error)) fail_msg("%s", error.text);
  spate_close(engine);
}

/* The root of the mean square. */
static double distance(const float *a, const float *b) {
  double squares = 0;
  for (int i = 0; i < TOKENS * VOCAB; i++) squares += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
  return sqrt(squares / (TOKENS * VOCAB));
}

static float wanted[TOKENS * VOCAB], by_cpu[TOKENS * VOCAB], by_gpu[TOKENS * VOCAB];

static void method_check(int method) {
  char here[PATH_BYTES], there[PATH_BYTES];
  logits_of(path_of(here, "cpu", method), by_cpu);
  logits_of(path_of(there, "gpu", method), by_gpu);
  double lost = distance(wanted, by_cpu), lost_here = distance(wanted, by_gpu), apart = distance(by_cpu, by_gpu);
  double differ = bytes_differ(here, there);
  printf("%s, %s: off by %.3e calibrated on the CPU, %.3e on the GPU, %.1e from one another; %.3f %% of the bytes\n",
         methods[method].mode, methods[method].algo, lost, lost_here, apart, 100 * differ);
  assert_true(differ <= bytes_most && fabs(lost_here - lost) <= share_most * lost);
}

static void test_methods(void **state) {
  char path[PATH_BYTES];
  (void)state;
  assert_true(alone_done(blind_build));
  engines_build("gpu");
  engine_build("FP32", NULL, path_of(path, "exact", 0));
  logits_of(path, wanted);
  for (int i = 0; i < METHODS; i++) method_check(i);
}

static void folder_fill(void) {
  static const struct form form = {.name = "F32", .stored = STORED_E4M3, .bits = 8};
  char link[64], tokenizer[PATH_MAX];
  if (!mkdtemp(folder) || !realpath(FIXTURES "/model/llama3/tokenizer.json", tokenizer)) abort();
  snprintf(link, sizeof link, "%s/tokenizer.json", folder);
  if (symlink(tokenizer, link) != 0) abort();
  checkpoint_save(folder, &form, true);
}

static void folder_remove(void) {
  static const char *const names[] = {"tokenizer.json", "model.safetensors", "config.json", "exact-0.spate"};
  char path[96];
  for (int i = 0; i < METHODS; i++) unlink(path_of(path, "cpu", i)), unlink(path_of(path, "gpu", i));
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    unlink(path);
  }
  rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_methods)};
  if (!alone_done(gpu_seek)) {
    printf("SKIPPED: there is no GPU\n");
    return 77;
  }
  folder_fill();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  folder_remove();
  return failed;
}
