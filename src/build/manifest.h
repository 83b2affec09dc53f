/* The engine file's manifest: JSON that tells people and tools what is in the file and where it came from. */
#ifndef SPATE_BUILD_MANIFEST_H
#define SPATE_BUILD_MANIFEST_H

#include "base/buffer.h"
#include "build/draft.h"
#include "engine/engine_writer.h"

struct manifest {
  const struct draft *draft;
  const struct engine_writer *writer;
  struct hash128 source;   /* of the source bytes that were packed */
  const char *merged;      /* the adapter that was, as it was given; NULL: none */
  int n_expert, n_few;     /* experts that were calibrated, and those of them that few tokens chose */
  struct slice evaluation; /* an object of figures; empty: there are none */
};

/* Appends the object; json->failed tells of no room. */
void manifest_write(const struct manifest *manifest, struct buffer *json);

/* {"kind":…,"vocabulary":…}: what inspect writes of a tokenizer too. */
void manifest_write_tokenizer(const struct tokenizer *tokenizer, struct buffer *json);

#endif
