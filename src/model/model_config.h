/* Settings of a network by name, whichever kind of file they come from. Numbers are checked for type and range; each
 * sentence names the key, the expected and the actual value. */
#ifndef SPATE_MODEL_MODEL_CONFIG_H
#define SPATE_MODEL_MODEL_CONFIG_H

#include "model/checkpoint.h"

/* The name of one setting in each kind of file. hf is a path in config.json ("rope_scaling.factor"), looked up below
 * "text_config" first; gguf is a metadata key without the architecture's prefix. NULL: that kind never has it. */
struct config_key {
  const char *hf, *gguf;
};

/* An absent key (or a JSON null) leaves *value as it is, unless `need`: then it is an error. */
enum config_need { CONFIG_OPTIONAL, CONFIG_NEEDED };

bool config_has(const struct checkpoint *checkpoint, struct config_key key);
/* Whether config.json states a null, where an absent key would mean a default. */
bool config_is_null(const struct checkpoint *checkpoint, struct config_key key);
bool config_int(const struct checkpoint *checkpoint, struct config_key key, enum config_need need, int min, int max,
                int *value, struct error *error);
bool config_float(const struct checkpoint *checkpoint, struct config_key key, enum config_need need, double min,
                  double max, double *value, struct error *error);
bool config_bool(const struct checkpoint *checkpoint, struct config_key key, bool *value, struct error *error);
bool config_text(const struct checkpoint *checkpoint, struct config_key key, struct slice *value, struct error *error);

/* Arrays of texts or numbers in config.json: the number of elements, −1 when the key is absent or no array; one
 * element. */
int config_list_size(const struct checkpoint *checkpoint, struct config_key key);
bool config_list_text(const struct checkpoint *checkpoint, struct config_key key, int index, struct slice *value,
                      struct error *error);
bool config_list_float(const struct checkpoint *checkpoint, struct config_key key, int index, double min, double max,
                       double *value, struct error *error);
bool config_list_int(const struct checkpoint *checkpoint, struct config_key key, int index, int min, int max,
                     int *value, struct error *error);

/* "config.json: hidden_size" or "llama.embedding_length": what a sentence calls the key. Returns out. */
const char *config_key_name(const struct checkpoint *checkpoint, struct config_key key, char out[160]);

#endif
