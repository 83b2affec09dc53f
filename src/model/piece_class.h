/* Classes of transformers that move the ids of a SentencePiece model: they differ in what stands where the model's own
 * markers are, in what they add behind it, and in how they tidy a text. Internal to classic_pieces.c. */
#ifndef SPATE_MODEL_PIECE_CLASS_H
#define SPATE_MODEL_PIECE_CLASS_H

#include "model/classic_vocabulary.h"

enum piece_role { BOS, EOS, SEP, CLS, UNK, PAD, MASK, ROLES };

enum { NO_ROLE = -1, HEAD_MAX = 5, FRAME_MAX = 2 };

/* A token in front of the pieces: of a role, or by its text. */
struct piece_head {
  int role;
  const char *text;
  double score;
};

struct piece_class {
  const char *name, *model_type; /* the first without "Fast" */
  const char *special[ROLES];    /* as they are called where the settings do not say; NULL: there is none */
  size_t n_head, n_dropped;      /* tokens in front, in place of the first pieces */
  struct piece_head head[HEAD_MAX];
  int unk;                                 /* its id */
  bool adds_mask, adds_extras;             /* behind the pieces: a mask; "<extra_id_99>" to "<extra_id_0>" */
  bool mask_strips;                        /* it takes the space before it */
  bool tidies, lower;                      /* `` and '' are ", accents go; letters are small unless it is said */
  bool prefix_said;                        /* add_prefix_space counts */
  int before[FRAME_MAX], after[FRAME_MAX]; /* roles of what stands around a text */
};

/* The keys of the roles in tokenizer_config.json and special_tokens_map.json. */
extern const char *const piece_role_keys[ROLES];

/* By tokenizer_class, or config.json's model_type; NULL with a sentence. */
const struct piece_class *piece_class_find(const struct classic_vocabulary *files, struct error *error);

#endif
