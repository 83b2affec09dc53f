/* The hash of a build. */
#include "build/journal_identity.h"

#include "build/merge_adapter.h"
#include "build/weight_source.h"

enum { PIECE_BYTES = 16 << 20 }; /* hashed between two looks at whether the build goes on */

struct identity {
  const struct calibration_job *job;
  struct hasher *hasher;
  uint64_t done, total; /* bytes of the model */
};

static bool run_hash(struct identity *id, struct slice bytes, struct error *error) {
  while (bytes.size > 0) {
    size_t size = bytes.size < PIECE_BYTES ? bytes.size : PIECE_BYTES;
    hasher_update(id->hasher, slice_make(bytes.data, size));
    bytes = slice_make(bytes.data + size, bytes.size - size);
    id->done += size;
    if (!progress_report(id->job->progress, "hash", id->done, id->total, error)) return false;
  }
  return true;
}

static bool run_count(struct identity *id, struct slice bytes, struct error *error) {
  (void)error;
  id->total += bytes.size;
  return true;
}

static bool runs_each(struct identity *id, bool (*take)(struct identity *, struct slice, struct error *),
                      struct error *error) {
  const struct calibration_job *job = id->job;
  for (int i = 0; i < job->plan->n_weight; i++) {
    struct weight_source source;
    if (!weight_source_init(&source, job->plan, i, job->checkpoint, error)) return false;
    for (int part = 0; part < source.weight->n_part; part++) {
      struct slice run[WEIGHT_RUNS];
      int count = weight_source_bytes(&source, part, run);
      for (int k = 0; k < count; k++)
        if (!take(id, run[k], error)) return false;
    }
  }
  return true;
}

static void text_hash(struct hasher *hasher, const char *text) {
  hasher_update(hasher, slice_make(text, strlen(text) + 1));
}

/* Floats of another device or another kernel set round in another way. */
static void device_hash(struct hasher *hasher, const struct float_device *device) {
  text_hash(hasher, device->backend->name);
  if (device->backend->kernels) text_hash(hasher, device->backend->kernels(device->device));
}

/* What an adapter adds to the weights. */
static void merged_hash(struct hasher *hasher, const struct plan *plan, const struct weight_transform *merged) {
  for (int i = 0; i < plan->n_weight; i++)
    if (merged[i].merge) merge_hash(merged[i].merge, plan, hasher);
}

bool journal_identity_make(const struct calibration_job *job, const struct float_device *device,
                           struct hash128 *identity, struct error *error) {
  const struct calibration_data *data = job->data;
  const struct engine_header *header = &job->writer->header;
  uint32_t numbers[] = {job->method, header->version, header->layout, (uint32_t)data->n_window, (uint32_t)data->length};
  struct identity id = {.job = job, .hasher = hasher_new(0)};
  if (!id.hasher) return error_set(error, ERROR_MEMORY, "Out of memory for a hash.");
  text_hash(id.hasher, SPATE_VERSION);
  text_hash(id.hasher, header->target);
  device_hash(id.hasher, device);
  hasher_update(id.hasher, slice_make(numbers, sizeof numbers));
  hasher_update(id.hasher, slice_make(job->plan, job->plan->bytes));
  hasher_update(id.hasher,
                slice_make(data->token, (size_t)data->n_window * (size_t)data->length * sizeof *data->token));
  if (job->merged) merged_hash(id.hasher, job->plan, job->merged);
  bool done = runs_each(&id, run_count, error) && runs_each(&id, run_hash, error);
  *identity = hasher_finish(id.hasher);
  return done && checkpoint_intact(job->checkpoint, error);
}
