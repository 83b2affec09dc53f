/* Settings of a network by name, whichever kind of file they come from. Values are checked for type and range; each
 * sentence names the key, the expected and the actual value. Nothing that is there counts as absent but null. */
#ifndef SPATE_MODEL_MODEL_CONFIG_H
#define SPATE_MODEL_MODEL_CONFIG_H

#include "model/checkpoint.h"

/* The name of one setting in each kind of file. hf is a path in config.json ("rope_scaling.factor"), looked up below
 * "text_config" first, and by the other names that files have for it ("n_layer" and "num_hidden_layers": those of the
 * table in model_config.c); gguf is a metadata key without the architecture's prefix. NULL: that kind never has it. */
struct config_key {
  const char *hf, *gguf;
};

/* An absent key (or a JSON null) leaves *value as it is, unless `need`: then it is an error. */
enum config_need { CONFIG_OPTIONAL, CONFIG_NEEDED };

/* Whether there is a value, of whatever type: that the reading of it tells. */
bool config_has(const struct checkpoint *checkpoint, struct config_key key);
/* Whether config.json states a null, where an absent key would mean a default. */
bool config_is_null(const struct checkpoint *checkpoint, struct config_key key);
bool config_int(const struct checkpoint *checkpoint, struct config_key key, enum config_need need, int min, int max,
                int *value, struct error *error);
bool config_float(const struct checkpoint *checkpoint, struct config_key key, enum config_need need, double min,
                  double max, double *value, struct error *error);
bool config_bool(const struct checkpoint *checkpoint, struct config_key key, bool *value, struct error *error);
bool config_text(const struct checkpoint *checkpoint, struct config_key key, struct slice *value, struct error *error);

/* Of config.json (of a GGUF file there are none): an object, NULL when absent. */
bool config_object(const struct checkpoint *checkpoint, struct config_key key, const json_t **object,
                   struct error *error);
/* Arrays of texts or numbers there: the number of elements, −1 when absent; one element. */
bool config_list(const struct checkpoint *checkpoint, struct config_key key, int *count, struct error *error);
/* Of what may be one value or several. */
bool config_is_list(const struct checkpoint *checkpoint, struct config_key key);
bool config_list_text(const struct checkpoint *checkpoint, struct config_key key, int index, struct slice *value,
                      struct error *error);
bool config_list_float(const struct checkpoint *checkpoint, struct config_key key, int index, double min, double max,
                       double *value, struct error *error);
bool config_list_int(const struct checkpoint *checkpoint, struct config_key key, int index, int min, int max,
                     int *value, struct error *error);

/* "config.json: hidden_size" or "llama.embedding_length": what a sentence calls the key. Returns out. */
const char *config_key_name(const struct checkpoint *checkpoint, struct config_key key, char out[160]);

#endif
