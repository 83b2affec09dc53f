/* The stages of a build: open the checkpoint, plan, choose schemes, compile the tokenizer, pack, commit. */
#include "build/build.h"

#include "base/limits.h"
#include "build/manifest.h"
#include "build/pack.h"
#include "build/scheme_choice.h"
#include "engine/machine_memory.h"
#include "model/family.h"
#include "text/tokenizer.h"
#include "text/vocab_gguf.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PLAN_BYTES_MAX = 256 << 20 };

/* Everything that a build holds; released as a whole. */
struct build {
  const struct build_options *options;
  struct build_progress progress;
  struct checkpoint *checkpoint;
  struct buffer plan_block, tokenizer_blob, manifest;
  struct tokenizer *tokenizer;
  struct engine_facts facts;
  const char **notes; /* [n_weight] */
  struct engine_writer writer;
};

static struct plan *build_plan(const struct build *build) { return (struct plan *)(void *)build->plan_block.data; }

static bool plan_make(struct build *build, struct error *error) {
  const struct family *family = family_find(build->checkpoint, error);
  if (!family || !family_plan(family, build->checkpoint, &build->plan_block, error)) return false;
  struct plan *plan = build_plan(build);
  struct engine_config *config = &build->facts.config;
  *config = build->options->config;
  build->notes = calloc((size_t)plan->n_weight + 1, sizeof *build->notes);
  if (!build->notes) return error_set(error, ERROR_MEMORY, "Out of memory for %d weights.", plan->n_weight);
  return engine_config_complete(config, plan->max_position, error) &&
         scheme_choose(plan, build->checkpoint, config->quant_mode, build->options->backend, build->notes, error) &&
         plan_check(buffer_slice(&build->plan_block), error);
}

static bool tokenizer_make(struct build *build, struct error *error) {
  const struct checkpoint *checkpoint = build->checkpoint;
  const struct gguf *gguf = checkpoint_gguf(checkpoint);
  if (!gguf && checkpoint_tokenizer_json(checkpoint).size == 0)
    return error_set(error, ERROR_NOT_FOUND, "%s has no tokenizer.json; save one with the model's tokenizer.",
                     checkpoint_path(checkpoint));
  bool compiled = gguf ? tokenizer_compile_gguf(gguf, &build->tokenizer_blob, error)
                       : tokenizer_compile_json(checkpoint_tokenizer_json(checkpoint),
                                                checkpoint_tokenizer_config(checkpoint), &build->tokenizer_blob, error);
  if (!compiled) return false;
  build->tokenizer = tokenizer_open(buffer_slice(&build->tokenizer_blob), error);
  if (!build->tokenizer) return false;
  size_t tokens = tokenizer_vocab(build->tokenizer), rows = (size_t)build_plan(build)->vocab;
  if (tokens <= rows) return true;
  return error_set(error, ERROR_FORMAT, "The tokenizer has %zu tokens and the model's embedding %zu rows.", tokens,
                   rows);
}

static void generation_copy(struct engine_generation *to, const struct generation_defaults *from) {
  *to = (struct engine_generation){.temperature = from->temperature, .top_p = from->top_p, .top_k = from->top_k};
  _Static_assert((int)GENERATION_END_MAX == (int)GENERATION_ENDS, "as many ends of text in a file as in a checkpoint");
  for (int i = 0; i < from->n_end; i++) to->end[to->n_end++] = from->end[i];
}

static void facts_make(struct build *build) {
  struct engine_facts *facts = &build->facts;
  snprintf(facts->name, sizeof facts->name, "%s", checkpoint_name(build->checkpoint));
  snprintf(facts->architecture, sizeof facts->architecture, "%s", checkpoint_architecture(build->checkpoint));
  facts->created = (int64_t)time(NULL);
  generation_copy(&facts->generation, checkpoint_generation(build->checkpoint));
}

static int thread_count(int wanted) {
  cpu_set_t set;
  int count = wanted;
  if (count <= 0) count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return count < LIMIT_BUILD_THREADS ? count : LIMIT_BUILD_THREADS;
}

static bool memory_check(const struct pack_job *job, struct error *error) {
  uint64_t need = pack_memory(job), available = machine_memory_available("");
  if (need <= available) return true;
  return error_set(error, ERROR_MEMORY,
                   "Packing needs %" PRIu64 " MiB of memory with %d threads and %" PRIu64
                   " MiB are available; free some or use fewer threads.",
                   (need >> 20) + 1, job->n_thread, available >> 20);
}

static bool manifest_make(struct build *build, struct hash128 digest, struct error *error) {
  struct manifest manifest = {.facts = &build->facts,
                              .plan = build_plan(build),
                              .checkpoint = build->checkpoint,
                              .writer = &build->writer,
                              .tokenizer = build->tokenizer,
                              .notes = build->notes,
                              .source = digest};
  manifest_write(&manifest, &build->manifest);
  if (!build->manifest.failed) return true;
  return error_set(error, ERROR_LIMIT, "The manifest is larger than %d bytes.", LIMIT_MANIFEST_BYTES);
}

static bool file_write(struct build *build, struct error *error) {
  const struct build_options *options = build->options;
  struct pack_job job = {.plan = build_plan(build),
                         .checkpoint = build->checkpoint,
                         .writer = &build->writer,
                         .progress = &build->progress,
                         .n_thread = thread_count(options->n_thread)};
  struct engine_contents contents = {.facts = &build->facts,
                                     .plan = build_plan(build),
                                     .tokenizer = buffer_slice(&build->tokenizer_blob),
                                     .chat_template = checkpoint_chat_template(build->checkpoint)};
  struct hash128 digest;
  return engine_writer_init(&build->writer, options->output, build_plan(build), options->backend, error) &&
         memory_check(&job, error) && engine_writer_begin(&build->writer, &contents, error) &&
         pack_weights(&job, &digest, error) && manifest_make(build, digest, error) &&
         progress_report(&build->progress, "flush", 0, 1, error) &&
         engine_writer_commit(&build->writer, buffer_slice(&build->manifest), error) &&
         progress_report(&build->progress, "flush", 1, 1, error);
}

static bool build_run(struct build *build, struct error *error) {
  build->checkpoint = checkpoint_open(build->options->model, error);
  if (!build->checkpoint || !plan_make(build, error)) return false;
  facts_make(build);
  return progress_report(&build->progress, "plan", 1, 1, error) && tokenizer_make(build, error) &&
         progress_report(&build->progress, "tokenizer", 1, 1, error) && file_write(build, error);
}

bool build_engine(const struct build_options *options, struct error *error) {
  struct build build = {
      .options = options, .progress = {.report = options->progress, .user = options->user}, .writer.descriptor = -1};
  buffer_init(&build.plan_block, PLAN_BYTES_MAX);
  buffer_init(&build.tokenizer_blob, LIMIT_TOKENIZER_BYTES);
  buffer_init(&build.manifest, LIMIT_MANIFEST_BYTES);
  bool done = build_run(&build, error);
  engine_writer_release(&build.writer);
  tokenizer_close(build.tokenizer);
  checkpoint_close(build.checkpoint);
  buffer_release(&build.plan_block);
  buffer_release(&build.tokenizer_blob);
  buffer_release(&build.manifest);
  free(build.notes);
  return done;
}
