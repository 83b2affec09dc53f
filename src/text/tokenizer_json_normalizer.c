/* tokenizer.json: its normalizer's components to steps. Whatever would change the result and is not supported is
 * refused by its name. */
#include "base/base64.h"
#include "text/charsmap.h"
#include "text/tokenizer_json.h"

static bool holds_space(struct slice text) {
  return memchr(text.data, ' ', text.size) || memmem(text.data, text.size, SPACE_MARK, 3);
}

static bool read_replace(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  const json_t *pattern = json_object_get(component, "pattern");
  struct slice from = json_take_text(pattern, "String"), regex = json_take_text(pattern, "Regex");
  struct slice to = json_take_text(component, "content"), name = slice_text("Replace");
  if (!to.data || (from.size == 0 && regex.size == 0))
    return json_malformed("normalizer", name, "it has no pattern, or no content", error);
  bool written = spec->flags & MODEL_WRITTEN;
  if (regex.data && spec->flags & MODEL_SPACE_MARKED) return json_unfit(error);
  if (regex.data) return spec_step(spec, (struct step_spec){.kind = STEP_REPLACE_MATCHES, .a = regex, .b = to}, error);
  if (!written && slice_is(from, " ") && slice_is(to, SPACE_MARK)) {
    spec->mark_waits = false;
    spec->flags |= MODEL_SPACE_MARKED;
    return spec_unmark_spaces(spec, error);
  }
  if (spec->flags & MODEL_SPACE_MARKED && (holds_space(from) || holds_space(to))) return json_unfit(error);
  return spec_step(spec, (struct step_spec){.kind = STEP_REPLACE, .a = from, .b = to}, error);
}

static bool read_bert(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct bert_steps steps = {.clean = json_take_bool(component, "clean_text", true),
                             .space_cjk = json_take_bool(component, "handle_chinese_chars", true),
                             .lower = json_take_bool(component, "lowercase", true)};
  steps.drop_marks = json_take_bool(component, "strip_accents", steps.lower);
  return spec_bert_normalizer(spec, steps, error);
}

static bool read_strip_space(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  uint32_t mode = (json_take_bool(component, "strip_left", true) ? STRIP_LEFT : 0u) |
                  (json_take_bool(component, "strip_right", true) ? STRIP_RIGHT : 0u);
  return spec_step(spec, (struct step_spec){.kind = STEP_STRIP, .mode = mode}, error);
}

/* The rules are written in base64. */
static bool read_precompiled(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice name = slice_text("Precompiled"), text = json_take_text(component, "precompiled_charsmap");
  if (text.size == 0) return true;
  struct buffer bytes;
  buffer_init(&bytes, LIMIT_TOKENIZER_BYTES);
  bool decoded = base64_decode(text, "The tokenizer's precompiled_charsmap", &bytes, error);
  struct slice map = decoded ? spec_copy(spec, buffer_slice(&bytes)) : slice_make(NULL, 0);
  buffer_release(&bytes);
  if (!decoded) return false;
  if (!map.data) return spec_out_of_memory(error);
  if (!charsmap_check(map)) return json_malformed("normalizer", name, "its precompiled_charsmap is not one", error);
  return spec_step(spec, (struct step_spec){.kind = STEP_CHARSMAP, .a = map}, error);
}

/* Those that have nothing but a name. */
static bool read_plain_normalizer(struct tokenizer_spec *spec, struct slice type, bool *known, struct error *error) {
  static const struct {
    const char *name;
    struct step_spec step;
  } plain[] = {{"NFC", {.kind = STEP_NFC}},
               {"NFD", {.kind = STEP_NFD}},
               {"NFKC", {.kind = STEP_NFKC}},
               {"NFKD", {.kind = STEP_NFKD}},
               {"Lowercase", {.kind = STEP_LOWER}},
               {"Nmt", {.kind = STEP_NMT}},
               {"StripAccents", {.kind = STEP_DROP_MARKS, .mode = MARKS_ALL}}};
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
    if (!slice_is(type, plain[i].name)) continue;
    *known = true;
    return spec_step(spec, plain[i].step, error);
  }
  return true;
}

/* Where spaces stand for marks, whatever tells the two apart does not fit: texts may be replaced, and put in front. */
static bool stays_plain(const struct tokenizer_spec *spec, const json_t *component, struct slice type) {
  bool replaces = slice_is(type, "Replace");
  struct slice from = json_take_text(json_object_get(component, "pattern"), "String");
  if (spec->mark_waits) return replaces && slice_is(from, " ");
  return !(spec->flags & MODEL_SPACE_MARKED) || replaces || slice_is(type, "Prepend");
}

bool json_read_normalizer(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice type = json_type_of(component);
  bool known = false;
  bool bytes = slice_is(type, "ByteLevel"), written = spec->flags & MODEL_WRITTEN;
  if (bytes && written) return json_spell(spec, STEP_SPELL, error);
  if (!written && !stays_plain(spec, component, type)) return json_unfit(error);
  if (spec->splits_letters || (bytes && spec->flags & MODEL_SPACE_MARKED)) return json_unfit(error);
  if (bytes) { /* text stays the bytes that the letters stand for */
    spec->flags |= MODEL_BYTE_LEVEL;
    spec->splits_letters = spec->spells_text = true;
    return true;
  }
  if (!read_plain_normalizer(spec, type, &known, error) || known) return known;
  if (slice_is(type, "BertNormalizer")) return read_bert(spec, component, error);
  if (slice_is(type, "Strip")) return read_strip_space(spec, component, error);
  if (slice_is(type, "Precompiled")) return read_precompiled(spec, component, error);
  if (slice_is(type, "Replace")) return read_replace(spec, component, error);
  if (!slice_is(type, "Prepend")) return json_unsupported("normalizer", type, error);
  struct slice prefix = json_take_text(component, "prepend");
  if (!prefix.data) return json_malformed("normalizer", type, "it has nothing to prepend", error);
  if (slice_is(prefix, SPACE_MARK) && !written) {
    spec->mark_waits = !(spec->flags & MODEL_SPACE_MARKED);
    prefix = slice_text(" ");
  } else if (!written && spec->flags & MODEL_SPACE_MARKED && holds_space(prefix)) {
    return json_unfit(error);
  }
  return spec_step(spec, (struct step_spec){.kind = STEP_PREPEND, .a = prefix}, error);
}
