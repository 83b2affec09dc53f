/* The late backend, for tests: the CPU's arithmetic, with each step's results withheld until the next step has been
 * submitted, as on a device that runs behind its host. It keeps the last token of every seat, which is what a token of
 * −1 stands for. Logits are handed through at once: they are valid while nothing runs ahead. */
#include "backend/backends.h"
#include "backend/cpu/cpu_layout.h"

#include <stdlib.h>
#include <string.h>

enum { RUN_AHEAD = 1 };

struct withheld {
  int n_out;
  int32_t *token; /* [limits.outputs] */
  float *logprob;
  struct token_logprob *top; /* [limits.outputs][TOP_LOGPROBS] */
  const float *logits;
};

struct program {
  struct program *inner; /* the CPU's, of another layout */
  int32_t *last;         /* [limits.seats] last sampled token */
  struct limits limits;
  struct batch batch;        /* the one in hand, all of it known: */
  int32_t *token;            /* [limits.tokens] */
  struct sampling *sampling; /* [limits.outputs] */
  int32_t *history;          /* [limits.seats][limits.length] */
  struct withheld withheld[RUN_AHEAD + 1];
  int oldest, n_withheld;
};

static void late_release(struct program *program) {
  if (!program) return;
  backend_cpu.release(program->inner);
  for (int i = 0; i <= RUN_AHEAD; i++) {
    free(program->withheld[i].token);
    free(program->withheld[i].logprob);
    free(program->withheld[i].top);
  }
  free(program->last);
  free(program->token);
  free(program->sampling);
  free(program->history);
  free(program);
}

static bool buffers_init(struct program *program, const struct limits *limits) {
  program->last = calloc((size_t)limits->seats, sizeof *program->last);
  program->token = calloc((size_t)limits->tokens, sizeof *program->token);
  program->sampling = calloc((size_t)limits->outputs + 1, sizeof *program->sampling);
  program->history = calloc((size_t)limits->seats * (size_t)limits->length, sizeof *program->history);
  bool ready = program->last && program->token && program->sampling && program->history;
  for (int i = 0; i <= RUN_AHEAD; i++) {
    struct withheld *w = &program->withheld[i];
    w->token = calloc((size_t)limits->outputs + 1, sizeof *w->token);
    w->logprob = calloc((size_t)limits->outputs + 1, sizeof *w->logprob);
    w->top = calloc((size_t)limits->outputs * TOP_LOGPROBS + 1, sizeof *w->top);
    ready = ready && w->token && w->logprob && w->top;
  }
  return ready;
}

static struct program *late_compile(struct device *device, const struct plan *plan, const struct limits *limits,
                                    struct error *error) {
  struct program *inner = backend_cpu.compile(device, plan, limits, error);
  struct program *program = inner ? calloc(1, sizeof *program) : NULL;
  if (program) {
    program->inner = inner;
    program->limits = *limits;
    if (buffers_init(program, limits)) return program;
    late_release(program);
    error_set(error, ERROR_MEMORY, "Out of memory for a program of %d tokens.", limits->tokens);
  } else if (inner) {
    backend_cpu.release(inner);
    error_set(error, ERROR_MEMORY, "Out of memory for a program.");
  }
  return NULL;
}

static bool late_load(struct program *program, int weight, struct slice packed, struct error *error) {
  return backend_cpu.load(program->inner, weight, packed, error);
}

static bool late_adapter_load(struct program *program, int slot, const struct adapter *adapter, struct error *error) {
  return backend_cpu.adapter_load(program->inner, slot, adapter, error);
}

static bool late_pool_fill(struct program *program, int32_t first, int32_t count, const struct pool_source *source,
                           struct error *error) {
  struct pool_source inner = *source;
  if (inner.encoder) inner.encoder = source->encoder->inner;
  return backend_cpu.pool_fill(program->inner, first, count, &inner, error);
}

/* The history that rules read, with the token that the host does not know yet. */
static void history_complete(struct program *program, struct sampling *sampling, int32_t seat) {
  bool known = (uint64_t)(sampling->n_history - sampling->n_prompt) >= sampling->index;
  if (known || !sampling->rules) return;
  int32_t *history = program->history + (size_t)seat * (size_t)program->limits.length;
  memcpy(history, sampling->history, (size_t)sampling->n_history * sizeof *history);
  history[sampling->n_history++] = program->last[seat];
  sampling->history = history;
}

