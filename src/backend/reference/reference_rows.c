/* Rows into the network and out of it, in double: embeddings of all sources, the pool of embedded rows, and outputs. */
#include "backend/reference/reference_program.h"

static const struct row *row_of(const struct batch *batch, int token) {
  const struct row *row = batch->row;
  while (token >= row->first + row->count) row++;
  return row;
}

/* The row of a table by place. */
static int place_of(const struct batch *batch, int axis, int token) {
  if (batch->position) return batch->position[token][axis];
  const struct row *row = row_of(batch, token);
  return axis == 0 ? row->length + token - row->first : 0;
}

/* What a token's embedding is before it is added to anything. */
static void row_read(struct program *program, const struct op *op, int token, int cols, double *row) {
  const struct batch *batch = program->batch;
  const struct embed_args *args = &op->args.embed;
  if (args->source == EMBED_TOKENS && batch->embed && batch->embed[token] >= 0) {
    const float *pooled = program->pool + (size_t)batch->embed[token] * (size_t)cols;
    for (int i = 0; i < cols; i++) row[i] = pooled[i];
    return;
  }
  if (args->source == EMBED_PATCHES) {
    for (int i = 0; i < cols; i++) row[i] = batch->patches[(size_t)token * (size_t)cols + (size_t)i];
  } else {
    int index = args->source == EMBED_TOKENS ? batch->token[token] : args->skip + place_of(batch, args->axis, token);
    reference_weight_row(program, op->weight[0], index, row);
    const float *first = index == 0 ? vector_get(program, op->weight[1]) : NULL;
    for (int i = 0; first && i < cols; i++) row[i] += first[i];
  }
  if (args->source == EMBED_TOKENS) reference_adapt_embedding(program, op, token, row);
  for (int i = 0; i < cols; i++) row[i] *= args->scale;
}

void reference_embed(struct program *program, const struct op *op) {
  const struct embed_args *args = &op->args.embed;
  int cols = plan_values(program->plan)[op->out].cols;
  for (int t = 0; t < program->batch->n_token; t++) {
    double *out = value_row(program, op->out, t), *row = program->line;
    const double *in = op->in[0] >= 0 ? value_row(program, op->in[0], t) : NULL;
    row_read(program, op, t, cols, row);
    for (int i = 0; i < cols; i++) out[i] = row[i] + (in ? in[i] : 0);
    reference_norm(args->norm, out, vector_get(program, op->weight[2]), cols, args->eps, out);
  }
}

static void mean_select(struct program *program, const struct op *op, int first, int cols, double *out) {
  const struct select_args *args = &op->args.select;
  double *line = program->line;
  for (int c = 0; c < cols; c++) out[c] = 0;
  for (int k = 0; k < args->mean; k++) {
    memcpy(line, value_row(program, op->in[0], first + k), (size_t)cols * sizeof *line);
    reference_norm(args->norm, line, vector_get(program, op->weight[2]), cols, args->eps, line);
    for (int c = 0; c < cols; c++) out[c] += line[c] / args->mean;
  }
}

/* The mean of a row's tokens behind its lead, or the first of them. */
static void row_select(struct program *program, const struct op *op, int token, int cols, double *out) {
  const struct select_args *args = &op->args.select;
  const struct row *row = row_of(program->batch, token);
  int count = args->pool == POOL_MEAN ? row->count - row->lead : 1, first = row->first + row->lead;
  double *line = program->line;
  for (int c = 0; c < cols; c++) out[c] = 0;
  for (int k = 0; k < count; k++) {
    memcpy(line, value_row(program, op->in[0], first + k), (size_t)cols * sizeof *line);
    reference_norm(args->norm, line, vector_get(program, op->weight[2]), cols, args->eps, line);
    for (int c = 0; c < cols; c++) out[c] += line[c] / count;
  }
}

void reference_select(struct program *program, const struct op *op) {
  const struct select_args *args = &op->args.select;
  int cols = plan_values(program->plan)[op->in[0]].cols, merged = plan_values(program->plan)[op->out].cols / cols;
  for (int i = 0; i < program->batch->n_out; i++) {
    double *out = value_row(program, op->out, i);
    if (args->pool != POOL_TOKEN) {
      row_select(program, op, program->batch->out[i], cols, out);
      continue;
    }
    if (args->mean) {
      mean_select(program, op, program->batch->out[i], cols, out);
      continue;
    }
    for (int k = 0; k < merged; k++, out += cols) {
      memcpy(out, value_row(program, op->in[0], program->batch->out[i] + k), (size_t)cols * sizeof *out);
      reference_norm(args->norm, out, vector_get(program, op->weight[2]), cols, args->eps, out);
    }
  }
}

bool reference_pool_fill(struct program *program, int32_t first, int32_t count, const struct pool_source *source,
                         struct error *error) {
  const struct program *encoder = source->encoder;
  int32_t n_out = encoder && encoder->batch ? encoder->batch->n_out : 0;
  int32_t cols = encoder ? plan_values(encoder->plan)[plan_result(encoder->plan)].cols : 0;
  if (!pool_check(program->plan, &program->limits, first, count, source, n_out, cols, error)) return false;
  size_t width = (size_t)program->plan->hidden;
  const float *rows = source->rows ? source->rows : encoder->logits + (size_t)source->first * width;
  memcpy(program->pool + (size_t)first * width, rows, (size_t)count * width * sizeof *rows);
  return true;
}
