/* One walk over a weight's arrays serves reading and writing: which there are, and how many numbers each has. */
#include "engine/engine_folds.h"

#include "base/checked.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct engine_fold) == 32 && sizeof(int) == sizeof(int32_t), "docs/engine-file.md has the bytes");

enum { FOLD_ARRAYS = 3 + PLAN_PARTS };

/* One array of a weight. */
struct fold_array {
  uint32_t *place;
  int count; /* 0: the weight can have none */
  bool is_order;
  const void *numbers; /* of a struct weight_fold; NULL: there are none */
};

static void arrays_list(const struct weight *weight, struct engine_fold *entry, const struct weight_fold *fold,
                        struct fold_array out[FOLD_ARRAYS]) {
  bool alike = true; /* parts that one order of rows can be of */
  for (int i = 1; i < weight->n_part; i++) alike = alike && weight->part[i].rows == weight->part[0].rows;
  out[0] = (struct fold_array){&entry->column, weight->cols, false, fold->column};
  out[1] = (struct fold_array){&entry->column_order, weight->cols, true, fold->column_order};
  out[2] = (struct fold_array){&entry->row_order, alike ? weight->part[0].rows : 0, true, fold->row_order};
  for (int i = 0; i < PLAN_PARTS; i++)
    out[3 + i] =
        (struct fold_array){&entry->row[i], i < weight->n_part ? weight->part[i].rows : 0, false, fold->row[i]};
}

/* --- checking ----------------------------------------------------------------------------------------------------- */

static bool factors_check(const float *factor, int count, const char *name, struct error *error) {
  for (int i = 0; i < count; i++)
    if (!(factor[i] > 0) || !isnormal(factor[i]))
      return error_set(error, ERROR_FORMAT, "A factor that was folded into the weight %s is %g, and has no inverse.",
                       name, (double)factor[i]);
  return true;
}

/* seen: [count] of zeros, and left so. */
static bool order_check(const int32_t *order, int count, uint8_t *seen, const char *name, struct error *error) {
  for (int i = 0; i < count; i++) {
    if (order[i] < 0 || order[i] >= count || seen[order[i]])
      return error_set(error, ERROR_FORMAT,
                       "An order of the weight %s has %d at place %d of %d, out of range or twice.", name, order[i], i,
                       count);
    seen[order[i]] = 1;
  }
  memset(seen, 0, (size_t)count);
  return true;
}

static bool array_check(struct slice section, const struct plan *plan, const struct fold_array *array, uint8_t *seen,
                        const char *name, struct error *error) {
  uint64_t place = *array->place, table = (uint64_t)plan->n_weight * sizeof(struct engine_fold);
  if (place == 0) return true;
  if (array->count == 0 || place % sizeof(float) || place < table ||
      !range_within(place, (uint64_t)array->count * sizeof(float), section.size))
    return error_set(error, ERROR_FORMAT,
                     "What was folded into the weight %s lies at %llu, outside the %zu bytes of its section or where "
                     "there can be nothing.",
                     name, (unsigned long long)place, section.size);
  const void *numbers = section.data + place;
  return array->is_order ? order_check(numbers, array->count, seen, name, error)
                         : factors_check(numbers, array->count, name, error);
}

static bool entry_is_empty(const struct engine_fold *entry) {
  static const struct engine_fold none;
  return memcmp(entry, &none, sizeof none) == 0;
}

/* A token's row of an embedding is no product: nothing can have been folded into it. */
static bool embeds(const struct plan *plan, int weight) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == OP_EMBED && plan_ops(plan)[i].weight[0] == weight) return true;
  return false;
}

