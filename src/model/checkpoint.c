/* Opening a checkpoint. A directory is config.json and safetensors, with optional files for the tokenizer, the chat
 * template and generation defaults; a GGUF file has all of it in its metadata. */
#include "model/checkpoint_state.h"

#include "base/model_name.h"
#include "base/vocabulary_names.h"
#include "format/safetensors.h"
#include "model/gguf_pair.h"
#include "model/classic_vocabulary.h"
#include "model/generation_defaults.h"
#include "model/mmproj.h"
#include "model/model_type.h"
#include "model/old_names.h"
#include "model/rank_template.h"
#include "model/tensor_factors.h"
#include "model/tool_template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Names are printed: what would command a terminal is left out of them. */
static bool text_copy(char out[NAME_BYTES], struct slice text) {
  if (text.size == 0 || text.size >= NAME_BYTES || memchr(text.data, 0, text.size)) return false;
  for (size_t i = 0; i < text.size; i++)
    out[i] = (char)(text.data[i] < 0x20 || text.data[i] == 0x7f ? '?' : text.data[i]);
  out[text.size] = '\0';
  return true;
}

static void name_from_path(struct checkpoint *c) {
  char name[NAME_BYTES];
  model_name_of_path(c->path, name, sizeof name);
  text_copy(c->name, slice_text(name));
}

/* --- a directory -------------------------------------------------------------------------------------------------- */

/* The path of a file in the directory; false when it does not fit. */
static bool path_join(const struct checkpoint *c, const char *name, char out[PATH_MAX]) {
  int size = snprintf(out, PATH_MAX, "%s/%s", c->path, name);
  return size > 0 && size < PATH_MAX;
}

/* Maps a file of at most max bytes; one that does not exist stays empty. */
static bool optional_open(const struct checkpoint *c, const char *name, size_t max, struct file *file,
                          struct error *error) {
  char path[PATH_MAX];
  struct stat status;
  if (c->path[0] == '\0') return true; /* a config alone */
  if (!path_join(c, name, path) || (stat(path, &status) != 0 && errno == ENOENT)) return true;
  if (!file_open(file, path, error)) return false;
  if (file->size <= max) return true;
  return error_set(error, ERROR_LIMIT, "%s has %zu bytes, more than the %zu allowed for such a file.", path, file->size,
                   max);
}

bool checkpoint_json(const struct checkpoint *c, const char *name, json_t **value, struct error *error) {
  struct file file = {.descriptor = -1};
  bool ok = optional_open(c, name, LIMIT_CONFIG_BYTES, &file, error);
  *value = NULL;
  if (ok && file.data) {
    *value = json_parse(slice_make(file.data, file.size), error);
    ok = *value != NULL || error_prefix(error, "%s: ", name);
  }
  file_close(&file);
  return ok;
}

/* The JSON object in an optional file, or NULL in *object. */
static bool optional_json(const struct checkpoint *c, const char *name, json_t **object, struct error *error) {
  if (!checkpoint_json(c, name, object, error)) return false;
  if (!*object || json_is_object(*object)) return true;
  json_decref(*object);
  *object = NULL;
  return error_set(error, ERROR_FORMAT, "%s holds no JSON object.", name);
}

static bool template_read(struct checkpoint *c, struct error *error) {
  struct file *usual = &c->template_file, *tools = &c->tool_template_file;
  if (!optional_open(c, "chat_template.jinja", LIMIT_CONFIG_BYTES, usual, error) ||
      !optional_open(c, TOOL_TEMPLATE_FILE, LIMIT_CONFIG_BYTES, tools, error) ||
      !optional_json(c, "tokenizer_config.json", &c->template_json, error))
    return false;
  c->templates = (struct template_pair){slice_make(usual->data, usual->size), slice_make(tools->data, tools->size)};
  if (!usual->data) c->templates = template_pair_listed(json_object_get(c->template_json, "chat_template"));
  return template_pair_join(&c->templates, &c->joint_template, &c->chat_template, error);
}

static bool preprocessor_read(struct checkpoint *c, struct error *error) {
  if (!optional_open(c, "preprocessor_config.json", LIMIT_PREPROCESSOR_CONFIG_BYTES, &c->preprocessor, error))
    return false;
  return c->preprocessor.data ||
         optional_open(c, "processor_config.json", LIMIT_PREPROCESSOR_CONFIG_BYTES, &c->preprocessor, error);
}

/* The first of "architectures" or, without one, the class that "model_type" means; a type that is not known stays its
 * own name. */
