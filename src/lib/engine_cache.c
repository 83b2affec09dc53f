/* The cache of built engines. */
#include "lib/engine_cache.h"

#include "backend/backends.h"
#include "backend/device_choice.h"
#include "base/folder.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/model_name.h"
#include "base/part_name.h"
#include "build/build.h"
#include "engine/engine_file.h"
#include "hub/hub_cache.h"
#include "lib/build_eval.h"
#include "lib/cache_limit.h"
#include "lib/public_options.h"
#include "text/tokenizer_blob.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- building ----------------------------------------------------------------------------------------------------- */

static bool path_build(const char *model, const spate_build_options *options, const struct step_limits *steps,
                       struct error *error) {
  const char *target = options->target ? options->target : "cpu";
  int kind;
  if (!target_find(target, &kind))
    return error_set(error, ERROR_UNSUPPORTED,
                     "There is no target \"%s\"; this binary builds for \"cpu\" and \"cuda\".", target);
  struct build_options build = {.model = model,
                                .output = options->output,
                                .backend = backend_find(target),
                                .config = {.max_batch_size = options->max_batch_size,
                                           .opt_batch_size = options->opt_batch_size,
                                           .max_input_len = options->max_input_len,
                                           .max_seq_len = options->max_seq_len,
                                           .max_num_tokens = options->max_num_tokens},
                                .steps = *steps,
                                .calib_data = options->calib_data,
                                .overrides = options->quant_override,
                                .merge_lora = options->merge_lora,
                                .emulate = options->emulate,
                                .ranks = options->rerank,
                                .target_bits = options->target_bits,
                                .progress = options->progress,
                                .user = options->user};
  return kv_cache_type_parse(options->kv_cache_type, &build.config.kv_cache_type, error) &&
         quant_mode_parse(options->quant_mode, &build.config.quant_mode, error) &&
         quant_algo_parse(options->quant_algo, &build.config.quant_mode, &build.config.quant_method, error) &&
         build_eval_prepare(options, &build, error) && build_engine(&build, error);
}

