/* Values of preprocessor_config.json. */
#include "image/preprocess_fields.h"

#include <math.h>

const json_t *reading_field(const struct reading *reading, const char *name) {
  const json_t *value = json_object_get(reading->fields, name);
  return json_is_null(value) ? NULL : value;
}

bool whole_take(const struct reading *reading, const json_t *value, const char *name, int most, int *out) {
  if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > most)
    return error_set(reading->error, ERROR_FORMAT, "preprocessor_config.json: %s is not a whole number of 1 to %d.",
                     name, most);
  *out = (int)json_integer_value(value);
  return true;
}

static bool number_take(const json_t *value, const char *name, double *out, struct error *error) {
  if (!json_is_number(value) || !isfinite(json_number_value(value)) || fabs(json_number_value(value)) > 1e6)
    return error_set(error, ERROR_FORMAT, "preprocessor_config.json: %s is not a number of at most a million.", name);
  *out = json_number_value(value);
  return true;
}

bool bool_read(const struct reading *reading, const char *name, bool *out) {
  const json_t *value = reading_field(reading, name);
  if (!value) return true;
  if (!json_is_boolean(value))
    return error_set(reading->error, ERROR_FORMAT, "preprocessor_config.json: %s is neither true nor false.", name);
  *out = json_is_true(value);
  return true;
}

bool whole_read(const struct reading *reading, const char *name, int most, int *out) {
  const json_t *value = reading_field(reading, name);
  return !value || whole_take(reading, value, name, most, out);
}

bool number_read(const struct reading *reading, const char *name, double *out) {
  const json_t *value = reading_field(reading, name);
  return !value || number_take(value, name, out, reading->error);
}

bool colours_read(const struct reading *reading, const char *name, double out[3]) {
  const json_t *value = reading_field(reading, name);
  if (!value) return true;
  if (json_is_array(value) && json_array_size(value) != 3)
    return error_set(reading->error, ERROR_FORMAT,
                     "preprocessor_config.json: %s has %zu numbers, expected one for each of 3 channels.", name,
                     json_array_size(value));
  for (size_t c = 0; c < 3; c++)
    if (!number_take(json_is_array(value) ? json_array_get(value, c) : value, name, &out[c], reading->error))
      return false;
  return true;
}

static bool size_object_take(const struct reading *reading, const json_t *value, const char *name,
                             struct preprocess_size *size) {
  struct preprocess_size read = {0};
  bool area = reading->config->kind == PREPROCESS_AREA;
  const struct {
    const char *name;
    int *to;
  } parts[] = {{"height", &read.height},
               {"width", &read.width},
               {"shortest_edge", &read.shortest_edge},
               {"longest_edge", &read.longest_edge},
               {"max_height", &read.max_height},
               {"max_width", &read.max_width}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    char full[64];
    const json_t *part = json_object_get(value, parts[i].name);
    snprintf(full, sizeof full, "%s.%s", name, parts[i].name);
    if (part && !json_is_null(part) &&
        !whole_take(reading, part, full, area ? LIMIT_IMAGE_PIXELS : LIMIT_IMAGE_SIDE, parts[i].to))
      return false;
  }
  *size = read;
  return true;
}

bool size_take(const struct reading *reading, const json_t *value, const char *name, enum size_edge edge,
               struct preprocess_size *size) {
  int number;
  if (json_is_object(value)) return size_object_take(reading, value, name, size);
  if (!whole_take(reading, value, name, LIMIT_IMAGE_SIDE, &number)) return false;
  *size = edge == EDGE_SQUARE ? (struct preprocess_size){.height = number, .width = number}
                              : (struct preprocess_size){.shortest_edge = number};
  return true;
}
