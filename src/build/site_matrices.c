/* A site's matrices, from the checkpoint or out of the engine that is being written. */
#include "build/calibrating.h"

#include <stdlib.h>

void site_matrices_release(struct site_matrices *m) {
  for (int i = 0; i < m->n_all; i++) free(m->matrix[i]);
  m->n = m->n_all = 0;
}

/* Of heads' matrices all, one after the other. */
static bool heads_read(const struct weight_source *of, float *out, struct error *error) {
  enum { ROWS = 16 };
  struct weight floats = *of->weight;
  struct weight_source source = *of;
  struct weight_reader reader;
  floats.scheme = (struct scheme){.kind = SCHEME_F32};
  source.weight = &floats;
  bool done = weight_reader_init(&reader, &source, ROWS, error);
  size_t count = (size_t)floats.rows * (size_t)floats.cols;
  for (int e = 0; e < floats.n_expert && done; e++)
    done = weight_reader_matrix(&reader, e, out + (size_t)e * count, error);
  weight_reader_release(&reader);
  return done;
}

/* One that was rounded when an earlier site had it. */
static bool written_read(const struct calibrating *c, int index, float *out, struct error *error) {
  const struct engine_writer *writer = c->job->writer;
  const struct weight *w = plan_weights(c->job->plan) + index;
  size_t bytes = (size_t)writer->weights[index].bytes;
  uint8_t *packed = malloc(bytes);
  bool done = packed || error_set(error, ERROR_MEMORY, "Out of memory for a matrix of %zu bytes.", bytes);
  done = done && engine_writer_read(writer, index, 0, packed, bytes, error);
  size_t one = bytes / (size_t)weight_experts(w); /* of heads */
  for (int i = 0; i < weight_rows(w) && done; i++)
    writer->backend->unpack_row(w, slice_make(packed + (size_t)(i / w->rows) * one, one), i % w->rows,
                                out + (size_t)i * (size_t)w->cols);
  free(packed);
  return done;
}

static bool matrix_read(const struct calibrating *c, int index, float *out, struct error *error) {
  struct weight_source source;
  if (c->result->written[index]) return written_read(c, index, out, error);
  if (!weight_source_init(&source, c->job->plan, index, c->job->checkpoint, error)) return false;
  if (c->job->merged) source.transform = &c->job->merged[index];
  return source.weight->n_expert > 0 ? heads_read(&source, out, error) : weight_source_floats(&source, out, error);
}

bool site_matrices_read(const struct calibrating *c, const struct walk_site *site, struct site_matrices *m,
                        struct error *error) {
  const struct plan *plan = c->job->plan;
  *m = (struct site_matrices){.n = site->count};
  for (int i = 0; i < site->n_linear; i++) {
    int index = walk_site_weight(plan, site, i), at = m->n_all++;
    const struct weight *weight = plan_weights(plan) + index;
    m->index[at] = index;
    m->weight[at] = weight;
    m->matrix[at] = malloc((size_t)weight_rows(weight) * (size_t)weight->cols * sizeof *m->matrix[at]);
    if (!m->matrix[at]) return error_set(error, ERROR_MEMORY, "Out of memory for a matrix of %d rows.", weight->rows);
    if (!matrix_read(c, index, m->matrix[at], error)) return false;
  }
  return checkpoint_intact(c->job->checkpoint, error);
}

bool site_matrices_round(const struct site_matrices *m) {
  for (int i = 0; i < m->n; i++)
    if (m->weight[i]->scheme.kind == SCHEME_INT) return true;
  return false;
}
