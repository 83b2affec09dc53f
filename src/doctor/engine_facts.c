/* Figures of an inspection, and what follows from them on this machine. */
#include "doctor/engine_facts.h"

#include "base/json.h"

#include <math.h>

enum { DEFAULT_CONTEXT = 2048 };
static const double host_fraction = 0.3; /* of what weights and workspace leave, as serve takes it */

static double number_of(const json_t *object, const char *name) {
  const json_t *value = json_object_get(object, name);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

static void text_take(struct facts *facts, enum fact_id id, const json_t *object, const char *name) {
  const json_t *value = json_object_get(object, name);
  if (json_is_string(value)) fact_set_text(facts, id, json_string_value(value));
}

static void manifest_take(struct facts *facts, const json_t *manifest) {
  const json_t *config = json_object_get(manifest, "config");
  const json_t *evaluation = json_object_get(manifest, "evaluation"), *against = json_object_get(evaluation, "against");
  text_take(facts, FACT_MODEL, manifest, "name");
  text_take(facts, FACT_TARGET, manifest, "target");
  text_take(facts, FACT_QUANT_MODE, config, "quant_mode");
  fact_set(facts, FACT_AVERAGE_BITS, number_of(manifest, "average_bits"));
  fact_set(facts, FACT_MAX_BATCH_SIZE, number_of(config, "max_batch_size"));
  fact_set(facts, FACT_MAX_SEQ_LEN, number_of(config, "max_seq_len"));
  fact_set(facts, FACT_MAX_NUM_TOKENS, number_of(config, "max_num_tokens"));
  fact_set(facts, FACT_PERPLEXITY, number_of(json_object_get(evaluation, "text"), "perplexity"));
  fact_set(facts, FACT_KL, number_of(against, "mean_kl"));
  fact_set(facts, FACT_SAME_TOP, number_of(against, "same_top"));
}

/* A GPU has its own memory, of which nothing is known here. */
static bool on_host(const struct facts *facts) {
  return !facts->known[FACT_TARGET] || strcmp(facts->text[FACT_TARGET], "cpu") == 0;
}

static void target_compare(struct facts *facts) {
  if (!facts->known[FACT_TARGET] || !facts->known[FACT_GPUS]) return;
  bool gpu = facts->value[FACT_GPUS] > 0, wants = strcmp(facts->text[FACT_TARGET], "cuda") == 0;
  fact_set(facts, FACT_TARGET_AWAY, wants && !gpu);
  fact_set(facts, FACT_TARGET_SLOW, on_host(facts) && gpu);
}

/* What the KV cache holds of sequences of that length, as serve would size it. */
static void cache_plan(struct facts *facts, double per_token, const struct engine_use *use) {
  double longest = facts->value[FACT_MAX_SEQ_LEN], seats = facts->value[FACT_MAX_BATCH_SIZE];
  double rest = facts->value[FACT_MEMORY_OPEN] - facts->value[FACT_WEIGHTS] - facts->value[FACT_WORKSPACE];
  double context = use->context > 0 ? use->context : fmin(DEFAULT_CONTEXT, longest);
  double fraction = use->memory_fraction > 0 ? use->memory_fraction : host_fraction;
  double bytes = use->kv_bytes > 0 ? use->kv_bytes : fraction * rest;
  bool sized = facts->known[FACT_MEMORY_OPEN];
  if (!(per_token > 0) || !facts->known[FACT_MAX_SEQ_LEN] || !(seats >= 1) || !(context >= 1)) return;
  fact_set(facts, FACT_CONTEXT, context);
  fact_set(facts, FACT_KV_WANTED, per_token * context * seats);
  if (!(bytes > 0) || !(sized || use->kv_bytes > 0)) return;
  bytes = fmin(bytes, per_token * longest * seats); /* more no seat could use */
  fact_set(facts, FACT_KV_BYTES, bytes);
  fact_set(facts, FACT_KV_TOKENS, floor(bytes / per_token));
  fact_set(facts, FACT_KV_SEQUENCES, floor(bytes / per_token / context));
  fact_set(facts, FACT_SEATS_FILLED, facts->value[FACT_KV_SEQUENCES] / seats);
}

/* A server that runs here gives its own memory back before another takes its place. */
static void memory_open_find(struct facts *facts, double freed) {
  double open = facts->value[FACT_MEMORY_AVAILABLE] + freed;
  fact_set(facts, FACT_MEMORY_OPEN, facts->known[FACT_MEMORY] ? fmin(open, facts->value[FACT_MEMORY]) : open);
}

/* Weights and workspace of a GPU with experts on the host: their bytes leave it, and a buffer for them comes. */
static void experts_stay(struct facts *facts, const json_t *memory, const struct engine_use *use, double *weights,
                         double *workspace) {
  const json_t *layers = json_object_get(memory, "experts");
  double bytes = 0;
  size_t count = 0;
  if (on_host(facts)) return;
  for (; count < json_array_size(layers) && (int)count < use->cpu_experts; count++)
    bytes += json_number_value(json_array_get(layers, count));
  if (!(bytes > 0)) return;
  fact_set(facts, FACT_CPU_EXPERTS, (double)count);
  fact_set(facts, FACT_HOST_EXPERTS, bytes);
  if (facts->known[FACT_MEMORY_AVAILABLE])
    fact_set(facts, FACT_HOST_SHARE, bytes / (facts->value[FACT_MEMORY_AVAILABLE] + use->freed_bytes));
  *weights -= bytes;
  const json_t *with = json_array_get(json_object_get(memory, "experts_workspace"), count - 1);
  *workspace = json_is_number(with) ? json_number_value(with) : NAN;
}

static void memory_take(struct facts *facts, const json_t *memory, const struct engine_use *use) {
  double weights = number_of(memory, "weights"), workspace = number_of(memory, "workspace");
  experts_stay(facts, memory, use, &weights, &workspace);
  fact_set(facts, FACT_WEIGHTS, weights);
  fact_set(facts, FACT_WORKSPACE, workspace);
  fact_set(facts, FACT_MEMORY_NEEDED, weights + workspace + number_of(memory, "kv_per_sequence"));
  if (facts->known[FACT_MEMORY_AVAILABLE] && on_host(facts)) memory_open_find(facts, use->freed_bytes);
  if (facts->known[FACT_MEMORY_OPEN])
    fact_set(facts, FACT_MEMORY_SHARE, facts->value[FACT_MEMORY_NEEDED] / facts->value[FACT_MEMORY_OPEN]);
  if (facts->known[FACT_WEIGHTS] && facts->known[FACT_WORKSPACE])
    cache_plan(facts, number_of(memory, "kv_per_token"), use);
}

bool engine_facts_find(struct facts *facts, struct slice inspection, const struct engine_use *use,
                       struct error *error) {
  json_t *root = json_parse(inspection, error);
  if (!root) return false;
  text_take(facts, FACT_ENGINE_KIND, root, "kind");
  text_take(facts, FACT_MODEL, json_object_get(root, "model"), "name");
  text_take(facts, FACT_ENGINE_PROBLEM, root, "problem");
  fact_set(facts, FACT_ENGINE_REFUSED, facts->known[FACT_ENGINE_PROBLEM]);
  manifest_take(facts, json_object_get(root, "manifest"));
  target_compare(facts);
  memory_take(facts, json_object_get(root, "memory"), use);
  json_decref(root);
  return facts->known[FACT_ENGINE_KIND] || error_set(error, ERROR_FORMAT, "The inspection names no kind of file.");
}

/* The rate at the least working set that holds the weights, or at the largest one. */
static double rate_choose(const json_t *read, double weights) {
  double rate = NAN;
  for (size_t i = 0; i < json_array_size(read); i++) {
    const json_t *line = json_array_get(read, i);
    rate = number_of(line, "gbs") * 1e9;
    if (number_of(line, "bytes") >= weights) break;
  }
  return rate;
}

bool engine_facts_measure(struct facts *facts, struct slice measured, struct error *error) {
  json_t *root = json_parse(measured, error);
  if (!root) return false;
  double weights = facts->known[FACT_WEIGHTS] ? facts->value[FACT_WEIGHTS] : INFINITY;
  double rate = rate_choose(json_object_get(json_object_get(root, "machine"), "read"), weights);
  json_decref(root);
  fact_set(facts, FACT_READ_RATE, rate);
  if (rate > 0 && isfinite(weights)) fact_set(facts, FACT_STEP_FLOOR, weights / rate);
  return facts->known[FACT_READ_RATE] || error_set(error, ERROR_FORMAT, "The measurement has no read rate.");
}
