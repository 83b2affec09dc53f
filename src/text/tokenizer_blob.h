/* The compiled tokenizer: one flat table. A header, then 8-byte aligned sections named by offsets from the start,
 * little endian. tokenizer_blob_write makes it; tables_open checks every offset, id and count, after which the
 * accessors below read without checks. A table whose contents are wrong but in bounds gives wrong tokens, never a wrong
 * access. */
#ifndef SPATE_TEXT_TOKENIZER_BLOB_H
#define SPATE_TEXT_TOKENIZER_BLOB_H

#include "base/hash.h"
#include "text/token_trie.h"

enum { BLOB_VERSION = 4 };

enum blob_section {
  SECTION_TOKEN_OFFSETS, /* uint32_t [n_token + 1] into SECTION_TOKEN_BYTES */
  SECTION_TOKEN_FLAGS,   /* uint8_t [n_token] enum token_flag */
  SECTION_TOKEN_BYTES,   /* uint8_t */
  SECTION_VOCAB,         /* struct vocab_slot [a power of two] */
  SECTION_MERGES,        /* struct merge_slot [a power of two] */
  SECTION_MERGE_FILTER,  /* uint64_t [a power of two]: a bit for the hash of each merge */
  SECTION_BYTE_TOKENS,   /* uint32_t [256] */
  SECTION_ADDED,         /* struct blob_added [n_added], sorted: ADDED_NORMALIZED last, then by text */
  SECTION_STEPS,         /* struct blob_step [n_step] */
  SECTION_TEXT,          /* uint8_t: texts of added tokens and steps */
  SECTION_SCORES,        /* double [n_token] of MODEL_UNIGRAM; empty otherwise */
  SECTION_TRIE, /* struct trie_node, of MODEL_UNIGRAM and MODEL_WORDPIECE, and beside SECTION_CUTS of what merging may
                   end in; else empty */
  SECTION_CUTS, /* struct token_cut [n_token] of a BPE whose pieces are long (bpe_walk.h); else empty */
  SECTION_SHOWN_RANGES, /* struct blob_range [n_token * TOKEN_PLACES] of MODEL_WRITTEN in SECTION_SHOWN; else empty */
  SECTION_SHOWN,        /* uint8_t */
  SECTIONS,
};

struct blob_range {
  uint32_t offset, size; /* bytes */
};

struct blob_header {
  char magic[8];
  uint32_t version, flags; /* enum model_flag */
  uint64_t size;           /* of the whole blob */
  uint32_t n_token, n_merge, n_added, n_step;
  int32_t bos, eos, unk, pad;
  uint32_t n_prefix, n_suffix, n_end;
  uint32_t model, word_chars; /* enum model_kind; see tokenizer_spec.h */
  uint32_t strip_most;        /* of MODEL_STRIP_SPACE */
  double score_least;         /* of all tokens of MODEL_UNIGRAM */
  int32_t prefix[TOKENIZER_AROUND_MAX], suffix[TOKENIZER_AROUND_MAX], end[TOKENIZER_END_MAX];
  char name[TOKENIZER_NAME_MAX];
  struct blob_range sections[SECTIONS];
};

struct vocab_slot {
  uint32_t tag; /* high bits of the hash */
  uint32_t id;  /* TOKEN_NONE: empty */
};

struct merge_slot {
  uint32_t left, right, result, rank; /* left TOKEN_NONE: empty */
};

/* The last merge of a token's own bytes, behind those of its parts in rank; left TOKEN_NONE: it is a symbol, and with
 * right TOKEN_NONE nothing merges into it. */
struct token_cut {
  uint32_t left, right, rank;
};

struct blob_added {
  struct blob_range text; /* in SECTION_TEXT */
  uint32_t id, flags;
};

struct blob_step {
  uint32_t kind, mode, inverted, reserved;
  struct blob_range a, b; /* in SECTION_TEXT */
};

/* A checked blob, mapped in place. */
struct tokenizer_tables {
  const struct blob_header *header;
  const uint32_t *token_offsets, *byte_tokens;
  const uint8_t *token_flags, *token_bytes, *text;
  const struct vocab_slot *vocab;
  const struct merge_slot *merges;
  const struct blob_added *added;
  const struct blob_step *steps;
  const double *scores;
  const struct trie_node *trie;
  const struct token_cut *cuts;          /* NULL: there are none */
  const struct blob_range *shown_ranges; /* of MODEL_WRITTEN */
  const uint8_t *shown;                  /* NULL: tokens are shown as they are */
  const uint64_t *merge_filter;
  size_t vocab_mask, merge_mask, filter_mask; /* slots - 1 */
  uint32_t trie_first[256];                   /* the root's children by byte; 0: there is none */
  struct slice prefix, suffix;                /* of STEP_AFFIXES; empty where there is none */
};

bool tables_open(struct tokenizer_tables *tables, struct slice blob, struct error *error);

static inline struct slice tables_piece(const struct tokenizer_tables *tables, uint32_t id) {
  uint32_t start = tables->token_offsets[id];
  return slice_make(tables->token_bytes + start, tables->token_offsets[id + 1] - start);
}

/* place: enum token_place. */
static inline struct slice tables_shown(const struct tokenizer_tables *tables, uint32_t id, unsigned place) {
  struct blob_range range = tables->shown_ranges[(size_t)id * TOKEN_PLACES + place];
  return slice_make(tables->shown + range.offset, range.size);
}

static inline struct slice tables_text(const struct tokenizer_tables *tables, struct blob_range range) {
  return slice_make(tables->text + range.offset, range.size);
}

/* The TOKEN_TEXT token with exactly these bytes, or TOKEN_NONE; hash is hash_bytes(bytes, 0).low. */
static inline uint32_t tables_find_hashed(const struct tokenizer_tables *tables, struct slice bytes, uint64_t hash) {
  uint32_t tag = (uint32_t)(hash >> 32);
  for (size_t at = hash & tables->vocab_mask;; at = (at + 1) & tables->vocab_mask) {
    const struct vocab_slot *slot = &tables->vocab[at];
    if (slot->id == TOKEN_NONE) return TOKEN_NONE;
    if (slot->tag == tag && slice_equal(tables_piece(tables, slot->id), bytes)) return slot->id;
  }
}

static inline uint32_t tables_find(const struct tokenizer_tables *tables, struct slice bytes) {
  return tables_find_hashed(tables, bytes, hash_bytes(bytes, 0).low);
}

static inline uint64_t merge_hash(uint32_t left, uint32_t right) {
  uint64_t mixed = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
  return mixed ^ mixed >> 32;
}

/* The bit of a pair's hash in a filter of mask + 1 words: of other bits of it than its slot. */
static inline uint64_t merge_filter_bit(uint64_t hash) { return (uint64_t)1 << (hash >> 58); }
static inline size_t merge_filter_word(uint64_t hash, size_t mask) { return (size_t)(hash >> 34) & mask; }

/* How left and right merge, or NULL, as most pairs do not: then a filter, which is small, tells it as a rule. */
static inline const struct merge_slot *tables_merge(const struct tokenizer_tables *tables, uint32_t left,
                                                    uint32_t right) {
  uint64_t hash = merge_hash(left, right);
  if (!(tables->merge_filter[merge_filter_word(hash, tables->filter_mask)] & merge_filter_bit(hash))) return NULL;
  for (size_t at = hash & tables->merge_mask;; at = (at + 1) & tables->merge_mask) {
    const struct merge_slot *slot = &tables->merges[at];
    if (slot->left == left && slot->right == right) return slot;
    if (slot->left == TOKEN_NONE) return NULL;
  }
}

#endif
