/* Filling a step. */
#include "schedule/step.h"

#include "schedule/schedule_state.h"

#include <assert.h>
#include <stdlib.h>

bool step_init(struct step *step, const struct schedule_options *options) {
  const struct limits *limits = options->limits;
  size_t seats = (size_t)limits->seats, outputs = (size_t)limits->outputs, tokens = (size_t)limits->tokens;
  *step = (struct step){.row = calloc(seats, sizeof *step->row),
                        .sequence = calloc(seats, sizeof(struct sequence *)),
                        .token = calloc(tokens, sizeof *step->token),
                        .embed = calloc(tokens, sizeof *step->embed),
                        .out = calloc(outputs, sizeof *step->out),
                        .sampling = calloc(outputs, sizeof *step->sampling),
                        .out_sequence = calloc(outputs, sizeof(struct sequence *)),
                        .copy = calloc(seats * (size_t)options->n_group + 1, sizeof *step->copy)};
  if (options->mutual) step->see = calloc(tokens, sizeof *step->see);
  step->axes = options->axes;
  if (options->axes || options->n_group == 0) step->position = calloc(tokens, sizeof *step->position);
  if (step->row && step->sequence && step->token && step->embed && step->out && step->sampling && step->out_sequence &&
      step->copy && (step->see || !options->mutual) && (step->position || (!options->axes && options->n_group > 0)))
    return true;
  step_release(step);
  return false;
}

void step_release(struct step *step) {
  free(step->row);
  free(step->sequence);
  free(step->token);
  free(step->embed);
  free(step->see);
  free(step->position);
  free(step->out);
  free(step->sampling);
  free(step->out_sequence);
  free(step->copy);
  *step = (struct step){0};
}

void step_clear(struct step *step) {
  step->batch = (struct batch){
      .row = step->row, .token = step->token, .out = step->out, .sampling = step->sampling, .copy = step->copy};
}

void step_copy(struct step *step, int n_group, uint32_t from, uint32_t to) {
  for (int g = 0; g < n_group; g++) step->copy[step->batch.n_copy++] = (struct kv_copy){g, from, to};
}

struct step_shape step_shape_of(const struct step *step) {
  struct step_shape shape = {.streams = step->n_stream, .prompt_tokens = step->batch.n_token - step->n_stream};
  for (int i = 0; i < step->batch.n_row; i++) {
    double count = step->row[i].count, before = step->row[i].length;
    *(i < step->n_stream ? &shape.stream_context : &shape.prompt_context) += count * (before + count / 2);
  }
  return shape;
}

/* A token that is not known yet is the seat's last. */
static void tokens_fill(int32_t *out, const struct sequence *q, int count) {
  for (int i = 0; i < count; i++) out[i] = q->length + i < q->n_token ? q->tokens[q->length + i] : -1;
}

static void embeds_fill(struct step *step, const struct sequence *q, int count) {
  struct batch *batch = &step->batch;
  int32_t *out = step->embed + batch->n_token;
  int left = q->embed ? q->n_prompt - q->length : 0;
  for (int i = 0; i < count; i++) out[i] = i < left ? q->embed[q->length + i] : -1;
  for (int i = 0; i < count && !batch->embed; i++)
    if (out[i] >= 0) batch->embed = step->embed;
}

/* Places and types, of a network that keeps nothing: its rows begin with their first token. */
static void places_fill(struct step *step, const struct sequence *q, int count) {
  struct batch *batch = &step->batch;
  int32_t(*out)[3] = step->position && !step->axes ? step->position + batch->n_token : NULL;
  for (int i = 0; out && i < count; i++) {
    out[i][0] = q->length + i;
    out[i][1] = q->n_first > 0 && q->length + i >= q->n_first ? q->second_type : 0;
    if (out[i][1]) batch->position = (const int32_t(*)[3])step->position;
  }
}

/* Where the tokens are and what they see: of all rows, and named by the batch once one of them has images, since
 * without any both say what their absence does. */
static void images_fill(struct step *step, const struct sequence *q, int count) {
  struct batch *batch = &step->batch;
  if (step->see) image_see(q->image, q->n_image, q->length, count, step->see + batch->n_token);
  if (step->axes) image_positions(q->image, q->n_image, q->length, count, step->position + batch->n_token);
  if (q->n_image == 0) return;
  const struct image_span *last = &q->image[q->n_image - 1];
  if (q->length < last->first + last->lines * last->columns) batch->see = step->see; /* behind it all is causal */
  if (step->axes) batch->position = (const int32_t(*)[3])step->position;
}

/* `token` of the batch is an output. */
static struct sampling *output_add(struct step *step, struct sequence *q, int token) {
  struct batch *batch = &step->batch;
  step->out[batch->n_out] = token;
  step->out_sequence[batch->n_out] = q;
  return &step->sampling[batch->n_out++];
}

static void draw_add(struct step *step, struct sequence *q) {
  struct sampling *sampling = output_add(step, q, step->batch.n_token - 1);
  *sampling = q->sampling;
  sampling->draw = q->group && q->group->beams ? DRAW_BEAM : DRAW_TOKEN;
  sampling->index = (uint64_t)(sequence_expected(q) - q->n_prompt);
  sampling->history = q->tokens;
  sampling->n_history = q->n_token;
  sampling->n_prompt = q->n_prompt;
  q->n_out++;
}

/* The first of count tokens, from `token` of the batch on, is the sequence's token q->length. */
static void scores_add(struct step *step, struct sequence *q, int token, int count) {
  for (int32_t i = q->n_scored > q->length ? q->n_scored : q->length; i < q->length + count; i++) {
    if (i >= q->n_prompt - 1) return;
    struct sampling *sampling = output_add(step, q, token + i - q->length);
    *sampling = (struct sampling){
        .draw = DRAW_SCORE, .target = q->tokens[i + 1], .n_top = q->n_prompt_top, .want_logprob = true};
    q->n_scored = i + 1;
  }
}

void step_add(struct step *step, struct sequence *q, int count, int n_group, const uint32_t *table) {
  struct batch *batch = &step->batch;
  assert(count >= 1 && q->length + count <= sequence_expected(q));
  struct row *row = &step->row[batch->n_row];
  *row = (struct row){.seat = q->seat, .first = batch->n_token, .count = count, .length = q->length, .lead = q->n_lead};
  row->n_lora = q->n_adapter;
  for (int i = 0; i < q->n_adapter; i++) {
    row->lora[i].slot = q->slot[i];
    row->lora[i].scale = q->adapter[i].scale;
  }
  for (int g = 0; g < n_group; g++) {
    row->block[g] = table;
    row->n_block[g] = (int32_t)q->n_block;
  }
  tokens_fill(step->token + batch->n_token, q, count);
  embeds_fill(step, q, count);
  places_fill(step, q, count);
  images_fill(step, q, count);
  step->sequence[batch->n_row++] = q;
  if (q->scores_prompt) scores_add(step, q, batch->n_token, count);
  batch->n_token += count;
  q->length += count;
  q->n_step++;
  if (q->length == sequence_expected(q)) draw_add(step, q);
}
