/* vllm:lora_requests_info: routers send requests to where their adapter is. Its labels change, so it is in no table. */
#include "runtime/runtime_metrics.h"

#include <string.h>
#include <time.h>

enum { NAMES_MAX = 1 << 19 }; /* bytes, each of which may become two; a page has 4 MiB */

struct names {
  struct buffer waiting, running;
};

/* Those for which there is room: the page is more than they are. */
static void name_add(struct buffer *names, const struct stored_adapter *stored) {
  const char *name = stored_adapter_name(stored);
  if (names->size + strlen(name) + 1 > NAMES_MAX) return;
  if (names->size) buffer_text(names, ",");
  buffer_text(names, name);
}

static void stored_note(void *user, const struct stored_adapter *stored) {
  struct names *names = user;
  if (atomic_load(&stored->waits) > 0) name_add(&names->waiting, stored);
  if (atomic_load(&stored->runs) > 0) name_add(&names->running, stored);
}

bool adapter_metric_write(struct adapter_store *store, int32_t slots, struct buffer *out) {
  struct names names;
  if (!store) return true;
  buffer_init(&names.waiting, NAMES_MAX);
  buffer_init(&names.running, NAMES_MAX);
  adapter_store_visit(store, stored_note, &names);
  buffer_print(out,
               "# HELP vllm:lora_requests_info Adapters of requests; the value is the time.\n"
               "# TYPE vllm:lora_requests_info gauge\nvllm:lora_requests_info{max_lora=\"%d\",",
               slots);
  metric_write_label(out, "waiting_lora_adapters", buffer_slice(&names.waiting));
  buffer_text(out, ",");
  metric_write_label(out, "running_lora_adapters", buffer_slice(&names.running));
  buffer_print(out, "} %lld\n", (long long)time(NULL));
  bool written = !out->failed && !names.waiting.failed && !names.running.failed;
  buffer_release(&names.waiting);
  buffer_release(&names.running);
  return written;
}
