/* Reading preprocessor_config.json, within the room: one value at a time, with a sentence for each that is wrong. A
 * field that is missing, or null, leaves what is there. */
#ifndef SPATE_IMAGE_PREPROCESS_FIELDS_H
#define SPATE_IMAGE_PREPROCESS_FIELDS_H

#include "base/json.h"
#include "image/preprocess_config.h"

enum size_edge { EDGE_SHORTEST, EDGE_SQUARE }; /* what a size that is one number means */

struct processor {
  const char *name; /* image_processor_type without "ImageProcessor", "Fast", "Pil" */
  enum size_edge edge;
  struct preprocess_config defaults;
};

/* One file as it is read: the first error ends it. */
struct reading {
  const json_t *fields;
  struct preprocess_config *config;
  const struct processor *processor;
  struct error *error;
};

/* Finds the type that the file states, and copies its defaults. */
bool processor_find(struct reading *reading);

/* NULL where it is missing or null. */
const json_t *reading_field(const struct reading *reading, const char *name);

/* The value of a field or of a part of one, called `name`: of 1 to `most`. */
bool whole_take(const struct reading *reading, const json_t *value, const char *name, int most, int *out);

/* A whole number, or an object with names of struct preprocess_size. */
bool size_take(const struct reading *reading, const json_t *value, const char *name, enum size_edge edge,
               struct preprocess_size *size);

bool bool_read(const struct reading *reading, const char *name, bool *out);
bool whole_read(const struct reading *reading, const char *name, int most, int *out);
bool number_read(const struct reading *reading, const char *name, double *out);

/* One number for all channels, or three. */
bool colours_read(const struct reading *reading, const char *name, double out[3]);

#endif
