#include "model/encoder_labels.h"

#include "model/model_config.h"
#include "model/text_encoder.h"

#include <stdio.h>

bool encoder_label_count(const struct checkpoint *c, int *count, struct error *error) {
  const json_t *names = json_object_get(checkpoint_config(c), "id2label");
  *count = 2;
  if (!names || json_is_null(names))
    return config_int(c, (struct config_key){"num_labels", NULL}, CONFIG_OPTIONAL, 1, ENCODER_LABELS, count, error);
  size_t size = json_object_size(names);
  if (size < 1 || size > ENCODER_LABELS)
    return error_set(error, ERROR_INVALID, "config.json: id2label has %zu labels, expected an object of 1 to %d.", size,
                     ENCODER_LABELS);
  *count = (int)size;
  return true;
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
    const char *text = name ? json_string_value(name) : plain;
    buffer_append(names, text, strlen(text) + 1);
  }
  return !names->failed || error_set(error, ERROR_LIMIT, "config.json: the names of %d labels are too long.", count);
}

/* "torch.nn.modules.activation.Sigmoid" */
static bool act_named(struct slice name, enum label_act *act, struct error *error) {
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
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: sentence_transformers.activation_fn is \"%.*s\", expected torch's Identity, Sigmoid "
                   "or Softmax.",
                   SLICE_ARGS(name));
}

bool encoder_label_act(const struct checkpoint *c, int count, enum label_act *act, struct error *error) {
  static const char *const keys[] = {"sentence_transformers.activation_fn", "sbert_ce_default_activation_function"};
  struct slice name = {0}, problem = {0};
  for (int i = 0; i < 2 && name.size == 0; i++)
    if (!config_text(c, (struct config_key){keys[i], NULL}, &name, error)) return false;
  if (name.size > 0) return act_named(name, act, error);
  if (!config_text(c, (struct config_key){"problem_type", NULL}, &problem, error)) return false;
  bool several = slice_is(problem, "multi_label_classification");
  *act = slice_is(problem, "regression") ? LABELS_AS_THEY_ARE : count == 1 || several ? LABELS_SIGMOID : LABELS_SOFTMAX;
  return true;
}
