/* The stages of a build: draft (checkpoint, plan, schemes, tokenizer), pack, commit. */
#include "build/build.h"

#include "base/cpu_share.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/machine_memory.h"
#include "build/calibrate.h"
#include "build/calibration_fit.h"
#include "build/calibration_form.h"
#include "build/calibration_journal.h"
#include "build/chat_choice.h"
#include "build/draft.h"
#include "build/fitting_modes.h"
#include "build/fold_record.h"
#include "build/manifest.h"
#include "build/merge_adapter.h"
#include "build/pack.h"
#include "engine/loaded_engine.h"

#include <inttypes.h>
#include <sys/stat.h>

struct build {
  const struct build_options *options;
  struct build_progress progress;
  struct draft draft;
  struct engine_writer writer;
  struct buffer manifest, evaluation, folds;
  struct calibration_data calibration_data;
  struct calibration calibration;
  struct merge_adapter *merge; /* NULL: none */
};

static int thread_count(int wanted) {
  int count = wanted > 0 ? wanted : cpu_share_count();
  return count < LIMIT_BUILD_THREADS ? count : LIMIT_BUILD_THREADS;
}

/* What stands under the output's name and is no engine file (the model itself, a device) was not meant to be replaced.
 */
static bool output_check(const char *path, struct error *error) {
  struct stat status;
  if (stat(path, &status) != 0 || (S_ISREG(status.st_mode) && status.st_size == 0) || engine_file_detect(path))
    return true;
  return error_set(error, ERROR_INVALID, "%s exists and is no engine file; remove it or name another output.", path);
}

static struct calibration_job calibration_job_of(const struct build *build, const struct pack_job *pack) {
  return (struct calibration_job){.plan = pack->plan,
                                  .checkpoint = pack->checkpoint,
                                  .data = &build->calibration_data,
                                  .writer = pack->writer,
                                  .progress = pack->progress,
                                  .merged = pack->transforms,
                                  .method = build->draft.facts.config.quant_method,
                                  .n_thread = pack->n_thread};
}

/* Watches the network and leaves in the packing job what came of it. */
static bool calibrate(struct build *build, struct pack_job *pack, struct error *error) {
  struct calibration_job job = calibration_job_of(build, pack);
  if (!quant_method_calibrates(job.method)) return true;
  if (!calibration_run(&build->calibration, &job, error)) return false;
  pack->transforms = build->calibration.transforms;
  pack->written = build->calibration.written;
  return true;
}

/* Takes fewer threads where memory is short; refuses what does not fit with one. */
static bool memory_fit(const struct build *build, struct pack_job *job, struct error *error) {
  uint64_t available = machine_memory_available("");
  while (job->n_thread > 1 && pack_memory(job) > available) job->n_thread--;
  uint64_t need = pack_memory(job);
  struct calibration_job calibration = calibration_job_of(build, job);
  if (need <= available)
    return !quant_method_calibrates(calibration.method) || calibration_fit(&calibration, available, error);
  return error_set(error, ERROR_MEMORY,
                   "Packing needs %" PRIu64 " MiB of memory and %" PRIu64 " MiB are available; free some.",
                   (need >> 20) + 1, available >> 20);
}

/* An engine may be built for another machine: what this one cannot serve is no error, but better known before. */
static void serving_check(const struct build *build) {
  if (build->options->backend->memory) return; /* it is not this machine's memory that counts */
  struct draft served = build->draft; /* owns nothing: its configuration alone is another, as serving would limit it */
  const struct plan *plan = draft_plan(&served);
  struct error problem;
  uint64_t available = machine_memory_available("");
  char remedy[FITTING_TEXT];
  if (!engine_config_limit(&served.facts.config, &build->options->steps, plan->max_position, &problem)) return;
  if (!engine_fits(plan, build->options->backend, &served.facts.config, available, &problem))
    log_warning("The engine of %s cannot be served on this machine as it is now. %s %s", served.facts.name,
                problem.text, fitting_modes(&served, build->options->backend, available, remedy));
}

static bool chat_settle(struct draft *draft, struct error *error) {
  struct error warning;
  if (!chat_choose(draft->facts.name, checkpoint_template_pair(draft->checkpoint), &draft->chat_template, &warning,
                   error))
    return false;
  if (warning.code) log_warning("%s", warning.text);
  return true;
}

static bool manifest_make(struct build *build, struct hash128 digest, struct error *error) {
  struct manifest manifest = {.draft = &build->draft,
                              .merged = build->options->merge_lora,
                              .writer = &build->writer,
                              .source = digest,
                              .evaluation = buffer_slice(&build->evaluation)};
  calibration_experts(&build->calibration, draft_plan(&build->draft), &manifest.n_expert, &manifest.n_few);
  buffer_clear(&build->manifest);
  manifest_write(&manifest, &build->manifest);
  if (!build->manifest.failed) return true;
  return error_set(error, ERROR_LIMIT, "The manifest is larger than %d bytes.", LIMIT_MANIFEST_BYTES);
}

