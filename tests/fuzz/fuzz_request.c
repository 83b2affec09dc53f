/* Any bytes as the body of each route that generates, and as the query of /generate. What is accepted must be within
 * the ranges of the table. */
#include "server/generate_request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct generate_request *request) {
  const spate_request *engine = &request->engine;
  bool sound = (engine->prompt || request->n_prompt > 0) && engine->max_tokens >= 1 && engine->temperature >= 0 &&
               engine->temperature <= 100 && engine->top_k >= 0 && engine->top_p > 0 && engine->top_p <= 1 &&
               engine->n_stop >= 0 && engine->n_stop <= LIMIT_STOP_STRINGS;
  for (int i = 0; i < engine->n_stop; i++) {
    size_t length = strlen(engine->stop[i]);
    sound = sound && length >= 1 && length <= LIMIT_STOP_BYTES;
  }
  for (int i = 0; i < request->n_prompt; i++) /* every byte and id can be read */
    for (int k = 0; k < request->prompt[i].n_token; k++) sound = sound && request->prompt[i].tokens[k] >= 0;
  if (!sound) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const spate_request defaults = {.size = sizeof defaults, .max_tokens = 256, .temperature = 1, .top_p = 1};
  struct slice text = slice_make(data, size);
  struct generate_request request;
  struct error error;
  static const enum request_kind kinds[] = {REQUEST_GENERATE, REQUEST_COMPLETION, REQUEST_CHAT};
  for (int i = 0; i < 3; i++) {
    if (generate_request_read_body(&request, kinds[i], &defaults, text, &error)) check(&request);
    generate_request_release(&request);
  }
  if (generate_request_read_query(&request, &defaults, text, &error)) check(&request);
  generate_request_release(&request);
  return 0;
}
