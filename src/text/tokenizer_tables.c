/* Opens a compiled tokenizer: nothing of the blob is trusted before it has been checked here. */
#include "base/checked.h"
#include "base/utf8.h"
#include "text/charsmap.h"
#include "text/tokenizer_blob.h"

static const struct {
  const char *name;
  uint32_t unit; /* bytes of one entry */
} section_facts[SECTIONS] = {
    [SECTION_TOKEN_OFFSETS] = {"token offsets", sizeof(uint32_t)},
    [SECTION_TOKEN_FLAGS] = {"token flags", 1},
    [SECTION_TOKEN_BYTES] = {"token bytes", 1},
    [SECTION_VOCAB] = {"vocabulary index", sizeof(struct vocab_slot)},
    [SECTION_MERGES] = {"merge index", sizeof(struct merge_slot)},
    [SECTION_MERGE_FILTER] = {"merge filter", sizeof(uint64_t)},
    [SECTION_BYTE_TOKENS] = {"byte tokens", sizeof(uint32_t)},
    [SECTION_ADDED] = {"added tokens", sizeof(struct blob_added)},
    [SECTION_STEPS] = {"steps", sizeof(struct blob_step)},
    [SECTION_TEXT] = {"texts", 1},
    [SECTION_SCORES] = {"scores", sizeof(double)},
    [SECTION_TRIE] = {"trie", sizeof(struct trie_node)},
    [SECTION_CUTS] = {"cuts of tokens", sizeof(struct token_cut)},
    [SECTION_SHOWN_RANGES] = {"ranges of shown texts", sizeof(struct blob_range)},
    [SECTION_SHOWN] = {"shown texts", 1},
};

static bool corrupt(struct error *error, const char *what) {
  return error_set(error, ERROR_FORMAT, "The compiled tokenizer is corrupt: %s; build the engine again.", what);
}

static bool header_check(struct slice blob, struct error *error) {
  const struct blob_header *header = (const struct blob_header *)blob.data;
  if ((uintptr_t)blob.data % 8)
    return error_set(error, ERROR_INTERNAL, "The compiled tokenizer is not 8-byte aligned.");
  if (blob.size < sizeof *header || memcmp(header->magic, "SPTEXT\r\n", 8) != 0)
    return corrupt(error, "it does not start with the magic bytes of one");
  if (header->version != BLOB_VERSION)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The compiled tokenizer has format version %u, this program reads %d; build the engine again.",
                     header->version, BLOB_VERSION);
  if (header->size != blob.size) return corrupt(error, "its size is not the one in its header");
  return true;
}

static bool section_count(const struct blob_header *header, int section, size_t count, struct error *error) {
  if (header->sections[section].size == count * section_facts[section].unit) return true;
  return error_set(error, ERROR_FORMAT,
                   "The compiled tokenizer is corrupt: its %s take %u bytes, expected %zu; build the engine again.",
                   section_facts[section].name, header->sections[section].size, count * section_facts[section].unit);
}

static bool sections_check(const struct blob_header *header, struct error *error) {
  for (int section = 0; section < SECTIONS; section++) {
    struct blob_range range = header->sections[section];
    if (!range_within(range.offset, range.size, header->size) || range.offset % 8 ||
        range.size % section_facts[section].unit)
      return error_set(error, ERROR_FORMAT,
                       "The compiled tokenizer is corrupt: its %s lie at byte %u with %u bytes in a table of %llu; "
                       "build the engine again.",
                       section_facts[section].name, range.offset, range.size, (unsigned long long)header->size);
  }
  if (header->n_token == 0 || header->n_token > LIMIT_VOCAB || header->n_step > LIMIT_TOKENIZER_STEPS ||
      header->n_added > LIMIT_VOCAB || header->model >= MODEL_KINDS || header->word_chars > LIMIT_WORD_CHARS)
    return corrupt(error, "a count is out of range");
  size_t scores = header->model == MODEL_UNIGRAM ? header->n_token : 0;
  size_t shown = header->flags & MODEL_WRITTEN ? (size_t)header->n_token * TOKEN_PLACES : 0;
  return section_count(header, SECTION_TOKEN_OFFSETS, (size_t)header->n_token + 1, error) &&
         section_count(header, SECTION_TOKEN_FLAGS, header->n_token, error) &&
         section_count(header, SECTION_BYTE_TOKENS, 256, error) &&
         section_count(header, SECTION_ADDED, header->n_added, error) &&
         section_count(header, SECTION_STEPS, header->n_step, error) &&
         section_count(header, SECTION_SCORES, scores, error) &&
         section_count(header, SECTION_SHOWN_RANGES, shown, error);
}

