/* Private to the room: models in several GGUF files, of which the first has the metadata. */
#ifndef SPATE_FORMAT_GGUF_PARTS_H
#define SPATE_FORMAT_GGUF_PARTS_H

#include "format/gguf.h"

/* One file, whether or not it is a part. */
struct gguf *gguf_open_part(const char *path, struct error *error);

/* Opens the other parts, if there are any, beside the first, and puts all tensors into its table. */
bool gguf_join_parts(struct gguf *first, const char *path, struct error *error);

/* Bytes have no name, so that the other parts of theirs cannot be found. */
bool gguf_refuse_parts(const struct gguf *gguf, struct error *error);

#endif
