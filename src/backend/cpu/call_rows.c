/* Rows into the network and out of it, on the team: embeddings of all sources, the pool of embedded rows, and outputs.
 * A row is one worker's. */
#include "backend/cpu/cpu_program.h"

#include <string.h>

/* A token's id as its row of the table, with what its adapters change. */
static void id_embed(const struct program *program, const struct call *call, int token, float *row) {
  const struct batch *batch = program->batch;
  cpu_unpack_row(&call->layout, program->weight[call->op->weight[0]], batch->token[token], row);
  if (program->pairs.n > 0) adapters_embed(program, call, token, row);
}

static void position_embed(const struct program *program, const struct call *call, int token, float *row) {
  const struct op *op = call->op;
  const struct batch *batch = program->batch;
  const struct row *row_of = batch->row + program->token_row[token];
  int axis = op->args.embed.axis, index = row_of->length + token - row_of->first;
  int position = batch->position ? batch->position[token][axis] : axis == 0 ? index : 0;
  cpu_unpack_row(&call->layout, program->weight[op->weight[0]], op->args.embed.skip + position, row);
  const float *first = position == 0 ? program_vector(program, op->weight[1]) : NULL;
  for (int c = 0; first && c < call->layout.cols; c++) row[c] += first[c];
}

/* What a token's embedding is before it is added to anything. */
static void row_read(const struct program *program, const struct call *call, int token, size_t cols, float *row) {
  const struct batch *batch = program->batch;
  const struct embed_args *args = &call->op->args.embed;
  bool pooled = args->source == EMBED_TOKENS && batch->embed && batch->embed[token] >= 0;
  if (pooled) {
    memcpy(row, program->pool + (size_t)batch->embed[token] * cols, cols * sizeof *row);
    return;
  }
  if (args->source == EMBED_PATCHES) memcpy(row, batch->patches + (size_t)token * cols, cols * sizeof *row);
  if (args->source == EMBED_TOKENS) id_embed(program, call, token, row);
  if (args->source == EMBED_POSITIONS) position_embed(program, call, token, row);
  for (size_t c = 0; args->scale != 1 && c < cols; c++) row[c] *= args->scale;
}

void call_embed(const struct program *program, const struct call *call, struct range rows, int worker) {
  const struct op *op = call->op;
  size_t cols = value_cols(program, op->out);
  struct range tokens = team_share(program->device->team, rows.count, worker);
  for (int i = rows.first + tokens.first, end = i + tokens.count; i < end; i++) {
    float *out = value_row(program, op->out, i);
    const float *in = op->in[0] >= 0 ? value_row(program, op->in[0], i) : NULL;
    float *row = in ? (float *)worker_scratch(program, worker) : out;
    row_read(program, call, i, cols, row);
    for (size_t c = 0; in && c < cols; c++) out[c] = in[c] + row[c];
    if (op->args.embed.norm != NORM_NONE)
      row_norm(program, op->args.embed.norm, out, op->weight[2], (int)cols, op->args.embed.eps, out);
  }
}

/* The mean of an output's tokens; `line` is one's room. */
static void mean_select(const struct program *program, const struct op *op, const float *in, size_t cols, float *line,
                        float *out) {
  const struct select_args *args = &op->args.select;
  memset(out, 0, cols * sizeof *out);
  for (int k = 0; k < args->mean; k++, in += cols) {
    const float *from = in;
    if (args->norm != NORM_NONE) {
      row_norm(program, args->norm, in, op->weight[2], (int)cols, args->eps, line);
      from = line;
    }
    for (size_t c = 0; c < cols; c++) out[c] += from[c];
  }
  for (size_t c = 0; c < cols; c++) out[c] /= args->mean;
}

/* The mean of a row's tokens behind its lead, or the first of them. */
static void row_select(const struct program *program, const struct op *op, int token, float *line, float *out) {
  const struct select_args *args = &op->args.select;
  const struct row *row = program->batch->row + program->token_row[token];
  size_t cols = value_cols(program, op->in[0]);
  int count = args->pool == POOL_MEAN ? row->count - row->lead : 1;
  const float *in = value_row(program, op->in[0], row->first + row->lead);
  memset(out, 0, cols * sizeof *out);
  for (int k = 0; k < count; k++, in += cols) {
    if (args->norm != NORM_NONE) row_norm(program, args->norm, in, op->weight[2], (int)cols, args->eps, line);
    const float *from = args->norm != NORM_NONE ? line : in;
    for (size_t c = 0; c < cols; c++) out[c] += from[c];
  }
  for (size_t c = 0; c < cols; c++) out[c] /= (float)count;
}

void call_select(const struct program *program, const struct call *call, struct range rows, int worker) {
  const struct op *op = call->op;
  const struct select_args *args = &op->args.select;
  size_t cols = value_cols(program, op->in[0]), merged = value_cols(program, op->out) / cols;
  struct range outputs = team_share(program->device->team, rows.count, worker);
  for (int i = rows.first + outputs.first, end = i + outputs.count; i < end; i++) {
    const float *in = value_row(program, op->in[0], program->batch->out[i]);
    float *out = value_row(program, op->out, i);
    if (args->pool != POOL_TOKEN) {
      row_select(program, op, program->batch->out[i], (float *)worker_scratch(program, worker), out);
      continue;
    }
    if (args->mean) {
      mean_select(program, op, in, cols, (float *)worker_scratch(program, worker), out);
      continue;
    }
    if (args->norm == NORM_NONE) memcpy(out, in, merged * cols * sizeof *out);
    for (size_t k = 0; args->norm != NORM_NONE && k < merged; k++)
      row_norm(program, args->norm, in + k * cols, op->weight[2], (int)cols, args->eps, out + k * cols);
  }
}

bool cpu_pool_fill(struct program *program, int32_t first, int32_t count, const struct pool_source *source,
                   struct error *error) {
  const struct program *encoder = source->encoder;
  int value = encoder ? plan_result(encoder->plan) : 0;
  int32_t cols = encoder ? (int32_t)value_cols(encoder, value) : 0;
  if (!pool_check(program->plan, &program->limits, first, count, source, encoder ? encoder->n_collected : 0, cols,
                  error))
    return false;
  size_t width = (size_t)program->plan->hidden;
  const float *rows = source->rows ? source->rows : value_row(encoder, value, source->first);
  memcpy(program->pool + (size_t)first * width, rows, (size_t)count * width * sizeof *rows);
  return true;
}