static const void *section_at(struct slice blob, int section) {
  return blob.data + ((const struct blob_header *)blob.data)->sections[section].offset;
}

static size_t section_entries(const struct blob_header *header, int section) {
  return header->sections[section].size / section_facts[section].unit;
}

static bool id_valid(const struct tokenizer_tables *tables, uint32_t id) { return id < tables->header->n_token; }

static bool ids_check(const struct tokenizer_tables *tables, const int32_t *ids, uint32_t count, uint32_t max) {
  if (count > max) return false;
  for (uint32_t i = 0; i < count; i++)
    if (!id_valid(tables, (uint32_t)ids[i])) return false;
  return true;
}

static bool named_ids_check(const struct tokenizer_tables *tables, struct error *error) {
  const struct blob_header *header = tables->header;
  const int32_t named[] = {header->bos, header->eos, header->unk, header->pad};
  for (int i = 0; i < 4; i++)
    if (named[i] != -1 && !id_valid(tables, (uint32_t)named[i])) return corrupt(error, "a special id is out of range");
  if (!ids_check(tables, header->prefix, header->n_prefix, TOKENIZER_AROUND_MAX) ||
      !ids_check(tables, header->suffix, header->n_suffix, TOKENIZER_AROUND_MAX) ||
      !ids_check(tables, header->end, header->n_end, TOKENIZER_END_MAX))
    return corrupt(error, "an id around the text is out of range");
  for (int byte = 0; byte < 256; byte++)
    if (tables->byte_tokens[byte] != TOKEN_NONE && !id_valid(tables, tables->byte_tokens[byte]))
      return corrupt(error, "a byte's token is out of range");
  if (header->name[TOKENIZER_NAME_MAX - 1]) return corrupt(error, "its name does not end");
  return true;
}

static bool tokens_check(const struct tokenizer_tables *tables, struct error *error) {
  const uint32_t *offsets = tables->token_offsets;
  for (uint32_t id = 0; id < tables->header->n_token; id++)
    if (offsets[id + 1] < offsets[id] || offsets[id + 1] - offsets[id] > LIMIT_TOKEN_BYTES)
      return corrupt(error, "token offsets do not ascend");
  if (offsets[0] != 0 || offsets[tables->header->n_token] != tables->header->sections[SECTION_TOKEN_BYTES].size)
    return corrupt(error, "token offsets do not cover the token bytes");
  return true;
}

/* What another token behind one changes of it. */
static bool rest_fits(const struct tokenizer_tables *tables, uint32_t id, unsigned place) {
  struct slice later = tables_shown(tables, id, place), last = tables_shown(tables, id, place | PLACE_LAST);
  size_t same = slice_common(later, last);
  return later.size - same <= LIMIT_TOKEN_REST_BYTES && last.size - same <= LIMIT_TOKEN_REST_BYTES;
}

static bool shown_check(const struct tokenizer_tables *tables, struct error *error) {
  size_t count = section_entries(tables->header, SECTION_SHOWN_RANGES);
  for (size_t i = 0; i < count; i++) {
    struct blob_range range = tables->shown_ranges[i];
    if (range.size > LIMIT_TOKEN_BYTES ||
        !range_within(range.offset, range.size, tables->header->sections[SECTION_SHOWN].size))
      return corrupt(error, "a shown text is out of range");
  }
  unsigned ends = MODEL_BARE_START | MODEL_SHOWS_LAST; /* what waits for the end may be spaces of the start */
  if ((tables->header->flags & ends) == ends) return corrupt(error, "it drops spaces at both ends");
  for (uint32_t id = 0; tables->header->flags & MODEL_SHOWS_LAST && id < count / TOKEN_PLACES; id++)
    if (!rest_fits(tables, id, 0) || !rest_fits(tables, id, PLACE_FIRST))
      return error_set(error, ERROR_UNSUPPORTED,
                       "The end of a text changes more than %d bytes of token %u, which is not supported.",
                       LIMIT_TOKEN_REST_BYTES, id);
  return true;
}

