/* Names of KV types, checking a batch, and sizes that follow from a backend's table. */
#include "plan/backend.h"

#include <math.h>

const char *kv_dtype_name(int dtype) {
  static const char *const names[] = {
      [KV_F32] = "fp32", [KV_F16] = "fp16", [KV_BF16] = "bf16", [KV_E4M3] = "fp8", [KV_INT8] = "int8"};
  return dtype >= 0 && dtype <= KV_INT8 ? names[dtype] : NULL;
}

bool result_sound(const struct result *result, struct error *error) {
  for (int i = 0; i < result->n_out; i++)
    if (result->token[i] < 0)
      return error_set(error, ERROR_DEVICE,
                       "The step computed logits that are not finite: the weights may be damaged.");
  return true;
}

/* A decoder's table of positions has a row for each token of the sequence. */
static bool row_position_check(const struct row *row, int index, const struct plan *plan, struct error *error) {
  const struct op *op = plan->role == PLAN_DECODER ? plan_embed(plan, EMBED_POSITIONS) : NULL;
  if (!op || row->length + row->count <= plan_weights(plan)[op->weight[0]].rows) return true;
  return error_set(error, ERROR_LIMIT, "Row %d has %d + %d tokens, and the network has a table of %d positions.", index,
                   row->length, row->count, plan_weights(plan)[op->weight[0]].rows);
}

/* Tokens that are not pooled are an encoder's. */
static bool row_lead_check(const struct row *row, int index, const struct plan *plan, struct error *error) {
  int most = plan->role == PLAN_ENCODER ? row->count - 1 : 0;
  if (row->lead >= 0 && row->lead <= most) return true;
  return error_set(error, ERROR_INVALID, "Row %d leaves %d of its %d tokens out, expected 0 to %d.", index, row->lead,
                   row->count, most);
}

static bool row_check(const struct batch *b, int index, const struct plan *plan, const struct limits *limits,
                      struct error *error) {
  const struct row *row = b->row + index;
  if (row->seat < 0 || row->seat >= limits->seats)
    return error_set(error, ERROR_INVALID, "Row %d has seat %d, expected 0 to %d.", index, row->seat,
                     limits->seats - 1);
  if (row->count < 1 || row->first < 0 || row->first > b->n_token - row->count)
    return error_set(error, ERROR_INVALID, "Row %d has tokens %d to %d of %d.", index, row->first,
                     row->first + row->count - 1, b->n_token);
  if (row->length < 0 || row->length > limits->length - row->count)
    return error_set(error, ERROR_LIMIT, "Row %d has %d + %d tokens, more than the engine's %d.", index, row->length,
                     row->count, limits->length);
  for (int t = row->first; b->see && t < row->first + row->count; t++)
    if (b->see[t] < -row->length || b->see[t] >= row->count)
      return error_set(error, ERROR_INVALID, "Token %d sees up to token %d of row %d, expected %d to %d.", t, b->see[t],
                       index, -row->length, row->count - 1);
  for (int g = 0; g < plan->n_group; g++) {
    int need = (row->length + row->count + limits->block_size - 1) / limits->block_size;
    if (row->n_block[g] < need)
      return error_set(error, ERROR_INVALID, "Row %d has %d blocks in group %d, needs %d.", index, row->n_block[g], g,
                       need);
    for (int i = 0; i < row->n_block[g]; i++)
      if (row->block[g][i] >= limits->n_block[g])
        return error_set(error, ERROR_INVALID, "Row %d names block %u of %u in group %d.", index, row->block[g][i],
                         limits->n_block[g], g);
  }
  return true;
}

