/* What the slot tells of engines and orders. */
#include "base/machine_memory.h"
#include "server/slot_state.h"

void engine_slot_metrics(struct engine_slot *slot, const struct served_engine *served, struct buffer *out) {
  static const char *const actions[SLOT_ACTIONS] = {
      [SLOT_RELOAD] = "reload", [SLOT_SLEEP] = "sleep", [SLOT_WAKE] = "wake_up"};
  int generation = engine_slot_generation(slot, served);
  uint64_t memory = machine_memory_own();
  pthread_mutex_lock(&slot->lock);
  int n_open = 0;
  for (const struct served_engine *open = slot->open; open; open = open->next) n_open++;
  buffer_print(out,
               "# HELP llm_engine_generation Engines that this process has opened so far; the last one serves.\n"
               "# TYPE llm_engine_generation gauge\nllm_engine_generation %d\n"
               "# HELP llm_engine_asleep 1 while the engine's memory is given back.\n"
               "# TYPE llm_engine_asleep gauge\nllm_engine_asleep %d\n"
               "# HELP llm_engines_open The engine that serves, and those that end their answers after a reload.\n"
               "# TYPE llm_engines_open gauge\nllm_engines_open %d\n"
               "# HELP llm_process_memory_bytes Memory of this process that is no file's.\n"
               "# TYPE llm_process_memory_bytes gauge\nllm_process_memory_bytes %llu\n"
               "# HELP llm_engine_orders_total Reloads, sleeps and wakes, by how they ended.\n"
               "# TYPE llm_engine_orders_total counter\n",
               generation, slot->current ? 0 : 1, n_open, (unsigned long long)memory);
  for (int i = 0; i < SLOT_ACTIONS; i++)
    for (int done = 0; done < 2; done++)
      buffer_print(out, "llm_engine_orders_total{action=\"%s\",result=\"%s\"} %llu\n", actions[i],
                   done ? "done" : "failed", (unsigned long long)slot->count[i][done]);
  pthread_mutex_unlock(&slot->lock);
}
