/* The tokenizer: text to token ids and back.
 *
 * Two halves that meet at a blob. Building compiles a tokenizer.json, a GGUF vocabulary or another library's file
 * (vocab_files.h) into one flat table of offsets (no pointers), which an engine file stores. Serving maps that table,
 * checks every offset once, and encodes from it in place.
 *
 * A struct tokenizer is immutable after tokenizer_open: any number of threads may use it at once. Families: byte-level
 * BPE (a regex splits the text, bytes merge), SentencePiece-style BPE (characters merge, bytes as the fallback),
 * Unigram (the likeliest cut), WordPiece and WordLevel. */
#ifndef SPATE_TEXT_TOKENIZER_H
#define SPATE_TEXT_TOKENIZER_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/slice.h"
#include "text/text_changes.h"
#include "text/token_list.h"

/* --- building ------------------------------------------------------------------------------------------------- */

/* Compiles the contents of a tokenizer.json into blob (initialised by the caller, its maximum LIMIT_TOKENIZER_BYTES).
 * tokenizer_config.json may be empty: it names the special tokens. A component that is not supported is refused by
 * a sentence that names it. */
bool tokenizer_compile_json(struct slice tokenizer_json, struct slice tokenizer_config_json, struct buffer *blob,
                            struct error *error);

enum vocab_choice { VOCAB_DEFAULT, VOCAB_NO, VOCAB_YES }; /* DEFAULT: the file does not say */

/* A vocabulary as GGUF metadata describes it (tokenizer.ggml.*). Nothing is copied before compiling. */
struct vocab_source {
  struct slice model; /* "gpt2": byte-level BPE by merges; "llama": SentencePiece by scores; "bert": WordPiece; "t5":
                         Unigram by scores */
  struct slice pre;   /* name of the split rule; "gpt2" only */
  size_t n_token;
  const struct slice *tokens; /* [n_token] */
  const int32_t *types;       /* [n_token] 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte; or NULL */
  const float *scores;        /* [n_token] "llama" and "t5" */
  size_t n_merge;
  const struct slice *merges;                     /* [n_merge] "left right"; "gpt2" only */
  int32_t bos, eos, unk, pad, eot, eom, sep, cls; /* token ids; -1 when absent */
  struct slice charsmap;                          /* SentencePiece's precompiled rules, "t5" only */
  bool remove_extra_spaces;                       /* "t5" */
  enum vocab_choice add_bos, add_eos, add_space_prefix;
  enum vocab_choice lower,
      drop_marks; /* "bert": small letters (by default), and accents dropped (as letters are small) */
};

bool tokenizer_compile_vocab(const struct vocab_source *source, struct buffer *blob, struct error *error);

/* --- serving -------------------------------------------------------------------------------------------------- */

struct tokenizer;

/* Checks the whole blob and maps it: its bytes must stay in place, unchanged and 8-byte aligned, until the close. */
struct tokenizer *tokenizer_open(struct slice blob, struct error *error);
void tokenizer_close(struct tokenizer *tokenizer); /* NULL is allowed */

enum encode_flag {
  ENCODE_ADD_SPECIAL = 1,   /* put the tokenizer's own beginning and end tokens around the text */
  ENCODE_PARSE_SPECIAL = 2, /* special tokens written out in the text become their ids; without it they are text */
};

/* Appends the ids of text (valid UTF-8; anything else is refused). A list that is full is ERROR_LIMIT. O(n log n). */
bool tokenizer_encode(const struct tokenizer *tokenizer, struct slice text, unsigned flags, struct token_list *out,
                      struct error *error);

/* The same for as many ids as the list takes: that there are more is no error. */
bool tokenizer_encode_first(const struct tokenizer *tokenizer, struct slice text, unsigned flags,
                            struct token_list *out, struct error *error);

struct text_range {
  size_t start, end; /* bytes */
};

/* The same for a text parts of which are not to be trusted: no special token is recognised that touches one of the
 * ranges, which are in order and apart. Otherwise the ranges change nothing: words may cross their ends. */
bool tokenizer_encode_guarded(const struct tokenizer *tokenizer, struct slice text, unsigned flags,
                              const struct text_range *plain, size_t n_plain, struct token_list *out,
                              struct error *error);

/* The bytes that a token stands for (maybe part of a character); empty for an id that has none or is out of range. */
struct slice tokenizer_piece(const struct tokenizer *tokenizer, int32_t id);

/* The same where the token is the first or the last of a text, which some tokenizers show otherwise. */
struct slice tokenizer_shown(const struct tokenizer *tokenizer, int32_t id, bool first, bool last);
bool tokenizer_continues(const struct tokenizer *tokenizer, int32_t id); /* of plain WordPiece: it begins no word */
bool tokenizer_unseen(const struct tokenizer *tokenizer, int32_t id);    /* the first of a text is another than it */

/* The id whose written form is exactly text (special tokens included), or -1. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, struct slice text);

bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id); /* a marker, not text */
bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id);     /* generation ends with it: eos, eot... */
bool tokenizer_opens(const struct tokenizer *tokenizer, int32_t id);      /* a marker that begins a text or a turn */

enum { TOKENIZER_END_MAX = 16, TOKENIZER_NAME_MAX = 48 };

struct tokenizer_facts {
  char name[TOKENIZER_NAME_MAX]; /* "byte-level BPE (smollm)" */
  size_t n_vocab, n_merge, n_added;
  int32_t bos, eos, unk, pad; /* -1 when absent */
  int32_t end[TOKENIZER_END_MAX];
  int n_end;
  bool add_bos, add_eos;        /* what ENCODE_ADD_SPECIAL puts around the text */
  uint32_t strip_leading_space; /* a text is shown without up to so many spaces that it starts with */
  bool bare_start;              /* and without all that its first token starts with */
  bool drop_trailing_space;     /* one that ends with a space is shown without it */
  bool shows_last;              /* what the last token is shown as is another thing */
  bool drop_repeats;            /* a run of one token is shown once */
};

const struct tokenizer_facts *tokenizer_facts(const struct tokenizer *tokenizer);

/* What decoding does to the text of all tokens. */
const struct text_changes *tokenizer_text_changes(const struct tokenizer *tokenizer);

static inline size_t tokenizer_vocab(const struct tokenizer *tokenizer) { return tokenizer_facts(tokenizer)->n_vocab; }

#endif
