/* A step on a GPU: the batch goes over in one copy, the ops follow one another in the stream, the last draws tokens and
 * writes them into the host's memory. Submitting waits for nothing, collecting for the oldest step's event. */
#include "backend/cuda/cuda_adapted.h"
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_mixture.h"

/* --- ops ---------------------------------------------------------------------------------------------------------- */

static void run_sample(struct program *p, const struct op *op) {
  struct cuda_sample a = {.logits = p->value[op->in[0]],
                          .draw = p->on_device.draw,
                          .rules = p->part == CUDA_HEAD_RULED ? p->on_device.rules : NULL,
                          .results = p->on_device.results,
                          .last = p->last,
                          .greatest = p->part == CUDA_HEAD_GREATEST ? p->greatest : NULL,
                          .vocab = p->plan->vocab,
                          .block_chunks = p->chunks,
                          .room = p->room,
                          .rows = CUDA_ROOM_ROWS};
  if (p->chunks > 0) p->device->path->sample(&a, p->on_device.n_out, p->device->stream);
}

static void op_run(struct program *p, const struct op *op) {
  if (p->plan->role != PLAN_DECODER) {
    cuda_image_run(p, op);
    return;
  }
  switch (op->kind) {
  case OP_EMBED: cuda_rows_embed(p, op); break;
  case OP_LINEAR: cuda_linear_run(p, op); break;
  case OP_ATTEND: cuda_attention_run(p, op); break;
  case OP_ROUTE: cuda_route_run(p, op); break;
  case OP_SELECT: cuda_rows_select(p, op); break;
  case OP_SAMPLE: run_sample(p, op); break;
  }
}

bool cuda_ops_run(struct program *p, int first, int end, struct error *error) {
  p->n_chain = 0;
  if (first == 0) cuda_attention_begin(p);
  for (int i = first; i < end; i++) {
    const struct op *op = plan_ops(p->plan) + i;
    int n_mixture = cuda_mixture_ops(p, op);
    if (n_mixture > 0)
      cuda_mixture_run(p, op), i += n_mixture - 1;
    else
      op_run(p, op);
    cuda_marks_put(p);
    if (!cuda_check(cudaGetLastError(), op_kind_name(op->kind), error)) return false;
  }
  return true;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

/* The slot that is free next: `submit` begins with it, `finish` ends. */
static struct cuda_slot *slot_next(struct program *p) {
  return &p->slot[(p->oldest + p->n_slot) % (CUDA_RUN_AHEAD + 1)];
}

bool cuda_submit(struct program *p, const struct batch *batch, struct error *error) {
  p->batch = batch;
  cuda_adapters_name(p, batch);
  cuda_marks_begin(p, &slot_next(p)->marks, batch);
  bool (*send)(struct program *, struct cuda_slot *, const struct batch *, struct error *) =
      p->plan->role == PLAN_DECODER ? cuda_send : cuda_image_send;
  return send(p, slot_next(p), batch, error) && cuda_part_run(p, CUDA_BODY, error);
}

static const float *logits_of(const struct program *p) { return p->value[plan_result(p->plan)]; }

static bool samples(const struct program *p) { return plan_ops(p->plan)[p->plan->n_op - 1].kind == OP_SAMPLE; }

/* Where a step's result goes on the host. */
static float *logits_place(const struct program *p, const struct cuda_slot *slot) {
  return slot->vectors ? slot->vectors : p->logits;
}

static bool logits_copy(struct program *p, const struct cuda_slot *slot, struct error *error) {
  size_t bytes = (size_t)p->batch->n_out * (size_t)plan_values(p->plan)[plan_result(p->plan)].cols * sizeof(float);
  return cuda_check(
      cudaMemcpyAsync(logits_place(p, slot), logits_of(p), bytes, cudaMemcpyDeviceToHost, p->device->stream),
      "copying logits from the GPU", error);
}

static enum cuda_part head_choose(const struct program *p, const struct masks *masks) {
  if (p->ruled) return CUDA_HEAD_RULED;
  return p->plain && !masks && !p->adapted && cuda_part_greatest(p, p->on_device.n_out) ? CUDA_HEAD_GREATEST
                                                                                        : CUDA_HEAD;
}

static bool head_run(struct program *p, struct cuda_slot *slot, const struct masks *masks, struct error *error) {
  if (!cuda_part_run(p, head_choose(p, masks), error) || (slot->want_logits && !logits_copy(p, slot, error)))
    return false;
  return !samples(p) || cuda_draw_rest(p, slot, masks, logits_of(p), error);
}

bool cuda_finish(struct program *p, const struct masks *masks, struct error *error) {
  struct cuda_slot *slot = slot_next(p);
  if (p->batch->n_out > 0 && !head_run(p, slot, masks, error)) return false;
  p->batch = NULL;
  cuda_marks_end(p);
  p->n_slot++;
  return cuda_check(cudaEventRecord(slot->done, p->device->stream), "marking a step's end", error);
}

bool cuda_collect(struct program *p, struct result *result, struct error *error) {
  const struct cuda_slot *slot = &p->slot[p->oldest];
  p->oldest = (p->oldest + 1) % (CUDA_RUN_AHEAD + 1);
  p->n_slot--;
  p->images.collected = slot->n_out;
  *result = (struct result){.n_out = slot->n_out,
                            .token = slot->results.token,
                            .logprob = slot->results.logprob,
                            .top = (const struct token_logprob *)slot->results.top,
                            .logits = slot->want_logits ? logits_place(p, slot) : NULL};
  return cuda_check(cudaEventSynchronize(slot->done), "a step", error);
}
