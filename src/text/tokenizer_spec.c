/* Tokenizer spec: what the readers (tokenizer_json.c, tokenizer_vocab.c, vocab_*.c) share while they fill one. */
#include "text/tokenizer_spec.h"

#include "base/hash.h"
#include "text/byte_level.h"
#include "text/split_pattern.h"

void spec_init(struct tokenizer_spec *spec) {
  *spec = (struct tokenizer_spec){.bos = -1, .eos = -1, .unk = -1, .pad = -1, .strip_most = 1};
  arena_init(&spec->arena, (size_t)LIMIT_TOKENIZER_BYTES * 4);
  for (int byte = 0; byte < 256; byte++) spec->byte_token[byte] = TOKEN_NONE;
}

void spec_release(struct tokenizer_spec *spec) { arena_release(&spec->arena); }

bool spec_out_of_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "The tokenizer does not fit in memory while it is compiled.");
}

bool spec_reserve_tokens(struct tokenizer_spec *spec, size_t count, struct error *error) {
  if (count == 0 || count > LIMIT_VOCAB)
    return error_set(error, ERROR_LIMIT, "The tokenizer has %zu tokens; between 1 and %d are supported.", count,
                     LIMIT_VOCAB);
  spec->tokens = arena_array(&spec->arena, count, sizeof *spec->tokens);
  spec->n_token = count;
  return spec->tokens || spec_out_of_memory(error);
}

struct slice spec_copy(struct tokenizer_spec *spec, struct slice bytes) {
  uint8_t *copy = arena_alloc(&spec->arena, bytes.size + 1);
  if (!copy) return slice_make(NULL, 0);
  if (bytes.size) memcpy(copy, bytes.data, bytes.size);
  return slice_make(copy, bytes.size);
}

/* Where a token with these bytes is, one of text where there is one; or where it belongs. */
static uint32_t *index_slot(const struct tokenizer_spec *spec, struct slice bytes) {
  size_t at = hash_bytes(bytes, 0).low & spec->index_mask;
  while (spec->index[at] != TOKEN_NONE && !slice_equal(spec->tokens[spec->index[at]].bytes, bytes))
    at = (at + 1) & spec->index_mask;
  return &spec->index[at];
}

bool spec_index(struct tokenizer_spec *spec, struct error *error) {
  size_t slots = 64;
  while (slots < spec->n_token * 2) slots *= 2;
  spec->index = arena_array(&spec->arena, slots, sizeof *spec->index);
  if (!spec->index) return spec_out_of_memory(error);
  memset(spec->index, 0xFF, slots * sizeof *spec->index);
  spec->index_mask = slots - 1;
  for (size_t i = 0; i < 2 * spec->n_token; i++) { /* those of text first, then all */
    uint32_t id = (uint32_t)(i % spec->n_token), *slot = index_slot(spec, spec->tokens[id].bytes);
    if (*slot == TOKEN_NONE && (i != id || spec->tokens[id].flags & TOKEN_TEXT)) *slot = id;
  }
  return true;
}

uint32_t spec_find(const struct tokenizer_spec *spec, struct slice bytes) {
  uint32_t id = *index_slot(spec, bytes);
  return id != TOKEN_NONE && spec->tokens[id].flags & TOKEN_TEXT ? id : TOKEN_NONE;
}

bool spec_step(struct tokenizer_spec *spec, struct step_spec step, struct error *error) {
  if (spec->n_step == LIMIT_TOKENIZER_STEPS)
    return error_set(error, ERROR_LIMIT, "The tokenizer has more than %d normalizing and splitting steps.",
                     LIMIT_TOKENIZER_STEPS);
  spec->steps[spec->n_step++] = step;
  return true;
}

bool spec_split(struct tokenizer_spec *spec, struct slice pattern, enum split_mode mode, bool inverted,
                struct error *error) {
  enum step_kind kind = spec->splits_letters               ? STEP_SPLIT_LETTERS
                        : spec->flags & MODEL_SPACE_MARKED ? STEP_SPLIT_MARKED
                                                           : STEP_SPLIT;
  return spec_step(spec, (struct step_spec){.kind = kind, .mode = mode, .inverted = inverted, .a = pattern}, error);
}

