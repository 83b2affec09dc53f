/* What a GGUF file says of itself when it holds a LoRA, as llama.cpp's converter writes it. */
#ifndef SPATE_FORMAT_GGUF_ADAPTER_H
#define SPATE_FORMAT_GGUF_ADAPTER_H

#include "base/hash.h"
#include "format/gguf.h"

enum { GGUF_ADAPTER_NAME = 64 };

struct gguf_adapter {
  char architecture[GGUF_ADAPTER_NAME]; /* of the base */
  bool has_base;
  struct hash128 base; /* the digest of its weights (spate.base_digest), if has_base */
  double alpha;        /* 0: factors are taken as they are */
  bool pairs; /* rows of q and k have the two halves of a head in turn, as the files of such networks have them */
};

/* Does llama.cpp's converter put the rows of q and k of this architecture so, whether a layer rotates or not? Networks
 * that rotate neighbours by themselves (command-r, glm4) keep their rows. */
bool gguf_rows_in_pairs(const char *architecture);

/* Refuses what holds no LoRA, or one of another kind. */
bool gguf_adapter_settings(const struct gguf *gguf, struct gguf_adapter *settings, struct error *error);

#endif
