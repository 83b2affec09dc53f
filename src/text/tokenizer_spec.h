/* What a tokenizer is, in memory, between reading its source (tokenizer.json, a GGUF vocabulary, another library's
 * file) and writing the blob. Lives only while building; everything in it is in one arena.
 *
 * Two forms. Plain, which is quicker and fits what models have: a token's bytes are what it stands for in the text.
 * Byte-level tokens are mapped back from their printable letters; where a tokenizer writes U+2581 for a space, the
 * space itself is kept (and a U+2581 in the text becomes a space, which is what such a tokenizer cannot tell apart
 * either). So the same bytes serve both ways. As written (MODEL_WRITTEN), for all else: tokens are what their source
 * calls them, each component does to a text just what its author's does, and what a token is shown as is kept beside
 * it. */
#ifndef SPATE_TEXT_TOKENIZER_SPEC_H
#define SPATE_TEXT_TOKENIZER_SPEC_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/limits.h"
#include "text/tokenizer.h"

enum { TOKEN_NONE = 0xFFFFFFFF }; /* no token id, no rank */
enum { TOKENIZER_AROUND_MAX = 8 };

enum token_flag {
  TOKEN_TEXT = 1,    /* merging may produce it: it is in the vocabulary index */
  TOKEN_SPECIAL = 2, /* a marker: never produced by text, skipped in output */
  TOKEN_BYTE = 4,    /* stands for one byte that no character token covers */
  TOKEN_ATOMIC = 8,  /* its bytes as a piece of their own encode to just this token (found by the blob's writer) */
  TOKEN_JOINS = 16,  /* shown without the space that its bytes begin with */
  TOKEN_UNSEEN = 64, /* dropped before it is known which tokens are the first */
  TOKEN_OPENS = 32,  /* a marker that begins a text or a turn: no part of an answer */
};

/* How a piece becomes tokens. Of WordPiece and WordLevel the bytes of a token that begins a word begin with a space,
 * which no piece has: so the beginning of a word and what continues one are never taken for each other. */
enum model_kind { MODEL_BPE, MODEL_UNIGRAM, MODEL_WORDPIECE, MODEL_WORDLEVEL, MODEL_KINDS };

enum model_flag {
  MODEL_BYTE_LEVEL = 1,     /* symbols are bytes; otherwise characters */
  MODEL_BYTE_FALLBACK = 2,  /* characters without a token become byte tokens */
  MODEL_FUSE_UNKNOWN = 4,   /* a run of unknown characters is one unknown token */
  MODEL_IGNORE_MERGES = 8,  /* a piece that is a token is that token, whatever the merges say */
  MODEL_STRIP_SPACE = 16,   /* decoding drops the first space of a text, or more */
  MODEL_SPACE_MARKED = 32,  /* the source writes U+2581 for a space */
  MODEL_SPACE_STARTS = 64,  /* no token has a space after another character: no merge crosses the start of a word */
  MODEL_SPACE_ENDS = 128,   /* tokens that end a word end with a space, which decoding drops at the end of a text */
  MODEL_WRITTEN = 256,      /* tokens are as their source writes them, and shown as SECTION_SHOWN says */
  MODEL_DROP_REPEATS = 512, /* decoding shows a run of one token once */
  MODEL_SHOWS_LAST = 2048,  /* a text's last token is shown as PLACE_LAST says */
  MODEL_BARE_START = 1024,  /* decoding drops all spaces in front of the first token */
};

enum added_flag {
  ADDED_NORMALIZED = 1, /* looked for in the normalized text; otherwise in the raw text */
  ADDED_SPECIAL = 2,
  ADDED_LSTRIP = 4, /* takes the white space before it */
  ADDED_RSTRIP = 8,
  ADDED_SINGLE_WORD = 16, /* only where no word character touches it */
};

/* The steps run in this order: normalizing ones first. */
enum step_kind {
  STEP_NFC,
  STEP_NFD,
  STEP_NFKC,
  STEP_NFKD,
  STEP_CLEAN,           /* as BERT: control characters go, white space becomes spaces */
  STEP_SPACE_CJK,       /* as BERT: spaces around ideographs */
  STEP_DROP_MARKS,      /* combining marks go; mode: enum marks_mode */
  STEP_LOWER,           /* small letters, each by itself */
  STEP_NMT,             /* as SentencePiece's nmt rules: control characters go, what is like a space becomes one */
  STEP_STRIP,           /* white space at the ends goes; mode: enum strip_mode */
  STEP_CHARSMAP,        /* a: SentencePiece's precompiled rules; mode: enum charsmap_mode */
  STEP_PREPEND,         /* a in front of every stretch of text, or behind it; mode: enum prepend_mode */
  STEP_REPLACE,         /* every a by b */
  STEP_REPLACE_MATCHES, /* what the regex a matches by b */
  STEP_SPELL,           /* the letters of the text's bytes (byte_level.h) */
  STEP_PREFIX,          /* a in front of a piece that does not start with it; mode: enum prefix_mode */
  STEP_PIECE_REPLACE,   /* every a of a piece by b */
  STEP_SPLIT,           /* by the regex a; mode: enum split_mode */
  STEP_SPLIT_BYTES,     /* the same, where each byte is a character: of a byte-level model, after all STEP_SPLIT */
  STEP_SPLIT_LETTERS,   /* the same, where the regex sees the letters in which bytes are written (byte_level.h) */
  STEP_SPLIT_MARKED,    /* by a regex that sees U+2581 where the text has a space */
  STEP_LETTERS,         /* pieces become the letters of their bytes */
  STEP_TEXT_CHANGE,     /* of decoding: every a in the text by b, which is no longer */
  STEP_AFFIXES, /* of BPE: a in front of symbols that begin no piece, b behind those that end one; of WordPiece as
                   it is written: a in front of tokens that begin no word; last */
  STEP_KINDS,
};

