/* Writing an engine file, which takes its place when it is complete (temporary_file.h). Of two builds of one output at
 * the same time the last to end stays. One thread. */
#ifndef SPATE_ENGINE_ENGINE_WRITER_H
#define SPATE_ENGINE_ENGINE_WRITER_H

#include "engine/engine_file.h"
#include "engine/temporary_file.h"

#include <limits.h>

/* What is known before the weights are. Borrowed. */
struct engine_contents {
  const struct engine_facts *facts;
  const struct plan *plan;
  const struct plan *vision; /* NULL: none */
  struct slice tokenizer, chat_template;
  struct slice images; /* the text of preprocessor_config.json; empty: there is none */
};

struct engine_writer {
  const char *path; /* the caller's */
  struct temporary_file file;
  const struct backend *backend;
  struct engine_header header;
  struct engine_weight *weights; /* owned; [n_weight] places in SECTION_WEIGHTS: of the plan's weights, then of the
                                    vision plan's */
  int n_weight;
};

/* Places the weights of the plan and of the vision plan, or NULL (their schemes settled), for the backend's layout;
 * writes nothing yet. */
bool engine_writer_init(struct engine_writer *writer, const char *path, const struct plan *plan,
                        const struct plan *vision, const struct backend *backend, struct error *error);
/* Removes the temporary file unless the writer has committed. */
void engine_writer_release(struct engine_writer *writer);

/* Creates the temporary file, reserves its size (refused when the disk lacks room) and writes the small sections. */
bool engine_writer_begin(struct engine_writer *writer, const struct engine_contents *contents, struct error *error);

/* Packed bytes of a weight from byte `at` of it, in any order; its hash once they are all there. */
bool engine_writer_weight(struct engine_writer *writer, int weight, uint64_t at, struct slice bytes,
                          struct error *error);
/* What was written of a weight, again. */
bool engine_writer_read(const struct engine_writer *writer, int weight, uint64_t at, void *out, size_t size,
                        struct error *error);
void engine_writer_hash(struct engine_writer *writer, int weight, struct hash128 hash);

/* What is known when the weights are written. Borrowed. */
struct engine_ending {
  struct slice folds; /* engine_folds_write's */
  struct hash128 base;
  struct slice manifest;
};

/* Writes the ending, weight table and header: the whole engine, which `path` opens before it has its name. Another,
 * longer manifest may be committed afterwards. */
bool engine_writer_seal(struct engine_writer *writer, const struct engine_ending *ending, char path[PATH_MAX],
                        struct error *error);

/* Writes the ending, weight table and header, flushes to the disk and gives the file its name. */
bool engine_writer_commit(struct engine_writer *writer, const struct engine_ending *ending, struct error *error);

#endif
