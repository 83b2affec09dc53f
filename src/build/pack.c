/* The packing loop. The calling thread reads, hashes and writes; helpers live for one chunk, which is long against the
 * making of a thread. */
#include "build/pack.h"

#include "base/limits.h"
#include "build/parallel.h"
#include "build/weight_source.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { CHUNK_BYTES = 16 << 20 };

/* What the threads of one matrix share. */
struct matrix_work {
  const struct weight_source *source;
  const struct backend *backend;
  size_t strip_bytes;
  int first, count; /* strips of the chunk */
  uint8_t *out;     /* the chunk */
  atomic_bool failed;
};

struct pack_worker {
  struct matrix_work *work;
  struct weight_reader reader;
  struct error error;
};

/* What pack_weights holds. */
struct packing {
  const struct pack_job *job;
  struct hasher *source; /* of the source bytes */
  uint8_t *chunk;
  size_t chunk_bytes;
  struct pack_worker worker[LIMIT_BUILD_THREADS]; /* the first runs on the calling thread */
  uint64_t done, total;                           /* packed bytes */
};

/* Of each expert. */
static int strips_of(const struct weight *weight, const struct backend *backend) {
  return (weight->rows + backend->pack_rows - 1) / backend->pack_rows;
}

static bool strip_pack(struct pack_worker *worker, int strip, struct error *error) {
  struct matrix_work *work = worker->work;
  const struct weight *weight = work->source->weight;
  int each = strips_of(weight, work->backend), expert = (work->first + strip) / each;
  int row = (work->first + strip) % each * work->backend->pack_rows, rest = weight->rows - row;
  int count = rest < work->backend->pack_rows ? rest : work->backend->pack_rows;
  if (!weight_reader_read(&worker->reader, expert * weight->rows + row, count, error)) return false;
  struct codes codes = code_rows_view(&worker->reader.rows, count);
  work->backend->pack(weight, &codes, work->out + (size_t)strip * work->strip_bytes);
  return true;
}

static void strip_work(void *context, int index, int strip) {
  struct packing *packing = context;
  struct pack_worker *worker = &packing->worker[index];
  struct matrix_work *work = worker->work;
  if (!work->failed && !strip_pack(worker, strip, &worker->error)) work->failed = true;
}

/* Packs the strips of one chunk on all threads. */
static bool chunk_pack(struct packing *packing, struct matrix_work *work, struct error *error) {
  int n_thread = packing->job->n_thread;
  parallel_run(n_thread, work->count, strip_work, packing);
  for (int i = 0; i < n_thread && work->failed; i++)
    if (packing->worker[i].error.code)
      return error_set(error, packing->worker[i].error.code, "%s", packing->worker[i].error.text);
  return true;
}

/* Writes the chunk that holds bytes [at, at + size) of a weight. */
static bool chunk_write(struct packing *packing, int weight, uint64_t at, size_t size, struct hasher *hasher,
                        struct error *error) {
  struct slice bytes = slice_make(packing->chunk, size);
  hasher_update(hasher, bytes);
  packing->done += size;
  return engine_writer_weight(packing->job->writer, weight, at, bytes, error) &&
         progress_report(packing->job->progress, "pack", packing->done, packing->total, error);
}

static bool strips_pack(struct packing *packing, int index, struct matrix_work *work, struct hasher *hasher,
                        struct error *error) {
  int n_strip = weight_experts(work->source->weight) * strips_of(work->source->weight, work->backend);
  int per_chunk = (int)(packing->chunk_bytes / work->strip_bytes);
  for (work->first = 0; work->first < n_strip; work->first += work->count) {
    int rest = n_strip - work->first;
    work->count = rest < per_chunk ? rest : per_chunk;
    if (!checkpoint_intact(packing->job->checkpoint, error) || !chunk_pack(packing, work, error) ||
        !chunk_write(packing, index, (uint64_t)work->first * work->strip_bytes, (size_t)work->count * work->strip_bytes,
                     hasher, error))
      return false;
  }
  return true;
}

static bool matrix_pack(struct packing *packing, int index, const struct weight_source *source, struct hasher *hasher,
                        struct error *error) {
  const struct backend *backend = packing->job->writer->backend;
  struct matrix_work work = {
      .source = source, .backend = backend, .strip_bytes = backend->strip_bytes(source->weight), .out = packing->chunk};
  int n_worker = 0;
  bool ready = true;
  while (ready && n_worker < packing->job->n_thread) {
    struct pack_worker *worker = &packing->worker[n_worker++];
    *worker = (struct pack_worker){.work = &work};
    ready = weight_reader_init(&worker->reader, source, backend->pack_rows, error);
  }
  bool done = ready && strips_pack(packing, index, &work, hasher, error);
  for (int i = 0; i < n_worker; i++) weight_reader_release(&packing->worker[i].reader);
  return done;
}

