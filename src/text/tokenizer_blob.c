/* Writes a spec as a blob (tokenizer_blob.h says what it looks like). */
#include "text/tokenizer_blob.h"

#include "text/token_marks.h"

#include <stdlib.h>

/* Room for count entries of unit bytes at the next multiple of 8, zeroed; NULL when over the buffer's maximum. The
 * pointer is good until the next call. */
static void *section_add(struct buffer *blob, enum blob_section section, size_t count, size_t unit) {
  size_t padding = -blob->size & 7, size = count * unit;
  uint8_t *room = buffer_reserve(blob, padding + size);
  if (!room) return NULL;
  memset(room, 0, padding + size);
  struct blob_header *header = (struct blob_header *)blob->data;
  header->sections[section] = (struct blob_range){(uint32_t)(blob->size + padding), (uint32_t)size};
  blob->size += padding + size;
  return room + padding;
}

static size_t index_slots(size_t count) {
  size_t slots = 8;
  while (slots < count + count / 2 + 1) slots *= 2;
  return slots;
}

static bool write_header(const struct tokenizer_spec *spec, struct buffer *blob) {
  struct blob_header header = {
      .magic = "SPTEXT\r\n",
      .version = BLOB_VERSION,
      .flags = spec->flags,
      .n_token = (uint32_t)spec->n_token,
      .n_merge = (uint32_t)spec->n_merge,
      .n_added = (uint32_t)spec->n_added,
      .n_step = (uint32_t)spec->n_step,
      .bos = spec->bos,
      .eos = spec->eos,
      .unk = spec->unk,
      .pad = spec->pad,
      .n_prefix = (uint32_t)spec->n_prefix,
      .n_suffix = (uint32_t)spec->n_suffix,
      .n_end = (uint32_t)spec->n_end,
      .model = spec->model,
      .word_chars = spec->word_chars,
      .strip_most = spec->strip_most,
  };
  for (size_t id = 0; spec->scores && id < spec->n_token; id++)
    if (spec->scores[id] < header.score_least || id == 0) header.score_least = spec->scores[id];
  memcpy(header.prefix, spec->prefix, sizeof header.prefix);
  memcpy(header.suffix, spec->suffix, sizeof header.suffix);
  memcpy(header.end, spec->end, sizeof header.end);
  memcpy(header.name, spec->name, sizeof header.name);
  return buffer_append(blob, &header, sizeof header);
}

static bool write_tokens(const struct tokenizer_spec *spec, struct buffer *blob) {
  uint32_t *offsets = section_add(blob, SECTION_TOKEN_OFFSETS, spec->n_token + 1, sizeof *offsets);
  if (!offsets) return false;
  for (size_t id = 0; id < spec->n_token; id++) offsets[id + 1] = offsets[id] + (uint32_t)spec->tokens[id].bytes.size;
  size_t total = offsets[spec->n_token], at = 0;
  uint8_t *flags = section_add(blob, SECTION_TOKEN_FLAGS, spec->n_token, 1);
  if (!flags) return false;
  for (size_t id = 0; id < spec->n_token; id++) flags[id] = spec->tokens[id].flags;
  uint8_t *bytes = section_add(blob, SECTION_TOKEN_BYTES, total, 1);
  if (!bytes) return false;
  for (size_t id = 0; id < spec->n_token; id++) {
    struct slice piece = spec->tokens[id].bytes;
    if (piece.size) memcpy(bytes + at, piece.data, piece.size);
    at += piece.size;
  }
  uint32_t *byte_tokens = section_add(blob, SECTION_BYTE_TOKENS, 256, sizeof *byte_tokens);
  if (byte_tokens) memcpy(byte_tokens, spec->byte_token, sizeof spec->byte_token);
  return byte_tokens;
}

static bool write_vocab(const struct tokenizer_spec *spec, struct buffer *blob) {
  size_t slots = index_slots(spec->n_token), mask = slots - 1;
  struct vocab_slot *vocab = section_add(blob, SECTION_VOCAB, slots, sizeof *vocab);
  if (!vocab) return false;
  for (size_t i = 0; i < slots; i++) vocab[i].id = TOKEN_NONE;
  for (uint32_t id = 0; id < spec->n_token; id++) {
    struct slice piece = spec->tokens[id].bytes;
    if (!(spec->tokens[id].flags & TOKEN_TEXT) || spec_find(spec, piece) != id) continue;
    uint64_t hash = hash_bytes(piece, 0).low;
    size_t at = hash & mask;
    while (vocab[at].id != TOKEN_NONE) at = (at + 1) & mask;
    vocab[at] = (struct vocab_slot){(uint32_t)(hash >> 32), id};
  }
  return true;
}

