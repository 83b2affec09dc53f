/* A SentencePiece model: a message of Protocol Buffers with pieces, scores and rules
 * (https://github.com/google/sentencepiece, sentencepiece_model.proto), read from untrusted bytes. */
#ifndef SPATE_FORMAT_SENTENCEPIECE_H
#define SPATE_FORMAT_SENTENCEPIECE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"

enum piece_type { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE };

struct sentencepiece_piece {
  struct slice text; /* in the file's bytes */
  float score;       /* finite */
  int32_t type;      /* enum piece_type */
};

enum sentencepiece_kind { SENTENCEPIECE_UNIGRAM = 1, SENTENCEPIECE_BPE, SENTENCEPIECE_WORD, SENTENCEPIECE_CHAR };

/* What the file says, with the library's defaults. */
struct sentencepiece {
  size_t n_piece;
  struct sentencepiece_piece *pieces; /* [n_piece], in the arena */
  uint64_t kind;                      /* enum sentencepiece_kind, or another */
  int32_t unk, bos, eos, pad;         /* ids; -1: there is none */
  bool byte_fallback, suffix_spaces, prefix_space, remove_spaces, escape_spaces;
  struct slice charsmap; /* precompiled rules for characters, in the file's bytes */
};

/* At most LIMIT_VOCAB pieces. */
bool sentencepiece_read(struct slice file, struct arena *arena, struct sentencepiece *model, struct error *error);

#endif