static bool adapters_check(const struct row *row, int index, const struct limits *limits, struct error *error) {
  if (row->n_lora < 0 || row->n_lora > ROW_LORAS)
    return error_set(error, ERROR_INVALID, "Row %d has %d adapters, expected 0 to %d.", index, row->n_lora, ROW_LORAS);
  for (int i = 0; i < row->n_lora; i++) {
    if (row->lora[i].slot < 0 || row->lora[i].slot >= limits->adapters)
      return error_set(error, ERROR_INVALID, "Row %d names the adapter in slot %d of %d.", index, row->lora[i].slot,
                       limits->adapters);
    if (!isfinite(row->lora[i].scale))
      return error_set(error, ERROR_INVALID, "Row %d scales an adapter by %g; a finite number is wanted.", index,
                       (double)row->lora[i].scale);
  }
  return true;
}

/* Outputs of several tokens do not reach from one row into the next; those of a decoder ascend. */
static bool output_place_check(const struct batch *b, int index, int merged, struct error *error) {
  int out = b->out[index], before = index > 0 && b->token ? b->out[index - 1] + merged : 0, row = 0;
  if (out < before || out > b->n_token - merged)
    return error_set(error, ERROR_INVALID, "Output %d names token %d of %d%s.", index, out, b->n_token,
                     b->token ? "; outputs ascend" : "");
  if (merged == 1) return true;
  while (out >= b->row[row].first + b->row[row].count) row++;
  if (out + merged <= b->row[row].first + b->row[row].count) return true;
  return error_set(error, ERROR_INVALID, "Output %d joins tokens %d to %d, which are of two rows.", index, out,
                   out + merged - 1);
}

static bool output_check(const struct batch *b, int index, const struct plan *plan, int merged, struct error *error) {
  if (!output_place_check(b, index, merged, error)) return false;
  if (!b->sampling && !plan_samples(plan)) return true;
  if (!b->sampling) return error_set(error, ERROR_INVALID, "Output %d does not say how its token is drawn.", index);
  const struct sampling *sampling = &b->sampling[index];
  if (sampling->draw == DRAW_SCORE && (sampling->target < 0 || sampling->target >= plan->vocab))
    return error_set(error, ERROR_INVALID, "Output %d scores token %d, expected 0 to %d.", index, sampling->target,
                     plan->vocab - 1);
  if (sampling->n_top >= 0 && sampling->n_top <= TOP_LOGPROBS) return true;
  return error_set(error, ERROR_INVALID, "Output %d wants the %d likeliest tokens, expected 0 to %d.", index,
                   sampling->n_top, TOP_LOGPROBS);
}

/* Places are those of a sequence: images make them fewer, never more. */
static bool places_check(const struct batch *b, const struct limits *limits, struct error *error) {
  for (int r = 0; r < b->n_row; r++)
    for (int t = b->row[r].first; t < b->row[r].first + b->row[r].count; t++)
      for (int axis = 0; axis < 3; axis++) {
        int64_t place = (int64_t)b->row[r].length + b->position[t][axis];
        if (place < 0 || place >= limits->length)
          return error_set(error, ERROR_INVALID, "Token %d has place %lld on axis %d, expected 0 to %d.", t,
                           (long long)place, axis, limits->length - 1);
      }
  return true;
}

/* Tokens of a decoder: each has an id, and perhaps a row of the pool in its place. */
static bool ids_check(const struct batch *b, const struct plan *plan, const struct limits *limits,
                      struct error *error) {
  for (int i = 0; i < b->n_token; i++)
    if (b->token[i] < 0 || b->token[i] >= plan->vocab)
      return error_set(error, ERROR_INVALID, "Token %d has id %d, expected 0 to %d.", i, b->token[i], plan->vocab - 1);
  for (int i = 0; b->embed && i < b->n_token; i++)
    if (b->embed[i] < -1 || b->embed[i] >= limits->pool)
      return error_set(error, ERROR_INVALID, "Token %d is row %d of the embedding pool, expected -1 to %d.", i,
                       b->embed[i], limits->pool - 1);
  if (!b->parent && !b->patches && !b->span && (!b->position || plan_has_axes(plan)))
    return !b->position || places_check(b, limits, error);
  return error_set(error, ERROR_UNSUPPORTED,
                   "Token trees, patches of a decoder and positions of one whose rotation has one axis do not exist.");
}