enum marks_mode { MARKS_ALL, MARKS_NONSPACING, MARKS_MODES };

enum prepend_mode { PREPEND_IN_FRONT, PREPEND_BEHIND, PREPEND_MODES };

enum strip_mode { STRIP_LEFT = 1, STRIP_RIGHT = 2, STRIP_MODES = 4 /* flags */ };

enum prefix_mode { PREFIX_ALWAYS, PREFIX_FIRST /* the beginning of the whole text only */, PREFIX_MODES };

enum split_mode { SPLIT_ISOLATED, SPLIT_REMOVED, SPLIT_WITH_PREVIOUS, SPLIT_WITH_NEXT, SPLIT_CONTIGUOUS, SPLIT_MODES };

struct token_spec {
  struct slice bytes;
  uint8_t flags;      /* enum token_flag */
  struct slice named; /* what an added token is shown as, of MODEL_WRITTEN; data NULL: as its bytes are */
};

/* What decoding does to the tokens of a text, one after the other, each to its own string; after DECODE_FUSE to all. */
enum decode_kind {
  DECODE_JOIN,    /* a between tokens */
  DECODE_REPLACE, /* every a by b */
  DECODE_MATCHES, /* what the regex a matches by b */
  DECODE_STRIP,   /* up to `start` and `stop` times a from its ends */
  DECODE_MARKS,   /* a becomes a space; of the first token nothing, if `apart` */
  DECODE_WORDS,   /* a in front of a token goes, else a space comes, but for the first; `apart`: then tidied up */
  DECODE_SUFFIX,  /* every a a space, of the last token nothing */
  DECODE_CTC,     /* a goes; `apart`: tidied up, and b a space */
  DECODE_BYTES,   /* "<0x41>" is a byte */
  DECODE_LETTERS, /* letters of bytes are those */
  DECODE_FUSE,
};

struct decode_step {
  enum decode_kind kind;
  struct slice a, b;
  uint32_t start, stop;
  bool apart;
  bool whole; /* the text is one by now: all of it is first */
};

/* Where a token stands, of those that are shown: flags. */
enum token_place { PLACE_FIRST = 1, PLACE_LAST = 2, TOKEN_PLACES = 4 };

struct merge_spec {
  uint32_t left, right, result; /* token ids */
  uint32_t rank;                /* lower merges first; equal ranks from the left */
};

struct added_spec {
  struct slice text;
  uint32_t id;
  uint32_t flags; /* enum added_flag */
};

struct step_spec {
  enum step_kind kind;
  uint32_t mode;
  uint32_t inverted; /* of splits: the matches are the text, the gaps the delimiters */
  struct slice a, b;
};

struct tokenizer_spec {
  struct arena arena;
  char name[TOKENIZER_NAME_MAX];
  enum model_kind model;
  unsigned flags;           /* enum model_flag */
  char decoders[8];         /* a letter for each component of a plain form's decoder (tokenizer_json_decoder.c) */
  bool mark_waits;          /* a U+2581 was put in front, before spaces become such */
  bool drops_space;         /* no piece has white space */
  bool parts_signs;         /* none has two signs of punctuation, as the prefix ## has */
  bool spells_text;         /* a ByteLevel normalizes: added tokens are looked for among letters of bytes */
  bool marks_pieces;        /* spaces are marked after added tokens have been found */
  bool splits_letters;      /* a byte-level component was read: later ones see the letters of bytes */
  bool words_apart;         /* WordPiece's decoder puts a space before signs, too */
  struct slice word_suffix; /* of BPE's tokens that end a word, as its source writes it; empty: they have none */
  size_t prefix_bytes;      /* that BPE's tokens begin with, where they begin no piece */
  uint32_t word_chars;      /* MODEL_WORDPIECE: a word of more characters is unknown */
  double *scores;           /* [n_token] of MODEL_UNIGRAM, natural logarithms of probabilities; else NULL */
  size_t n_token, n_merge, n_added;
  struct token_spec *tokens; /* [n_token], indexed by id; an id nobody uses has no bytes */
  struct slice *shown;       /* [n_token * TOKEN_PLACES] of MODEL_WRITTEN, by id and place; else NULL */
  uint32_t strip_most;       /* spaces that decoding drops in front of a text: of MODEL_STRIP_SPACE */
  int n_change;              /* of STEP_TEXT_CHANGE, which follow the other steps */
  struct step_spec changes[LIMIT_TEXT_CHANGES];
  int n_decode;
  struct decode_step decode[LIMIT_TOKENIZER_STEPS]; /* of MODEL_WRITTEN, while its source is read */
  struct merge_spec *merges;
  struct added_spec *added;
  uint32_t byte_token[256]; /* id by byte, or TOKEN_NONE */
  int n_step;
  struct step_spec steps[LIMIT_TOKENIZER_STEPS];
  int32_t bos, eos, unk, pad; /* -1 when absent */
  int n_prefix, n_suffix, n_end;
  int32_t prefix[TOKENIZER_AROUND_MAX], suffix[TOKENIZER_AROUND_MAX]; /* put around a text */
  int32_t end[TOKENIZER_END_MAX];
  uint32_t *index; /* open addressing over tokens' bytes, those of TOKEN_TEXT first, TOKEN_NONE when empty */
  size_t index_mask;
};

