/* Quantizing and packing all weights of a plan into an engine file, in bounded memory: a chunk of strips at a time,
 * each thread taking strips of it. */
#ifndef SPATE_BUILD_PACK_H
#define SPATE_BUILD_PACK_H

#include "build/build_progress.h"
#include "build/weight_transform.h"
#include "engine/engine_writer.h"
#include "model/checkpoint.h"

struct pack_job {
  const struct plan *plan;
  const struct plan *vision; /* packed behind it; NULL: none */
  const struct checkpoint *checkpoint;
  struct engine_writer *writer;
  struct build_progress *progress;
  int n_thread;
  const struct weight_transform *transforms; /* [n_weight of the plan], or NULL */
  const bool *written; /* [n_weight of the plan] matrices that are in the file already; NULL: none */
};

/* Bytes of memory that pack_weights takes at most, besides the mapped source. */
uint64_t pack_memory(const struct pack_job *job);

/* Writes and hashes every weight. *digest is the hash of the source bytes that were used, in reading order. */
bool pack_weights(const struct pack_job *job, struct hash128 *digest, struct error *error);

#endif
