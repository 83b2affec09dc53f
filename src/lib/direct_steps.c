/* Direct steps. */
#include "lib/direct_steps.h"

#include <stdlib.h>

static bool direct_fits(const struct loaded_engine *engine, int count, int longest, int blocks, struct error *error) {
  const struct limits *limits = &engine->limits;
  if (count < 1 || count > limits->seats)
    return error_set(error, ERROR_LIMIT, "A batch of %d sequences; the engine allows 1 to %d (max_batch_size).", count,
                     limits->seats);
  if (longest < 1 || longest > limits->length)
    return error_set(error, ERROR_LIMIT, "Sequences of %d tokens; the engine allows 1 to %d (max_seq_len).", longest,
                     limits->length);
  for (int g = 0; g < engine->plan->n_group; g++)
    if ((int64_t)count * blocks > limits->n_block[g])
      return error_set(error, ERROR_MEMORY, "%d sequences of %d tokens need %lld KV blocks; the cache has %u.", count,
                       longest, (long long)count * blocks, limits->n_block[g]);
  return true;
}

bool direct_init(struct direct_steps *steps, const struct loaded_engine *engine, int count, int longest,
                 struct error *error) {
  const struct limits *limits = &engine->limits;
  int blocks = (int)(((int64_t)longest + limits->block_size - 1) / limits->block_size);
  *steps = (struct direct_steps){.engine = engine, .count = count};
  if (!direct_fits(engine, count, longest, blocks, error)) return false;
  steps->row = calloc((size_t)count, sizeof *steps->row);
  steps->token = calloc((size_t)limits->tokens, sizeof *steps->token);
  steps->out = calloc((size_t)limits->tokens, sizeof *steps->out);
  steps->sampling = calloc((size_t)limits->tokens, sizeof *steps->sampling);
  steps->table = calloc((size_t)count * (size_t)blocks, sizeof *steps->table);
  if (!steps->row || !steps->token || !steps->out || !steps->sampling || !steps->table) {
    direct_release(steps);
    return error_set(error, ERROR_MEMORY, "Out of memory for a batch of %d sequences.", count);
  }
  for (size_t i = 0; i < (size_t)count * (size_t)blocks; i++) steps->table[i] = (uint32_t)i;
  for (int i = 0; i < count; i++) {
    steps->row[i] = (struct row){.seat = i};
    for (int g = 0; g < engine->plan->n_group; g++) {
      steps->row[i].block[g] = steps->table + (size_t)i * (size_t)blocks;
      steps->row[i].n_block[g] = blocks;
    }
  }
  return true;
}

void direct_release(struct direct_steps *steps) {
  free(steps->row);
  free(steps->token);
  free(steps->out);
  free(steps->sampling);
  free(steps->table);
  *steps = (struct direct_steps){0};
}

void direct_adapt(struct direct_steps *steps, const struct row *adapters) {
  for (int i = 0; i < steps->count; i++) {
    steps->row[i].n_lora = adapters->n_lora;
    memcpy(steps->row[i].lora, adapters->lora, sizeof adapters->lora);
  }
}

void direct_rewind(struct direct_steps *steps, int length) { steps->length = length; }

static int row_tokens(const struct direct_steps *steps, int row, int n) {
  return steps->chunk > 0 && row == steps->count - 1 ? steps->chunk : n;
}

static void rows_fill(struct direct_steps *steps, int n) {
  for (int i = 0; i < steps->count; i++) {
    steps->row[i].first = i * n;
    steps->row[i].count = row_tokens(steps, i, n);
    steps->row[i].length = steps->length;
  }
}

/* A chunk is a prompt's beginning: no token follows it. */
static int outputs_fill(struct direct_steps *steps, enum direct_outputs outputs) {
  int count = 0;
  for (int r = 0; r < steps->count - (steps->chunk > 0); r++) {
    int last = steps->row[r].first + steps->row[r].count - 1;
    for (int i = outputs == OUTPUT_ALL ? steps->row[r].first : last; outputs != OUTPUT_NONE && i <= last; i++)
      steps->out[count++] = i;
  }
  for (int i = 0; i < count; i++) steps->sampling[i] = (struct sampling){.top_p = 1};
  return count;
}

bool direct_batch(struct direct_steps *steps, const int32_t *tokens, int n, enum direct_outputs outputs,
                  bool want_logits, struct batch *batch, struct error *error) {
  const struct loaded_engine *engine = steps->engine;
  int64_t total = (int64_t)n * (steps->count - 1) + row_tokens(steps, steps->count - 1, n);
  if (n < 1 || total > engine->limits.tokens)
    return error_set(error, ERROR_LIMIT, "A step of %lld tokens; the engine allows %d (max_num_tokens).",
                     (long long)total, engine->limits.tokens);
  rows_fill(steps, n);
  memcpy(steps->token, tokens, (size_t)total * sizeof *tokens);
  *batch = (struct batch){.n_row = steps->count,
                          .n_token = (int32_t)total,
                          .n_out = outputs_fill(steps, outputs),
                          .row = steps->row,
                          .token = steps->token,
                          .out = steps->out,
                          .sampling = steps->sampling,
                          .want_logits = want_logits};
  return batch_check(batch, engine->plan, &engine->limits, error);
}

bool direct_step(struct direct_steps *steps, const int32_t *tokens, int n, enum direct_outputs outputs,
                 bool want_logits, struct result *result, struct error *error) {
  const struct loaded_engine *engine = steps->engine;
  struct batch batch;
  if (!direct_batch(steps, tokens, n, outputs, want_logits, &batch, error)) return false;
  steps->length += n;
  bool computed = engine->backend->submit(engine->program, &batch, error) &&
                  engine->backend->finish(engine->program, NULL, error) &&
                  engine->backend->collect(engine->program, result, error) && result_sound(result, error);
  return engine_file_intact(&engine->file, error) && computed;
}