void spec_init(struct tokenizer_spec *spec);
void spec_release(struct tokenizer_spec *spec);

bool spec_out_of_memory(struct error *error);

/* tokens[count], zeroed. */
bool spec_reserve_tokens(struct tokenizer_spec *spec, size_t count, struct error *error);

/* Copies bytes into the arena; an empty slice with data NULL when out of memory. */
struct slice spec_copy(struct tokenizer_spec *spec, struct slice bytes);

/* What sentences of a SentencePiece-style source have in place of a space: U+2581. */
#define SPACE_MARK "\xE2\x96\x81"

/* Sets token id from the way its source writes it (byte letters, space marks or "<0x41>", by the model's flags). */
bool spec_text_token(struct tokenizer_spec *spec, uint32_t id, struct slice written, struct error *error);

/* Sets token id of a model of words to one that begins a word or continues one. */
bool spec_word_token(struct tokenizer_spec *spec, uint32_t id, struct slice text, bool begins, struct error *error);

/* The steps of BERT's normalizer and pre-tokenizer. */
struct bert_steps {
  bool clean, space_cjk, drop_marks, lower;
};
bool spec_bert_normalizer(struct tokenizer_spec *spec, struct bert_steps steps, struct error *error);
bool spec_bert_splits(struct tokenizer_spec *spec, struct error *error);

/* The split where the script changes: UnicodeScripts. */
bool spec_script_splits(struct tokenizer_spec *spec, struct error *error);

/* "<0x41>" names the byte 0x41. */
bool spec_byte_name(struct slice text, uint8_t *byte);

/* Indexes every TOKEN_TEXT token by its bytes; of two with the same bytes the lower id wins. */
bool spec_index(struct tokenizer_spec *spec, struct error *error);
uint32_t spec_find(const struct tokenizer_spec *spec, struct slice bytes);

/* After indexing: the token of each byte of a byte-level model; whether MODEL_SPACE_STARTS holds. */
void spec_byte_tokens(struct tokenizer_spec *spec);
bool spec_space_starts(const struct tokenizer_spec *spec);

/* merges[] with room for count; spec_merge adds one, and leaves it out when it would write out a marker: text never
 * becomes one. The halves are in the tokens' form of bytes. */
bool spec_reserve_merges(struct tokenizer_spec *spec, size_t count, struct error *error);
bool spec_merge(struct tokenizer_spec *spec, struct slice left, struct slice right, uint32_t rank, struct error *error);

/* The step that makes a U+2581 of the text the space that it stands for. */
bool spec_unmark_spaces(struct tokenizer_spec *spec, struct error *error);

bool spec_step(struct tokenizer_spec *spec, struct step_spec step, struct error *error);

/* A split of the text as the author's regex sees it: with letters for bytes, or marks for spaces, where components
 * before it have written them. */
bool spec_split(struct tokenizer_spec *spec, struct slice pattern, enum split_mode mode, bool inverted,
                struct error *error);

/* Adds id to the ids that end generation; more than TOKENIZER_END_MAX are dropped. */
void spec_end(struct tokenizer_spec *spec, int32_t id);

/* Adds every special token with a name that is known to end generation or a turn; the last that is added. */
void spec_end_by_name(struct tokenizer_spec *spec);
bool spec_name_ends(struct slice text);

/* Finds the markers that begin a text or a turn. */
void spec_mark_opening(struct tokenizer_spec *spec);

/* text with every `from` replaced by `to`, in the arena; data NULL when out of memory. */
struct slice spec_replaced(struct tokenizer_spec *spec, struct slice text, const char *from, const char *to);

/* Writes the blob: see tokenizer_blob.h. */
bool tokenizer_blob_write(struct tokenizer_spec *spec, struct buffer *blob, struct error *error);

/* Whether it opens: a pattern that does not compile is found when the tokenizer is built, not when it serves. */
bool tokenizer_blob_opens(const struct buffer *blob, struct error *error);

#endif
