/* A step: the body runs in submit, the head and sampling in finish, each as one run of the team in which all workers go
 * through the calls side by side with a barrier between two calls. A decode step of a llama-like layer meets 6
 * barriers: after q·k·v, inside attention (stores before loads), after attention, after its projection, after gate·up,
 * after down. Nothing here allocates, locks or logs. */
#include "backend/cpu/cpu_program.h"
#include "backend/cpu/rope.h"
#include "backend/sampler.h"

#include <string.h>

/* The first error of a run is the one that the caller sees. */
static struct error *error_claim(struct program *program) {
  return atomic_exchange(&program->failed, true) ? NULL : program->error;
}

static void call_sample(struct program *program, const struct call *call, int worker) {
  const struct batch *batch = program->batch;
  const struct masks *masks = program->masks;
  for (struct range item; team_claim(program->device->team, batch->n_out, 1, &item);) {
    int i = item.first;
    const struct sampling *sampling = &batch->sampling[i];
    struct sample sample = {0};
    struct error error;
    const uint32_t *mask = masks ? masks->mask[i] : NULL;
    if (!sampler_draw(value_row(program, call->op->in[0], i), program->plan->vocab, sampling, mask,
                      worker_scratch(program, worker), &sample, &error)) {
      struct error *first = error_claim(program);
      if (first) *first = error;
    }
    program->out_token[i] = sample.token;
    program->out_logprob[i] = sample.logprob;
    memcpy(program->out_top + i * TOP_LOGPROBS, sample.top, (size_t)sampling->n_top * sizeof *sample.top);
  }
}

void call_run(struct program *program, const struct call *call, int worker) {
  struct range tokens = {0, program->batch->n_token}, outputs = {0, program->batch->n_out};
  switch (call->op->kind) {
  case OP_EMBED: call_embed(program, call, tokens, worker); break;
  case OP_LINEAR:
    if (call->op->args.linear.expert_mode == EXPERTS_NONE)
      call_linear(program, call, (struct range){0, value_rows(program, call->op->in[0])}, worker);
    else if (linear_is_routed(&call->op->args.linear))
      call_experts(program, call, tokens, worker);
    else
      call_each(program, call, tokens, worker);
    break;
  case OP_ROUTE: call_route(program, call, tokens, worker); break;
  case OP_ATTEND:
    call_store(program, call, tokens, worker);
    team_barrier(program->device->team);
    call_attend(program, call, (struct range){0, program->n_query_block}, worker);
    break;
  case OP_SELECT: call_select(program, call, outputs, worker); break;
  case OP_SAMPLE: call_sample(program, call, worker); break;
  }
}

static void calls_run(struct program *program, int first, int end, int worker) {
  for (int i = first; i < end; i++) {
    if (i > first) team_barrier(program->device->team);
    call_run(program, &program->calls[i], worker);
  }
}

/* --- the body ----------------------------------------------------------------------------------------------------- */

enum { COPY_LINE = 64 }; /* bytes, of which KV blocks are multiples */

/* Each worker copies its part of every block, so that copies of one place keep their order. */
static void blocks_copy(const struct program *program, int worker) {
  for (int i = 0; i < program->batch->n_copy; i++) {
    const struct kv_copy *copy = program->batch->copy + i;
    const struct kv_cache *cache = &program->cache[copy->group];
    size_t block = cache->layout.block_bytes; /* whole lines */
    struct range lines = team_share(program->device->team, (int)(block / COPY_LINE), worker);
    size_t first = (size_t)lines.first * COPY_LINE;
    memcpy(cache->data + copy->to * block + first, cache->data + copy->from * block + first,
           (size_t)lines.count * COPY_LINE);
  }
}

void step_prepare(const struct program *program, int worker) {
  struct range tokens = team_share(program->device->team, program->batch->n_token, worker);
  for (int i = tokens.first; i < tokens.first + tokens.count; i++) {
    const struct row *row = program->batch->row + program->token_row[i];
    const int32_t index = i - row->first, *own = program->batch->position ? program->batch->position[i] : NULL;
    for (int k = 0; k < program->n_rope; k++) {
      const struct rope_table *rope = &program->rope[k];
      int32_t place[3] = {row->length + index, row->length + index, row->length + index};
      for (int axis = 0; own && rope->axes && axis < 3; axis++) place[axis] = row->length + own[axis];
      rope_angles(plan_floats(program->plan) + rope->frequency, rope->dim, rope->scale, rope->count, place,
                  rope->angles + (size_t)i * (size_t)rope->dim);
    }
  }
}

static void body_run(void *context, int worker) {
  struct program *program = context;
  blocks_copy(program, worker);
  step_prepare(program, worker);
  team_barrier(program->device->team);
  calls_run(program, 0, program->n_body, worker);
}

bool cpu_submit(struct program *program, const struct batch *batch, struct error *error) {
  /* Always, not only in debug builds: it takes microseconds, and one wrong index would reach other sequences' KV. */
  if (!batch_check(batch, program->plan, &program->limits, error)) return false;
  program->batch = batch;
  program->n_collected = 0;
  program->slice.whole = false;
  queries_cut(program);
  adapters_begin(program, false);
  team_run(program->device->team, body_run, program);
  return true;
}

/* --- the head ----------------------------------------------------------------------------------------------------- */

static void head_run(void *context, int worker) {
  struct program *program = context;
  calls_run(program, program->n_body, program->n_call, worker);
}

bool cpu_finish(struct program *program, const struct masks *masks, struct error *error) {
  struct error ignored;
  if (program->batch->n_out == 0 || program->slice.whole) return true;
  program->masks = masks;
  adapters_begin(program, true);
  program->error = error ? error : &ignored;
  atomic_store(&program->failed, false);
  team_run(program->device->team, head_run, program);
  program->masks = NULL;
  program->error = NULL;
  return !atomic_load(&program->failed);
}

bool cpu_collect(struct program *program, struct result *result, struct error *error) {
  (void)error;
  *result = (struct result){.n_out = program->batch->n_out,
                            .token = program->out_token,
                            .logprob = program->out_logprob,
                            .top = program->out_top,
                            .logits = program->batch->want_logits ? program->value[plan_result(program->plan)] : NULL};
  program->n_collected = program->batch->n_out;
  program->batch = NULL;
  return true;
}
