/* A build before any weight is packed: the checkpoint, its plan with every scheme settled, the configuration, the
 * tokenizer. Inspection makes one too. Owned by one thread. */
#ifndef SPATE_BUILD_DRAFT_H
#define SPATE_BUILD_DRAFT_H

#include "base/buffer.h"
#include "engine/engine_file.h"
#include "model/checkpoint.h"
#include "text/tokenizer.h"

struct draft {
  const char *overrides; /* as in struct scheme_wish: set before it is settled */
  bool emulate;
  double target_bits;
  bool ranks; /* set before it is opened: the model is to rank texts */
  struct checkpoint *checkpoint;
  struct engine_facts facts;
  struct slice chat_template;      /* the checkpoint's, or another that a ranker has */
  struct buffer block[PLAN_ROLES]; /* plans by role; empty until settled, and where the network has none */
  const char **notes;              /* of scheme_choose, for the weights of the decoder, then of the vision plan */
  struct buffer tokenizer_blob;
  struct tokenizer *tokenizer; /* over the blob; NULL until made */
};

void draft_init(struct draft *draft);
void draft_release(struct draft *draft);

/* In this order; what an earlier stage made stays usable when a later one fails. */
bool draft_open(struct draft *draft, const char *model, struct error *error);
bool draft_settle(struct draft *draft, const struct engine_config *config, const struct backend *backend,
                  struct error *error);
bool draft_tokenizer(struct draft *draft, struct error *error);

static inline struct plan *draft_plan(const struct draft *draft) {
  return (struct plan *)(void *)draft->block[PLAN_DECODER].data;
}

/* NULL: the network sees no images. */
static inline struct plan *draft_vision(const struct draft *draft) {
  const struct buffer *block = &draft->block[PLAN_VISION];
  return block->size ? (struct plan *)(void *)block->data : NULL;
}

#endif
