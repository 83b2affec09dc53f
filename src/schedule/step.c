/* Filling a step. */
#include "schedule/step.h"

#include "schedule/schedule_state.h"

#include <assert.h>
#include <stdlib.h>

bool step_init(struct step *step, const struct limits *limits) {
  size_t seats = (size_t)limits->seats, outputs = (size_t)limits->outputs;
  *step = (struct step){.row = calloc(seats, sizeof *step->row),
                        .sequence = calloc(seats, sizeof(struct sequence *)),
                        .token = calloc((size_t)limits->tokens, sizeof *step->token),
                        .out = calloc(outputs, sizeof *step->out),
                        .sampling = calloc(outputs, sizeof *step->sampling),
                        .out_sequence = calloc(outputs, sizeof(struct sequence *))};
  if (step->row && step->sequence && step->token && step->out && step->sampling && step->out_sequence) return true;
  step_release(step);
  return false;
}

void step_release(struct step *step) {
  free(step->row);
  free(step->sequence);
  free(step->token);
  free(step->out);
  free(step->sampling);
  free(step->out_sequence);
  *step = (struct step){0};
}

void step_clear(struct step *step) {
  step->batch = (struct batch){.row = step->row, .token = step->token, .out = step->out, .sampling = step->sampling};
}

/* A token that is not known yet is the seat's last. */
static void tokens_fill(int32_t *out, const struct sequence *q, int count) {
  for (int i = 0; i < count; i++) out[i] = q->length + i < q->n_token ? q->tokens[q->length + i] : -1;
}

static void output_add(struct step *step, struct sequence *q) {
  struct batch *batch = &step->batch;
  step->out[batch->n_out] = batch->n_token - 1;
  struct sampling *sampling = &step->sampling[batch->n_out];
  *sampling = q->sampling;
  sampling->index = (uint64_t)(sequence_expected(q) - q->n_prompt);
  sampling->history = q->tokens;
  sampling->n_history = q->n_token;
  sampling->n_prompt = q->n_prompt;
  step->out_sequence[batch->n_out++] = q;
  q->n_out++;
}

void step_add(struct step *step, struct sequence *q, int count, int n_group, const uint32_t *table) {
  struct batch *batch = &step->batch;
  assert(count >= 1 && q->length + count <= sequence_expected(q));
  struct row *row = &step->row[batch->n_row];
  *row = (struct row){.seat = q->seat, .first = batch->n_token, .count = count, .length = q->length};
  for (int g = 0; g < n_group; g++) {
    row->block[g] = table;
    row->n_block[g] = (int32_t)q->n_block;
  }
  tokens_fill(step->token + batch->n_token, q, count);
  step->sequence[batch->n_row++] = q;
  batch->n_token += count;
  q->length += count;
  q->n_step++;
  if (q->length == sequence_expected(q)) output_add(step, q);
}
