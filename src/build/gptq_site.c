/* Strips on all threads, then the whole matrix into the file. */
#include "build/gptq_site.h"

#include "base/limits.h"
#include "build/parallel.h"

#include <stdatomic.h>
#include <stdlib.h>

struct rounding {
  const struct gptq *gptq;
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

static void strip_round(void *context, int worker, int item) {
  struct rounding *r = context;
  int first = item * r->backend->pack_rows, rest = r->weight->rows - first;
  int count = rest < r->backend->pack_rows ? rest : r->backend->pack_rows;
  if (r->failed) return;
  if (!gptq_round(r->gptq, r->matrix + (size_t)first * (size_t)r->weight->cols, count, &r->rows[worker],
                  r->scratch[worker], &r->error[worker])) {
    r->failed = true;
    return;
  }
  struct codes codes = code_rows_view(&r->rows[worker], count);
  r->backend->pack(r->weight, &codes, r->packed + (size_t)item * r->backend->strip_bytes(r->weight));
}

static bool matrix_round(struct rounding *r, const char *name, int n_thread, struct error *error) {
  int n_strip = (r->weight->rows + r->backend->pack_rows - 1) / r->backend->pack_rows;
  parallel_run(n_thread, n_strip, strip_round, r);
  for (int i = 0; i < n_thread && r->failed; i++)
    if (r->error[i].code) return error_set(error, r->error[i].code, "A row of %s %s", name, r->error[i].text);
  return true;
}

static bool rounding_init(struct rounding *r, int n_thread, struct error *error) {
  size_t scratch = gptq_scratch(r->backend->pack_rows, r->weight->cols);
  bool ready = true;
  r->packed = calloc(1, backend_packed_bytes(r->backend, r->weight));
  for (int i = 0; i < n_thread && ready; i++) {
    r->scratch[i] = calloc(scratch, sizeof **r->scratch);
    ready =
        r->scratch[i] && code_rows_init(&r->rows[i], &r->weight->scheme, r->backend->pack_rows, r->weight->cols, error);
  }
  return (ready && r->packed) ||
         error_set(error, ERROR_MEMORY, "Out of memory for a matrix of %d rows.", r->weight->rows);
}

static void rounding_release(struct rounding *r, int n_thread) {
  free(r->packed);
  for (int i = 0; i < n_thread; i++) {
    free(r->scratch[i]);
    code_rows_release(&r->rows[i]);
  }
}

bool gptq_write(const struct gptq *gptq, const struct plan *plan, int weight, float *matrix,
                struct engine_writer *writer, int n_thread, struct error *error) {
  struct rounding r = {
      .gptq = gptq, .weight = plan_weights(plan) + weight, .backend = writer->backend, .matrix = matrix};
  bool done = rounding_init(&r, n_thread, error) && matrix_round(&r, plan_name(plan, r.weight->name), n_thread, error);
  if (done) {
    struct slice bytes = slice_make(r.packed, backend_packed_bytes(r.backend, r.weight));
    engine_writer_hash(writer, weight, hash_bytes(bytes, 0));
    done = engine_writer_weight(writer, weight, 0, bytes, error);
  }
  rounding_release(&r, n_thread);
  return done;
}