/* A pair that the source lists twice keeps its last rank. False also where pairs were chosen to fall on one place. */
static bool write_merges(const struct tokenizer_spec *spec, struct buffer *blob) {
  size_t slots = index_slots(spec->n_merge), mask = slots - 1;
  struct merge_slot *merges = section_add(blob, SECTION_MERGES, slots, sizeof *merges);
  if (!merges) return false;
  for (size_t i = 0; i < slots; i++) merges[i].left = TOKEN_NONE;
  for (size_t i = 0; i < spec->n_merge; i++) {
    const struct merge_spec *merge = &spec->merges[i];
    size_t at = merge_hash(merge->left, merge->right) & mask, probes = 0;
    while (merges[at].left != TOKEN_NONE && (merges[at].left != merge->left || merges[at].right != merge->right)) {
      at = (at + 1) & mask;
      if (++probes > LIMIT_MERGE_PROBES) return false;
    }
    merges[at] = (struct merge_slot){merge->left, merge->right, merge->result, merge->rank};
  }
  return true;
}

/* Some ten bits a merge: of twelve pairs that do not merge about one is looked for all the same. */
static bool write_merge_filter(const struct tokenizer_spec *spec, struct buffer *blob) {
  size_t words = 1;
  while (words * 64 < 8 * spec->n_merge) words *= 2;
  uint64_t *filter = section_add(blob, SECTION_MERGE_FILTER, words, sizeof *filter);
  for (size_t i = 0; filter && i < spec->n_merge; i++) {
    uint64_t hash = merge_hash(spec->merges[i].left, spec->merges[i].right);
    filter[merge_filter_word(hash, words - 1)] |= merge_filter_bit(hash);
  }
  return filter;
}

static bool write_scores(const struct tokenizer_spec *spec, struct buffer *blob) {
  size_t count = spec->model == MODEL_UNIGRAM ? spec->n_token : 0;
  double *scores = section_add(blob, SECTION_SCORES, count, sizeof *scores);
  if (scores && count) memcpy(scores, spec->scores, count * sizeof *scores);
  return scores;
}

static bool write_trie(const struct token_trie *trie, struct buffer *blob) {
  struct trie_node *nodes = section_add(blob, SECTION_TRIE, trie->count, sizeof *nodes);
  if (nodes && trie->count) memcpy(nodes, trie->nodes, trie->count * sizeof *nodes);
  return nodes;
}

/* Appends text to the texts gathered so far. */
static struct blob_range text_add(struct buffer *texts, struct slice text) {
  struct blob_range range = {(uint32_t)texts->size, (uint32_t)text.size};
  buffer_append(texts, text.data, text.size);
  return range;
}

/* What is shown alike in two places is stored once. */
static bool write_shown(const struct tokenizer_spec *spec, struct buffer *blob, struct buffer *texts) {
  size_t count = spec->flags & MODEL_WRITTEN ? spec->n_token * TOKEN_PLACES : 0;
  struct blob_range *ranges = section_add(blob, SECTION_SHOWN_RANGES, count, sizeof *ranges);
  if (!ranges) return false;
  for (size_t i = 0; i < count; i++) {
    bool same = i % TOKEN_PLACES > 0 && slice_equal(spec->shown[i], spec->shown[i - 1]);
    ranges[i] = same ? ranges[i - 1] : text_add(texts, spec->shown[i]);
  }
  uint8_t *bytes = texts->failed ? NULL : section_add(blob, SECTION_SHOWN, texts->size, 1);
  if (bytes && texts->size) memcpy(bytes, texts->data, texts->size);
  return bytes;
}

/* Of equal texts the last one is found: which one the package finds is a matter of luck. */
static int compare_added(const void *left, const void *right) {
  const struct added_spec *a = left, *b = right;
  if ((a->flags ^ b->flags) & ADDED_NORMALIZED) return a->flags & ADDED_NORMALIZED ? 1 : -1;
  size_t common = a->text.size < b->text.size ? a->text.size : b->text.size;
  int order = memcmp(a->text.data, b->text.data, common);
  if (!order) order = (a->text.size > b->text.size) - (a->text.size < b->text.size);
  return order ? order : (a->id < b->id) - (a->id > b->id);
}

