/* Strips on all threads, then the whole matrix into the file. */
#include "build/gptq_site.h"

#include "base/limits.h"
#include "build/parallel.h"
#include "build/quantize.h"

#include <stdatomic.h>
#include <stdlib.h>

struct rounding {
  const struct gptq *gptq; /* NULL: to nearest, by the metric if there is one */
  const float *metric;
  const struct weight *weight;
  const struct backend *backend;
  float *matrix;
  uint8_t *packed;
  struct code_rows rows[LIMIT_BUILD_THREADS]; /* of a worker, a strip */
  float *scratch[LIMIT_BUILD_THREADS];
  struct error error[LIMIT_BUILD_THREADS];
  atomic_bool failed;
};

bool gptq_takes(const struct scheme *scheme) {
  return scheme->kind == SCHEME_INT && scheme->scale != SCALE_TWO_LEVEL && !scheme->codebook;
}

/* Rows of a strip into their worker's codes. */
static bool rows_round(struct rounding *r, int worker, float *rows, int count) {
  struct error *error = &r->error[worker];
  if (r->gptq) return gptq_round(r->gptq, rows, count, &r->rows[worker], r->scratch[worker], error);
  for (int i = 0; i < count; i++)
    if (!quantize_row(rows + (size_t)i * (size_t)r->weight->cols, r->metric, &r->rows[worker], i, error)) return false;
  return true;
}

static void strip_round(void *context, int worker, int item) {
  struct rounding *r = context;
  int first = item * r->backend->pack_rows, rest = r->weight->rows - first;
  int count = rest < r->backend->pack_rows ? rest : r->backend->pack_rows;
  if (r->failed) return;
  if (!rows_round(r, worker, r->matrix + (size_t)first * (size_t)r->weight->cols, count)) {
    r->failed = true;
    return;
  }
  struct codes codes = code_rows_view(&r->rows[worker], count);
  r->backend->pack(r->weight, &codes, r->packed + (size_t)item * r->backend->strip_bytes(r->weight));
}

static bool strips_round(struct rounding *r, const char *name, int n_thread, struct error *error) {
  int n_strip = (r->weight->rows + r->backend->pack_rows - 1) / r->backend->pack_rows;
  parallel_run(n_thread, n_strip, strip_round, r);
  for (int i = 0; i < n_thread && r->failed; i++)
    if (r->error[i].code) return error_set(error, r->error[i].code, "A row of %s %s", name, r->error[i].text);
  return true;
}

static bool rounding_init(struct rounding *r, int n_thread, struct error *error) {
  size_t scratch = r->gptq ? gptq_scratch(r->backend->pack_rows, r->weight->cols) : 1;
  bool ready = true;
  for (int i = 0; i < n_thread && ready; i++) {
    r->scratch[i] = calloc(scratch, sizeof **r->scratch);
    ready =
        r->scratch[i] && code_rows_init(&r->rows[i], &r->weight->scheme, r->backend->pack_rows, r->weight->cols, error);
  }
  return ready || error_set(error, ERROR_MEMORY, "Out of memory for a matrix of %d rows.", r->weight->rows);
}

static void rounding_release(struct rounding *r, int n_thread) {
  for (int i = 0; i < n_thread; i++) {
    free(r->scratch[i]);
    code_rows_release(&r->rows[i]);
  }
}

/* Rounds and packs one matrix into r->packed. */
static bool matrix_round(struct rounding *r, const struct plan *plan, int n_thread, struct error *error) {
  bool done = rounding_init(r, n_thread, error) && strips_round(r, plan_name(plan, r->weight->name), n_thread, error);
  rounding_release(r, n_thread);
  return done;
}

/* Bytes of one matrix of a weight. */
static size_t matrix_bytes(const struct backend *backend, const struct weight *weight) {
  return backend_packed_bytes(backend, weight) / (size_t)weight_experts(weight);
}

bool stack_begin(struct stack_writer *stack, const struct plan *plan, int weight, struct engine_writer *writer,
                 int n_thread, struct error *error) {
  const struct weight *w = plan_weights(plan) + weight;
  *stack = (struct stack_writer){.plan = plan, .writer = writer, .weight = weight, .n_thread = n_thread};
  stack->packed = calloc(1, matrix_bytes(writer->backend, w));
  stack->hasher = hasher_new(0);
  return (stack->packed && stack->hasher) ||
         error_set(error, ERROR_MEMORY, "Out of memory for a matrix of %d rows.", w->rows);
}

bool stack_add(struct stack_writer *stack, const struct gptq *gptq, const float *metric, float *matrix,
               struct error *error) {
  const struct weight *weight = plan_weights(stack->plan) + stack->weight;
  struct rounding r = {.gptq = gptq,
                       .metric = metric,
                       .weight = weight,
                       .backend = stack->writer->backend,
                       .matrix = matrix,
                       .packed = stack->packed};
  size_t bytes = matrix_bytes(r.backend, weight);
  if (!matrix_round(&r, stack->plan, stack->n_thread, error)) return false;
  hasher_update(stack->hasher, slice_make(stack->packed, bytes));
  return engine_writer_weight(stack->writer, stack->weight, (uint64_t)stack->expert++ * bytes,
                              slice_make(stack->packed, bytes), error);
}

void stack_end(struct stack_writer *stack) {
  engine_writer_hash(stack->writer, stack->weight, hasher_finish(stack->hasher));
  stack->hasher = NULL;
}

void stack_release(struct stack_writer *stack) {
  free(stack->packed);
  if (stack->hasher) hasher_finish(stack->hasher);
  *stack = (struct stack_writer){0};
}

bool gptq_write(const struct gptq *gptq, const struct plan *plan, int weight, float *matrix,
                struct engine_writer *writer, int n_thread, struct error *error) {
  struct stack_writer stack;
  bool done =
      stack_begin(&stack, plan, weight, writer, n_thread, error) && stack_add(&stack, gptq, NULL, matrix, error);
  if (done) stack_end(&stack);
  stack_release(&stack);
  return done;
}
