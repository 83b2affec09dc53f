/* tokenizer.json: its decoder's components, which join tokens to a text, to flags. Whatever would change the result and
 * is not supported is refused by its name. */
#include "text/tokenizer_json.h"

static bool read_strip(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  const json_t *start = json_object_get(component, "start"), *stop = json_object_get(component, "stop");
  struct slice content = json_take_text(component, "content");
  if (!content.data || !slice_is(content, " ") || json_integer_value(stop) != 0 || json_integer_value(start) > 1)
    return json_malformed("decoder", slice_text("Strip"), "only stripping one space at the start is supported", error);
  if (json_integer_value(start) == 1) spec->flags |= MODEL_STRIP_SPACE;
  return true;
}

static bool read_word_decoder(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice prefix = json_take_text(component, "prefix"), name = slice_text("WordPiece");
  if (prefix.data && !slice_is(prefix, "##")) return json_malformed("decoder", name, "its prefix is not ##", error);
  spec->words_apart = !json_take_bool(component, "cleanup", true);
  return true;
}

/* Tokens that end a word end with a space, instead of with the suffix (json_read_flags). */
static bool read_suffix_decoder(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice suffix = json_take_text(component, "suffix"), name = slice_text("BPEDecoder");
  if (suffix.data && !slice_equal(suffix, spec->word_suffix))
    return json_malformed("decoder", name, "its suffix is not the model's end_of_word_suffix", error);
  spec->flags |= MODEL_SPACE_ENDS;
  return true;
}

bool json_read_decoder(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice type = json_type_of(component);
  bool marked = spec->flags & MODEL_SPACE_MARKED;
  if (slice_is(type, "Fuse")) return true;
  if (slice_is(type, "WordPiece") && spec->model == MODEL_WORDPIECE) return read_word_decoder(spec, component, error);
  if (slice_is(type, "BPEDecoder") && spec->word_suffix.size) return read_suffix_decoder(spec, component, error);
  if (slice_is(type, "ByteLevel") && spec->flags & MODEL_BYTE_LEVEL) return true;
  if (slice_is(type, "ByteFallback") && marked) return true;
  if (slice_is(type, "Strip") && marked) return read_strip(spec, component, error);
  if (slice_is(type, "Metaspace") && marked) {
    struct slice scheme = json_take_text(component, "prepend_scheme");
    bool prefixed = scheme.data ? !slice_is(scheme, "never") : json_take_bool(component, "add_prefix_space", true);
    if (prefixed) spec->flags |= MODEL_STRIP_SPACE;
    return true;
  }
  struct slice from = json_take_text(json_object_get(component, "pattern"), "String");
  struct slice to = json_take_text(component, "content");
  if (slice_is(type, "Replace") && marked && from.data && slice_is(from, SPACE_MARK) && to.data && slice_is(to, " "))
    return true;
  return json_unsupported("decoder", type, error);
}