/* An engine with an adapter merged into it is no checkpoint's. */
static struct engine_ending ending_of(const struct build *build, struct hash128 digest) {
  struct engine_ending ending = {.folds = buffer_slice(&build->folds), .manifest = buffer_slice(&build->manifest)};
  if (!build->merge) ending.base = digest;
  return ending;
}

/* The manifest with the figures of the engine that it belongs to, which is opened for them before it has its name. */
static bool figures_add(struct build *build, struct hash128 digest, struct error *error) {
  const struct build_options *options = build->options;
  struct engine_ending ending = ending_of(build, digest);
  char path[PATH_MAX];
  if (!options->evaluate) return true;
  if (!engine_writer_seal(&build->writer, &ending, path, error) ||
      !options->evaluate(options->evaluate_user, path, &build->evaluation, error))
    return false;
  if (build->evaluation.failed)
    return error_set(error, ERROR_LIMIT, "The figures do not fit in %d bytes.", LIMIT_MANIFEST_BYTES);
  return manifest_make(build, digest, error);
}

static bool engine_commit(struct build *build, struct hash128 digest, struct error *error) {
  struct engine_ending ending = ending_of(build, digest);
  return engine_writer_commit(&build->writer, &ending, error);
}

/* The weights, what was folded into them, and all that is said of both. */
static bool contents_write(struct build *build, struct pack_job *job, struct error *error) {
  struct hash128 digest;
  return calibrate(build, job, error) &&
         fold_record_make(job->plan, job->checkpoint, job->transforms, &build->folds, error) &&
         pack_weights(job, &digest, error) && manifest_make(build, digest, error) &&
         figures_add(build, digest, error) && engine_commit(build, digest, error);
}

static bool file_write(struct build *build, struct error *error) {
  const struct build_options *options = build->options;
  struct draft *draft = &build->draft;
  if (!chat_settle(draft, error)) return false;
  struct pack_job job = {.plan = draft_plan(draft),
                         .vision = draft_vision(draft),
                         .checkpoint = draft->checkpoint,
                         .writer = &build->writer,
                         .progress = &build->progress,
                         .n_thread = thread_count(options->n_thread)};
  struct engine_contents contents = {.facts = &draft->facts,
                                     .plan = draft_plan(draft),
                                     .vision = draft_vision(draft),
                                     .tokenizer = buffer_slice(&draft->tokenizer_blob),
                                     .chat_template = draft->chat_template,
                                     .images = checkpoint_preprocessor(draft->checkpoint)};
  if (build->merge) job.transforms = merge_adapter_transforms(build->merge);
  serving_check(build);
  bool written = engine_writer_init(&build->writer, options->output, job.plan, job.vision, options->backend, error) &&
                 memory_fit(build, &job, error) && engine_writer_begin(&build->writer, &contents, error) &&
                 contents_write(build, &job, error);
  if (!written) return false;
  calibration_journal_remove(options->output);
  progress_report(&build->progress, "flush", 1, 1, NULL); /* nothing is left to cancel */
  return true;
}

static bool calibration_read(struct build *build, struct error *error) {
  const struct draft *draft = &build->draft;
  if (!quant_method_calibrates(draft->facts.config.quant_method)) return true;
  return calibration_follows(draft_plan(draft), error) &&
         calibration_data_read(&build->calibration_data, build->options->calib_data, draft->tokenizer,
                               draft_plan(draft)->max_position, error);
}

static bool adapter_open(struct build *build, struct error *error) {
  if (!build->options->merge_lora) return true;
  build->merge = merge_adapter_open(build->options->merge_lora, &build->draft, error);
  return build->merge != NULL;
}

static bool draft_complete(struct build *build, struct error *error) {
  const struct build_options *options = build->options;
  struct draft *draft = &build->draft;
  return draft_open(draft, options->model, error) && draft_settle(draft, &options->config, options->backend, error) &&
         progress_report(&build->progress, "plan", 1, 1, error) && draft_tokenizer(draft, error) &&
         progress_report(&build->progress, "tokenizer", 1, 1, error);
}

bool build_engine(const struct build_options *options, struct error *error) {
  struct build build = {.options = options,
                        .progress = {.report = options->progress, .user = options->user},
                        .writer.file.descriptor = -1};
  draft_init(&build.draft);
  build.draft.overrides = options->overrides;
  build.draft.emulate = options->emulate;
  build.draft.target_bits = options->target_bits;
  build.draft.ranks = options->ranks;
  buffer_init(&build.manifest, LIMIT_MANIFEST_BYTES);
  buffer_init(&build.evaluation, LIMIT_MANIFEST_BYTES);
  buffer_init(&build.folds, LIMIT_FOLD_BYTES);
  bool done = output_check(options->output, error) && draft_complete(&build, error) &&
              calibration_read(&build, error) && adapter_open(&build, error) && file_write(&build, error);
  engine_writer_release(&build.writer);
  calibration_release(&build.calibration);
  calibration_data_release(&build.calibration_data);
  merge_adapter_close(build.merge);
  draft_release(&build.draft);
  buffer_release(&build.manifest);
  buffer_release(&build.evaluation);
  buffer_release(&build.folds);
  return done;
}