static bool architecture_from_config(struct checkpoint *c, struct error *error) {
  const json_t *list = json_object_get(c->config, "architectures"), *first = json_array_get(list, 0);
  const json_t *type = json_object_get(c->config, "model_type"), *name = first ? first : type;
  if (list && !json_is_null(list) && !json_is_array(list))
    return error_set(error, ERROR_FORMAT, "config.json: architectures is no array, expected a list of one text.");
  const char *known = !first && json_is_string(type) ? model_type_architecture(json_slice(type)) : NULL;
  if (json_is_string(name) && text_copy(c->architecture, known ? slice_text(known) : json_slice(name))) return true;
  return error_set(error, ERROR_FORMAT,
                   "config.json names no architecture: \"architectures\" should be a list of one.");
}

static bool config_open(struct checkpoint *c, struct error *error) {
  if (!optional_json(c, "config.json", &c->config, error)) return false;
  if (c->config) return architecture_from_config(c, error);
  return error_set(error, ERROR_NOT_FOUND,
                   "%s has no config.json; a model is a directory with config.json and safetensors, or a .gguf file.",
                   c->path);
}

static bool generation_open(struct checkpoint *c, struct error *error) {
  json_t *object;
  bool ok = optional_json(c, "generation_config.json", &object, error) &&
            (!object || generation_from_json(&c->generation, object, error));
  json_decref(object);
  if (ok && c->generation.n_end == 0)
    ok = generation_ends_read(&c->generation, json_object_get(c->config, "eos_token_id"), "config.json", error);
  return ok;
}

/* The first of them that is there. */
static bool vocabulary_open(struct checkpoint *c, struct error *error) {
  for (const char *const *name = vocabulary_names; *name && !c->vocabulary.data; name++) {
    if (!optional_open(c, *name, LIMIT_TOKENIZER_BYTES, &c->vocabulary, error)) return false;
    if (c->vocabulary.data) c->vocabulary_name = *name;
  }
  return true;
}

/* Without any of those, tokenizer.json is made of older files. */
static bool classic_open(struct checkpoint *c, struct error *error) {
  enum { FILES = 5, PIECES = 3 }; /* of classic_vocabulary_names; the first of the last two is taken */
  struct file none = {.descriptor = -1}, file[FILES] = {none, none, none, none, none};
  const json_t *type = json_object_get(c->config, "model_type");
  struct classic_vocabulary classic = {.settings = c->template_json};
  struct slice *const texts[] = {&classic.words, &classic.units, &classic.merges, &classic.pieces, &classic.pieces};
  json_t *made = NULL, *added = NULL, *specials = NULL;
  bool ok = optional_json(c, "added_tokens.json", &added, error) &&
            optional_json(c, "special_tokens_map.json", &specials, error);
  if (json_is_string(type)) classic.model_type = json_slice(type);
  for (int i = 0; i < FILES && ok && !texts[i]->data; i++) {
    ok = optional_open(c, classic_vocabulary_names[i], LIMIT_TOKENIZER_BYTES, &file[i], error);
    *texts[i] = slice_make(file[i].data, file[i].size);
    if (i >= PIECES) classic.pieces_name = classic_vocabulary_names[i];
  }
  classic.added = added, classic.specials = specials;
  ok = ok && classic_vocabulary_convert(&classic, &made, error);
  if (made) c->classic = json_dumps(made, JSON_COMPACT);
  if (made && !c->classic) ok = error_set(error, ERROR_MEMORY, "There is no memory for a tokenizer.");
  if (c->classic) c->vocabulary_name = "tokenizer.json";
  json_decref(made);
  json_decref(added);
  json_decref(specials);
  for (int i = 0; i < FILES; i++) file_close(&file[i]);
  return ok;
}

static bool stages_open(struct checkpoint *c, struct error *error) {
  json_t *modules;
  if (!checkpoint_json(c, "modules.json", &modules, error)) return false;
  bool ok = stage_tensors_open(&c->stages, c->path, modules, &c->safetensors->tensors, error);
  c->has_modules = modules != NULL;
  json_decref(modules);
  return ok;
}

static bool directory_open(struct checkpoint *c, struct error *error) {
  if (!config_open(c, error) || !generation_open(c, error) || !template_read(c, error) ||
      !preprocessor_read(c, error) || !vocabulary_open(c, error) || !(c->vocabulary.data || classic_open(c, error)) ||
      !optional_open(c, "tokenizer_config.json", LIMIT_CONFIG_BYTES, &c->tokenizer_config, error))
    return false;
  name_from_path(c);
  c->safetensors = safetensors_open_directory(c->path, error);
  return c->safetensors && old_names_mend(&c->safetensors->tensors, &c->safetensors->arena, error) &&
         stages_open(c, error) && rank_words_open(&c->words, c, c->wants_rank, error) &&
         packed_tensors_open(&c->packed, checkpoint_table(c), c->config, error);
}

/* --- a GGUF file, or a folder with a pair of them ----------------------------------------------------------------- */