static bool entry_check(struct slice section, const struct plan *plan, int index, uint8_t *seen, struct error *error) {
  const struct weight *weight = &plan_weights(plan)[index];
  struct engine_fold entry = ((const struct engine_fold *)(const void *)section.data)[index];
  const char *name = plan_name(plan, weight->name);
  struct fold_array arrays[FOLD_ARRAYS];
  if (entry_is_empty(&entry)) return true;
  if (weight->use != WEIGHT_MATRIX || entry.apart > (weight->n_expert > 0) || embeds(plan, index))
    return error_set(error, ERROR_FORMAT, "The weight %s has folds, and is none that can have them.", name);
  arrays_list(weight, &entry, &(struct weight_fold){0}, arrays);
  for (int i = 0; i < FOLD_ARRAYS; i++)
    if (!array_check(section, plan, &arrays[i], seen, name, error)) return false;
  return true;
}

/* Numbers of the longest order. */
static size_t order_most(const struct plan *plan) {
  int most = 1;
  for (int i = 0; i < plan->n_weight; i++) {
    const struct weight *weight = &plan_weights(plan)[i];
    if (weight->cols > most) most = weight->cols;
    if (weight->part[0].rows > most) most = weight->part[0].rows;
  }
  return (size_t)most;
}

bool engine_folds_check(struct slice section, const struct plan *plan, struct error *error) {
  size_t table = (size_t)plan->n_weight * sizeof(struct engine_fold);
  if (section.size == 0) return true;
  if (section.size < table)
    return error_set(error, ERROR_FORMAT, "The folds have %zu bytes; %d weights take %zu.", section.size,
                     plan->n_weight, table);
  uint8_t *seen = calloc(order_most(plan), 1);
  bool done = seen || error_set(error, ERROR_MEMORY, "Out of memory for the folds of %d weights.", plan->n_weight);
  for (int i = 0; i < plan->n_weight && done; i++) done = entry_check(section, plan, i, seen, error);
  free(seen);
  return done;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct weight_fold engine_folds_get(struct slice section, int weight) {
  struct weight_fold fold = {0};
  if (section.size == 0) return fold;
  const struct engine_fold *entry = (const struct engine_fold *)(const void *)section.data + weight;
#define AT(place) ((place) ? (const void *)(section.data + (place)) : NULL)
  fold.column = AT(entry->column);
  fold.column_order = AT(entry->column_order);
  fold.row_order = AT(entry->row_order);
  fold.apart = entry->apart != 0;
  for (int i = 0; i < PLAN_PARTS; i++) fold.row[i] = AT(entry->row[i]);
#undef AT
  return fold;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void entry_write(const struct weight *weight, const struct weight_fold *fold, int index,
                        struct buffer *section) {
  struct engine_fold entry = {.apart = fold->apart};
  struct fold_array arrays[FOLD_ARRAYS];
  arrays_list(weight, &entry, fold, arrays);
  for (int i = 0; i < FOLD_ARRAYS; i++) {
    if (!arrays[i].numbers) continue;
    *arrays[i].place = (uint32_t)section->size;
    buffer_append(section, arrays[i].numbers, (size_t)arrays[i].count * sizeof(float));
  }
  if (!section->failed) memcpy(section->data + (size_t)index * sizeof entry, &entry, sizeof entry);
}

static bool fold_is_empty(const struct weight_fold *fold) {
  bool any = fold->column || fold->column_order || fold->row_order || fold->apart;
  for (int i = 0; i < PLAN_PARTS; i++) any = any || fold->row[i];
  return !any;
}

bool engine_folds_write(const struct plan *plan, const struct weight_fold *folds, struct buffer *section,
                        struct error *error) {
  size_t table = (size_t)plan->n_weight * sizeof(struct engine_fold);
  bool any = false;
  for (int i = 0; i < plan->n_weight; i++) any = any || !fold_is_empty(&folds[i]);
  if (!any) return true;
  void *entries = buffer_reserve(section, table);
  if (entries) {
    memset(entries, 0, table);
    section->size += table;
  }
  for (int i = 0; i < plan->n_weight && !section->failed; i++)
    entry_write(&plan_weights(plan)[i], &folds[i], i, section);
  if (section->failed)
    return error_set(error, ERROR_LIMIT, "What was folded into the weights does not fit in %zu bytes.", section->max);
  return engine_folds_check(buffer_slice(section), plan, error);
}
