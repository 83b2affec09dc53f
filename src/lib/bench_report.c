/* Reports of benches. */
#include "lib/bench_report.h"

#include "base/json.h"

#include <stdlib.h>

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double bench_median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, ascending);
  return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

void number_write(struct buffer *out, const char *name, double value) {
  buffer_print(out, "\"%s\":%.6g,", name, value);
}

void rates_write(struct buffer *out, const struct machine_rates *rates) {
  buffer_text(out, "{\"read\":[");
  for (int i = 0; i < rates->n_size; i++)
    buffer_print(out, "%s{\"bytes\":%llu,\"gbs\":%.4g}", i ? "," : "", (unsigned long long)rates->read[i].bytes,
                 rates->read[i].gbs);
  buffer_text(out, "],");
  number_write(out, "int8_gops", rates->int8_gops);
  number_write(out, "bf16_gflops", rates->bf16_gflops);
  number_write(out, "fp16_gflops", rates->fp16_gflops);
  number_write(out, "copy_gbs", rates->copy_gbs);
  number_write(out, "link_gbs", rates->link_gbs);
  number_write(out, "launch_gap_us", rates->launch_gap_us);
  number_write(out, "graph_gap_us", rates->graph_gap_us);
  buffer_print(out, "\"fp32_gflops\":%.6g}", rates->fp32_gflops);
}

void fallbacks_write(struct buffer *out, const struct loaded_engine *engine) {
  struct buffer lines;
  buffer_init(&lines, BENCH_TEXT_MAX);
  if (engine->backend->fallbacks) engine->backend->fallbacks(engine->device, engine->plan, &engine->limits, &lines);
  buffer_text(out, "\"fallbacks\":[");
  for (size_t at = 0, first = 0; at < lines.size; at++) {
    if (lines.data[at] != '\n') continue;
    if (first) buffer_text(out, ",");
    json_write_string(out, slice_make(lines.data + first, at - first));
    first = at + 1;
  }
  buffer_text(out, "]");
  buffer_release(&lines);
}