static bool trie_check(const struct tokenizer_tables *tables, struct error *error) {
  const struct blob_header *header = tables->header;
  bool wanted = header->model == MODEL_UNIGRAM || header->model == MODEL_WORDPIECE || tables->cuts;
  size_t count = section_entries(header, SECTION_TRIE);
  if ((!wanted && count == 0) || token_trie_check(tables->trie, count, header->n_token)) return true;
  return corrupt(error, "its trie leads out of itself");
}

static bool cut_fits(const struct tokenizer_tables *tables, uint32_t id) {
  const struct token_cut *cut = &tables->cuts[id];
  if (cut->left == TOKEN_NONE) return true;
  if (!id_valid(tables, cut->left) || !id_valid(tables, cut->right)) return false;
  size_t left = tables_piece(tables, cut->left).size, right = tables_piece(tables, cut->right).size;
  return left > 0 && right > 0 && left + right == tables_piece(tables, id).size;
}

/* Following the parts of a token ends: they are shorter. */
static bool cuts_check(const struct tokenizer_tables *tables, struct error *error) {
  if (!tables->cuts) return true;
  if (!section_count(tables->header, SECTION_CUTS, tables->header->n_token, error)) return false;
  for (uint32_t id = 0; id < tables->header->n_token; id++)
    if (!cut_fits(tables, id)) return corrupt(error, "a token's parts do not make it");
  return true;
}

static void trie_first_find(struct tokenizer_tables *tables) {
  if (section_entries(tables->header, SECTION_TRIE) == 0) return;
  const struct trie_node *root = tables->trie;
  for (uint32_t i = 0; i < root->count; i++) tables->trie_first[tables->trie[root->first + i].byte] = root->first + i;
}

/* Probing an open-addressing index ends at an empty slot: each must have one. */
static bool indexes_check(const struct tokenizer_tables *tables, struct error *error) {
  size_t vocab_slots = tables->vocab_mask + 1, merge_slots = tables->merge_mask + 1, empty = 0;
  size_t filter_words = tables->filter_mask + 1;
  if (vocab_slots == 0 || vocab_slots & tables->vocab_mask || merge_slots == 0 || merge_slots & tables->merge_mask ||
      filter_words == 0 || filter_words & tables->filter_mask)
    return corrupt(error, "the slots of an index are no power of two");
  for (size_t i = 0; i < vocab_slots; i++) {
    uint32_t id = tables->vocab[i].id;
    if (id != TOKEN_NONE && !id_valid(tables, id)) return corrupt(error, "the vocabulary index names an unknown token");
    empty += id == TOKEN_NONE;
  }
  if (empty == 0) return corrupt(error, "the vocabulary index is full");
  empty = 0;
  for (size_t i = 0, run = 0; i < merge_slots; i++) {
    const struct merge_slot *slot = &tables->merges[i];
    if (slot->left == TOKEN_NONE) {
      empty++, run = 0;
    } else if (++run > 4 * LIMIT_MERGE_PROBES) { /* more than the writer leaves side by side, where each has a few */
      return corrupt(error, "its merges crowd one place of their index");
    } else if (!id_valid(tables, slot->left) || !id_valid(tables, slot->right) || !id_valid(tables, slot->result) ||
               slot->rank == TOKEN_NONE) {
      return corrupt(error, "the merge index names an unknown token");
    }
  }
  return empty > 0 || corrupt(error, "the merge index is full");
}

/* In range, and UTF-8: then whatever is cut from and put into a valid text leaves it valid, and PCRE2 need not look. */
static bool text_valid(const struct tokenizer_tables *tables, struct blob_range range) {
  return range_within(range.offset, range.size, tables->header->sections[SECTION_TEXT].size) &&
         utf8_valid(tables_text(tables, range));
}

static uint32_t step_modes(uint32_t kind) {
  switch (kind) {
  case STEP_SPLIT:
  case STEP_SPLIT_BYTES:
  case STEP_SPLIT_LETTERS:
  case STEP_SPLIT_MARKED: return SPLIT_MODES;
  case STEP_PREFIX: return PREFIX_MODES;
  case STEP_PREPEND: return PREPEND_MODES;
  case STEP_DROP_MARKS: return MARKS_MODES;
  case STEP_STRIP: return STRIP_MODES;
  case STEP_CHARSMAP: return CHARSMAP_MODES;
  default: return 1;
  }
}

