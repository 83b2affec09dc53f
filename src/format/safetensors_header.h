/* The JSON header of one safetensors file. Inside the format room only. */
#ifndef SPATE_FORMAT_SAFETENSORS_HEADER_H
#define SPATE_FORMAT_SAFETENSORS_HEADER_H

#include "format/safetensors.h"

/* Fills the shard's tensors and metadata from its bytes; memory comes from the arena. */
bool safetensors_read_header(struct safetensors_shard *shard, struct arena *arena, struct error *error);

#endif