/* Tokens of texts, each whole: their places, where they are said, lie in the tables. */
static bool texts_check(const struct batch *b, const struct plan *plan, struct error *error) {
  for (int i = 0; i < b->n_token; i++)
    if (b->token[i] < 0 || b->token[i] >= plan->vocab)
      return error_set(error, ERROR_INVALID, "Token %d has id %d, expected 0 to %d.", i, b->token[i], plan->vocab - 1);
  for (int r = 0; r < b->n_row; r++)
    if (b->row[r].length != 0 || b->row[r].count > plan->max_position)
      return error_set(error, ERROR_INVALID, "Row %d of texts has %d tokens and %d before them, expected %d and none.",
                       r, b->row[r].count, b->row[r].length, plan->max_position);
  for (int i = 0; b->position && i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind != OP_EMBED || op->args.embed.source != EMBED_POSITIONS) continue;
    int rows = plan_weights(plan)[op->weight[0]].rows - op->args.embed.skip, axis = op->args.embed.axis;
    for (int t = 0; t < b->n_token; t++)
      if (b->position[t][axis] < 0 || b->position[t][axis] >= rows)
        return error_set(error, ERROR_INVALID, "Token %d has place %d on axis %d, expected 0 to %d.", t,
                         b->position[t][axis], axis, rows - 1);
  }
  if (!b->embed && !b->parent && !b->patches && !b->span && !b->see && b->n_copy == 0) return true;
  return error_set(error, ERROR_INVALID, "A batch of texts has tokens and their places, and nothing else.");
}

/* Each token sees itself, and nothing beyond its row. */
static bool spans_check(const struct batch *b, struct error *error) {
  for (int r = 0; r < b->n_row; r++)
    for (int i = 0; i < b->row[r].count; i++) {
      const int32_t *span = b->span[b->row[r].first + i];
      if (span[0] < 0 || span[0] > i || span[1] < i || span[1] >= b->row[r].count)
        return error_set(error, ERROR_INVALID, "Patch %d of row %d sees patches %d to %d of %d.", i, r, span[0],
                         span[1], b->row[r].count);
    }
  return true;
}

/* Tokens of an encoder of images, which keeps nothing between steps. */
static bool patches_check(const struct batch *b, const struct plan *plan, struct error *error) {
  const struct op *positions = plan_embed(plan, EMBED_POSITIONS);
  bool placed = positions || plan_has_axes(plan), spans = plan_has_spans(plan);
  if (b->token || b->embed || b->parent || b->see || b->n_copy || !b->patches || (placed && !b->position) ||
      spans != (b->span != NULL))
    return error_set(error, ERROR_INVALID,
                     "A batch of images has patches, positions and, for local attention, spans, and nothing else.");
  for (int r = 0; r < b->n_row; r++)
    if (b->row[r].length != 0 || b->row[r].n_lora != 0)
      return error_set(error, ERROR_INVALID, "Row %d of images has %d tokens before it and %d adapters, expected none.",
                       r, b->row[r].length, b->row[r].n_lora);
  int rows = positions ? plan_weights(plan)[positions->weight[0]].rows : 0;
  for (int i = 0; positions && i < b->n_token; i++)
    if (b->position[i][0] < 0 || b->position[i][0] >= rows)
      return error_set(error, ERROR_INVALID, "Patch %d has position %d, expected 0 to %d.", i, b->position[i][0],
                       rows - 1);
  for (int i = 0; placed && i < b->n_token; i++)
    for (int axis = 1; axis < 3; axis++)
      if (b->position[i][axis] < 0 || b->position[i][axis] >= PLAN_SIDE)
        return error_set(error, ERROR_INVALID, "Patch %d has place %d on axis %d, expected 0 to %d.", i,
                         b->position[i][axis], axis, PLAN_SIDE - 1);
  return !spans || spans_check(b, error);
}

