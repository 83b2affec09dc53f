/* Generation defaults. */
#include "model/generation_defaults.h"

const struct checkpoint_generation generation_plain = {
    .temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1};

/* The numbers that both kinds of file may have. */
static const struct number {
  const char *json, *gguf; /* keys */
  size_t offset;           /* of the float in struct checkpoint_generation */
  double min, max;
  bool above_min; /* min itself is not allowed */
} numbers[] = {
#define AT(field) offsetof(struct checkpoint_generation, field)
    {"temperature", "general.sampling.temp", AT(temperature), 0, 100, false},
    {"top_p", "general.sampling.top_p", AT(top_p), 0, 1, true},
    {"min_p", "general.sampling.min_p", AT(min_p), 0, 1, false},
    {"typical_p", NULL, AT(typical_p), 0, 1, true},
    {"repetition_penalty", "general.sampling.penalty_repeat", AT(repetition_penalty), 0, 100, true},
#undef AT
};

enum { N_NUMBER = sizeof numbers / sizeof *numbers };

static const char json_file[] = "generation_config.json", gguf_part[] = "The metadata general.sampling";

static float *number_place(struct checkpoint_generation *g, const struct number *number) {
  return (float *)(void *)((char *)g + number->offset);
}

static bool number_store(struct checkpoint_generation *g, const struct number *number, double value, const char *where,
                         struct error *error) {
  bool inside = (number->above_min ? value > number->min : value >= number->min) && value <= number->max;
  if (!inside)
    return error_set(error, ERROR_INVALID,
                     number->above_min ? "%s: %s is %g, expected more than %g and at most %g."
                                       : "%s: %s is %g, expected %g to %g.",
                     where, number->json, value, number->min, number->max);
  *number_place(g, number) = (float)value;
  return true;
}

static bool top_k_store(struct checkpoint_generation *g, int64_t top_k, const char *where, struct error *error) {
  if (top_k < -1 || top_k > LIMIT_VOCAB)
    return error_set(error, ERROR_INVALID, "%s: top_k is %lld, expected 0 to %d.", where, (long long)top_k,
                     LIMIT_VOCAB);
  g->top_k = top_k < 0 ? 0 : (int32_t)top_k;
  return true;
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static bool end_add(struct checkpoint_generation *g, const json_t *id, const char *where, struct error *error) {
  if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= LIMIT_VOCAB)
    return error_set(error, ERROR_INVALID, "%s: eos_token_id is no token id or list of token ids.", where);
  if (g->n_end == CHECKPOINT_ENDS)
    return error_set(error, ERROR_LIMIT, "%s: eos_token_id lists more than %d ids.", where, CHECKPOINT_ENDS);
  g->end[g->n_end++] = (int32_t)json_integer_value(id);
  return true;
}

bool generation_ends_read(struct checkpoint_generation *g, const json_t *ids, const char *where, struct error *error) {
  if (!ids || json_is_null(ids)) return true;
  if (!json_is_array(ids)) return end_add(g, ids, where, error);
  for (size_t i = 0; i < json_array_size(ids); i++)
    if (!end_add(g, json_array_get(ids, i), where, error)) return false;
  return true;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static bool number_or_null(const json_t *object, const char *key, double *number, struct error *error) {
  const json_t *value = json_object_get(object, key);
  if (!value || json_is_null(value)) return true;
  if (!json_is_number(value)) return error_set(error, ERROR_INVALID, "%s: %s is not a number.", json_file, key);
  *number = json_number_value(value);
  return true;
}

bool generation_from_json(struct checkpoint_generation *g, const json_t *object, struct error *error) {
  const json_t *do_sample = json_object_get(object, "do_sample");
  if (do_sample && !json_is_boolean(do_sample) && !json_is_null(do_sample))
    return error_set(error, ERROR_INVALID, "%s: do_sample is not true or false.", json_file);
  for (int i = 0; i < N_NUMBER; i++) {
    double value = (double)*number_place(g, &numbers[i]);
    if (!number_or_null(object, numbers[i].json, &value, error) ||
        !number_store(g, &numbers[i], value, json_file, error))
      return false;
  }
  double top_k = 0;
  if (!number_or_null(object, "top_k", &top_k, error)) return false;
  if (!(top_k >= -1 && top_k <= LIMIT_VOCAB)) top_k = LIMIT_VOCAB + 1.0; /* refused by the next */
  if (!top_k_store(g, (int64_t)top_k, json_file, error)) return false;
  if (json_is_false(do_sample)) g->temperature = 0;
  return generation_ends_read(g, json_object_get(object, "eos_token_id"), json_file, error);
}

bool generation_from_gguf(struct checkpoint_generation *g, const struct gguf *gguf, struct error *error) {
  for (int i = 0; i < N_NUMBER; i++) {
    double value = (double)*number_place(g, &numbers[i]);
    if (numbers[i].gguf && (!gguf_get_float(gguf, numbers[i].gguf, GGUF_OPTIONAL, &value, error) ||
                            !number_store(g, &numbers[i], value, gguf_part, error)))
      return false;
  }
  int64_t top_k = 0;
  return gguf_get_i64(gguf, "general.sampling.top_k", GGUF_OPTIONAL, &top_k, error) &&
         top_k_store(g, top_k, gguf_part, error);
}
