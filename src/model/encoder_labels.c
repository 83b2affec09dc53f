#include "model/encoder_labels.h"

#include "base/json.h"
#include "base/limits.h"
#include "model/model_config.h"

#include <stdio.h>

enum { ENCODER_LABELS = 1 << 12 };

/* A row of the last linear for each. */
static bool gguf_count(const struct checkpoint *c, int *count, struct error *error) {
  const struct tensor *scores = checkpoint_find(c, "cls.output.weight");
  bool ok = scores && scores->n_dim == 2 && scores->dim[0] >= 1 && scores->dim[0] <= ENCODER_LABELS;
  if (ok) *count = (int)scores->dim[0];
  return ok || error_set(error, ERROR_FORMAT, "Tensor cls.output.weight is missing or no matrix of 1 to %d rows.",
                         ENCODER_LABELS);
}

bool encoder_label_count(const struct checkpoint *c, int *count, struct error *error) {
  const json_t *names = NULL;
  *count = 2;
  if (checkpoint_kind(c) == CHECKPOINT_GGUF) return gguf_count(c, count, error);
  if (!config_object(c, (struct config_key){"id2label", NULL}, &names, error)) return false;
  if (!names)
    return config_int(c, (struct config_key){"num_labels", NULL}, CONFIG_OPTIONAL, 1, ENCODER_LABELS, count, error);
  size_t size = json_object_size(names);
  if (size < 1 || size > ENCODER_LABELS)
    return error_set(error, ERROR_INVALID, "config.json: id2label has %zu labels, expected an object of 1 to %d.", size,
                     ENCODER_LABELS);
  *count = (int)size;
  return true;
}

bool encoder_last_read(struct text_tail *tail, const struct checkpoint *c, int hidden, struct error *error) {
  bool gguf = checkpoint_kind(c) == CHECKPOINT_GGUF;
  int n_label;
  if (!text_tail_read(tail, c, POOL_TOKEN, hidden, error)) return false;
  if (!text_classifies(c)) return true;
  if (!encoder_label_count(c, &n_label, error)) return false;
  *tail = (struct text_tail){.pool = POOL_TOKEN};
  text_tail_add(tail, gguf ? "cls.output" : "score", hidden, n_label)->bias =
      gguf && checkpoint_find(c, "cls.output.bias") != NULL;
  return true;
}

/* The label's name in a GGUF file; no data: it has none. */
static struct slice gguf_label(const struct checkpoint *c, int index) {
  char key[160];
  if (checkpoint_kind(c) != CHECKPOINT_GGUF) return (struct slice){0};
  config_key_name(c, (struct config_key){NULL, "classifier.output_labels"}, key);
  const struct gguf_value *list = gguf_find(checkpoint_gguf(c), key);
  bool there = list && list->is_array && list->type == GGUF_STRING && (size_t)index < list->count;
  return there ? list->strings[index] : (struct slice){0};
}

bool encoder_label_names(const struct checkpoint *c, int count, struct buffer *names, struct error *error) {
  const json_t *given = json_object_get(checkpoint_config(c), "id2label");
  for (int i = 0; i < count; i++) {
    char key[16], plain[32];
    snprintf(key, sizeof key, "%d", i);
    const json_t *name = json_object_get(given, key);
    snprintf(plain, sizeof plain, "LABEL_%d", i);
    if (name && !json_is_string(name))
      return error_set(error, ERROR_INVALID, "config.json: id2label.%d is no text.", i);
    struct slice text = name ? json_slice(name) : gguf_label(c, i);
    if (!text.data || memchr(text.data, 0, text.size)) text = slice_text(plain);
    buffer_append(names, text.data, text.size);
    buffer_append(names, "", 1);
  }
  return !names->failed || error_set(error, ERROR_LIMIT, "config.json: the names of %d labels are too long.", count);
}

/* "torch.nn.modules.activation.Sigmoid" */
static bool act_named(struct slice name, const char *key, enum label_act *act, struct error *error) {
  static const struct {
    const char *name;
    enum label_act act;
  } acts[] = {{"torch.nn.modules.linear.Identity", LABELS_AS_THEY_ARE},
              {"torch.nn.modules.activation.Sigmoid", LABELS_SIGMOID},
              {"torch.nn.modules.activation.Softmax", LABELS_SOFTMAX}};
  for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
    if (!slice_is(name, acts[i].name)) continue;
    *act = acts[i].act;
    return true;
  }
  return error_set(error, ERROR_UNSUPPORTED, "%s is \"%.*s\", expected torch's Identity, Sigmoid or Softmax.", key,
                   SLICE_ARGS(name));
}

/* What a CrossEncoder is stored with today, before what config.json says. */
static bool sentences_act(const struct checkpoint *c, bool *said, enum label_act *act, struct error *error) {
  json_t *object = NULL;
  *said = false;
  if (checkpoint_kind(c) != CHECKPOINT_HF) return true;
  if (!checkpoint_json(c, "config_sentence_transformers.json", &object, error)) return false;
  const json_t *name = json_object_get(object, "activation_fn");
  *said = json_is_string(name);
  bool ok = !*said || act_named(json_slice(name), "config_sentence_transformers.json: activation_fn", act, error);
  json_decref(object);
  return ok;
}

bool encoder_label_act(const struct checkpoint *c, int count, enum label_act *act, struct error *error) {
  static const char *const keys[] = {"sentence_transformers.activation_fn", "sbert_ce_default_activation_function"};
  struct slice name = {0}, problem = {0};
  bool said;
  if (!sentences_act(c, &said, act, error)) return false;
  if (said) return true;
  for (int i = 0; i < 2 && !name.data; i++)
    if (!config_text(c, (struct config_key){keys[i], NULL}, &name, error)) return false;
  if (name.data) return act_named(name, "config.json: sentence_transformers.activation_fn", act, error);
  if (!config_text(c, (struct config_key){"problem_type", NULL}, &problem, error)) return false;
  bool several = slice_is(problem, "multi_label_classification");
  *act = slice_is(problem, "regression") ? LABELS_AS_THEY_ARE : count == 1 || several ? LABELS_SIGMOID : LABELS_SOFTMAX;
  return true;
}
