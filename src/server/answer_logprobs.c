/* Log-probabilities. */
#include "server/answer_logprobs.h"

#include "base/json.h"

/* A token's text may be a part of a character, which becomes U+FFFD; its id is exact. */
static void write_token(struct buffer *out, const spate_engine *engine, const spate_logprob *logprob) {
  size_t size;
  const char *text = spate_token_text(engine, logprob->token, &size);
  buffer_print(out, "{\"id\":%d,\"token\":", logprob->token);
  json_write_string(out, slice_make(text, size));
  buffer_print(out, ",\"logprob\":%.9g", (double)logprob->logprob);
}

static void write_top(struct buffer *out, const spate_engine *engine, const spate_logprob *top, int n_top) {
  buffer_text(out, ",\"top_logprobs\":[");
  for (int i = 0; i < n_top && top[i].token >= 0; i++) {
    if (i) buffer_text(out, ",");
    write_token(out, engine, &top[i]);
    buffer_text(out, "}");
  }
  buffer_text(out, "]");
}

bool answer_logprobs_write(struct buffer *out, const spate_engine *engine, const spate_event *event) {
  for (int i = 0; i < event->n_logprobs; i++) {
    const spate_logprob *token = event->logprobs + (size_t)i * (size_t)(1 + event->top_logprobs);
    if (out->size) buffer_text(out, ",");
    write_token(out, engine, token);
    if (event->top_logprobs) write_top(out, engine, token + 1, event->top_logprobs);
    buffer_text(out, "}");
  }
  return !out->failed;
}