void spec_end(struct tokenizer_spec *spec, int32_t id) {
  if (id < 0 || (size_t)id >= spec->n_token || spec->n_end == TOKENIZER_END_MAX) return;
  for (int i = 0; i < spec->n_end; i++)
    if (spec->end[i] == id) return;
  spec->end[spec->n_end++] = id;
}

/* Models end a turn with one of these even where their files name only another one as eos. */
bool spec_name_ends(struct slice text) {
  static const char *const names[] = {"<|endoftext|>", "<|end_of_text|>", "<|eot_id|>",    "<|eom_id|>", "<|im_end|>",
                                      "<|end|>",       "<|end_of_turn|>", "<end_of_turn>", "<eos>",      "</s>",
                                      "<EOT>",         "<|EOT|>",         "<|return|>",    "<|call|>",   "<|eot|>",
                                      "<turn|>",       "<|endofturn|>"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (slice_is(text, names[i])) return true;
  return false;
}

/* The id of a special token; −1: there is none. */
static int32_t special_id(const struct tokenizer_spec *spec, const char *text) {
  for (size_t i = 0; i < spec->n_added; i++)
    if ((spec->added[i].flags & ADDED_SPECIAL) && slice_is(spec->added[i].text, text))
      return (int32_t)spec->added[i].id;
  return -1;
}

/* gpt-oss's answers are of several messages: one ends with <|end|>, the last with <|return|> or <|call|>. */
static void spec_end_of_messages(struct tokenizer_spec *spec) {
  int32_t end = special_id(spec, "<|end|>");
  int kept = 0;
  if (end == spec->eos || special_id(spec, "<|return|>") < 0 || special_id(spec, "<|call|>") < 0) return;
  for (int i = 0; i < spec->n_end; i++)
    if (spec->end[i] != end) spec->end[kept++] = spec->end[i];
  spec->n_end = kept;
}

void spec_end_by_name(struct tokenizer_spec *spec) {
  for (size_t i = 0; i < spec->n_added; i++) {
    const struct added_spec *added = &spec->added[i];
    if ((added->flags & ADDED_SPECIAL) && spec_name_ends(added->text)) spec_end(spec, (int32_t)added->id);
  }
  spec_end_of_messages(spec);
}

static bool name_opens(struct slice text) {
  static const char *const names[] = {"<|im_start|>",      "<|start_header_id|>",
                                      "<|end_header_id|>", "<start_of_turn>",
                                      "<|turn>",           "<|start_of_role|>",
                                      "<|end_of_role|>",   "[INST]",
                                      "[/INST]",           "<|user|>",
                                      "<|system|>",        "<|header_start|>",
                                      "<|header_end|>",    "<｜User｜>",
                                      "<｜Assistant｜>",   "<|im_user|>",
                                      "<|im_assistant|>",  "<|im_system|>",
                                      "<|im_middle|>",     "<|role_sep|>",
                                      "[SYSTEM_PROMPT]",   "[/SYSTEM_PROMPT]"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (slice_is(text, names[i])) return true;
  return false;
}

void spec_mark_opening(struct tokenizer_spec *spec) {
  const int32_t named[] = {spec->bos, spec->pad, spec->unk};
  for (size_t id = 0; id < spec->n_token; id++) {
    struct token_spec *token = &spec->tokens[id];
    bool opens = token->flags & TOKEN_SPECIAL && name_opens(token->bytes);
    for (int i = 0; i < 3; i++) opens = opens || (token->flags & TOKEN_SPECIAL && named[i] == (int32_t)id);
    if (opens) token->flags |= TOKEN_OPENS;
  }
}

struct slice spec_replaced(struct tokenizer_spec *spec, struct slice text, const char *from, const char *to) {
  size_t from_size = strlen(from), to_size = strlen(to), size = 0;
  size_t most = to_size > from_size ? text.size * to_size : text.size;
  uint8_t *out = arena_alloc(&spec->arena, most + 1);
  if (!out) return slice_make(NULL, 0);
  for (size_t at = 0; at < text.size;) {
    bool match = slice_starts(slice_make(text.data + at, text.size - at), from);
    memcpy(out + size, match ? (const uint8_t *)to : text.data + at, match ? to_size : 1);
    size += match ? to_size : 1;
    at += match ? from_size : 1;
  }
  return slice_make(out, size);
}

bool spec_space_starts(const struct tokenizer_spec *spec) {
  if (spec_find(spec, slice_text(" ")) == TOKEN_NONE) return false;
  for (size_t id = 0; id < spec->n_token; id++) {
    struct slice bytes = spec->tokens[id].bytes;
    if (!(spec->tokens[id].flags & TOKEN_TEXT)) continue;
    for (size_t at = 1; at < bytes.size; at++)
      if (bytes.data[at] == ' ' && bytes.data[at - 1] != ' ') return false;
  }
  return true;
}

bool spec_byte_name(struct slice text, uint8_t *byte) {
  static const char digits[] = "0123456789ABCDEF";
  if (text.size != 6 || !slice_starts(text, "<0x") || text.data[5] != '>') return false;
  const char *high = memchr(digits, text.data[3], 16), *low = memchr(digits, text.data[4], 16);
  if (high && low) *byte = (uint8_t)((high - digits) * 16 + (low - digits));
  return high && low;
}

static bool token_finish(struct token_spec *token, uint32_t id, struct slice bytes, struct error *error) {
  if (bytes.size > LIMIT_TOKEN_BYTES)
    return error_set(error, ERROR_LIMIT, "Token %u has %zu bytes, more than the %d allowed.", id, bytes.size,
                     LIMIT_TOKEN_BYTES);
  if (bytes.size == 0) token->flags = 0;
  token->bytes = bytes;
  return true;
}

bool spec_text_token(struct tokenizer_spec *spec, uint32_t id, struct slice written, struct error *error) {
  struct token_spec *token = &spec->tokens[id];
  struct slice bytes = spec_copy(spec, written);
  if (!bytes.data) return spec_out_of_memory(error);
  token->flags = TOKEN_TEXT;
  if (spec->flags & MODEL_WRITTEN) {
    uint8_t byte;
    if (spec->flags & MODEL_BYTE_FALLBACK && spec_byte_name(written, &byte)) spec->byte_token[byte] = id;
    return token_finish(token, id, bytes, error);
  }
  if (spec->flags & MODEL_BYTE_LEVEL) {
    uint8_t *room = arena_alloc(&spec->arena, written.size + 1);
    size_t size;
    if (!room) return spec_out_of_memory(error);
    if (byte_level_decode(written, room, &size))
      bytes = slice_make(room, size);
    else
      token->flags = 0; /* not written in byte letters: text never merges into it */
  } else if (spec->flags & MODEL_SPACE_MARKED) {
    if (memchr(written.data, ' ', written.size)) token->flags = 0; /* the text it is merged from has none */
    bytes = spec_replaced(spec, written, SPACE_MARK, " ");
    if (!bytes.data) return spec_out_of_memory(error);
  }
  uint8_t byte;
  if (spec->flags & MODEL_BYTE_FALLBACK && spec_byte_name(written, &byte)) {
    bytes.size = 1;
    memcpy((uint8_t *)bytes.data, &byte, 1);
    token->flags = TOKEN_BYTE;
    spec->byte_token[byte] = id;
  }
  return token_finish(token, id, bytes, error);
}

bool spec_word_token(struct tokenizer_spec *spec, uint32_t id, struct slice text, bool begins, struct error *error) {
  /* before what begins so WordPiece's decoder puts no space */
  static const char *const joined[] = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};
  uint8_t *bytes = arena_alloc(&spec->arena, text.size + 2);
  if (!bytes) return spec_out_of_memory(error);
  if (text.size >= LIMIT_TOKEN_BYTES)
    return error_set(error, ERROR_LIMIT, "Token %u has %zu bytes, more than the %d allowed.", id, text.size,
                     LIMIT_TOKEN_BYTES - 1);
  bytes[0] = ' ';
  if (text.size) memcpy(bytes + begins, text.data, text.size);
  spec->tokens[id] =
      (struct token_spec){.bytes = slice_make(bytes, text.size + begins), .flags = text.size ? TOKEN_TEXT : 0};
  for (size_t i = 0; i < sizeof joined / sizeof *joined; i++)
    if (begins && spec->model == MODEL_WORDPIECE && !spec->words_apart && slice_starts(text, joined[i]))
      spec->tokens[id].flags |= TOKEN_JOINS;
  return true;
}

bool spec_bert_normalizer(struct tokenizer_spec *spec, struct bert_steps steps, struct error *error) {
  const struct {
    bool wanted;
    struct step_spec step;
  } all[] = {{steps.clean, {.kind = STEP_CLEAN}},
             {steps.space_cjk, {.kind = STEP_SPACE_CJK}},
             {steps.drop_marks, {.kind = STEP_NFD}},
             {steps.drop_marks, {.kind = STEP_DROP_MARKS, .mode = MARKS_NONSPACING}},
             {steps.lower, {.kind = STEP_LOWER}}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (all[i].wanted && !spec_step(spec, all[i].step, error)) return false;
  return true;
}

bool spec_bert_splits(struct tokenizer_spec *spec, struct error *error) {
  return spec_split(spec, slice_text(split_space), SPLIT_REMOVED, false, error) &&
         spec_split(spec, slice_text(split_punctuation), SPLIT_ISOLATED, false, error);
}

void spec_byte_tokens(struct tokenizer_spec *spec) {
  for (int byte = 0; byte < 256; byte++) {
    uint8_t value = (uint8_t)byte;
    spec->byte_token[byte] = spec_find(spec, slice_make(&value, 1));
  }
}

bool spec_reserve_merges(struct tokenizer_spec *spec, size_t count, struct error *error) {
  spec->n_merge = 0;
  if (count > LIMIT_MERGES)
    return error_set(error, ERROR_LIMIT, "The tokenizer has %zu merges, more than the %d allowed.", count,
                     LIMIT_MERGES);
  spec->merges = arena_array(&spec->arena, count + 1, sizeof *spec->merges);
  return spec->merges || spec_out_of_memory(error);
}

/* True when id could be set: to the token that text merges into, or to TOKEN_NONE for a marker or byte token. */
static bool merge_token(const struct tokenizer_spec *spec, struct slice bytes, uint32_t *id) {
  *id = spec_find(spec, bytes);
  return *index_slot(spec, bytes) != TOKEN_NONE;
}

bool spec_merge(struct tokenizer_spec *spec, struct slice left, struct slice right, uint32_t rank,
                struct error *error) {
  uint8_t both[2 * LIMIT_TOKEN_BYTES];
  if (left.size > LIMIT_TOKEN_BYTES || right.size > LIMIT_TOKEN_BYTES)
    return error_set(error, ERROR_LIMIT, "Merge %u has a token over %d bytes.", rank, LIMIT_TOKEN_BYTES);
  size_t prefix = spec->prefix_bytes < right.size ? spec->prefix_bytes : right.size; /* which the whole is without */
  if (left.size) memcpy(both, left.data, left.size);
  if (right.size) memcpy(both + left.size, right.data + prefix, right.size - prefix);
  struct slice whole = slice_make(both, left.size + right.size - prefix), missing = {0};
  struct merge_spec merge = {.rank = rank};
  if (!merge_token(spec, left, &merge.left))
    missing = left;
  else if (!merge_token(spec, right, &merge.right))
    missing = right;
  else if (!merge_token(spec, whole, &merge.result))
    missing = whole;
  if (missing.data)
    return error_set(error, ERROR_FORMAT, "Merge %u makes '%.*s', but '%.*s' is not in the vocabulary.", rank,
                     SLICE_ARGS(whole), SLICE_ARGS(missing));
  if (merge.left != TOKEN_NONE && merge.right != TOKEN_NONE && merge.result != TOKEN_NONE)
    spec->merges[spec->n_merge++] = merge;
  return true;
}

bool spec_unmark_spaces(struct tokenizer_spec *spec, struct error *error) {
  return spec_step(spec, (struct step_spec){.kind = STEP_REPLACE, .a = slice_text(SPACE_MARK), .b = slice_text(" ")},
                   error);
}
