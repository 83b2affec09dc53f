/* tokenizer.json: the components that split text before the model (pre_tokenizer), to steps and flags. Whatever would
 * change the result and is not supported is refused by its name. */
#include "text/normalize.h"
#include "text/split_pattern.h"
#include "text/tokenizer_json.h"

bool json_take_bool(const json_t *object, const char *key, bool fallback) {
  const json_t *value = json_object_get(object, key);
  return json_is_boolean(value) ? json_is_true(value) : fallback;
}

struct slice json_take_text(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_string(value) ? json_slice(value) : slice_make(NULL, 0);
}

struct slice json_type_of(const json_t *component) {
  struct slice type = json_take_text(component, "type");
  return type.data ? type : slice_text("");
}

bool json_unsupported(const char *where, struct slice what, struct error *error) {
  return error_set(error, ERROR_UNSUPPORTED, "The tokenizer's %s '%.*s' is not supported.", where, SLICE_ARGS(what));
}

bool json_malformed(const char *where, struct slice what, const char *expected, struct error *error) {
  return error_set(error, ERROR_FORMAT, "The tokenizer's %s '%.*s' is malformed: %s.", where, SLICE_ARGS(what),
                   expected);
}

bool json_unfit(struct error *error) {
  return error_set(error, ERROR_UNSUPPORTED, "The tokenizer does not have the plain form.");
}

/* Calls read for a component, or for each of a Sequence. key names the Sequence's list. null is no component. */
static bool each_component(struct tokenizer_spec *spec, const json_t *component, const char *key,
                           bool (*read)(struct tokenizer_spec *, const json_t *, struct error *), struct error *error) {
  if (!component || json_is_null(component)) return true;
  if (!slice_is(json_type_of(component), "Sequence")) return read(spec, component, error);
  const json_t *list = json_object_get(component, key), *element;
  size_t i;
  if (!json_is_array(list))
    return json_malformed("component", slice_text("Sequence"), "it has no list of components", error);
  json_array_foreach(list, i, element) {
    if (!each_component(spec, element, key, read, error)) return false;
  }
  return true;
}

/* --- pre_tokenizer -------------------------------------------------------------------------------------------- */

static bool splits_already(const struct tokenizer_spec *spec) {
  return spec->n_step > 0 && !step_normalizes(spec->steps[spec->n_step - 1].kind);
}

static bool add_prefix(struct tokenizer_spec *spec, enum prefix_mode mode, struct error *error) {
  if (splits_already(spec)) return json_unfit(error);
  return spec_step(spec, (struct step_spec){.kind = STEP_PREFIX, .mode = mode, .a = slice_text(" ")}, error);
}

bool json_spell(struct tokenizer_spec *spec, enum step_kind kind, struct error *error) {
  int count = 0;
  for (int i = 0; i < spec->n_step; i++)
    count += spec->steps[i].kind == STEP_LETTERS || spec->steps[i].kind == STEP_SPELL;
  if (count == LIMIT_SPELLINGS)
    return error_set(error, ERROR_LIMIT,
                     "The tokenizer has more than %d ByteLevel components that spell texts in letters.",
                     LIMIT_SPELLINGS);
  return spec_step(spec, (struct step_spec){.kind = kind}, error);
}

static bool write_byte_level(struct tokenizer_spec *spec, bool prefix, bool splits, struct error *error) {
  struct step_spec space = {.kind = STEP_PREFIX, .mode = PREFIX_ALWAYS, .a = slice_text(" ")};
  return (!prefix || spec_step(spec, space, error)) &&
         (!splits || spec_split(spec, slice_text(split_gpt2), SPLIT_ISOLATED, false, error)) &&
         json_spell(spec, STEP_LETTERS, error);
}

/* A second one writes the letters of the first one's bytes as letters again. */
static bool read_byte_level(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  bool prefix = json_take_bool(component, "add_prefix_space", true), second = spec->splits_letters;
  bool splits = json_take_bool(component, "use_regex", true);
  if (spec->flags & MODEL_WRITTEN) return write_byte_level(spec, prefix, splits, error);
  bool third = spec->n_step > 0 && spec->steps[spec->n_step - 1].kind == STEP_LETTERS;
  if (third || (second && prefix)) return json_unfit(error);
  if (prefix && !add_prefix(spec, PREFIX_ALWAYS, error)) return false;
  if (splits && !spec_split(spec, slice_text(split_gpt2), SPLIT_ISOLATED, false, error)) return false;
  spec->flags |= MODEL_BYTE_LEVEL;
  spec->splits_letters = true;
  return !second || spec_step(spec, (struct step_spec){.kind = STEP_LETTERS}, error);
}

