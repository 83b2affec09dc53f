/* tokenizer.json: its decoder's components, which join tokens to a text, to flags of the plain form. What that form
 * cannot show is left to tokenizer_json_written.c. */
#include "text/tokenizer_json.h"

/* Letters of components, in the order of the decoder. */
enum { BYTES = 'B', FALLBACK = 'f', FUSE = 'F', MARKS = 'M', REPLACE = 'R', STRIP = 'S', SUFFIX = 'X', WORDS = 'W' };

static bool note(struct tokenizer_spec *spec, char component, struct error *error) {
  size_t count = strlen(spec->decoders);
  if (count + 1 == sizeof spec->decoders) return json_unfit(error);
  spec->decoders[count] = component;
  return true;
}

static bool read_strip(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  const json_t *start = json_object_get(component, "start"), *stop = json_object_get(component, "stop");
  struct slice content = json_take_text(component, "content");
  if (!content.data || !slice_is(content, " ") || json_integer_value(stop) != 0 || json_integer_value(start) != 1)
    return json_unfit(error);
  spec->flags |= MODEL_STRIP_SPACE;
  return note(spec, STRIP, error);
}

static bool read_word_decoder(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice prefix = json_take_text(component, "prefix");
  if (prefix.data && !slice_is(prefix, "##")) return json_unfit(error);
  spec->words_apart = !json_take_bool(component, "cleanup", true);
  return note(spec, WORDS, error);
}

/* Tokens that end a word end with a space, instead of with the suffix (json_read_flags). */
static bool read_suffix_decoder(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice suffix = json_take_text(component, "suffix");
  if (!suffix.data) suffix = slice_text("</w>");
  if (suffix.size == 0 || !slice_equal(suffix, spec->word_suffix)) return json_unfit(error);
  spec->flags |= MODEL_SPACE_ENDS;
  return note(spec, SUFFIX, error);
}

static bool read_marks(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice scheme = json_take_text(component, "prepend_scheme"), mark = json_take_text(component, "replacement");
  bool prefixed = scheme.data ? !slice_is(scheme, "never") : json_take_bool(component, "add_prefix_space", true);
  if (mark.data && !slice_is(mark, SPACE_MARK)) return json_unfit(error);
  if (prefixed) spec->flags |= MODEL_BARE_START;
  return note(spec, MARKS, error);
}

bool json_read_decoder(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice type = json_type_of(component);
  if (slice_is(type, "Fuse")) return note(spec, FUSE, error);
  if (slice_is(type, "ByteLevel")) return note(spec, BYTES, error);
  if (slice_is(type, "ByteFallback")) return note(spec, FALLBACK, error);
  if (slice_is(type, "WordPiece")) return read_word_decoder(spec, component, error);
  if (slice_is(type, "BPEDecoder")) return read_suffix_decoder(spec, component, error);
  if (slice_is(type, "Strip")) return read_strip(spec, component, error);
  if (slice_is(type, "Metaspace")) return read_marks(spec, component, error);
  struct slice from = json_take_text(json_object_get(component, "pattern"), "String");
  struct slice to = json_take_text(component, "content");
  bool marks = slice_is(type, "Replace") && from.data && slice_is(from, SPACE_MARK) && to.data && slice_is(to, " ");
  return marks ? note(spec, REPLACE, error) : json_unfit(error);
}

static bool is_one_of(const char *word, const char *const *words) {
  for (; *words; words++)
    if (strcmp(word, *words) == 0) return true;
  return false;
}

bool json_decoder_fits(const struct tokenizer_spec *spec, struct error *error) {
  static const char *const bytes[] = {"B", "BF", NULL}, *const suffixes[] = {"X", "XF", NULL},
                           *const fused[] = {"F", NULL};
  static const char *const marks[] = {"M", "MF", "R", "RF", "RFS", NULL}, *const fallback[] = {"Rf", "RfF", "RfFS",
                                                                                               NULL};
  static const char *const words[] = {"W", "WF", NULL}, *const none[] = {"", NULL};
  const char *const *fitting = fused;
  if (spec->model == MODEL_WORDLEVEL)
    fitting = none;
  else if (spec->model == MODEL_WORDPIECE)
    fitting = words;
  else if (spec->flags & MODEL_BYTE_LEVEL)
    fitting = bytes;
  else if (spec->flags & MODEL_SPACE_MARKED)
    fitting = spec->flags & MODEL_BYTE_FALLBACK ? fallback : marks;
  else if (spec->flags & MODEL_SPACE_ENDS)
    fitting = suffixes;
  if (fitting == fused && spec->flags & MODEL_BYTE_FALLBACK) return spec->flags & MODEL_WRITTEN || json_unfit(error);
  return spec->flags & MODEL_WRITTEN || is_one_of(spec->decoders, fitting) || json_unfit(error);
}
