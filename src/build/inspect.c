/* Inspection: an engine file through its manifest, a checkpoint through a draft of its build. */
#include "build/inspect.h"

#include "backend/backends.h"
#include "base/json.h"
#include "build/manifest.h"
#include "engine/loaded_engine.h"
#include "format/tensor.h"
#include "plan/expert_layers.h"

#include <inttypes.h>
#include <stdlib.h>

/* Of each layer that has experts their bytes: what --cpu-experts keeps on the host. */
static void experts_write(const struct plan *plan, const struct backend *backend, struct buffer *json) {
  int layers = plan_expert_layers(plan);
  uint64_t *bytes = calloc((size_t)layers + 1, sizeof *bytes);
  for (int i = 0; bytes && i < plan->n_weight; i++) {
    int layer = plan_expert_layer(plan, i);
    if (layer >= 0) bytes[layer] += backend_packed_bytes(backend, plan_weights(plan) + i);
  }
  for (int i = 0; bytes && i < layers; i++) buffer_print(json, "%s%" PRIu64, i ? "," : ",\"experts\":[", bytes[i]);
  if (bytes && layers > 0) buffer_text(json, "]");
  free(bytes);
}

/* The device's workspace with the first layer's on the host, with the first two layers', …: the buffer that these come
 * to in turn is in it, and what else the backend wants for them. Nothing where it leaves none there. */
static void workspaces_write(const struct plan *plan, const struct backend *backend, struct limits limits,
                             struct buffer *json) {
  struct footprint footprint;
  int layers = backend->host_rate ? plan_expert_layers(plan) : 0;
  if (layers == 0) return;
  buffer_text(json, ",\"experts_workspace\":[");
  for (limits.cpu_experts = 1; limits.cpu_experts <= layers; limits.cpu_experts++) {
    if (!backend->measure(plan, &limits, &footprint, NULL)) break;
    buffer_print(json, "%s%" PRIu64, limits.cpu_experts > 1 ? "," : "", footprint.workspace);
  }
  buffer_text(json, "]");
}

/* What serving would take of memory: `,"memory":{…}`. */
static void memory_write(const struct plan *plan, const struct engine_config *config, const struct backend *backend,
                         struct buffer *json) {
  struct limits limits = engine_limits(config, &(struct engine_options){0});
  struct footprint footprint = {0};
  if (!backend->measure(plan, &limits, &footprint, NULL)) return;
  uint64_t block = 0;
  for (int i = 0; i < plan->n_group; i++) block += footprint.kv_block[i];
  uint64_t token = block / (uint64_t)limits.block_size;
  buffer_print(json,
               ",\"memory\":{\"weights\":%" PRIu64 ",\"workspace\":%" PRIu64 ",\"kv_per_token\":%" PRIu64
               ",\"kv_per_sequence\":%" PRIu64,
               footprint.weights, footprint.workspace, token, token * (uint64_t)limits.length);
  experts_write(plan, backend, json);
  workspaces_write(plan, backend, limits, json);
  buffer_text(json, "}");
}

/* --- engine files ------------------------------------------------------------------------------------------------ */

static void sections_write(const struct engine_file *file, struct buffer *json) {
  buffer_text(json, ",\"sections\":[");
  for (int i = 0; i < SECTION_COUNT; i++) {
    const struct engine_section *section = &file->header->section[i];
    char hash[33];
    hash_format(section->hash, hash);
    buffer_print(json, "%s{\"name\":\"%s\",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"hash\":\"%s\"}", i ? "," : "",
                 engine_section_name(i), section->offset, section->bytes, hash);
  }
  buffer_text(json, "]");
}

static bool engine_inspect(const char *path, struct build_progress *progress, struct buffer *json,
                           struct error *error) {
  struct engine_file file;
  if (!engine_file_open(&file, path, error)) return false;
  bool opened = progress_report(progress, "open", 1, 1, error);
  json_t *manifest = opened ? json_parse(file.manifest, error) : NULL; /* nobody else has read it yet */
  if (manifest) {
    buffer_print(json, "{\"kind\":\"engine\",\"bytes\":%" PRIu64, file.header->total);
    sections_write(&file, json);
    memory_write(file.plan, &file.facts->config, file.backend, json);
    buffer_text(json, ",\"manifest\":");
    buffer_append(json, file.manifest.data, file.manifest.size);
    buffer_text(json, "}");
  }
  bool done = manifest && progress_report(progress, "describe", 1, 1, error);
  json_decref(manifest);
  engine_file_close(&file);
  return done;
}

/* --- checkpoints ------------------------------------------------------------------------------------------------- */

static void tensors_write(const struct checkpoint *checkpoint, struct buffer *json) {
  buffer_text(json, ",\"tensors\":[");
  for (int i = 0; i < checkpoint_tensor_count(checkpoint); i++) {
    const struct tensor *tensor = checkpoint_tensor(checkpoint, i);
    char storage[TENSOR_STORAGE_TEXT];
    buffer_print(json, "%s{\"name\":", i ? "," : "");
    json_write_string(json, slice_text(tensor->name));
    buffer_print(json, ",\"type\":\"%s\",\"shape\":[", tensor_storage(tensor, storage));
    for (int d = 0; d < tensor->n_dim; d++) buffer_print(json, "%s%" PRId64, d ? "," : "", tensor->dim[d]);
    buffer_print(json, "],\"bytes\":%zu}", tensor->data.size);
  }
  buffer_text(json, "]");
}

/* Says why a stage of the build would fail: `,"problem":…`. */
static void problem_write(const struct error *problem, struct buffer *json) {
  buffer_text(json, ",\"problem\":");
  json_write_string(json, slice_text(problem->text));
}

/* The stages of a build. One that fails is a fact to report; what the others tell is told all the same. */
static bool draft_describe(struct draft *draft, struct build_progress *progress, struct buffer *json,
                           struct error *error) {
  const struct backend *backend = &backend_cpu;
  struct error problem;
  bool settled = draft_settle(draft, &(struct engine_config){0}, backend, &problem);
  if (!progress_report(progress, "plan", 1, 1, error)) return false;
  bool complete = draft_tokenizer(draft, settled ? &problem : NULL) && settled;
  if (!progress_report(progress, "tokenizer", 1, 1, error)) return false;
  buffer_text(json, "{\"kind\":\"checkpoint\",\"model\":");
  checkpoint_facts(draft->checkpoint, json);
  if (settled) memory_write(draft_plan(draft), &draft->facts.config, backend, json);
  if (draft->tokenizer) {
    buffer_text(json, ",\"tokenizer\":");
    manifest_write_tokenizer(draft->tokenizer, json);
  }
  if (!complete) problem_write(&problem, json);
  tensors_write(draft->checkpoint, json);
  buffer_text(json, "}");
  return progress_report(progress, "describe", 1, 1, error);
}

static bool checkpoint_inspect(const char *path, struct build_progress *progress, struct buffer *json,
                               struct error *error) {
  struct draft draft;
  draft_init(&draft);
  bool done = draft_open(&draft, path, error) && progress_report(progress, "open", 1, 1, error) &&
              draft_describe(&draft, progress, json, error);
  draft_release(&draft);
  return done;
}

bool inspect_path(const char *path, struct build_progress *progress, struct buffer *json, struct error *error) {
  bool is_engine = engine_file_detect(path);
  if (!(is_engine ? engine_inspect : checkpoint_inspect)(path, progress, json, error)) return false;
  return !json->failed || error_set(error, ERROR_LIMIT, "What is in %s does not fit in %zu bytes.", path, json->max);
}
