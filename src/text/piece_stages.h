/* What is done to a text between normalizing and the model: stages, each of which changes a piece and splits it, one
 * inside the other. */
#ifndef SPATE_TEXT_PIECE_STAGES_H
#define SPATE_TEXT_PIECE_STAGES_H

#include "text/pretokenize.h"
#include "text/tokenizer_blob.h"

struct piece_stage {
  enum step_kind change; /* STEP_PREFIX, STEP_PIECE_REPLACE or STEP_LETTERS; STEP_KINDS: none */
  enum prefix_mode mode;
  struct slice a, b; /* borrowed */
  int first_split, n_split;
};

struct piece_stages {
  int count; /* at least one */
  struct piece_stage stages[LIMIT_TOKENIZER_STEPS + 1];
  int n_split;
  struct split_pattern splits[LIMIT_TOKENIZER_STEPS]; /* owned */
  bool asks_first;                                    /* one looks at where the whole text begins */
};

void piece_stages_init(struct piece_stages *stages);
void piece_stages_close(struct piece_stages *stages);

/* Adds a step of the tables; one that is none of these, or out of order, is refused. */
bool piece_stages_add(struct piece_stages *stages, const struct tokenizer_tables *tables, const struct blob_step *step,
                      struct error *error);

/* One encoding's way through the stages. */
struct stage_run {
  const struct piece_stages *stages; /* borrowed */
  struct split_match *match;         /* borrowed: a block made for one pair */
  struct piece_sink sink;            /* takes the last stage's pieces */
  struct buffer changed[LIMIT_TOKENIZER_STEPS + 1];
  size_t grown; /* bytes that changes added to all pieces so far: at most LIMIT_NORMALIZED_BYTES */
};

void stage_run_init(struct stage_run *run, const struct piece_stages *stages, struct split_match *match,
                    struct piece_sink sink);
void stage_run_release(struct stage_run *run);

/* All pieces of text to the sink. The first `first` bytes of text stand for the first character of the whole text,
 * which PREFIX_FIRST asks for; 0: that is elsewhere, or gone. */
bool stage_run_text(struct stage_run *run, struct slice text, size_t first, struct error *error);

#endif
