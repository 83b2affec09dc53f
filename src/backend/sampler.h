/* The tail of a step on backends that sample on the host: one row of logits in, one token out. Pure functions: no
 * state, no allocation, any thread; the same arguments give the same token on every machine that rounds as IEEE says.
 *
 * Filters act in the order that Hugging Face and vLLM use: temperature, then top_k, then top_p over what top_k left.
 * top_k keeps exactly k tokens; top_p keeps the smallest set whose mass reaches top_p, at least one token. Among equal
 * tokens the lower id goes first. Temperatures below SAMPLER_GREEDY are greedy. */
#ifndef SPATE_BACKEND_SAMPLER_H
#define SPATE_BACKEND_SAMPLER_H

#include "plan/batch.h"

#define SAMPLER_GREEDY 1e-5f

struct sample {
  int32_t token;
  float logprob; /* natural log of its softmax over the raw logits: before mask, temperature and filters */
};

/* Scratch that sampler_draw needs for a vocabulary, aligned to 8 bytes. */
size_t sampler_scratch_bytes(int vocab);

/* logits: vocab floats, left as they are; −∞ is a token that is never drawn. mask: bit i set where token i may be
 * drawn; NULL: every token may. False when a logit is NaN or +∞ (the device computed nonsense), or when the mask leaves
 * no token. */
bool sampler_draw(const float *logits, int vocab, const struct sampling *sampling, const uint32_t *mask, void *scratch,
                  struct sample *sample, struct error *error);

/* The uniform number in [0, 1) behind the draw: Philox 4x32-10 with key `seed` and counter `index`. */
double sampler_uniform(uint64_t seed, uint64_t index);

#endif
