/* Requests: their memory, and what happens to all of their generations at once. */
#include "runtime/request.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- life --------------------------------------------------------------------------------------------------------- */

static int32_t generations_of(const struct request_params *params) {
  return params->n_beam > 0 ? params->n_beam : params->n_answer;
}

static size_t scores_bytes(const struct request_params *params, int32_t max_score) {
  if (!params->scores_prompt) return 0;
  return sizeof(struct prompt_scores) +
         (size_t)max_score * (1 + (size_t)params->n_prompt_top) * sizeof(struct token_logprob);
}

static struct sampling sampling_of(const struct request *r, const struct request_params *params, int index) {
  struct sampling sampling = params->sampling;
  sampling.seed += (uint64_t)index;
  sampling.rules = r->rules;
  if (params->n_beam == 0) return sampling;
  int32_t most = beam_search_candidates(params->n_beam, r->rules->n_end);
  sampling.want_logprob = true;
  if (sampling.n_top < most) sampling.n_top = most;
  return sampling;
}

static void generation_init(struct request *r, int index, const struct request_params *params,
                            const struct stop_matcher *stop) {
  struct generation *g = &r->generation[index];
  g->request = r;
  g->index = index;
  g->last_token = g->stop_token = -1;
  g->stop = *stop;
  g->sequence = (struct sequence){.priority = params->priority,
                                  .behind = params->behind,
                                  .tenant = params->tenant,
                                  .sampling = sampling_of(r, params, index),
                                  .scores_prompt = params->scores_prompt && index == 0,
                                  .n_prompt_top = params->n_prompt_top,
                                  .n_adapter = r->adapters.n,
                                  .unready = r->adapters.n > 0,
                                  .group = r->n_generation > 1 || params->n_beam > 0 ? &r->group : NULL,
                                  .sibling = index + 1 < r->n_generation ? &r->generation[index + 1].sequence : NULL,
                                  .owner = g};
}

static void params_keep(struct request *r, const struct request_params *params) {
  r->chat = params->chat;
  r->plain = params->plain;
  r->cut = params->cut;
  r->last_most = params->last_most;
  r->n_number = params->vector ? params->dimensions : 0;
  r->max_tokens = params->max_tokens;
  r->show_stop = params->show_stop;
  r->detokenize = params->detokenize;
  r->n_stop_token = params->rules.n_stop_token;
  r->want_logprob = params->sampling.want_logprob;
  r->n_top = params->sampling.n_top;
  r->n_answer = params->n_answer;
  r->n_beam = params->n_beam;
  r->length_penalty = params->length_penalty;
  r->early_stop = params->early_stop;
  r->n_generation = generations_of(params);
  r->group =
      (struct sequence_group){.first = &r->generation[0].sequence, .n = r->n_generation, .beams = params->n_beam > 0};
}

static bool scores_init(struct request *r, const struct request_params *params, int32_t max_score,
                        struct error *error) {
  if (!params->scores_prompt) return true;
  r->scores = malloc(scores_bytes(params, max_score));
  if (!r->scores) return error_set(error, ERROR_MEMORY, "Out of memory for the log-probabilities of a prompt.");
  r->scores->n_row = 0;
  r->scores->max_row = max_score;
  return true;
}

/* The first token of a prompt follows nothing: its row says so. */
static void scores_begin(struct request *r, int32_t token) {
  int32_t n_top = r->generation[0].sequence.n_prompt_top;
  r->scores->row[0] = (struct token_logprob){token, NAN};
  for (int i = 1; i <= n_top; i++) r->scores->row[i] = (struct token_logprob){-1, -INFINITY};
  r->scores->n_row = 1;
}

static bool params_copy(struct request *r, const struct request_params *params, int32_t max_score,
                        struct error *error) {
  struct stop_matcher stop;
  size_t lead = params->lead.size;
  r->lead_size = lead;
  r->prompt_size = lead + params->prompt.size;
  r->prompt = malloc(r->prompt_size + 1);
  if (!r->prompt) return error_set(error, ERROR_MEMORY, "Out of memory for a prompt of %zu bytes.", r->prompt_size);
  if (lead) memcpy(r->prompt, params->lead.data, lead);
  if (params->prompt.size) memcpy(r->prompt + lead, params->prompt.data, params->prompt.size);
  if (params->vector && !(r->numbers = calloc((size_t)params->dimensions, sizeof *r->numbers)))
    return error_set(error, ERROR_MEMORY, "Out of memory for a vector of %d numbers.", params->dimensions);
  if (params->pair.data && !(r->pair = malloc(params->pair.size + 1)))
    return error_set(error, ERROR_MEMORY, "Out of memory for a text of %zu bytes.", params->pair.size);
  r->pair_size = params->pair.size;
  if (params->pair.size) memcpy(r->pair, params->pair.data, params->pair.size);
  if (!stop_matcher_init(&stop, params->stop, (size_t)params->n_stop, error)) return false;
  stop.shown = params->show_stop;
  for (int i = 0; i < r->n_generation; i++) generation_init(r, i, params, &stop);
  for (int i = 0; i < params->n_image; i++)
    if (!(params->chat ? request_images_add_fetched : request_images_add)(&r->images, &params->image[i], error))
      return false;
  return scores_init(r, params, max_score, error) &&
         (params->n_token == 0 || request_set_tokens(r, params->tokens, params->n_token, error));
}

