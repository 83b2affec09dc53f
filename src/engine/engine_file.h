/* The engine file: everything that serving needs of a model, packed for one target (docs/engine-file.md has the bytes).
 * Opening maps it and checks the header, the bounds of every section, the hashes of those before the weights and the
 * plan; it parses no JSON and reads no weight. The rest is hashed afterwards, in the background. An open file is
 * immutable: any thread may read it. */
#ifndef SPATE_ENGINE_ENGINE_FILE_H
#define SPATE_ENGINE_ENGINE_FILE_H

#include "base/file.h"
#include "base/hash.h"
#include "base/slice.h"
#include "engine/engine_config.h"
#include "engine/engine_folds.h"
#include "plan/backend.h"

#include <stdatomic.h>

enum {
  ENGINE_FILE_VERSION = 11,
  ENGINE_SECTION_ALIGN = 4096, /* of each section, and of each weight */
  ENGINE_WEIGHTS_ALIGN = 2 << 20,
  ENGINE_HEADER_BYTES = 4096, /* the header with its padding */
};

enum engine_section_kind {
  SECTION_FACTS,        /* struct engine_facts */
  SECTION_PLAN,         /* plan blocks, each aligned to 8 bytes: the decoder's, then a vision plan's if there is one */
  SECTION_WEIGHT_TABLE, /* struct engine_weight for each weight of the plans, in their order and numbering */
  SECTION_TOKENIZER,    /* a compiled tokenizer */
  SECTION_TEMPLATE,     /* the chat template's text; may be empty */
  SECTION_IMAGES,       /* the text of preprocessor_config.json; may be empty */
  SECTION_WEIGHTS,      /* packed weights in the order in which the plan reads them; hashed weight by weight */
  SECTION_FOLDS,        /* what was folded into the weights (engine_folds.h); empty: nothing */
  SECTION_MANIFEST,     /* JSON for people and tools; serving never reads it */
  SECTION_COUNT,
};

struct engine_section {
  uint64_t offset, bytes; /* from the start of the file */
  struct hash128 hash;    /* of the bytes; zero for SECTION_WEIGHTS */
};

struct engine_header {
  uint8_t magic[8];
  uint32_t version; /* ENGINE_FILE_VERSION */
  uint32_t layout;  /* version of the target's packed layout */
  char target[16];  /* name of the target, zero-padded */
  uint64_t total;   /* bytes of the whole file */
  struct engine_section section[SECTION_COUNT];
  struct hash128 base; /* of the checkpoint's bytes that the weights were made of; zero: unknown, or they are not its */
  struct hash128 hash; /* of everything above */
};

struct engine_weight {
  uint64_t offset, bytes; /* from the start of SECTION_WEIGHTS */
  struct hash128 hash;
};

enum { ENGINE_NAME_BYTES = 128, ENGINE_ARCHITECTURE_BYTES = 64 };

/* Strings are NUL-terminated and zero-padded. */
struct engine_facts {
  char name[ENGINE_NAME_BYTES]; /* of the model */
  char architecture[ENGINE_ARCHITECTURE_BYTES];
  char gguf_architecture[ENGINE_ARCHITECTURE_BYTES]; /* what GGUF files call it; "": unknown */
  int64_t created;                                   /* seconds since 1970 */
  struct engine_config config;
  struct engine_generation generation;
  struct engine_encoder encoder;
};

struct engine_file {
  struct file file;
  char *path;    /* owned; for sentences */
  uint8_t *head; /* owned copy of all before the weights, and of the folds behind it: what is indexed by must not change
                    when the file does */
  const struct engine_header *header;
  const struct engine_facts *facts;
  const struct plan *plan;
  const struct plan *vision;           /* NULL: the network sees no images */
  const struct engine_weight *weights; /* [engine_file_weights] of the plan, then of the vision plan */
  const struct backend *backend;       /* of the header's target: the one that can read the weights */
  struct slice tokenizer, chat_template, images, folds, manifest;
  bool verified;   /* hashed before it was loaded */
  bool disposable; /* set by an owner who can build it again: engine_file_verify removes it when it is damaged */
};

/* The sentence of a refusal says what is wrong and, where it helps, to build the engine again. */
bool engine_file_open(struct engine_file *file, const char *path, struct error *error);
void engine_file_close(struct engine_file *file);

/* True when the file at path starts as an engine file does (whatever else may be wrong with it). */
bool engine_file_detect(const char *path);

/* The sections in words, for sentences and tools: "plan", "weight table", … */
const char *engine_section_name(int kind);

static inline uint64_t engine_plan_align(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

/* How many weights there are; one of them, whose name is *name. */
int engine_file_weights(const struct engine_file *file);
const struct weight *engine_file_weight_of(const struct engine_file *file, int weight, const char **name);

/* Packed bytes of weight i. */
struct slice engine_file_weight(const struct engine_file *file, int weight);

/* What was folded into a weight of the plan; the vision plan's have nothing. */
static inline struct weight_fold engine_file_fold(const struct engine_file *file, int weight) {
  return engine_folds_get(file->folds, weight);
}

/* False with a sentence once the file has another size than when it was mapped, or had. What lay past a new end reads
 * as zeros (base/file_guard.h), so the runtime asks after each step (one fstat), throws the step away and stops the
 * engine. */
bool engine_file_intact(const struct engine_file *file, struct error *error);

struct engine_verify {
  atomic_bool stop; /* set by the owner: return early, as if all were well */
  /* Asked now and then by who hashes, with the weights that are done; false sets stop. NULL: it is not. */
  bool (*goes_on)(void *user, int done, int total);
  void *user;
};

/* Hashes the manifest and every weight: seconds for a large file, meant for a thread of its own. False on a mismatch,
 * with a sentence that names the part. */
bool engine_file_verify(const struct engine_file *file, struct engine_verify *verify, struct error *error);

#endif
