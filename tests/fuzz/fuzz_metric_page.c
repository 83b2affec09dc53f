/* What a server may send to spate doctor as its metrics: two pages with a zero byte between, the earlier one first; and
 * what is read of them, in a report. */
#include "base/json.h"
#include "doctor/doctor_report.h"
#include "doctor/server_facts.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A report of facts is JSON whatever they are. */
static void report_check(const struct facts *facts, const struct error *error) {
  struct problems problems = {.count = 0};
  struct error detail;
  struct buffer out;
  buffer_init(&out, REPORT_BYTES_MAX);
  problem_add(&problems, error->text);
  if (!report_write_json(facts, &problems, &out)) abort();
  json_t *root = json_parse(buffer_slice(&out), &detail);
  if (!root) abort();
  json_decref(root);
  buffer_clear(&out);
  if (!report_write_text(facts, &problems, &out)) abort();
  buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
  size_t first = zero ? (size_t)(zero - data) + 1 : 0;
  struct metric_page before = {0}, page = {0};
  struct error error = {0};
  struct facts *facts = calloc(1, sizeof *facts);
  if (!facts) abort();
  bool read = (!zero || metric_page_read(&before, slice_make(data, first - 1), &error)) &&
              metric_page_read(&page, slice_make(data + first, size - first), &error);
  if (read) read = server_facts_find(facts, &page, zero ? &before : NULL, &error);
  if (!read && !error.text[0]) abort(); /* each failure has its sentence */
  report_check(facts, &error);
  metric_page_release(&before);
  metric_page_release(&page);
  free(facts);
  return 0;
}