struct request *request_new(const struct request_params *params, struct logit_rules *rules,
                            struct request_adapters *adapters, int32_t max_score, struct inbox *inbox,
                            struct error *error) {
  struct request *r = calloc(1, sizeof *r + (size_t)generations_of(params) * sizeof r->generation[0]);
  if (!r) {
    free(rules);
    request_adapters_drop(adapters);
    error_set(error, ERROR_MEMORY, "Out of memory for a request.");
    return NULL;
  }
  r->rules = rules;
  r->adapters = *adapters;
  params_keep(r, params);
  inbox_hold(inbox);
  r->inbox = inbox;
  if (params_copy(r, params, max_score, error)) return r;
  request_free(r);
  return NULL;
}

void request_free(struct request *r) {
  inbox_drop(r->inbox);
  request_adapters_drop(&r->adapters);
  request_images_release(&r->images);
  beam_search_free(r->search);
  free(r->generation[0].sequence.tokens);
  free(r->prompt);
  free(r->pair);
  free(r->numbers);
  free(r->scores);
  free(r->rules);
  free(r);
}

static struct beam_params beams_of(const struct request *r) {
  return (struct beam_params){.n_beam = r->n_beam,
                              .n_end = r->rules->n_end,
                              .max_tokens = r->max_tokens,
                              .n_top = r->want_logprob ? r->n_top : -1,
                              .length_penalty = (double)r->length_penalty,
                              .early_stop = r->early_stop};
}

bool request_set_tokens(struct request *r, const int32_t *tokens, int32_t count, struct error *error) {
  assert(count >= 1 && r->max_tokens >= 1);
  size_t room = (size_t)count + (size_t)r->max_tokens;
  int32_t *all = calloc(room * (size_t)r->n_generation, sizeof *all);
  if (!all) return error_set(error, ERROR_MEMORY, "Out of memory for %d times %zu tokens.", r->n_generation, room);
  for (int i = 0; i < r->n_generation; i++) {
    struct sequence *q = &r->generation[i].sequence;
    q->tokens = all + (size_t)i * room;
    memcpy(q->tokens, tokens, (size_t)count * sizeof *tokens);
    q->n_prompt = count;
    q->max_tokens = r->max_tokens;
  }
  if (r->scores) scores_begin(r, tokens[0]);
  if (r->n_beam == 0) return true;
  struct beam_params params = beams_of(r);
  r->search = beam_search_new(&params);
  return r->search || error_set(error, ERROR_MEMORY, "Out of memory for a search of %d beams.", r->n_beam);
}

size_t request_charge(const struct request_params *params, int32_t max_score, int32_t n_prompt) {
  size_t n = (size_t)generations_of(params);
  size_t tokens = ((size_t)n_prompt + (size_t)params->max_tokens) * sizeof(int32_t);
  struct beam_params beams = {.n_beam = params->n_beam,
                              .max_tokens = params->max_tokens,
                              .n_top = params->sampling.want_logprob ? params->sampling.n_top : -1};
  size_t images = 0;
  for (int i = 0; i < params->n_image; i++) images += params->image[i].data.size;
  if (params->vector) images += params->lead.size + params->pair.size + (size_t)params->dimensions * sizeof(float);
  return sizeof(struct request) + images + n * (sizeof(struct generation) + tokens) + params->prompt.size +
         scores_bytes(params, max_score) + (params->n_beam > 0 ? beam_search_bytes(&beams) : 0);
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

void request_end(struct request *r, enum finish_reason finish) {
  for (int i = 0; i < r->n_generation; i++) generation_end(&r->generation[i], finish);
}

bool request_ended(const struct request *r) {
  for (int i = 0; i < r->n_generation; i++)
    if (!r->generation[i].ended) return false;
  return true;
}

void request_fail(struct request *r, const struct error *error) {
  if (request_ended(r)) return;
  r->error = *error;
  if (r->scores) r->scores->n_row = 0;
  for (int i = 0; i < r->n_generation; i++) r->generation[i].ended = true;
}

/* --- the prompt's scores ------------------------------------------------------------------------------------------ */

void request_score(struct request *r, const struct schedule_event *event) {
  struct prompt_scores *scores = r->scores;
  int32_t n_top = event->sequence->n_prompt_top;
  assert(scores->n_row < scores->max_row);
  struct token_logprob *place = &scores->row[(size_t)scores->n_row++ * (1 + (size_t)n_top)];
  *place = (struct token_logprob){event->token, event->logprob};
  if (n_top > 0) memcpy(place + 1, event->top, (size_t)n_top * sizeof *place);
}

bool request_deliver_scores(struct request *r) {
  if (!r->scores || r->scores->n_row == 0) return true;
  const struct sequence *q = &r->generation[0].sequence;
  struct inbox_event event = {.request = r->id,
                              .kind = INBOX_PROMPT,
                              .token = -1,
                              .prompt = q->n_prompt,
                              .cached = q->n_cached,
                              .n_logprob = r->scores->n_row,
                              .n_top = q->n_prompt_top,
                              .logprobs = r->scores->row};
  if (!inbox_push(r->inbox, &event)) return false;
  r->scores->n_row = 0;
  return true;
}