static bool read_mode(const json_t *component, enum split_mode *mode) {
  static const char *const modes[SPLIT_MODES] = {[SPLIT_ISOLATED] = "Isolated",
                                                 [SPLIT_REMOVED] = "Removed",
                                                 [SPLIT_WITH_PREVIOUS] = "MergedWithPrevious",
                                                 [SPLIT_WITH_NEXT] = "MergedWithNext",
                                                 [SPLIT_CONTIGUOUS] = "Contiguous"};
  struct slice name = json_take_text(component, "behavior");
  for (int i = 0; i < SPLIT_MODES; i++) {
    *mode = (enum split_mode)i;
    if (name.data && slice_is(name, modes[i])) return true;
  }
  return false;
}

/* A text as a regex that matches just it; data NULL when out of memory. */
static struct slice literal_pattern(struct tokenizer_spec *spec, struct slice text) {
  uint8_t *out = arena_alloc(&spec->arena, text.size * 2 + 1);
  size_t size = 0;
  for (size_t i = 0; out && i < text.size; i++) {
    if (text.data[i] > ' ' && text.data[i] < 0x80 && strchr("\\^$.[]|()?*+{}-&#", text.data[i])) out[size++] = '\\';
    out[size++] = text.data[i];
  }
  return slice_make(out, size);
}

/* It names ASCII's letters, digits and visible signs alone, or line ends. */
static bool names_letters(struct slice pattern) {
  for (size_t i = 0; i < pattern.size; i++) {
    uint8_t byte = pattern.data[i];
    if ((byte <= ' ' && byte != '\n' && byte != '\r') || byte >= 0x7F || strchr("\\.^$", byte)) return false;
  }
  return pattern.size > 0;
}

/* Where the pattern is about ASCII alone, text and bytes show it what letters and marks would, without being written.
 * Line ends have letters of their own. */
static bool split_of(struct tokenizer_spec *spec, struct slice pattern, enum split_mode mode, bool inverted,
                     struct error *error) {
  bool lines = memchr(pattern.data, '\n', pattern.size) || memchr(pattern.data, '\r', pattern.size);
  if (!names_letters(pattern) || (lines && spec->splits_letters))
    return spec_split(spec, pattern, mode, inverted, error);
  enum step_kind kind = spec->splits_letters ? STEP_SPLIT_BYTES : STEP_SPLIT;
  return spec_step(spec, (struct step_spec){.kind = kind, .mode = mode, .inverted = inverted, .a = pattern}, error);
}

static bool read_split(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice name = slice_text("Split");
  const json_t *pattern = json_object_get(component, "pattern");
  struct slice regex = json_take_text(pattern, "Regex"), text = json_take_text(pattern, "String");
  enum split_mode mode;
  if (!read_mode(component, &mode))
    return json_malformed("pre-tokenizer", name, "its behavior is not a known one", error);
  if (!regex.data && (!text.data || text.size == 0))
    return json_malformed("pre-tokenizer", name, "it has neither a Regex nor a String pattern", error);
  bool spaces = !regex.data && spec->flags & MODEL_SPACE_MARKED && !spec->splits_letters;
  if (spaces && slice_is(text, " ")) return true; /* none is left */
  if (!regex.data) regex = literal_pattern(spec, text);
  if (!regex.data) return spec_out_of_memory(error);
  return split_of(spec, regex, mode, json_take_bool(component, "invert", false), error);
}

/* WhitespaceSplit is all the splitting so far. */
static bool takes_words(const struct tokenizer_spec *spec) {
  const struct step_spec *last = spec->n_step > 0 ? &spec->steps[spec->n_step - 1] : NULL;
  bool first = spec->n_step < 2 || step_normalizes(spec->steps[spec->n_step - 2].kind);
  return last && first && last->kind == STEP_SPLIT && last->mode == SPLIT_REMOVED && slice_is(last->a, split_space);
}

