/* A step of the reference: ops up to the one that selects outputs are the body, the rest and sampling the head. */
#include "backend/reference/reference_program.h"
#include "backend/sampler.h"

static void blocks_copy(struct program *program, const struct batch *batch) {
  for (int i = 0; i < batch->n_copy; i++) {
    const struct kv_copy *copy = batch->copy + i;
    const struct kv_group *g = plan_groups(program->plan) + copy->group;
    size_t block =
        (size_t)g->n_layer * (size_t)g->n_head * (size_t)program->limits.block_size * (size_t)kv_group_numbers(g);
    memcpy(program->kv[copy->group] + copy->to * block, program->kv[copy->group] + copy->from * block,
           block * sizeof(float));
  }
}

static bool sample_rows(struct program *program, const struct op *op, const struct masks *masks, struct error *error) {
  int vocab = program->plan->vocab;
  for (int i = 0; i < program->batch->n_out; i++) {
    const double *from = value_row(program, op->in[0], i);
    float *logits = program->logits + (size_t)i * (size_t)vocab;
    for (int v = 0; v < vocab; v++) logits[v] = (float)from[v];
    const struct sampling *sampling = program->batch->sampling + i;
    struct sample sample = {0};
    if (!sampler_draw(logits, vocab, sampling, masks ? masks->mask[i] : NULL, program->sampler, &sample, error))
      return false;
    program->token[i] = sample.token;
    program->logprob[i] = sample.logprob;
    memcpy(program->top + i * TOP_LOGPROBS, sample.top, (size_t)sampling->n_top * sizeof *sample.top);
  }
  return true;
}

static bool op_run(struct program *program, const struct op *op, const struct masks *masks, struct error *error) {
  switch (op->kind) {
  case OP_EMBED: reference_embed(program, op); return true;
  case OP_LINEAR: reference_linear(program, op); return true;
  case OP_ATTEND: reference_attend(program, op); return true;
  case OP_ROUTE: reference_route(program, op); return true;
  case OP_SELECT: reference_select(program, op); return true;
  default: return sample_rows(program, op, masks, error);
  }
}

/* The first op of the head. */
static int head_first(const struct plan *plan) {
  int i = 0;
  while (i < plan->n_op && plan_ops(plan)[i].kind != OP_SELECT) i++;
  return i;
}

bool reference_submit(struct program *program, const struct batch *batch, struct error *error) {
  program->batch = batch;
  blocks_copy(program, batch);
  for (int i = 0; i < head_first(program->plan); i++)
    if (!op_run(program, plan_ops(program->plan) + i, NULL, error)) return false;
  return true;
}

/* The result of a plan that does not sample. */
static void result_copy(struct program *program) {
  int value = plan_result(program->plan);
  size_t cols = (size_t)plan_values(program->plan)[value].cols;
  for (int i = 0; i < program->batch->n_out; i++)
    for (size_t c = 0; c < cols; c++) program->logits[(size_t)i * cols + c] = (float)value_row(program, value, i)[c];
}

bool reference_finish(struct program *program, const struct masks *masks, struct error *error) {
  for (int i = head_first(program->plan); i < program->plan->n_op; i++)
    if (!op_run(program, plan_ops(program->plan) + i, masks, error)) return false;
  if (plan_ops(program->plan)[program->plan->n_op - 1].kind != OP_SAMPLE) result_copy(program);
  return true;
}

bool reference_collect(struct program *program, struct result *result, struct error *error) {
  (void)error;
  const struct batch *batch = program->batch;
  *result = (struct result){.n_out = batch->n_out,
                            .token = program->token,
                            .logprob = program->logprob,
                            .top = program->top,
                            .logits = batch->want_logits ? program->logits : NULL};
  return true;
}
