/* Any bytes as config.json and, after a NUL byte, generation_config.json, beside the tensors of a family's fixture that
 * the first byte chooses. What opens has generation defaults within their ranges and tells its facts as JSON; a plan
 * that it gives can be measured. */
#include "backend/backends.h"
#include "base/json.h"
#include "build/draft.h"
#include "engine/image_batch.h"
#include "engine/loaded_engine.h"
#include "model/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const families[] = {"model/gemma3",        "model/llama3",      "model/llama_bias_yarn",
                                       "model/mistral",       "model/qwen2",       "model/qwen3",
                                       "model/smollm2",       "vision/llava",      "vision/idefics3",
                                       "vision/gemma3",       "vision/qwen2_vl",   "vision/qwen2_5_vl",
                                       "vision/llava_next",   "vision/pixtral",    "vision/mistral3",
                                       "model/gemma",         "model/gemma2",      "model/phi3",
                                       "model/phi4_mini",     "model/granite",     "model/olmo2",
                                       "model/olmo3",         "model/smollm3",     "model/glm",
                                       "model/glm4",          "model/cohere",      "model/cohere2",
                                       "model/ministral",     "model/gpt2",        "model/gpt_neox",
                                       "model/starcoder2",    "model/falcon7b",    "model/falcon40b",
                                       "model/falcon_rw",     "model/mpt",         "model/gpt_oss",
                                       "model/gpt_oss_mxfp4", "model/mixtral",     "model/qwen3_moe",
                                       "model/granite_moe",   "model/deepseek_v2", "model/deepseek_v3",
                                       "encoder/bert",        "encoder/roberta",   "encoder/modernbert",
                                       "encoder/nomic",       "encoder/nomic-moe", "encoder/mpnet",
                                       "encoder/distilbert",  "encoder/jina-bert", "encoder/gemma3",
                                       "model/ministral3",    "model/phimoe"};

enum { N_FAMILY = sizeof families / sizeof *families, FOLDER_BYTES = 64, PATH_BYTES = 512 };

static char root[] = "/tmp/spate-fuzz-XXXXXX";

static void path_join(char path[PATH_BYTES], const char *folder, const char *name) {
  snprintf(path, PATH_BYTES, "%s/%s", folder, name);
}

static void folder_of(int family, char folder[FOLDER_BYTES]) { snprintf(folder, FOLDER_BYTES, "%s/%d", root, family); }

static void folders_remove(void) {
  char folder[FOLDER_BYTES], path[PATH_BYTES];
  static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors"};
  for (int i = 0; i < N_FAMILY; i++) {
    folder_of(i, folder);
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
      path_join(path, folder, names[n]);
      unlink(path);
    }
    rmdir(folder);
  }
  rmdir(root);
}

static void folders_make(void) {
  char folder[FOLDER_BYTES], link[PATH_BYTES], target[PATH_BYTES];
  if (!mkdtemp(root)) abort();
  for (int i = 0; i < N_FAMILY; i++) {
    folder_of(i, folder);
    path_join(link, folder, "model.safetensors");
    snprintf(target, sizeof target, "%s/%s/model.safetensors", FIXTURES, families[i]);
    if (mkdir(folder, 0700) != 0 || symlink(target, link) != 0) abort();
  }
  atexit(folders_remove);
}

/* Without bytes there is no such file. */
static void text_write(const char *folder, const char *name, struct slice text) {
  char path[PATH_BYTES];
  path_join(path, folder, name);
  unlink(path);
  FILE *stream = text.data ? fopen(path, "wb") : NULL;
  if (!text.data) return;
  if (!stream || fwrite(text.data, 1, text.size, stream) != text.size || fclose(stream) != 0) abort();
}

static void facts_check(const struct draft *draft) {
  const struct engine_generation *g = &draft->facts.generation;
  bool sound = g->temperature >= 0 && g->temperature <= 100 && g->top_p > 0 && g->top_p <= 1 && g->top_k >= 0 &&
               g->n_end >= 0 && g->n_end <= GENERATION_END_MAX;
  for (int i = 0; i < g->n_end; i++) sound = sound && g->end[i] >= 0;
  struct buffer json;
  struct error error;
  buffer_init(&json, 1 << 20);
  checkpoint_facts(draft->checkpoint, &json);
  json_t *facts = json_parse(buffer_slice(&json), &error);
  if (!sound || !facts) abort();
  json_decref(facts);
  buffer_release(&json);
}

static void model_read(const char *folder) {
  struct draft draft;
  struct error error;
  struct footprint footprint;
  draft_init(&draft);
  if (draft_open(&draft, folder, &error)) {
    facts_check(&draft);
    if (draft_settle(&draft, &(struct engine_config){0}, &backend_cpu, &error)) {
      struct limits limits = engine_limits(&draft.facts.config, &(struct engine_options){0});
      if (!backend_cpu.measure(draft_plan(&draft), &limits, &footprint, &error)) abort();
      if (draft_vision(&draft)) {
        limits = image_limits(draft_vision(&draft), 1, KV_F16);
        if (!backend_cpu.measure(draft_vision(&draft), &limits, &footprint, &error)) abort();
      }
    }
  }
  draft_release(&draft);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static bool made;
  char folder[FOLDER_BYTES];
  if (!made) folders_make();
  made = true;
  if (size == 0) return 0;
  folder_of(data[0] % N_FAMILY, folder);
  struct slice config = slice_make(data + 1, size - 1), generation = {0};
  const uint8_t *end = memchr(config.data, 0, config.size);
  if (end) {
    config.size = (size_t)(end - config.data);
    generation = slice_make(end + 1, size - 2 - config.size);
  }
  text_write(folder, "config.json", config);
  text_write(folder, "generation_config.json", generation);
  model_read(folder);
  return 0;
}
