/* Outputs that the host draws: what the kernel leaves out (masks, typical_p, rules that it has no room for), from a
 * copy of their logits. Such a step does not run ahead: its tokens are known before the next is submitted. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"
#include "backend/sampler.h"

#include <string.h>

static bool by_host(const struct program *p, const struct cuda_slot *slot, const struct masks *masks, int output) {
  const struct cuda_draw *draw = (const void *)(slot->slab + ((const uint8_t *)p->on_device.draw - p->slab));
  return draw[output].by_host || (masks && masks->mask[output]);
}

static bool rows_copy(struct program *p, const struct cuda_slot *slot, const struct masks *masks, const float *logits,
                      struct error *error) {
  size_t vocab = (size_t)p->plan->vocab;
  for (size_t i = 0; i < (size_t)p->batch->n_out; i++) {
    if (!by_host(p, slot, masks, (int)i)) continue;
    if (!cuda_check(cudaMemcpyAsync(p->logits + i * vocab, logits + i * vocab, vocab * sizeof *logits,
                                    cudaMemcpyDeviceToHost, p->device->stream),
                    "copying logits from the GPU", error))
      return false;
  }
  return cuda_check(cudaMemcpyAsync(p->last_seen, p->last, (size_t)p->limits.seats * sizeof *p->last,
                                    cudaMemcpyDeviceToHost, p->device->stream),
                    "copying tokens from the GPU", error) &&
         cuda_check(cudaStreamSynchronize(p->device->stream), "a step", error);
}

/* The history that rules read, with the token that the host does not know yet. */
static void history_complete(struct program *p, struct sampling *s, int32_t seat) {
  bool known = (uint64_t)(s->n_history - s->n_prompt) >= s->index;
  if (known || !s->rules) return;
  memcpy(p->history, s->history, (size_t)s->n_history * sizeof *p->history);
  p->history[s->n_history++] = p->seat_token[seat] >= 0 ? p->seat_token[seat] : p->last_seen[seat];
  s->history = p->history;
}

static bool output_draw(struct program *p, struct cuda_slot *slot, const struct masks *masks, int output,
                        const struct row *row, struct error *error) {
  struct sample sample = {0};
  struct sampling sampling = p->batch->sampling[output];
  const float *logits = p->logits + (size_t)output * (size_t)p->plan->vocab;
  history_complete(p, &sampling, row->seat);
  if (!sampler_draw(logits, p->plan->vocab, &sampling, masks ? masks->mask[output] : NULL, p->sampler, &sample, error))
    return false;
  slot->results.token[output] = sample.token;
  slot->results.logprob[output] = sample.logprob;
  memcpy(slot->results.top + output * TOP_LOGPROBS, sample.top, (size_t)sampling.n_top * sizeof *sample.top);
  if (sampling.draw == DRAW_TOKEN && p->batch->out[output] == row->first + row->count - 1)
    p->seat_token[row->seat] = sample.token < 0 ? 0 : sample.token; /* a step with it may have been formed */
  return true;
}

bool cuda_draw_rest(struct program *p, struct cuda_slot *slot, const struct masks *masks, const float *logits,
                    struct error *error) {
  const struct row *row = p->batch->row;
  if (!slot->by_host && !masks) return true;
  if (!rows_copy(p, slot, masks, logits, error)) return false;
  for (int i = 0; i < p->batch->n_out; i++) {
    while (p->batch->out[i] >= row->first + row->count) row++;
    if (by_host(p, slot, masks, i) && !output_draw(p, slot, masks, i, row, error)) return false;
  }
  return true;
}