/* The same words, each with one space before it: what is left then is to split at the spaces. */
static bool words_by_spaces(struct tokenizer_spec *spec, struct error *error) {
  struct step_spec runs = {.kind = STEP_REPLACE_MATCHES, .a = slice_text("\\s+"), .b = slice_text(" ")};
  struct step_spec ends = {.kind = STEP_STRIP, .mode = STRIP_LEFT | STRIP_RIGHT};
  spec->n_step--;
  return spec_step(spec, runs, error) && spec_step(spec, ends, error);
}

/* What a Metaspace says; PREFIX_MODES: nothing is put in front. */
struct metaspace {
  struct slice mark;
  enum prefix_mode prefix;
  bool splits;
};

static bool metaspace_read(const json_t *component, struct metaspace *out, struct error *error) {
  static const char *const schemes[] = {[PREFIX_ALWAYS] = "always", [PREFIX_FIRST] = "first", [PREFIX_MODES] = "never"};
  struct slice mark = json_take_text(component, "replacement"), scheme = json_take_text(component, "prepend_scheme");
  if (!scheme.data) scheme = slice_text(json_take_bool(component, "add_prefix_space", true) ? "always" : "never");
  *out = (struct metaspace){.mark = mark.size ? mark : slice_text(SPACE_MARK),
                            .splits = json_take_bool(component, "split", true)};
  for (int i = 0; i <= PREFIX_MODES; i++) {
    out->prefix = (enum prefix_mode)i;
    if (slice_is(scheme, schemes[i])) return true;
  }
  return json_malformed("pre-tokenizer", slice_text("Metaspace"), "its prepend_scheme is not always, first or never",
                        error);
}

static bool write_metaspace(struct tokenizer_spec *spec, const struct metaspace *m, struct error *error) {
  struct step_spec marks = {.kind = STEP_PIECE_REPLACE, .a = slice_text(" "), .b = m->mark};
  struct step_spec prefix = {.kind = STEP_PREFIX, .mode = m->prefix, .a = m->mark};
  struct slice pattern = literal_pattern(spec, m->mark);
  if (!pattern.data) return spec_out_of_memory(error);
  return spec_step(spec, marks, error) && (m->prefix == PREFIX_MODES || spec_step(spec, prefix, error)) &&
         (!m->splits || spec_split(spec, pattern, SPLIT_WITH_NEXT, false, error));
}

static bool read_metaspace(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct metaspace m;
  if (!metaspace_read(component, &m, error)) return false;
  if (spec->flags & MODEL_WRITTEN) return write_metaspace(spec, &m, error);
  bool words = takes_words(spec);
  if (spec->splits_letters || !slice_is(m.mark, SPACE_MARK)) return json_unfit(error);
  if (words && !words_by_spaces(spec, error)) return false;
  if (splits_already(spec) || (words && (m.prefix != PREFIX_ALWAYS || !m.splits))) return json_unfit(error);
  spec->marks_pieces = !(spec->flags & MODEL_SPACE_MARKED);
  if (spec->marks_pieces && !spec_unmark_spaces(spec, error)) return false;
  spec->flags |= MODEL_SPACE_MARKED;
  if (m.prefix != PREFIX_MODES && !add_prefix(spec, m.prefix, error)) return false;
  return !m.splits ||
         spec_step(spec, (struct step_spec){.kind = STEP_SPLIT, .mode = SPLIT_WITH_NEXT, .a = slice_text(" ")}, error);
}

/* What Rust's regexes call \\w, in runs, or runs of what is neither that nor white space. */
#define RUST_WORD                                                                                                      \
  "\\p{L}\\p{M}\\p{Nl}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"   \
  "\\x{1f170}-\\x{1f189}"
static const char words_or_signs[] = "[" RUST_WORD "]+|[^\\s" RUST_WORD "]+";

static bool read_delimiter(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice text = json_take_text(component, "delimiter");
  if (text.size == 0)
    return json_malformed("pre-tokenizer", slice_text("CharDelimiterSplit"), "it has no delimiter", error);
  struct slice pattern = literal_pattern(spec, text);
  return pattern.data ? spec_split(spec, pattern, SPLIT_REMOVED, false, error) : spec_out_of_memory(error);
}

