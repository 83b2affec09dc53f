/* Names alone decide: nothing has been fetched yet. */
#include "hub/hub_choice.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/part_name.h"
#include "base/vocabulary_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { TOLD_FILES = 8 };

static const struct weight_names {
  const char *single, *index, *end; /* end: of each file that the index names */
} safetensors_names = {"model.safetensors", "model.safetensors.index.json", ".safetensors"},
  torch_names = {"pytorch_model.bin", "pytorch_model.bin.index.json", ".bin"};

static struct hub_file *find(struct hub_listing *listing, const char *name) {
  for (int i = 0; i < listing->n; i++)
    if (strcmp(listing->files[i].name, name) == 0) return &listing->files[i];
  return NULL;
}

static bool ends(const char *name, const char *end) {
  size_t size = strlen(name), tail = strlen(end);
  return size >= tail && strcasecmp(name + size - tail, end) == 0;
}

static const char *base_of(const char *name) {
  const char *slash = strrchr(name, '/');
  return slash ? slash + 1 : name;
}

/* --- folders of weights ------------------------------------------------------------------------------------------- */

static bool is_one_of(const char *const *names, const char *name) {
  for (; *names; names++)
    if (strcmp(name, *names) == 0) return true;
  return false;
}

/* What Spate and transformers read beside the weights. */
static bool is_beside(const char *name) {
  static const char *const names[] = {"config.json",
                                      "generation_config.json",
                                      "tokenizer_config.json",
                                      "special_tokens_map.json",
                                      "added_tokens.json",
                                      "chat_template.jinja",
                                      "additional_chat_templates/tool_use.jinja",
                                      "chat_template.json",
                                      "preprocessor_config.json",
                                      "processor_config.json",
                                      "quantize_config.json",
                                      "quant_config.json",
                                      "modules.json",
                                      "sentence_bert_config.json",
                                      "config_sentence_transformers.json"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return true;
  return is_one_of(vocabulary_names, name) || is_one_of(classic_vocabulary_names, name);
}

/* A stage of sentence-transformers: 1_Pooling/config.json, 2_Dense/model.safetensors. */
static bool is_stage(const char *name, const struct weight_names *weights) {
  size_t digits = strspn(name, "0123456789");
  const char *base = base_of(name);
  return digits && name[digits] == '_' && (strcmp(base, "config.json") == 0 || strcmp(base, weights->single) == 0);
}

static bool folder_choose(struct hub_listing *listing, const struct weight_names *weights, struct hub_choice *choice) {
  struct hub_file *index = find(listing, weights->index), *first = index ? index : find(listing, weights->single);
  if (!find(listing, "config.json") || !first) return false;
  for (int i = 0; i < listing->n; i++) {
    struct hub_file *file = &listing->files[i];
    file->wanted = is_beside(file->name) || is_stage(file->name, weights);
  }
  first->wanted = true;
  *choice = (struct hub_choice){.kind = HUB_FOLDER, .index = index};
  return true;
}

bool hub_choose_shards(struct hub_listing *listing, const struct hub_file *index, struct slice index_json,
                       const char *where, struct error *error) {
  const struct weight_names *weights = strcmp(index->name, torch_names.index) == 0 ? &torch_names : &safetensors_names;
  const char *tensor;
  json_t *name, *root = json_parse(index_json, NULL), *map = json_object_get(root, "weight_map");
  json_t *seen = json_object(); /* files that were found: each is looked for once, whatever their order */
  bool good = json_is_object(map) && json_object_size(map) > 0 && json_object_size(map) <= LIMIT_TENSOR_COUNT;
  if (!good) error_set(error, ERROR_FORMAT, "%s: %s has no object \"weight_map\".", where, weights->index);
  json_object_foreach(map, tensor, name) {
    const char *text = json_string_value(name);
    if (!good || json_object_get(seen, text)) continue;
    struct hub_file *file = text && !strchr(text, '/') && ends(text, weights->end) ? find(listing, text) : NULL;
    good = file || error_set(error, ERROR_FORMAT, "%s lacks the file \"%.100s\" that its %s names.", where,
                             text ? text : "?", weights->index);
    if (file) file->wanted = true;
    if (good && json_object_set_new(seen, text, json_true()) != 0)
      good = error_set(error, ERROR_MEMORY, "There is no memory for a list of files.");
    if (good && json_object_size(seen) > LIMIT_MODEL_SHARDS)
      good = error_set(error, ERROR_LIMIT, "%s names more than %d files in its %s.", where, LIMIT_MODEL_SHARDS,
                       weights->index);
  }
  json_decref(seen);
  json_decref(root);
  return good;
}

/* --- GGUF --------------------------------------------------------------------------------------------------------- */

static bool is_model(const char *name) {
  const char *base = base_of(name);
  return ends(name, ".gguf") && !strstr(base, "mmproj") && !strstr(base, "imatrix");
}

static bool is_first(const char *name) { return part_name_read(name).part == 1; }

/* Does the name have the word between its marks, as "Q4_K_M" in "model.Q4_K_M-00001-of-00002.gguf"? */
static bool has_word(const char *name, const char *word) {
  size_t size = strlen(word);
  for (const char *at = base_of(name); *at; at++) {
    if (strncasecmp(at, word, size) != 0) continue;
    bool begins = at == base_of(name) || strchr("-._", at[-1]);
    if (begins && (at[size] == '-' || at[size] == '.')) return true;
  }
  return false;
}

/* "Q4_K_M" before "UD-Q4_K_M"; of equally long names the first, so that a folder's own order decides nothing. */
static bool is_before(const char *a, const char *b) {
  size_t size = strlen(a), other = strlen(b);
  return size != other ? size < other : strcmp(a, b) < 0;
}

static struct hub_file *named(struct hub_listing *listing, const char *word, int *count) {
  struct hub_file *found = NULL;
  *count = 0;
  for (int i = 0; i < listing->n; i++) {
    struct hub_file *file = &listing->files[i];
    if (!is_model(file->name) || !is_first(file->name) || (*word && !has_word(file->name, word))) continue;
    if (!found || is_before(file->name, found->name)) found = file;
    ++*count;
  }
  return found;
}

static bool several_refuse(const struct hub_listing *listing, const char *where, const char *asked,
                           struct error *error) {
  char names[300] = "";
  int told = 0;
  for (int i = 0; i < listing->n; i++) {
    const char *name = listing->files[i].name;
    if (!is_model(name) || !is_first(name)) continue;
    size_t size = strlen(names);
    if (told < TOLD_FILES && size + strlen(name) + sizeof ", , ..." < sizeof names)
      snprintf(names + size, sizeof names - size, "%s%s", told++ ? ", " : "", name);
    else if (told <= TOLD_FILES)
      told = TOLD_FILES + 1, snprintf(names + size, sizeof names - size, ", ...");
  }
  if (*asked)
    return error_set(error, ERROR_NOT_FOUND, "%s has no GGUF file \"%.60s\"; it has %s.", where, asked, names);
  return error_set(error, ERROR_INVALID, "%s has several GGUF files: add one as :FILE or :QUANT, of %s.", where, names);
}

static struct hub_file *gguf_find(struct hub_listing *listing, const char *asked, const char *where,
                                  struct error *error) {
  static const char *const usual[] = {"Q4_K_M", "Q8_0"}; /* llama.cpp's */
  int count, of_word;
  struct hub_file *found = ends(asked, ".gguf") ? find(listing, asked) : NULL, *all = named(listing, "", &count);
  if (found && is_model(asked) && is_first(asked)) return found;
  if (*asked && !ends(asked, ".gguf") && (found = named(listing, asked, &of_word))) return found;
  for (size_t i = 0; !*asked && count > 1 && i < sizeof usual / sizeof *usual; i++)
    if ((found = named(listing, usual[i], &of_word))) return found;
  if (!*asked && count == 1) return all;
  several_refuse(listing, where, asked, error);
  return NULL;
}

static bool parts_choose(struct hub_listing *listing, const struct hub_file *model, const char *where,
                         struct error *error) {
  struct part_name of = part_name_read(model->name);
  int found = 0;
  for (int i = 0; i < listing->n; i++) {
    struct hub_file *file = &listing->files[i];
    if (!is_model(file->name)) continue;
    struct part_name other = part_name_read(file->name);
    if (other.stem != of.stem || other.parts != of.parts || memcmp(file->name, model->name, of.stem) != 0) continue;
    if ((of.parts == 1 && file != model) || other.part < 1 || other.part > of.parts) continue;
    file->wanted = true;
    found++;
  }
  return (model->wanted && found == of.parts) ||
         error_set(error, ERROR_FORMAT, "%s has %d of the %d parts of %.100s.", where, found, of.parts, model->name);
}

static bool same_folder(const char *a, const char *b) {
  size_t size = (size_t)(base_of(a) - a);
  return size == (size_t)(base_of(b) - b) && memcmp(a, b, size) == 0;
}

/* Of several, the first of these types: encoders are small, and lose more by rounding. */
static struct hub_file *projector_find(struct hub_listing *listing, const struct hub_file *model) {
  static const char *const types[] = {"F16", "BF16", "F32", ""};
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (int i = 0; i < listing->n; i++) {
      struct hub_file *file = &listing->files[i];
      bool is_one = ends(file->name, ".gguf") && strstr(base_of(file->name), "mmproj");
      if (is_one && same_folder(file->name, model->name) && (!*types[t] || has_word(file->name, types[t]))) return file;
    }
  return NULL;
}

static bool gguf_choose(struct hub_listing *listing, const char *asked, const char *where, struct hub_choice *choice,
                        struct error *error) {
  struct hub_file *model = gguf_find(listing, asked, where, error);
  if (!model || !parts_choose(listing, model, where, error)) return false;
  struct hub_file *projector = projector_find(listing, model), *preprocessor;
  if (projector) projector->wanted = true;
  if (projector && (preprocessor = find(listing, "preprocessor_config.json"))) preprocessor->wanted = true;
  *choice = (struct hub_choice){.kind = HUB_GGUF, .model = model, .projector = projector};
  return true;
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static bool has(const struct hub_listing *listing, bool (*is_such)(const char *name)) {
  for (int i = 0; i < listing->n; i++)
    if (is_such(listing->files[i].name)) return true;
  return false;
}

static bool is_pickle(const char *name) {
  return ends(name, ".bin") || ends(name, ".pt") || ends(name, ".pth") || ends(name, ".ckpt") || ends(name, ".pkl");
}

static bool none_refuse(const struct hub_listing *listing, const char *where, struct error *error) {
  if (has(listing, is_pickle))
    return error_set(error, ERROR_UNSUPPORTED,
                     "%s has its weights in pickle files alone that are not config.json with %s or its index: look for "
                     "one with those, safetensors or GGUF.",
                     where, torch_names.single);
  return error_set(error, ERROR_UNSUPPORTED,
                   "%s holds no model that Spate reads: neither config.json with %s or its index, nor a .gguf file.",
                   where, safetensors_names.single);
}

bool hub_choose(struct hub_listing *listing, const char *asked, const char *where, struct hub_choice *choice,
                struct error *error) {
  for (int i = 0; i < listing->n; i++) listing->files[i].wanted = false;
  if (!*asked && folder_choose(listing, &safetensors_names, choice)) return true;
  if (has(listing, is_model)) return gguf_choose(listing, asked, where, choice, error);
  if (!*asked && folder_choose(listing, &torch_names, choice)) return true;
  if (*asked) return error_set(error, ERROR_NOT_FOUND, "%s has no GGUF file \"%.60s\", nor any.", where, asked);
  return none_refuse(listing, where, error);
}
