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
  g->stop.shown = params->show_stop;
  return params->n_token == 0 || generation_set_tokens(g, params->tokens, params->n_token, error);
}

struct generation *generation_new(const struct generation_params *params, struct logit_rules *rules,
                                  struct inbox *inbox, struct error *error) {
  struct generation *g = calloc(1, sizeof *g);
  if (!g) {
    free(rules);
    error_set(error, ERROR_MEMORY, "Out of memory for a request.");
    return NULL;
  }
  g->chat = params->chat;
  g->max_tokens = params->max_tokens;
  g->rules = rules;
  g->show_stop = params->show_stop;
  g->last_token = -1;
  g->sequence.sampling = params->sampling;
  g->sequence.sampling.rules = rules;
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
  free(g->rules);
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
  g->n_logprob = 0;
  g->error = *error;
}

static void logprobs_keep(struct generation *g, const struct schedule_event *event) {
  int32_t n_top = g->sequence.sampling.n_top;
  struct token_logprob *place = &g->logprobs[g->n_logprob++ * (1 + n_top)];
  assert(place + 1 + n_top <= g->logprobs + GENERATION_LOGPROBS_MAX);
  *place = (struct token_logprob){event->token, event->logprob};
  if (n_top > 0) memcpy(place + 1, event->top, (size_t)n_top * sizeof *place);
}

/* True when a stop string is complete. */
static bool text_add(struct generation *g, int32_t token) {
  uint8_t piece[DETOKENIZER_OUT_MAX];
  size_t size = detokenizer_feed(&g->detokenizer, token, piece), written = 0;
  g->stop.muted = g->generated <= g->rules->min_tokens;
  bool stopped = stop_matcher_feed(&g->stop, slice_make(piece, size), g->text + g->n_text, &written);
  g->n_text += written;
  return stopped;
}

void generation_accept(struct generation *g, const struct schedule_event *event) {
  if (g->ended) return;
  bool is_end = rules_is_end(g->rules, event->token);
  g->generated++;
  g->last_token = event->token;
  if (g->sequence.sampling.want_logprob) logprobs_keep(g, event);
  bool stopped = (!is_end || g->show_stop) && text_add(g, event->token);
  if (stopped || is_end)
    generation_end(g, FINISH_STOP);
  else if (g->generated == g->max_tokens)
    generation_end(g, FINISH_LENGTH);
}

bool generation_deliver(struct generation *g) {
  if (!g->ended && g->n_text == 0 && g->n_logprob == 0) return true;
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
                              .n_logprob = g->n_logprob,
                              .n_top = g->sequence.sampling.n_top,
                              .logprobs = g->logprobs,
                              .text = slice_make(g->text, g->n_text)};
  if (g->error.code) event.text = slice_text(g->error.text);
  if (!inbox_push(g->inbox, &event)) return false;
  g->n_text = 0;
  g->n_logprob = 0;
  return true;
}