static size_t vector_bytes(const struct weight *weight) {
  return (size_t)weight_experts(weight) * (size_t)weight->cols * sizeof(float);
}

static bool vector_pack(struct packing *packing, int index, struct weight_source *source, struct hasher *hasher,
                        struct error *error) {
  return weight_source_vector(source, (float *)(void *)packing->chunk, error) &&
         chunk_write(packing, index, 0, vector_bytes(source->weight), hasher, error);
}

/* Weight i of the plan; the writer has it as `first` + i. */
static bool weight_pack(struct packing *packing, const struct plan *plan, int first, int i, struct error *error) {
  const struct pack_job *job = packing->job;
  struct weight_source source;
  int index = first + i;
  if (!weight_source_init(&source, plan, i, job->checkpoint, error) || !checkpoint_intact(job->checkpoint, error))
    return false;
  weight_source_hash(&source, packing->source);
  if (plan == job->plan && job->written && job->written[i]) {
    packing->done += job->writer->weights[index].bytes;
    return progress_report(job->progress, "pack", packing->done, packing->total, error);
  }
  if (plan == job->plan && job->transforms) source.transform = &job->transforms[i];
  struct hasher *hasher = hasher_new(0);
  if (!hasher) return error_set(error, ERROR_MEMORY, "Out of memory for a hash.");
  bool done = source.weight->use == WEIGHT_VECTOR ? vector_pack(packing, index, &source, hasher, error)
                                                  : matrix_pack(packing, index, &source, hasher, error);
  engine_writer_hash(job->writer, index, hasher_finish(hasher));
  return done;
}

/* A chunk holds at least one strip of each matrix and each whole vector. */
static void chunk_fit(const struct pack_job *job, const struct plan *plan, size_t *size) {
  for (int i = 0; plan && i < plan->n_weight; i++) {
    const struct weight *weight = &plan_weights(plan)[i];
    size_t need = weight->use == WEIGHT_VECTOR ? vector_bytes(weight) : job->writer->backend->strip_bytes(weight);
    if (need > *size) *size = need;
  }
}

static size_t chunk_size(const struct pack_job *job) {
  size_t size = CHUNK_BYTES;
  chunk_fit(job, job->plan, &size);
  chunk_fit(job, job->vision, &size);
  return size;
}

/* Bytes that one thread takes at most for a strip of a plan's weights, and `least` at least. */
static uint64_t strip_memory(const struct pack_job *job, const struct plan *plan, uint64_t least) {
  enum { ELEMENT_BYTES = 12 }; /* at most, of codes, scales and the row of floats, for each element of a strip */
  for (int i = 0; plan && i < plan->n_weight; i++) {
    const struct weight *weight = &plan_weights(plan)[i];
    uint64_t rows = weight->use == WEIGHT_VECTOR ? 1 : (uint64_t)job->writer->backend->pack_rows;
    uint64_t need = rows * (uint64_t)weight->cols * ELEMENT_BYTES;
    if (need > least) least = need;
  }
  return least;
}

uint64_t pack_memory(const struct pack_job *job) {
  uint64_t most = strip_memory(job, job->vision, strip_memory(job, job->plan, 0));
  return chunk_size(job) + most * (uint64_t)job->n_thread;
}

static bool plan_pack(struct packing *packing, const struct plan *plan, int first, struct error *error) {
  int *order = calloc((size_t)plan->n_weight + 1, sizeof *order);
  bool done = order && plan_read_order(plan, order);
  if (!done) error_set(error, ERROR_MEMORY, "Out of memory for packing %d weights.", plan->n_weight);
  for (int i = 0; i < plan->n_weight && done; i++) done = weight_pack(packing, plan, first, order[i], error);
  free(order);
  return done;
}

bool pack_weights(const struct pack_job *job, struct hash128 *digest, struct error *error) {
  struct packing *packing = calloc(1, sizeof *packing);
  bool done = packing != NULL;
  if (done) {
    *packing = (struct packing){.job = job, .source = hasher_new(0), .chunk_bytes = chunk_size(job)};
    packing->chunk = malloc(packing->chunk_bytes);
    for (int i = 0; i < job->writer->n_weight; i++) packing->total += job->writer->weights[i].bytes;
    done = packing->source && packing->chunk;
  }
  if (!done) error_set(error, ERROR_MEMORY, "Out of memory for packing weights.");
  done = done && plan_pack(packing, job->plan, 0, error) &&
         (!job->vision || plan_pack(packing, job->vision, job->plan->n_weight, error)) &&
         checkpoint_intact(job->checkpoint, error); /* so all that was read was there */
  if (packing && packing->source) *digest = hasher_finish(packing->source);
  if (packing) free(packing->chunk);
  free(packing);
  return done;
}
