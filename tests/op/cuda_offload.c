/* Engines of mixtures whose experts are in the host's memory, from checkpoints: the logits are those of an engine with
 * all on the GPU, byte for byte, and so they are of the next engine after it is closed. */
#include "cuda_engine.h"

#include "spate_tools.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TOKENS = 40, VOCAB_MOST = 4096 };

struct seen {
  spate_engine_info info;
  float logits[TOKENS * VOCAB_MOST];
};

static bool engine_build(const char *model, const char *mode, const char *path, spate_error *error) {
  char source[512];
  spate_build_options build;
  spate_build_options_init(&build);
  snprintf(source, sizeof source, "%s/model/%s", FIXTURES, model);
  build.model = source, build.output = path, build.target = "cuda", build.quant_mode = mode;
  build.max_batch_size = 2, build.max_num_tokens = 128, build.max_seq_len = 128;
  return spate_build(&build, error);
}

static void engine_see(const char *path, int cpu_experts, struct seen *seen) {
  spate_error error = {0};
  spate_open_options open;
  int32_t token[TOKENS];
  spate_open_options_init(&open);
  open.model = path, open.kv_cache_memory = 64 << 20, open.cpu_experts = cpu_experts;
  for (int i = 0; i < TOKENS; i++) token[i] = (i * 37 + 5) % 64;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s", error.text);
  seen->info.size = sizeof seen->info;
  spate_info(engine, &seen->info);
  assert_in_range(seen->info.vocab_size, 64, VOCAB_MOST);
  if (!spate_logits(engine, token, TOKENS, 33, seen->logits, &error)) fail_msg("%s", error.text);
  spate_close(engine);
}

/* An engine file that is gone with this process: its name was of no other, and is not there any more. */
static int file_build(const char *model, const char *mode) {
  spate_error error = {0};
  char path[] = "/tmp/spate-offload-XXXXXX";
  int reserved = mkstemp(path);
  assert_true(reserved >= 0);
  close(reserved);
  bool built = engine_build(model, mode, path, &error); /* a file of its own, in the place of that one */
  int file = open(path, O_RDONLY | O_CLOEXEC);
  unlink(path);
  if (!built) fail_msg("%s", error.text);
  assert_true(file >= 0);
  return file;
}

static void model_check(const char *model, const char *mode) {
  static struct seen all, some;
  int file = file_build(model, mode);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  engine_see(path, 0, &all);
  assert_int_equal(all.info.cpu_experts, 0);
  assert_int_equal(all.info.host_weight_bytes, 0);
  for (int i = 0; i < 3; i++) {
    engine_see(path, i < 2 ? 1 : 1024, &some);
    assert_int_equal(some.info.weight_bytes + some.info.host_weight_bytes, all.info.weight_bytes);
    assert_true(some.info.host_weight_bytes > 0 && some.info.host_gbs > 0);
    assert_in_range(some.info.host_token_bytes, 1, some.info.host_weight_bytes);
    assert_memory_equal(some.logits, all.logits, sizeof(float) * TOKENS * (size_t)all.info.vocab_size);
  }
  printf("%s, %s: experts of %d layers, %.2f MB of which a token has %.2f\n", model, mode ? mode : "as the file",
         some.info.cpu_experts, (double)some.info.host_weight_bytes * 1e-6, (double)some.info.host_token_bytes * 1e-6);
  close(file);
}

void test_offload(void **state) {
  (void)state;
  static const char *const modes[] = {"BF16", "FP16", "INT4_WEIGHT", "FP8"};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) model_check("qwen3_moe", modes[i]);
  model_check("granite_moe", "BF16");
  model_check("gpt_oss_mxfp4", NULL);
}
