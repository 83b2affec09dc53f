/* Overrides of a quant_mode. Texts are short: they are read again for each weight. */
#include "build/quant_override.h"

#include "base/name_distance.h"

#include <fnmatch.h>
#include <stdio.h>

enum { PATTERN_MOST = 128, MODE_MOST = 24, NAME_MOST = 160 };

struct override {
  char pattern[PATTERN_MOST], mode[MODE_MOST];
};

/* The next "pattern=MODE" of *text, which moves behind it and its comma. */
static bool override_read(const char **text, struct override *out, struct error *error) {
  size_t length = strcspn(*text, ","), name = strcspn(*text, "=,");
  if (name == 0 || name >= length || name >= PATTERN_MOST || length - name - 1 >= MODE_MOST || length == name + 1)
    return error_set(error, ERROR_INVALID,
                     "quant_override has \"%.*s\"; expected NAME=MODE, with commas between, such as "
                     "lm_head=INT8_WEIGHT,*.down_proj=BF16.",
                     (int)(length < 60 ? length : 60), *text);
  snprintf(out->pattern, sizeof out->pattern, "%.*s", (int)name, *text);
  snprintf(out->mode, sizeof out->mode, "%.*s", (int)(length - name - 1), *text + name + 1);
  *text += length + ((*text)[length] == ',');
  return true;
}

/* A name without ".weight". */
static void name_shorten(const char *name, char out[NAME_MOST]) {
  snprintf(out, NAME_MOST, "%s", name);
  const char ending[] = ".weight";
  size_t length = strlen(out), end = sizeof ending - 1;
  if (length > end && strcmp(out + length - end, ending) == 0) out[length - end] = '\0';
}

static bool name_matches(const char *pattern, const char *name) {
  char shorter[NAME_MOST];
  name_shorten(name, shorter);
  return fnmatch(pattern, name, 0) == 0 || fnmatch(pattern, shorter, 0) == 0;
}

static bool weight_matches(const char *pattern, const struct plan *plan, const struct weight *weight) {
  bool matches = name_matches(pattern, plan_name(plan, weight->name));
  for (int i = 0; i < weight->n_part && !matches; i++)
    matches = name_matches(pattern, plan_name(plan, weight->part[i].tensor));
  return matches && weight->use == WEIGHT_MATRIX;
}

static void nearest_find(const char *pattern, const struct plan *plan, char nearest[NAME_MOST], size_t *least) {
  char name[NAME_MOST];
  for (int i = 0; plan && i < plan->n_weight; i++) {
    const struct weight *weight = &plan_weights(plan)[i];
    for (int p = 0; p < weight->n_part && weight->use == WEIGHT_MATRIX; p++) {
      name_shorten(plan_name(plan, weight->part[p].tensor), name);
      size_t distance = name_distance(slice_text(pattern), slice_text(name));
      if (distance >= *least) continue;
      *least = distance;
      snprintf(nearest, NAME_MOST, "%s", name);
    }
  }
}

static bool refuse_unmatched(const char *pattern, const struct plan *plan, const struct plan *vision,
                             struct error *error) {
  char nearest[NAME_MOST] = "";
  size_t least = 2 * NAME_MOST;
  nearest_find(pattern, plan, nearest, &least);
  nearest_find(pattern, vision, nearest, &least);
  return error_set(error, ERROR_INVALID,
                   "quant_override's \"%s\" matches no matrix of the model; the nearest is \"%s\".", pattern, nearest);
}

static bool mode_check(const struct override *override, struct error *error) {
  uint8_t mode;
  if (!quant_mode_parse(override->mode, &mode, error)) return error_prefix(error, "quant_override: ");
  if (mode != QUANT_AUTO) return true;
  return error_set(error, ERROR_INVALID,
                   "quant_override gives \"%s\" auto, which chooses for all weights that no override names; make it "
                   "the quant_mode.",
                   override->pattern);
}

static bool plan_matches(const char *pattern, const struct plan *plan) {
  for (int i = 0; plan && i < plan->n_weight; i++)
    if (weight_matches(pattern, plan, &plan_weights(plan)[i])) return true;
  return false;
}

bool quant_overrides_check(const char *text, const struct plan *plan, const struct plan *vision, struct error *error) {
  struct override override;
  while (text && *text) {
    if (!override_read(&text, &override, error) || !mode_check(&override, error)) return false;
    if (!plan_matches(override.pattern, plan) && !plan_matches(override.pattern, vision))
      return refuse_unmatched(override.pattern, plan, vision, error);
  }
  return true;
}

enum quant_mode quant_override_find(const char *text, const struct plan *plan, const struct weight *weight,
                                    enum quant_mode mode) {
  struct override override;
  struct error ignored;
  uint8_t found = (uint8_t)mode;
  while (text && *text && override_read(&text, &override, &ignored))
    if (weight_matches(override.pattern, plan, weight)) quant_mode_parse(override.mode, &found, &ignored);
  return (enum quant_mode)found;
}
