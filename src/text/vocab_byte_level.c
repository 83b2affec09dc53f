/* A GGUF vocabulary of BPE by merges to a spec: of bytes, or of characters with marked spaces, as the split rule says
 * that the file names (split_rules.c). */
#include "text/byte_level.h"
#include "text/vocab_spec.h"

#include <stdio.h>

static const unsigned letters_flags[] = {[VOCAB_LETTERS] = MODEL_BYTE_LEVEL,
                                         [VOCAB_MARKED] = MODEL_SPACE_MARKED | MODEL_BYTE_FALLBACK | MODEL_FUSE_UNKNOWN,
                                         [VOCAB_PLAIN] = 0};

/* What a merge's half stands for, in the arena. */
static bool merge_half(struct tokenizer_spec *spec, struct slice written, struct slice *bytes) {
  if (spec->flags & MODEL_SPACE_MARKED) *bytes = spec_replaced(spec, written, SPACE_MARK, " ");
  if (!(spec->flags & MODEL_BYTE_LEVEL)) {
    if (!(spec->flags & MODEL_SPACE_MARKED)) *bytes = spec_copy(spec, written);
    return bytes->data;
  }
  uint8_t *room = arena_alloc(&spec->arena, written.size + 1);
  bytes->data = room;
  return room && byte_level_decode(written, room, &bytes->size);
}

static bool read_merge(struct tokenizer_spec *spec, uint32_t rank, struct slice text, struct error *error) {
  const uint8_t *space = text.size ? memchr(text.data + 1, ' ', text.size - 1) : NULL;
  size_t left_size = space ? (size_t)(space - text.data) : 0;
  struct slice left, right;
  if (!space || !merge_half(spec, slice_make(text.data, left_size), &left) ||
      !merge_half(spec, slice_make(space + 1, text.size - left_size - 1), &right))
    return error_set(error, ERROR_FORMAT, "Merge %u of the vocabulary is '%.*s', expected two tokens and a space.",
                     rank, SLICE_ARGS(text));
  return spec_merge(spec, left, right, rank, error);
}

static bool read_merges(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error) {
  if (!spec_reserve_merges(spec, source->n_merge, error)) return false;
  for (uint32_t rank = 0; rank < source->n_merge; rank++)
    if (!read_merge(spec, rank, source->merges[rank], error)) return false;
  return true;
}

bool vocab_read_byte_level(struct tokenizer_spec *spec, const struct vocab_source *source, struct slice pre,
                           struct error *error) {
  struct vocab_rule rule;
  if (!vocab_split_rule(spec, pre, source->add_space_prefix == VOCAB_YES, &rule, error)) return false;
  const char *kind = rule.letters == VOCAB_MARKED  ? "SentencePiece BPE"
                     : rule.letters == VOCAB_PLAIN ? "BPE"
                                                   : "byte-level BPE";
  snprintf(spec->name, sizeof spec->name, "%s (%.*s)", kind, SLICE_ARGS(pre));
  spec->flags = letters_flags[rule.letters] | (rule.ignore_merges ? MODEL_IGNORE_MERGES : 0u);
  if (!vocab_read_tokens(spec, source, error) || !read_merges(spec, source, error)) return false;
  if (rule.letters == VOCAB_LETTERS) spec_byte_tokens(spec);
  if (rule.letters == VOCAB_MARKED && spec_space_starts(spec)) spec->flags |= MODEL_SPACE_STARTS;
  vocab_read_special_ids(spec, source, rule.add_bos);
  return true;
}
