/* An engine file loaded into a program on a device: what the runtime runs steps on. All memory is computed and refused
 * or allocated here, never later. Owned by the runtime; not thread-safe beyond what the backend promises. */
#ifndef SPATE_ENGINE_LOADED_ENGINE_H
#define SPATE_ENGINE_LOADED_ENGINE_H

#include "engine/engine_file.h"

enum {
  ENGINE_IMAGES_AUTO = -1
}; /* as many as a step takes well, where the file has an encoder and the backend a pool */

struct engine_options {
  const struct backend *backend; /* NULL: the one that the file is packed for; another must read the same layout, or no
                                    weights at all */
  struct device_options device;
  double memory_fraction; /* of what is available after the weights and the workspace, for the KV cache; 0: 0.3, or
                             0.9 of a device's own memory */
  uint64_t kv_bytes;      /* of the KV cache; overrides the fraction; 0: not set */
  int kv;         /* 0: F32 for an FP32 engine, else the type the device is fastest with; else 1 + enum kv_dtype */
  int block_size; /* tokens, a power of two up to 256; 0: 16. Ignored by CONTIGUOUS */
  bool no_fuse;   /* each op by its definition, unfused, on the reference backend; backend is NULL then */
  bool batch_invariant; /* of struct limits */
  int outputs;          /* of one step, where more than one for each sequence are wanted; 0: max_batch_size */
  struct step_limits steps;
  int32_t adapters, adapter_rank; /* of struct limits */
  int32_t cpu_experts; /* of struct limits; more than there are: all; 0 comes of it where experts are on the host anyway
                        */
  int32_t images;      /* of the largest size that a step of the encoder takes; 0: the engine is opened without it */
  int32_t pool;        /* rows of the embedding pool; 0: those of such a step */
  uint64_t pool_bytes; /* instead: as many rows as these hold, no fewer than a step's */
  bool verify;         /* hash the whole file now, not later */
  bool beside; /* other engines of this process are open: what they may still take of the host's memory is theirs, */
  uint64_t beside_kv; /* and so many bytes of it the KV cache of the one whose place this is to take */
  bool disposable;    /* the caller can build the file again: it is removed when hashing finds it damaged */
  /* Asked now and then, with the weights that are hashed, later loaded; false breaks off (ERROR_CANCELLED). NULL:
   * nothing does. */
  bool (*goes_on)(void *user, int done, int total);
  void *user;
};

struct loaded_engine {
  struct engine_file file;
  const struct plan *plan; /* within file */
  const struct backend *backend;
  struct device *device;
  struct program *program;
  struct limits limits;       /* what the program was compiled for */
  struct footprint footprint; /* with the encoder's weights and workspace */
  struct program *vision;     /* the encoder of images, where options ask for it; on the same device */
  struct limits vision_limits;
  int32_t own_row; /* of the embedding pool, its last: the network's own vector (plan_vision.breaks); −1: it has none */
  uint64_t kv_bytes; /* of all blocks of all groups */
  double host_gbs;   /* at which experts in the host's memory are read (backend.host_rate); 0: there are none */
  /* What opening took: the file, the device, memory and kernels and whatever else a program has, and handing over the
   * weights. */
  double file_seconds, device_seconds, program_seconds, weights_seconds;
};

/* What a program for this configuration is compiled for, all but the numbers of blocks; KV by default in fp16, before a
 * device says otherwise. */
struct limits engine_limits(const struct engine_config *config, const struct engine_options *options);

/* Could such an engine be opened with so many bytes of memory, if the KV cache may have all that the rest leaves? False
 * with the sentence. */
bool engine_fits(const struct plan *plan, const struct backend *backend, const struct engine_config *config,
                 uint64_t available, struct error *error);

struct loaded_engine *engine_open(const char *path, const struct engine_options *options, struct error *error);

/* Without a file: facts and plan are the caller's and outlive the engine, options->backend is given, and so are the
 * weights, afterwards, by the caller to the program. */
struct loaded_engine *engine_open_made(const struct engine_facts *facts, const struct plan *plan,
                                       const struct engine_options *options, struct error *error);
void engine_close(struct loaded_engine *engine); /* NULL is allowed; no step may be in flight */

#endif
