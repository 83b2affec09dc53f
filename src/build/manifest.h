/* The engine file's manifest: JSON that tells people and tools what is in the file and where it came from. */
#ifndef SPATE_BUILD_MANIFEST_H
#define SPATE_BUILD_MANIFEST_H

#include "base/buffer.h"
#include "engine/engine_writer.h"
#include "model/checkpoint.h"
#include "text/tokenizer.h"

struct manifest {
  const struct engine_facts *facts;
  const struct plan *plan;
  const struct checkpoint *checkpoint;
  const struct engine_writer *writer;
  const struct tokenizer *tokenizer;
  const char *const *notes; /* [n_weight] of scheme_choose */
  struct hash128 source;    /* of the source bytes that were packed */
};

/* Appends the object; json->failed tells of no room. */
void manifest_write(const struct manifest *manifest, struct buffer *json);

/* Parts that inspect writes too: each appends `"key":value` without commas around it. */
void manifest_write_facts(const struct engine_facts *facts, struct buffer *json);
void manifest_write_tokenizer(const struct tokenizer *tokenizer, struct buffer *json);

#endif