/* SentencePiece's rules are bytes, which their own reader checks. */
static bool step_texts_valid(const struct tokenizer_tables *tables, const struct blob_step *step) {
  if (step->kind == STEP_CHARSMAP)
    return range_within(step->a.offset, step->a.size, tables->header->sections[SECTION_TEXT].size) &&
           charsmap_check(tables_text(tables, step->a));
  return text_valid(tables, step->a) && text_valid(tables, step->b);
}

static bool texts_check(const struct tokenizer_tables *tables, struct error *error) {
  for (uint32_t i = 0; i < tables->header->n_added; i++) {
    const struct blob_added *added = &tables->added[i];
    if (!id_valid(tables, added->id) || !text_valid(tables, added->text) || added->text.size == 0 ||
        added->text.size > LIMIT_ADDED_TOKEN_BYTES)
      return corrupt(error, "an added token is out of range");
  }
  for (uint32_t i = 0; i < tables->header->n_step; i++) {
    const struct blob_step *step = &tables->steps[i];
    if (step->kind >= STEP_KINDS || step->mode >= step_modes(step->kind) || !step_texts_valid(tables, step))
      return corrupt(error, "a step is out of range");
    bool replaces = step->kind == STEP_REPLACE || step->kind == STEP_PIECE_REPLACE;
    if (replaces && step->a.size == 0) return corrupt(error, "a step replaces nothing");
    if (step->kind == STEP_AFFIXES && (step->a.size > LIMIT_AFFIX_BYTES || step->b.size > LIMIT_AFFIX_BYTES))
      return corrupt(error, "an affix is too long");
  }
  return true;
}

static bool contents_check(const struct tokenizer_tables *tables, struct error *error) {
  return named_ids_check(tables, error) && tokens_check(tables, error) && shown_check(tables, error) &&
         trie_check(tables, error) && cuts_check(tables, error) && indexes_check(tables, error) &&
         texts_check(tables, error);
}

/* Of BPE alone: they are the last step. */
static void affixes_find(struct tokenizer_tables *tables) {
  uint32_t count = tables->header->n_step;
  const struct blob_step *last = count > 0 ? &tables->steps[count - 1] : NULL;
  bool there = last && last->kind == STEP_AFFIXES;
  tables->prefix = there ? tables_text(tables, last->a) : slice_make("", 0);
  tables->suffix = there ? tables_text(tables, last->b) : slice_make("", 0);
}

bool tables_open(struct tokenizer_tables *tables, struct slice blob, struct error *error) {
  if (!header_check(blob, error)) return false;
  const struct blob_header *header = (const struct blob_header *)blob.data;
  if (!sections_check(header, error)) return false;
  *tables = (struct tokenizer_tables){
      .header = header,
      .token_offsets = section_at(blob, SECTION_TOKEN_OFFSETS),
      .token_flags = section_at(blob, SECTION_TOKEN_FLAGS),
      .token_bytes = section_at(blob, SECTION_TOKEN_BYTES),
      .vocab = section_at(blob, SECTION_VOCAB),
      .merges = section_at(blob, SECTION_MERGES),
      .merge_filter = section_at(blob, SECTION_MERGE_FILTER),
      .byte_tokens = section_at(blob, SECTION_BYTE_TOKENS),
      .added = section_at(blob, SECTION_ADDED),
      .steps = section_at(blob, SECTION_STEPS),
      .text = section_at(blob, SECTION_TEXT),
      .scores = section_at(blob, SECTION_SCORES),
      .trie = section_at(blob, SECTION_TRIE),
      .cuts = header->sections[SECTION_CUTS].size ? section_at(blob, SECTION_CUTS) : NULL,
      .shown_ranges = section_at(blob, SECTION_SHOWN_RANGES),
      .shown = header->flags & MODEL_WRITTEN ? section_at(blob, SECTION_SHOWN) : NULL,
      .vocab_mask = section_entries(header, SECTION_VOCAB) - 1,
      .merge_mask = section_entries(header, SECTION_MERGES) - 1,
      .filter_mask = section_entries(header, SECTION_MERGE_FILTER) - 1,
  };
  if (!contents_check(tables, error)) return false;
  affixes_find(tables);
  trie_first_find(tables);
  return true;
}
