/* Each mode's schemes are settled in a copy of the plan. */
#include "build/fitting_modes.h"

#include "build/scheme_choice.h"
#include "engine/loaded_engine.h"

#include <stdio.h>
#include <stdlib.h>

static bool mode_fits(const struct draft *draft, const struct backend *backend, enum quant_mode mode, struct plan *plan,
                      const char **notes, uint64_t available) {
  struct scheme_wish wish = {.mode = mode, .overrides = draft->overrides, .emulate = draft->emulate};
  return scheme_choose(plan, draft->checkpoint, &wish, backend, notes, NULL) &&
         engine_fits(plan, backend, &draft->facts.config, available, NULL);
}

/* Joins names to "A, B or C". */
static void names_join(const char *const *names, int count, char out[FITTING_TEXT]) {
  int size = snprintf(out, FITTING_TEXT, "It would fit with quant_mode ");
  for (int i = 0; i < count; i++)
    size += snprintf(out + size, (size_t)(FITTING_TEXT - size), "%s%s",
                     i == 0          ? ""
                     : i + 1 < count ? ", "
                                     : " or ",
                     names[i]);
  snprintf(out + size, (size_t)(FITTING_TEXT - size), ".");
}

const char *fitting_modes(const struct draft *draft, const struct backend *backend, uint64_t available,
                          char out[FITTING_TEXT]) {
  static const enum quant_mode modes[] = {QUANT_FP32, QUANT_FP16,        QUANT_BF16,       QUANT_W8A8,
                                          QUANT_FP8,  QUANT_INT8_WEIGHT, QUANT_INT4_WEIGHT};
  enum { MODES = sizeof modes / sizeof *modes };
  const char *names[MODES];
  int count = 0;
  struct plan *plan = malloc(draft->block[PLAN_DECODER].size);
  const char **notes = calloc((size_t)draft_plan(draft)->n_weight + 1, sizeof *notes);
  for (int i = 0; i < MODES && plan && notes; i++) {
    memcpy(plan, draft->block[PLAN_DECODER].data, draft->block[PLAN_DECODER].size);
    if (mode_fits(draft, backend, modes[i], plan, notes, available)) names[count++] = quant_mode_name(modes[i]);
  }
  free(plan);
  free(notes);
  names_join(names, count, out);
  if (count == 0)
    snprintf(out, FITTING_TEXT,
             "It would fit with no quant_mode: lower max_seq_len, max_batch_size or max_num_tokens, free memory, or "
             "choose a smaller model.");
  return out;
}
