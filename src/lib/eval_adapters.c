#include "lib/eval_adapters.h"

static bool slots_fill(struct eval_adapters *adapters, struct error *error) {
  struct request_adapters *held = &adapters->held;
  for (int i = 0; i < held->n; i++) {
    if (!adapter_store_put(held->store, i, held->stored[i], error)) return false;
    adapters->row.lora[i].slot = i;
    adapters->row.lora[i].scale = held->scale[i];
  }
  adapters->row.n_lora = held->n;
  return true;
}

bool eval_adapters_take(struct eval_adapters *adapters, spate_engine *engine, const spate_lora *loras, int count,
                        struct error *error) {
  struct adapter_choice choice[ROW_LORAS];
  struct request_params params = {.adapter = choice, .n_adapter = count};
  *adapters = (struct eval_adapters){0};
  if (count < 0 || count > ROW_LORAS)
    return error_set(error, ERROR_INVALID, "%d adapters were given for an evaluation, expected at most %d.", count,
                     ROW_LORAS);
  for (int i = 0; i < count; i++) choice[i] = (struct adapter_choice){slice_text(loras[i].name), loras[i].scale};
  if (!request_adapters_take(engine->runtime, &adapters->held, &params, error)) return false;
  if (slots_fill(adapters, error)) return true;
  eval_adapters_drop(adapters, engine);
  return false;
}

/* What is in the slots now is not what the schedule put there. */
void eval_adapters_drop(struct eval_adapters *adapters, spate_engine *engine) {
  if (adapters->held.n > 0) runtime_forget_slots(engine->runtime);
  request_adapters_drop(&adapters->held);
}