static bool read_fixed_length(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  json_int_t length = json_integer_value(json_object_get(component, "length"));
  char pattern[32];
  if (length < 1 || length > LIMIT_WORD_CHARS)
    return json_malformed("pre-tokenizer", slice_text("FixedLength"), "its length is not from 1 to 1000", error);
  snprintf(pattern, sizeof pattern, "[\\x{0}-\\x{10ffff}]{1,%d}", (int)length);
  struct slice copy = spec_copy(spec, slice_text(pattern));
  return copy.data ? spec_split(spec, copy, SPLIT_ISOLATED, false, error) : spec_out_of_memory(error);
}

static bool read_digits(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  bool each = json_take_bool(component, "individual_digits", false);
  if (!spec->splits_letters)
    return spec_split(spec, slice_text(each ? split_digit : "\\p{N}+"), SPLIT_ISOLATED, false, error);
  struct slice pattern = slice_text(each ? split_byte_number : split_byte_numbers);
  return spec_step(spec, (struct step_spec){.kind = STEP_SPLIT_BYTES, .a = pattern}, error);
}

/* Behind ByteLevel the package splits what it has written the bytes as: letters, one for each byte, of which those up
 * to U+00FF are the bytes' own. */
static bool read_pre_tokenizer(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice type = json_type_of(component);
  enum split_mode mode;
  bool written = spec->flags & MODEL_WRITTEN;
  if (!written && spec->n_step > 0 && spec->steps[spec->n_step - 1].kind == STEP_LETTERS) return json_unfit(error);
  if (slice_is(type, "Metaspace")) return read_metaspace(spec, component, error);
  if (slice_is(type, "Split")) return read_split(spec, component, error);
  if (slice_is(type, "Digits")) return read_digits(spec, component, error);
  if (slice_is(type, "Punctuation") && read_mode(component, &mode))
    return spec_split(spec, slice_text(split_punctuation), mode, false, error);
  static const char *const dropping[] = {"BertPreTokenizer", "WhitespaceSplit", "Whitespace"};
  for (size_t i = 0; i < sizeof dropping / sizeof *dropping; i++) spec->drops_space |= slice_is(type, dropping[i]);
  spec->parts_signs |= slice_is(type, "BertPreTokenizer") ||
                       (slice_is(type, "Punctuation") && read_mode(component, &mode) && mode <= SPLIT_REMOVED);
  if (slice_is(type, "BertPreTokenizer")) return spec_bert_splits(spec, error);
  if (slice_is(type, "WhitespaceSplit")) return spec_split(spec, slice_text(split_space), SPLIT_REMOVED, false, error);
  if (slice_is(type, "Whitespace")) return spec_split(spec, slice_text(words_or_signs), SPLIT_REMOVED, true, error);
  if (slice_is(type, "CharDelimiterSplit")) return read_delimiter(spec, component, error);
  if (slice_is(type, "FixedLength")) return read_fixed_length(spec, component, error);
  if (slice_is(type, "UnicodeScripts")) return spec_script_splits(spec, error);
  if (spec->flags & MODEL_SPACE_MARKED) return json_unfit(error);
  if (slice_is(type, "ByteLevel")) return read_byte_level(spec, component, error);
  return json_unsupported("pre-tokenizer", type, error);
}

bool json_read_steps(struct tokenizer_spec *spec, const json_t *root, struct error *error) {
  if (!each_component(spec, json_object_get(root, "normalizer"), "normalizers", json_read_normalizer, error) ||
      !each_component(spec, json_object_get(root, "pre_tokenizer"), "pretokenizers", read_pre_tokenizer, error))
    return false;
  const json_t *decoder = json_object_get(root, "decoder");
  if (!(spec->flags & MODEL_WRITTEN)) return each_component(spec, decoder, "decoders", json_read_decoder, error);
  if (decoder && !json_is_null(decoder)) {
    if (!each_component(spec, decoder, "decoders", json_read_written_decoder, error)) return false;
    for (int i = 0; i < spec->n_change; i++)
      if (!spec_step(spec, spec->changes[i], error)) return false;
    return true;
  }
  spec->decode[spec->n_decode++] = (struct decode_step){.kind = DECODE_JOIN};
  return true;
}