bool engine_build(const spate_build_options *options, const struct step_limits *steps, struct error *error) {
  char model[PATH_MAX];
  if (!options->model || !options->output)
    return error_set(error, ERROR_INVALID, "A build needs a model and an output.");
  return hub_model_path(options->model, model, error) && path_build(model, options, steps, error);
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static void hash_text(struct hasher *hasher, const char *text) {
  hasher_update(hasher, slice_make(text ? text : "", (text ? strlen(text) : 0) + 1));
}

static void hash_status(struct hasher *hasher, const char *name, const struct stat *status) {
  int64_t facts[3] = {status->st_size, status->st_mtim.tv_sec, status->st_mtim.tv_nsec};
  hash_text(hasher, name);
  hasher_update(hasher, slice_make(facts, sizeof facts));
}

/* Sum of what each file hashes to, so that the order in which a directory lists them does not matter. Stages behind an
 * encoder have folders of their own in it. */
static uint64_t directory_digest(const char *path, bool inner) {
  uint64_t sum = 0;
  char whole[PATH_MAX];
  DIR *directory = opendir(path);
  for (struct dirent *entry; directory && (entry = readdir(directory));) {
    struct stat status;
    if (fstatat(dirfd(directory), entry->d_name, &status, 0) != 0) continue;
    bool folder = S_ISDIR(status.st_mode) && !inner && entry->d_name[0] != '.';
    int size = snprintf(whole, sizeof whole, "%s/%s", path, entry->d_name);
    if (folder && size < (int)sizeof whole) sum += directory_digest(whole, true);
    if (!S_ISREG(status.st_mode)) continue;
    struct hasher *hasher = hasher_new(0);
    if (!hasher) continue;
    hash_status(hasher, inner ? whole : entry->d_name, &status);
    sum += hasher_finish(hasher).low;
  }
  if (directory) closedir(directory);
  return sum;
}

/* Those that stand beside the first of several files. */
static void hash_parts(struct hasher *hasher, const char *model) {
  char path[PATH_MAX];
  struct stat status;
  struct part_name name = part_name_read(model);
  for (int part = 2; part <= name.parts && part <= LIMIT_MODEL_SHARDS; part++)
    if (part_name_other(model, &name, part, path, sizeof path) && stat(path, &status) == 0)
      hash_status(hasher, path, &status);
}

static void hash_quantization(struct hasher *hasher, const spate_build_options *build) {
  hash_text(hasher, build->quant_mode);
  hash_text(hasher, build->quant_algo);
  hash_text(hasher, build->quant_override);
  hash_text(hasher, build->calib_data);
  hasher_update(hasher, slice_make(&build->target_bits, sizeof build->target_bits));
}

static bool model_digest(const char *model, const spate_build_options *build, struct hash128 *digest,
                         struct error *error) {
  char real[PATH_MAX];
  struct stat status;
  if (!realpath(model, real) || stat(real, &status) != 0)
    return error_set(error, ERROR_NOT_FOUND, "%s cannot be opened: %s.", model, strerror(errno));
  struct hasher *hasher = hasher_new(0);
  if (!hasher) return error_set(error, ERROR_MEMORY, "Out of memory.");
  hash_text(hasher, SPATE_VERSION);
  hash_status(hasher, real, &status);
  hash_parts(hasher, model);
  uint64_t files = S_ISDIR(status.st_mode) ? directory_digest(real, false) : 0;
  hasher_update(hasher, slice_make(&files, sizeof files));
  int numbers[] = {build->max_input_len, build->max_seq_len, build->rerank,
                   build->emulate}; /* what was allowed once is not allowed for all */
  hasher_update(hasher, slice_make(numbers, sizeof numbers));
  hash_quantization(hasher, build);
  if (build->calib_data && stat(build->calib_data, &status) == 0) hash_status(hasher, build->calib_data, &status);
  hash_text(hasher, build->kv_cache_type);
  hash_text(hasher, build->target);
  int kind;
  const struct target *target = target_find(build->target ? build->target : "cpu", &kind);
  uint32_t layout[] = {target ? target->layout : 0, /* an unknown one is refused by the build */
                       ENGINE_FILE_VERSION, PLAN_VERSION, BLOB_VERSION};
  hasher_update(hasher, slice_make(layout, sizeof layout));
  *digest = hasher_finish(hasher);
  return true;
}

static bool cache_directory(const char *given, char path[PATH_MAX], struct error *error) {
  const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  int length = given           ? snprintf(path, PATH_MAX, "%s", given)
               : xdg && *xdg   ? snprintf(path, PATH_MAX, "%s/spate", xdg)
               : home && *home ? snprintf(path, PATH_MAX, "%s/.cache/spate", home)
                               : -1;
  if (length < 1 || length > PATH_MAX - 256)
    return error_set(error, ERROR_INVALID, "No cache directory: set HOME or XDG_CACHE_HOME, or name one.");
  return folder_make(path) ||
         error_set(error, ERROR_IO, "The cache directory %s cannot be made: %s.", path, strerror(errno));
}

/* The model's name in harmless characters. */
static void model_label(const char *model, char label[64]) {
  model_name_of_path(model, label, 64);
  for (char *c = label; *c; c++) {
    bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-_.", *c);
    if (!plain) *c = '_';
  }
}

static bool cache_path(const spate_open_options *options, const spate_build_options *build, char path[PATH_MAX],
                       struct error *error) {
  struct hash128 digest;
  char label[64], hex[33];
  if (!model_digest(options->model, build, &digest, error)) return false;
  if (!cache_directory(options->cache_dir, path, error)) return false;
  model_label(options->model, label);
  hash_format(digest, hex);
  size_t size = strlen(path);
  snprintf(path + size, PATH_MAX - size, "/%s-%.16s.spate", label, hex);
  return true;
}

/* What an engine file was built for cannot be chosen again: to ask for it is a mistake better told than passed over. */
static bool build_options_absent(const spate_build_options *build, const char *path, struct error *error) {
  const struct {
    const char *name;
    bool given;
  } options[] = {{"max_input_len", build->max_input_len != 0},
                 {"max_seq_len", build->max_seq_len != 0},
                 {"quant_mode", build->quant_mode != NULL},
                 {"kv_cache_type", build->kv_cache_type != NULL},
                 {"quant_algo", build->quant_algo != NULL},
                 {"calib_data", build->calib_data != NULL},
                 {"quant_override", build->quant_override != NULL},
                 {"emulate", build->emulate},
                 {"target_bits", build->target_bits != 0},
                 {"merge_lora", build->merge_lora != NULL},
                 {"rerank", build->rerank}};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++)
    if (options[i].given)
      return error_set(error, ERROR_INVALID,
                       "%s was given with %s, an engine file, whose build has decided it: leave it out, or give the "
                       "model instead.",
                       options[i].name, path);
  return true;
}