static bool write_texts(const struct tokenizer_spec *spec, struct buffer *blob, struct buffer *texts) {
  if (spec->n_added) qsort(spec->added, spec->n_added, sizeof *spec->added, compare_added);
  struct blob_added *added = section_add(blob, SECTION_ADDED, spec->n_added, sizeof *added);
  if (!added) return false;
  for (size_t i = 0; i < spec->n_added; i++)
    added[i] = (struct blob_added){text_add(texts, spec->added[i].text), spec->added[i].id, spec->added[i].flags};
  struct blob_step *steps = section_add(blob, SECTION_STEPS, (size_t)spec->n_step, sizeof *steps);
  if (!steps) return false;
  for (int i = 0; i < spec->n_step; i++) {
    const struct step_spec *step = &spec->steps[i];
    steps[i] = (struct blob_step){.kind = step->kind,
                                  .mode = step->mode,
                                  .inverted = step->inverted,
                                  .a = text_add(texts, step->a),
                                  .b = text_add(texts, step->b)};
  }
  uint8_t *text = texts->failed ? NULL : section_add(blob, SECTION_TEXT, texts->size, 1);
  if (text && texts->size) memcpy(text, texts->data, texts->size);
  return text;
}

/* Whether a run of unknown characters is one token that text may also be: the run has a token's bytes, but two of it
 * are still one, so that tokens are not found from left to right. */
static bool fuses_to_text(const struct tokenizer_spec *spec) {
  return spec->flags & MODEL_FUSE_UNKNOWN && spec->unk >= 0 && spec->tokens[spec->unk].flags & TOKEN_TEXT;
}

/* Whether pieces may be as long as lines: where tokens hold several words, and of bytes where no regex splits. A split
 * of characters tells nothing: Gemma's is at spaces, which have become marks by then. */
static bool pieces_long(const struct tokenizer_spec *spec) {
  bool split = spec->flags & MODEL_SPACE_STARTS, affixes = spec->word_suffix.size + spec->prefix_bytes > 0;
  for (int i = 0; i < spec->n_step && spec->flags & MODEL_BYTE_LEVEL; i++)
    split |= spec->steps[i].kind >= STEP_SPLIT && spec->steps[i].kind <= STEP_SPLIT_MARKED;
  return spec->model == MODEL_BPE && !split && !affixes;
}

/* Whether pieces are walked (bpe_walk.h). */
static bool bpe_walks(const struct tokenizer_spec *spec) { return pieces_long(spec) && !fuses_to_text(spec); }

/* Cuts of tokens that are none yet. */
static bool write_cuts(const struct tokenizer_spec *spec, struct buffer *blob) {
  size_t count = bpe_walks(spec) ? spec->n_token : 0;
  struct token_cut *cuts = section_add(blob, SECTION_CUTS, count, sizeof *cuts);
  for (size_t id = 0; cuts && id < count; id++) cuts[id] = (struct token_cut){TOKEN_NONE, TOKEN_NONE, 0};
  return cuts;
}

bool tokenizer_blob_write(struct tokenizer_spec *spec, struct buffer *blob, struct error *error) {
  spec_mark_opening(spec);
  struct token_trie trie = {0};
  bool walks = bpe_walks(spec) || spec->model == MODEL_UNIGRAM || spec->model == MODEL_WORDPIECE;
  if (walks && !token_trie_build(spec, &trie, error)) return false;
  struct buffer texts, shown;
  buffer_init(&texts, LIMIT_TOKENIZER_BYTES);
  buffer_init(&shown, LIMIT_TOKENIZER_BYTES);
  bool fits = write_header(spec, blob) && write_tokens(spec, blob) && write_vocab(spec, blob) &&
              write_merges(spec, blob) && write_merge_filter(spec, blob) && write_texts(spec, blob, &texts) &&
              write_scores(spec, blob) && write_trie(&trie, blob) && write_cuts(spec, blob) &&
              write_shown(spec, blob, &shown);
  bool crowded = !fits && !blob->failed && !texts.failed && !shown.failed;
  buffer_release(&texts);
  buffer_release(&shown);
  if (crowded)
    return error_set(error, ERROR_FORMAT,
                     "More than %d merges of the tokenizer fall on one place of their index, which makes every text "
                     "slow; merges that were learned do not.",
                     LIMIT_MERGE_PROBES);
  if (!fits)
    return error_set(error, ERROR_LIMIT, "The compiled tokenizer would be larger than the %zu bytes allowed.",
                     blob->max);
  ((struct blob_header *)blob->data)->size = blob->size;
  return mark_tokens(blob, error);
}

bool tokenizer_blob_opens(const struct buffer *blob, struct error *error) {
  struct tokenizer *tokenizer = tokenizer_open(buffer_slice(blob), error);
  tokenizer_close(tokenizer);
  return tokenizer;
}
