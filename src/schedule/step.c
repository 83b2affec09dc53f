/* Filling a step. */
#include "schedule/step.h"

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

void step_add(struct step *step, struct sequence *sequence, int count, int n_group, uint32_t *const *table) {
  struct batch *batch = &step->batch;
  assert(count >= 1 && sequence->length + count <= sequence->n_token);
  struct row *row = &step->row[batch->n_row];
  *row = (struct row){.seat = sequence->seat, .first = batch->n_token, .count = count, .length = sequence->length};
  for (int g = 0; g < n_group; g++) {
    row->block[g] = table[g];
    row->n_block[g] = (int32_t)sequence->n_block;
  }
  for (int i = 0; i < count; i++) step->token[batch->n_token + i] = sequence->tokens[sequence->length + i];
  step->sequence[batch->n_row++] = sequence;
  batch->n_token += count;
  sequence->length += count;
  sequence->in_flight = true;
  if (sequence->length < sequence->n_token) return;
  step->out[batch->n_out] = batch->n_token - 1;
  step->sampling[batch->n_out] = sequence->sampling;
  step->sampling[batch->n_out].index = (uint64_t)(sequence->n_token - sequence->n_prompt);
  step->out_sequence[batch->n_out++] = sequence;
}