static void sampling_complete(struct program *program, const struct batch *batch) {
  const struct row *row = batch->row;
  for (int i = 0; i < batch->n_out; i++) {
    while (batch->out[i] >= row->first + row->count) row++;
    program->sampling[i] = batch->sampling[i];
    history_complete(program, &program->sampling[i], row->seat);
  }
}

static bool late_submit(struct program *program, const struct batch *batch, struct error *error) {
  program->batch = *batch;
  if (!batch->token) return backend_cpu.submit(program->inner, batch, error); /* of an encoder: all is known */
  program->batch.token = program->token;
  program->batch.sampling = program->sampling;
  sampling_complete(program, batch);
  for (int r = 0; r < batch->n_row; r++) {
    const struct row *row = batch->row + r;
    for (int i = row->first; i < row->first + row->count; i++)
      program->token[i] = batch->token[i] == -1 ? program->last[row->seat] : batch->token[i];
  }
  return backend_cpu.submit(program->inner, &program->batch, error);
}

/* Of encoders alone. */
static bool late_advance(struct program *program, const struct batch *batch, double us, bool *done,
                         struct error *error) {
  program->batch = *batch;
  return backend_cpu.advance(program->inner, batch, us, done, error);
}

static void result_withhold(struct program *program, const struct result *result) {
  struct withheld *w = &program->withheld[(program->oldest + program->n_withheld++) % (RUN_AHEAD + 1)];
  const struct row *row = program->batch.row;
  w->n_out = result->n_out;
  w->logits = result->logits;
  for (int i = 0; i < result->n_out; i++) {
    while (program->batch.out[i] >= row->first + row->count) row++;
    w->token[i] = result->token[i];
    program->last[row->seat] = w->token[i] < 0 ? 0 : w->token[i]; /* a step with it may have been formed */
    w->logprob[i] = result->logprob[i];
  }
  memcpy(w->top, result->top, (size_t)result->n_out * TOP_LOGPROBS * sizeof *w->top);
}

static bool late_finish(struct program *program, const struct masks *masks, struct error *error) {
  struct result result;
  if (!backend_cpu.finish(program->inner, masks, error) || !backend_cpu.collect(program->inner, &result, error))
    return false;
  result_withhold(program, &result);
  return true;
}

static bool late_collect(struct program *program, struct result *result, struct error *error) {
  (void)error;
  const struct withheld *w = &program->withheld[program->oldest];
  *result =
      (struct result){.n_out = w->n_out, .token = w->token, .logprob = w->logprob, .top = w->top, .logits = w->logits};
  program->oldest = (program->oldest + 1) % (RUN_AHEAD + 1);
  program->n_withheld--;
  return true;
}

static void late_release_cache(struct program *program) { backend_cpu.release_cache(program->inner); }

static struct device *late_open(const struct device_options *options, struct error *error) {
  return backend_cpu.open(options, error);
}

static void late_close(struct device *device) { backend_cpu.close(device); }

static uint8_t late_kv_best(const struct device *device, int32_t block_size, bool kept) {
  return backend_cpu.kv_best(device, block_size, kept);
}

static const char *late_describe(const struct device *device) { return backend_cpu.describe(device); }

static bool late_supports(const struct plan *plan, int op, struct error *error) {
  return backend_cpu.supports(plan, op, error);
}

static void late_fallbacks(const struct device *device, const struct plan *plan, const struct limits *limits,
                           struct buffer *out) {
  backend_cpu.fallbacks(device, plan, limits, out);
}

static size_t late_strip_bytes(const struct weight *weight) { return backend_cpu.strip_bytes(weight); }

static void late_pack(const struct weight *weight, const struct codes *codes, void *out) {
  backend_cpu.pack(weight, codes, out);
}

static bool late_measure(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                         struct error *error) {
  return backend_cpu.measure(plan, limits, footprint, error);
}

const struct backend backend_late = {
    .name = "late",
    .target = TARGET_CPU,
    .run_ahead = RUN_AHEAD,
    .pack_rows = TILE_ROWS,
    .open = late_open,
    .close = late_close,
    .describe = late_describe,
    .kv_best = late_kv_best,
    .supports = late_supports,
    .fallbacks = late_fallbacks,
    .strip_bytes = late_strip_bytes,
    .pack = late_pack,
    .measure = late_measure,
    .compile = late_compile,
    .load = late_load,
    .release = late_release,
    .adapter_load = late_adapter_load,
    .expert_adapters = true,
    .pool_fill = late_pool_fill,
    .release_cache = late_release_cache,
    .advance = late_advance,
    .submit = late_submit,
    .finish = late_finish,
    .collect = late_collect,
};