/* Is there an engine to open at path? One that can never be opened is passed over; what else goes wrong is an error. */
static bool cached_find(const char *path, bool *found, struct error *error) {
  struct engine_file file;
  struct error problem;
  *found = engine_file_open(&file, path, &problem);
  if (*found) engine_file_close(&file);
  if (*found || problem.code == ERROR_NOT_FOUND) return true;
  if (problem.code != ERROR_FORMAT && problem.code != ERROR_UNSUPPORTED)
    return error_set(error, problem.code, "%s", problem.text);
  log_warning("An engine in the cache cannot be used and is built again now. %s", problem.text);
  unlink(path); /* a build does not write over what is no engine file; here it is ours */
  return true;
}

/* A model is built for the device that it will run on; a backend that was named has its own target. */
static bool target_choose(const spate_open_options *options, spate_build_options *build, struct error *error) {
  const struct backend *backend = options->backend ? backend_find(options->backend) : NULL;
  if (build->target) return true;
  if (options->backend)
    build->target = backend && backend->target == TARGET_CUDA ? "cuda" : "cpu";
  else if (device_choose(options->device, &backend, error))
    build->target = backend->name;
  return build->target != NULL;
}

static bool cached_resolve(const spate_open_options *options, spate_build_options *build, struct engine_place *place,
                           struct error *error) {
  bool found;
  if (build->merge_lora)
    return error_set(
        error, ERROR_INVALID,
        "merge_lora is for builds with an output of their own (spate build), not for those into the cache.");
  place->cached = true;
  if (!target_choose(options, build, error) || !cache_path(options, build, place->path, error) ||
      !cached_find(place->path, &found, error))
    return false;
  build->model = options->model;
  build->output = place->path;
  build->progress = options->progress;
  build->user = options->user;
  if (!found && !engine_build(build, &place->steps, error)) return false;
  cache_keep(place->path, options->cache_limit);
  return true;
}

/* Limits of steps are chosen at each opening, so that one engine is built for all of them. */
static struct step_limits steps_take(spate_build_options *build) {
  struct step_limits steps = {build->max_batch_size, build->opt_batch_size, build->max_num_tokens};
  build->max_batch_size = build->opt_batch_size = build->max_num_tokens = 0;
  return steps;
}

bool engine_cache_resolve(const spate_open_options *options, struct engine_place *place, struct error *error) {
  if (!options->model) return error_set(error, ERROR_INVALID, "No model was named.");
  char model[PATH_MAX];
  spate_build_options build;
  spate_build_options_init(&build);
  if (!hub_model_path(options->model, model, error)) return false;
  if (options->build && !build_options_read(options->build, &build, error)) return false;
  place->steps = steps_take(&build);
  if (!engine_file_detect(model)) {
    spate_open_options found = *options;
    found.model = model;
    return cached_resolve(&found, &build, place, error);
  }
  place->cached = false;
  strcpy(place->path, model);
  return build_options_absent(&build, place->path, error);
}