static bool metadata_read(struct checkpoint *c, struct error *error) {
  struct slice architecture = {0}, name = {0};
  struct template_pair *pair = &c->templates;
  buffer_init(&c->rank_template, LIMIT_CONFIG_BYTES);
  if (!gguf_get_string(c->gguf, "general.architecture", GGUF_REQUIRED, &architecture, error) ||
      !gguf_get_string(c->gguf, "general.name", GGUF_OPTIONAL, &name, error) ||
      !gguf_get_string(c->gguf, "tokenizer.chat_template", GGUF_OPTIONAL, &pair->usual, error) ||
      !gguf_get_string(c->gguf, "tokenizer.chat_template." TOOL_TEMPLATE, GGUF_OPTIONAL, &pair->tools, error) ||
      !template_pair_join(pair, &c->joint_template, &c->chat_template, error) ||
      !rank_template_write(c->gguf, &c->rank_template, error) || !generation_from_gguf(&c->generation, c->gguf, error))
    return error_prefix(error, "%s: ", c->path);
  if (!text_copy(c->architecture, architecture))
    return error_set(error, ERROR_FORMAT, "%s: general.architecture has %zu bytes, expected 1 to %d.", c->path,
                     architecture.size, NAME_BYTES - 1);
  if (!text_copy(c->name, name)) name_from_path(c);
  return true;
}

static bool files_open(struct checkpoint *c, const char *model, const char *projector, struct error *error) {
  c->gguf = gguf_open(model, error);
  return c->gguf && metadata_read(c, error) &&
         (!projector ||
          (gguf_pair_open(&c->pair, c->gguf, projector, error) && preprocessor_read(c, error) &&
           (c->preprocessor.data || mmproj_pictures(c->pair.projector, &c->pair.arena, &c->pair.pictures, error) ||
            error_prefix(error, "%s: ", projector)))) &&
         tensor_factors_open(&c->packed, projector ? &c->pair.table : &c->gguf->tensors, error);
}

static bool model_file_open(struct checkpoint *c, struct error *error) {
  const char *dot = strrchr(c->path, '.');
  if (dot && (strcmp(dot, ".safetensors") == 0 || strcmp(dot, ".json") == 0))
    return error_set(error, ERROR_INVALID, "%s is one file of a model; give the directory that holds it.", c->path);
  return files_open(c, c->path, NULL, error);
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static bool path_open(struct checkpoint *c, const char *path, struct error *error) {
  struct stat status;
  if (strlen(path) >= sizeof c->path) return error_set(error, ERROR_INVALID, "The path of the model is too long.");
  strcpy(c->path, path);
  if (stat(path, &status) != 0)
    return error_set(error, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "%s cannot be opened: %s.", path,
                     strerror(errno));
  if (!S_ISDIR(status.st_mode)) return model_file_open(c, error);
  struct gguf_paths paths;
  char config[PATH_MAX];
  if (path_join(c, "config.json", config) && stat(config, &status) == 0) return directory_open(c, error);
  if (!gguf_paths_find(path, &paths, error)) return false;
  return paths.n_projector ? files_open(c, paths.model, paths.projector, error) : directory_open(c, error);
}

static struct checkpoint *checkpoint_new(const char *path, struct error *error) {
  struct checkpoint *c = calloc(1, sizeof *c);
  if (!c) {
    error_set(error, ERROR_MEMORY, "No memory is left to open %s.", path);
    return NULL;
  }
  c->vocabulary.descriptor = c->tokenizer_config.descriptor = c->template_file.descriptor = -1;
  c->preprocessor.descriptor = c->tool_template_file.descriptor = -1;
  buffer_init(&c->joint_template, LIMIT_TEMPLATE_BYTES);
  c->words = (struct rank_words){-1, -1};
  c->generation = generation_plain;
  return c;
}

struct checkpoint *checkpoint_open_for(const char *path, bool ranks, struct error *error) {
  struct checkpoint *c = checkpoint_new(path, error);
  if (c) c->wants_rank = ranks;
  if (c && path_open(c, path, error)) return c;
  checkpoint_close(c);
  return NULL;
}

struct checkpoint *checkpoint_of_config(const char *name, struct slice config, struct error *error) {
  struct checkpoint *c = checkpoint_new(name, error);
  if (c && (c->config = json_parse(config, error)) && architecture_from_config(c, error)) {
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
  }
  checkpoint_close(c);
  return NULL;
}

void checkpoint_close(struct checkpoint *checkpoint) {
  struct checkpoint *c = checkpoint;
  if (!c) return;
  gguf_pair_release(&c->pair);
  buffer_release(&c->rank_template);
  buffer_release(&c->joint_template);
  gguf_close(c->gguf);
  safetensors_close(c->safetensors);
  packed_tensors_release(&c->packed);
  stage_tensors_release(&c->stages);
  json_decref(c->config);
  json_decref(c->template_json);
  file_close(&c->vocabulary);
  file_close(&c->tokenizer_config);
  file_close(&c->template_file);
  file_close(&c->tool_template_file);
  file_close(&c->preprocessor);
  free(c->classic);
  free(c);
}
