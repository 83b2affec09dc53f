/* Generations: from tokens to events. */
#include "runtime/generation.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool params_copy(struct generation *g, const struct generation_params *params, struct error *error) {
  g->prompt_size = params->prompt.size;
  g->prompt = malloc(params->prompt.size + 1);
  if (!g->prompt) return error_set(error, ERROR_MEMORY, "Out of memory for a prompt of %zu bytes.", g->prompt_size);
  if (params->prompt.size) memcpy(g->prompt, params->prompt.data, params->prompt.size);
  if (!stop_matcher_init(&g->stop, params->stop, (size_t)params->n_stop, error)) return false;
  return params->n_token == 0 || generation_set_tokens(g, params->tokens, params->n_token, error);
}

struct generation *generation_new(const struct generation_params *params, struct inbox *inbox, struct error *error) {
  struct generation *g = calloc(1, sizeof *g);
  if (!g) {
    error_set(error, ERROR_MEMORY, "Out of memory for a request.");
    return NULL;
  }
  g->max_tokens = params->max_tokens;
  g->ignore_end = params->ignore_end;
  g->last_token = -1;
  g->sequence.sampling = params->sampling;
  g->sequence.priority = params->priority;
  g->sequence.tenant = params->tenant;
  g->sequence.owner = g;
  inbox_hold(inbox);
  g->inbox = inbox;
  if (params_copy(g, params, error)) return g;
  generation_free(g);
  return NULL;
}

void generation_free(struct generation *g) {
  inbox_drop(g->inbox);
  free(g->sequence.tokens);
  free(g->prompt);
  free(g);
}

bool generation_set_tokens(struct generation *g, const int32_t *tokens, int32_t count, struct error *error) {
  assert(count >= 1 && g->max_tokens >= 1);
  size_t room = (size_t)count + (size_t)g->max_tokens;
  g->sequence.tokens = calloc(room, sizeof *tokens);
  if (!g->sequence.tokens) return error_set(error, ERROR_MEMORY, "Out of memory for %zu tokens.", room);
  memcpy(g->sequence.tokens, tokens, (size_t)count * sizeof *tokens);
  g->sequence.n_prompt = count;
  g->sequence.max_tokens = g->max_tokens;
  return true;
}

static void text_flush(struct generation *g) {
  uint8_t rest[4];
  size_t size = detokenizer_flush(&g->detokenizer, rest), written;
  if (stop_matcher_feed(&g->stop, slice_make(rest, size), g->text + g->n_text, &written)) {
    g->n_text += written;
    return;
  }
  g->n_text += written;
  g->n_text += stop_matcher_flush(&g->stop, g->text + g->n_text);
}

void generation_end(struct generation *g, enum finish_reason finish) {
  if (g->ended) return;
  g->ended = true;
  g->finish = finish;
  if (g->detokenizer.tokenizer && g->stop.found < 0) text_flush(g);
}

void generation_fail(struct generation *g, const struct error *error) {
  if (g->ended) return;
  g->ended = true;
  g->n_text = 0;
  g->error = *error;
}

void generation_accept(struct generation *g, int32_t token, bool is_end) {
  if (g->ended) return;
  g->generated++;
  g->last_token = token;
  if (is_end && !g->ignore_end) {
    generation_end(g, FINISH_STOP);
    return;
  }
  uint8_t piece[DETOKENIZER_OUT_MAX];
  size_t size = detokenizer_feed(&g->detokenizer, token, piece), written = 0;
  bool stopped = stop_matcher_feed(&g->stop, slice_make(piece, size), g->text + g->n_text, &written);
  g->n_text += written;
  if (stopped)
    generation_end(g, FINISH_STOP);
  else if (g->generated == g->max_tokens)
    generation_end(g, FINISH_LENGTH);
}

bool generation_deliver(struct generation *g) {
  if (!g->ended && g->n_text == 0) return true;
  struct inbox_event event = {.request = g->id,
                              .kind = g->error.code ? INBOX_FAILED
                                      : g->ended    ? INBOX_DONE
                                                    : INBOX_TEXT,
                              .finish = g->finish,
                              .code = g->error.code,
                              .token = g->last_token,
                              .generated = g->generated,
                              .prompt = g->sequence.n_prompt,
                              .cached = g->sequence.n_cached,
                              .text = slice_make(g->text, g->n_text)};
  if (g->error.code) event.text = slice_text(g->error.text);
  if (!inbox_push(g->inbox, &event)) return false;
  g->n_text = 0;
  return true;
}
