/* What a request asks for: numbers, lists and tokens within what the engine can do. The sentences name the fields of a
 * request over HTTP. */
#include "base/limits.h"
#include "runtime/runtime_state.h"

#include <math.h>

/* Cuts max_tokens to what the prompt leaves. */
static bool tokens_check(const struct runtime *rt, struct request_params *params, struct error *error) {
  int32_t max = rt->engine->file.facts->config.max_input_len, vocab = rt->engine->plan->vocab;
  if (params->n_token > max)
    return error_set(error, ERROR_LIMIT, "The prompt has %d tokens, more than max_input_len %d: shorten it.",
                     params->n_token, max);
  for (int32_t i = 0; i < params->n_token; i++)
    if (params->tokens[i] < 0 || params->tokens[i] >= vocab)
      return error_set(error, ERROR_INVALID, "Token %d of the prompt is %d, expected 0 to %d.", i, params->tokens[i],
                       vocab - 1);
  return params->n_token == 0 || runtime_answer_fit(rt, params->n_token, &params->max_tokens, params->n_beam, error);
}

static bool search_check(const struct request_params *params, struct error *error) {
  if (params->n_answer < 1 || params->n_answer > LIMIT_REQUEST_CHOICES)
    return error_set(error, ERROR_INVALID, "n is %d, expected 1 to %d.", params->n_answer, LIMIT_REQUEST_CHOICES);
  if (params->n_beam == 0) return true;
  if (params->n_beam < params->n_answer || params->n_beam > LIMIT_BEAMS)
    return error_set(error, ERROR_INVALID, "A search of %d beams for n = %d answers was asked for, expected n to %d.",
                     params->n_beam, params->n_answer, LIMIT_BEAMS);
  if (fabsf(params->length_penalty) <= LIMIT_LENGTH_PENALTY) return true;
  return error_set(error, ERROR_INVALID, "length_penalty is %g, expected -%d to %d.", (double)params->length_penalty,
                   LIMIT_LENGTH_PENALTY, LIMIT_LENGTH_PENALTY);
}

static bool scores_check(const struct request_params *params, int32_t vocab, struct error *error) {
  int32_t most = vocab < TOP_LOGPROBS ? vocab : TOP_LOGPROBS;
  if (params->n_prompt_top >= 0 && params->n_prompt_top <= most) return true;
  return error_set(error, ERROR_INVALID, "prompt_logprobs is %d, expected 0 to %d.", params->n_prompt_top, most);
}

/* A vector is all that an encoder has to give, and a generator has none. */
static bool vector_check(const struct runtime *rt, struct request_params *params, struct error *error) {
  const struct engine_facts *facts = rt->engine->file.facts;
  const struct plan *plan = rt->engine->plan;
  if (params->vector != (facts->encoder.task != TASK_GENERATE))
    return error_set(error, ERROR_INVALID,
                     params->vector ? "The model %s generates text; it makes no vectors of texts and tells no labels."
                                    : "The model %s makes vectors or labels of texts (/v1/embeddings, /v1/classify); "
                                      "it generates no text.",
                     facts->name);
  if (!params->vector) return true;
  int32_t width = plan_values(plan)[plan_result(plan)].cols, most = facts->config.max_seq_len;
  if (params->dimensions == 0) params->dimensions = width;
  if (params->dimensions < 1 || params->dimensions > width ||
      (facts->encoder.task == TASK_CLASSIFY && params->dimensions != width))
    return error_set(error, ERROR_INVALID, "dimensions is %d, expected %d to %d.", params->dimensions,
                     facts->encoder.task == TASK_CLASSIFY ? width : 1, width);
  if (params->cut < -1 || params->cut > most)
    return error_set(error, ERROR_INVALID,
                     "truncate_prompt_tokens is %d, expected 1 to max_seq_len %d, or -1 for that.", params->cut, most);
  if (params->cut == -1) params->cut = most;
  return true;
}

bool request_check(const struct runtime *rt, struct request_params *params, struct error *error) {
  int32_t length = rt->engine->limits.length, vocab = rt->engine->plan->vocab;
  if (!vector_check(rt, params, error)) return false;
  if (params->max_tokens < 1 || params->max_tokens > length)
    return error_set(error, ERROR_INVALID, "max_tokens is %d, expected 1 to max_seq_len %d.", params->max_tokens,
                     length);
  if (!(params->timeout_s >= 0 && params->timeout_s <= LIMIT_TIMEOUT_SECONDS))
    return error_set(error, ERROR_INVALID, "timeout_s is %g, expected 0 to %d.", (double)params->timeout_s,
                     LIMIT_TIMEOUT_SECONDS);
  if (params->tenant < 0 || params->tenant >= SCHEDULE_TENANTS)
    return error_set(error, ERROR_INVALID, "tenant is %d, expected 0 to %d.", params->tenant, SCHEDULE_TENANTS - 1);
  if (params->n_image > 0 && !images_count_check(rt, params->n_image, error)) return false;
  if (params->n_image > 0 && params->n_token > 0)
    return error_set(error, ERROR_INVALID,
                     "Images were sent beside token ids: send them beside a prompt of text, or within messages.");
  return search_check(params, error) && scores_check(params, vocab, error) &&
         sampling_check(&params->sampling, vocab, error) &&
         rule_params_check(&params->rules, params->max_tokens, vocab, error) && tokens_check(rt, params, error);
}

bool request_check_beams(const struct request_params *params, const struct logit_rules *rules, struct error *error) {
  if (params->n_beam == 0 || beam_search_candidates(params->n_beam, rules->n_end) <= TOP_LOGPROBS) return true;
  return error_set(error, ERROR_INVALID,
                   "The search has %d beams and %d tokens that end a text, expected at most %d together: give fewer "
                   "stop_token_ids.",
                   params->n_beam, rules->n_end, TOP_LOGPROBS);
}