bool pool_limits_check(const struct plan *plan, const struct limits *limits, struct error *error) {
  if (limits->pool < 0 || (limits->pool > 0 && plan->role != PLAN_DECODER))
    return error_set(error, ERROR_INVALID, "An embedding pool of %d rows was asked for in a plan of role %d.",
                     limits->pool, plan->role);
  for (int i = 0; limits->pool > 0 && i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_EMBED && plan_values(plan)[op->out].cols != plan->hidden)
      return error_set(error, ERROR_FORMAT, "Op %d of the plan embeds tokens to %d columns, and its width is %d.", i,
                       plan_values(plan)[op->out].cols, plan->hidden);
  }
  return true;
}

bool pool_check(const struct plan *plan, const struct limits *limits, int32_t first, int32_t count,
                const struct pool_source *source, int32_t n_out, int32_t cols, struct error *error) {
  if (first < 0 || count < 0 || first > limits->pool - count)
    return error_set(error, ERROR_INVALID, "Rows %d to %d of an embedding pool of %d rows were to be filled.", first,
                     first + count - 1, limits->pool);
  if (source->rows) return true;
  if (source->first >= 0 && source->first <= n_out - count && cols == plan->hidden) return true;
  return error_set(error, ERROR_INVALID,
                   "An encoder's rows %d to %d of %d, %d wide, were to fill an embedding pool that is %d wide.",
                   source->first, source->first + count - 1, n_out, cols, plan->hidden);
}

bool batch_check(const struct batch *b, const struct plan *plan, const struct limits *limits, struct error *error) {
  if (b->n_token < 1 || b->n_token > limits->tokens || b->n_row < 1 || b->n_row > limits->seats || b->n_out < 0 ||
      b->n_out > limits->outputs)
    return error_set(error, ERROR_LIMIT, "A batch of %d rows, %d tokens, %d outputs; at most %d, %d, %d.", b->n_row,
                     b->n_token, b->n_out, limits->seats, limits->tokens, limits->outputs);
  for (int i = 0, next = 0; i < b->n_row; next += b->row[i++].count) {
    if (!row_check(b, i, plan, limits, error) || !row_position_check(&b->row[i], i, plan, error) ||
        !row_lead_check(&b->row[i], i, plan, error))
      return false;
    if (b->row[i].first != next)
      return error_set(error, ERROR_INVALID, "Row %d starts at token %d, expected %d: rows follow each other.", i,
                       b->row[i].first, next);
    if (!adapters_check(&b->row[i], i, limits, error)) return false;
  }
  bool tokens = plan->role == PLAN_DECODER   ? ids_check(b, plan, limits, error)
                : plan->role == PLAN_ENCODER ? texts_check(b, plan, error)
                                             : patches_check(b, plan, error);
  if (!tokens) return false;
  int merged = plan->role == PLAN_DECODER ? 1 : plan_merged(plan);
  for (int i = 0; i < b->n_out; i++)
    if (!output_check(b, i, plan, merged, error)) return false;
  for (int i = 0; i < b->n_copy; i++) {
    const struct kv_copy *copy = b->copy + i;
    if (copy->group < 0 || copy->group >= plan->n_group || copy->from >= limits->n_block[copy->group] ||
        copy->to >= limits->n_block[copy->group])
      return error_set(error, ERROR_INVALID, "Block copy %d of the batch is out of range.", i);
  }
  return true;
}

size_t backend_packed_bytes(const struct backend *backend, const struct weight *weight) {
  size_t experts = (size_t)weight_experts(weight);
  if (weight->use == WEIGHT_VECTOR) return experts * (size_t)weight->cols * sizeof(float);
  size_t strips = ((size_t)weight->rows + (size_t)backend->pack_rows - 1) / (size_t)backend->pack_rows;
  return experts * strips * backend->strip_bytes(weight);
}
