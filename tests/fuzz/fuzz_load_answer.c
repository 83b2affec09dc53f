/* What a server may send to spate bench-serve: its first byte chooses the pieces in which the rest comes as the body of
 * an answer, and whether it is one of status 200. */
#include "load/load_answer.h"

#include "base/limits.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  struct load_request request = {.output = 4, .prompt_tokens = -1, .output_tokens = -1};
  struct load_answer answer;
  struct error error = {0};
  size_t piece = 1 + data[0] % 61;
  enum load_end end = LOAD_OK;
  load_answer_init(&answer, &request);
  if (!load_answer_head(&answer, data[0] < 250 ? 200 : 500, "text/event-stream", &error)) abort();
  for (size_t at = 1; at < size && end == LOAD_OK; at += piece)
    end = load_answer_body(&answer, slice_make(data + at, size - at < piece ? size - at : piece), at, &error);
  if (end == LOAD_OK) end = load_answer_finish(&answer, &error);
  if (end != LOAD_OK && !error.text[0]) abort(); /* each failure has its sentence */
  if (request.n_event > (int)size || (end == LOAD_OK && request.output_tokens < 0)) abort();
  load_answer_release(&answer);
  free(request.event_us);
  return 0;
}
