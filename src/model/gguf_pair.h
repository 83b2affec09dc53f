/* A model in two GGUF files, as llama.cpp has those that see images: a folder with the decoder's file and an encoder's,
 * whose name has "mmproj" in it. */
#ifndef SPATE_MODEL_GGUF_PAIR_H
#define SPATE_MODEL_GGUF_PAIR_H

#include "format/gguf.h"

#include <limits.h>

struct gguf_paths {
  int n_model, n_projector; /* files in the folder; the paths are those of the last ones */
  char model[PATH_MAX], projector[PATH_MAX];
};

/* Looks at the names in a folder. False: there are .gguf files, but not one of each, or it cannot be read. */
bool gguf_paths_find(const char *folder, struct gguf_paths *paths, struct error *error);

struct gguf_pair {
  struct gguf *projector; /* NULL: there is one file */
  struct arena arena;
  struct tensor_table table; /* the tensors of both */
  struct slice pictures;     /* how they are made, where the encoder's file says it (mmproj.h); in the arena */
};

/* Opens the encoder's file beside the decoder's, which must outlive the pair. Released in any case. */
bool gguf_pair_open(struct gguf_pair *pair, const struct gguf *model, const char *path, struct error *error);
void gguf_pair_release(struct gguf_pair *pair);

#endif
