/* spate.h: what a device can do at most. */
#include "lib/bench_report.h"
#include "backend/device_choice.h"
#include "lib/spate_state.h"

#include "base/json.h"

static void machine_write(struct buffer *out, const struct backend *backend, const struct device *device,
                          const struct machine_rates *rates) {
  buffer_text(out, "{\"device\":");
  json_write_string(out, slice_text(backend->describe(device)));
  buffer_text(out, ",\"machine\":");
  rates_write(out, rates);
  buffer_text(out, "}");
}

bool spate_bench_machine(const char *device_name, int threads, spate_progress progress, void *user, spate_text *json,
                         spate_error *error) {
  struct error detail = {0};
  const struct backend *backend;
  if (!device_choose(device_name, &backend, &detail)) return error_export(&detail, error);
  struct device *device = backend->open(&(struct device_options){.n_thread = threads}, &detail);
  if (!device) return error_export(&detail, error);
  struct machine_rates rates;
  struct buffer out;
  buffer_init(&out, BENCH_TEXT_MAX);
  bool done = backend->rates(device, &rates, &detail);
  if (done) machine_write(&out, backend, device, &rates);
  backend->close(device);
  if (done && progress) progress(user, "measure", 1, 1);
  if (done && text_export(&out, json, &detail)) return true;
  buffer_release(&out);
  return error_export(&detail, error);
}
