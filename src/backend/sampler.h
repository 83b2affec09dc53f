/* The tail of a step on backends that sample on the host: one row of logits in, one token out. Pure functions: no
 * state, no allocation, any thread; the same arguments give the same token on every machine that rounds as IEEE says.
 *
 * The order of operations. Log-probabilities are of the raw logits (vLLM's default, `raw_logprobs`). Then the mask, and
 * the rules in the order of vLLM's v1 sampler (vllm/v1/sample/sampler.py): allowed tokens, bad words, min_tokens,
 * biases, then the penalties: repetition (over prompt and output), frequency, presence (both over the output). A bad
 * word is matched against the prompt's end too, as Hugging Face's NoBadWordsLogitsProcessor does and vLLM does not.
 * Where bad words and min_tokens leave no token they are lifted for this draw; where the rest does not either, all
 * rules are: a request never stops the engine.
 * Then the filters in the order of Hugging Face's logits warpers (transformers/generation/utils.py): temperature,
 * top_k, top_p, min_p, typical_p, each over what the one before left. (vLLM has min_p before top_k and top_p; it has no
 * typical_p.) top_k keeps exactly k tokens; top_p and typical_p keep the smallest set whose mass reaches them, at least
 * one token; min_p keeps those at least min_p times as likely as the likeliest. Among equal tokens the lower id goes
 * first. Temperatures below SAMPLER_GREEDY are greedy: filters do not matter, rules do.
 *
 * Two kinds of draw choose nothing (enum draw_kind): a prompt's token is scored in the raw logits; a beam search gets
 * the likeliest tokens of the softmax under the rules, whatever temperature and filters say. (transformers lets rules
 * act on log-probabilities after the softmax and does not normalize them again: its beams differ where there are any.)
 */
#ifndef SPATE_BACKEND_SAMPLER_H
#define SPATE_BACKEND_SAMPLER_H

#include "plan/batch.h"

#define SAMPLER_GREEDY 1e-5f
#define SAMPLER_LOG2E  1.44269504f /* logits are weighed as powers of 2 */

struct sample {
  int32_t token; /* −1: a logit is NaN or +∞, or all are −∞: nothing else is set */
  float logprob; /* natural log of its softmax (over raw logits but for beams); 0: not wanted */
  struct token_logprob top[TOP_LOGPROBS]; /* sampling->n_top of them, likeliest first; −1: there are no more */
};

/* Scratch that sampler_draw needs for a vocabulary, aligned to 8 bytes. */
size_t sampler_scratch_bytes(int vocab);

/* logits: vocab floats, left as they are; −∞ is a token that is never drawn. mask: bit i set where token i may be
 * drawn; NULL: every token may. False when the mask leaves no token. */
bool sampler_draw(const float *logits, int vocab, const struct sampling *sampling, const uint32_t *mask, void *scratch,
                  struct sample *sample, struct error *error);

/* The uniform number in [0, 1) behind the draw: Philox 4x32-10 with key `seed` and counter `index`. */
double sampler_uniform(uint64_t seed, uint64_t index);

#endif
