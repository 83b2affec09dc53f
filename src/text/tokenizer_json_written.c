/* tokenizer.json as it is written: its decoder's components, to steps for tokens (tokenizer_json_shown.c) and to
 * changes of the text as a whole. What can be told neither token by token nor while a text is written is refused. */
#include "text/tokenizer_json.h"

#include "base/utf8.h"

static bool refuse(struct slice type, const char *why, struct error *error) {
  return error_set(error, ERROR_UNSUPPORTED, "The tokenizer's decoder '%.*s' is not supported %s.", SLICE_ARGS(type),
                   why);
}

static bool read_before(const struct tokenizer_spec *spec, enum decode_kind kind) {
  for (int i = 0; i < spec->n_decode; i++)
    if (spec->decode[i].kind == kind) return true;
  return false;
}

static bool fused_before(const struct tokenizer_spec *spec) {
  return read_before(spec, DECODE_FUSE) || read_before(spec, DECODE_LETTERS);
}

/* What is done to each character is the same for tokens as for their text, unless there are tokens of bytes. */
static bool maps_characters(const struct tokenizer_spec *spec, const struct decode_step *step) {
  bool one = utf8_characters(step->a) == 1;
  if (spec->n_change > 0 || read_before(spec, DECODE_BYTES) || read_before(spec, DECODE_LETTERS)) return false;
  return step->kind == DECODE_MARKS || (step->kind == DECODE_REPLACE && one) ||
         (step->kind == DECODE_WORDS && !step->apart);
}

static bool add_change(struct tokenizer_spec *spec, struct slice from, struct slice to) {
  bool fits = spec->n_change < LIMIT_TEXT_CHANGES && from.size <= LIMIT_AFFIX_BYTES && to.size <= from.size;
  if (fits) spec->changes[spec->n_change++] = (struct step_spec){.kind = STEP_TEXT_CHANGE, .a = from, .b = to};
  return fits;
}

static bool add_tidying(struct tokenizer_spec *spec) {
  bool fits = true;
  for (size_t i = 0; fits && i < DECODE_TIDIED; i++)
    fits = add_change(spec, slice_text(decode_tidied[i][0]), slice_text(decode_tidied[i][1]));
  return fits;
}

/* What a step does to a text that is one: it is its first token and its last. False: it cannot be done while the text
 * is written. */
static bool change_fused(struct tokenizer_spec *spec, const struct decode_step *step) {
  struct slice space = slice_text(" "), none = slice_text("");
  switch (step->kind) {
  case DECODE_REPLACE: return add_change(spec, step->a, step->b);
  case DECODE_MARKS: return add_change(spec, step->a, step->apart ? none : space);
  case DECODE_WORDS: return !step->apart || add_tidying(spec);
  case DECODE_SUFFIX: return add_change(spec, step->a, none);
  case DECODE_CTC:
    return add_change(spec, step->a, none) && (!step->apart || (add_tidying(spec) && add_change(spec, step->b, space)));
  default: return false;
  }
}

/* Behind bytes that are not fused, what is done to each character wherever it stands. */
static bool change_bytes(struct tokenizer_spec *spec, const struct decode_step *step) {
  bool anywhere = step->kind == DECODE_REPLACE || (step->kind == DECODE_MARKS && !step->apart);
  return anywhere && utf8_characters(step->a) == 1 && change_fused(spec, step);
}

static bool strip_start(struct tokenizer_spec *spec, const struct decode_step *step) {
  bool strips = step->kind == DECODE_STRIP && step->stop == 0 && slice_is(step->a, " ");
  if (!strips || spec->flags & MODEL_STRIP_SPACE) return false;
  if (step->start > 0) spec->flags |= MODEL_STRIP_SPACE;
  spec->strip_most = step->start;
  return true;
}

/* A text is shown while it is written. */
static bool add_step(struct tokenizer_spec *spec, struct decode_step step, struct slice type, struct error *error) {
  bool fused = fused_before(spec), stripped = spec->flags & MODEL_STRIP_SPACE, bytes = read_before(spec, DECODE_BYTES);
  if (fused && step.kind == DECODE_FUSE) return true;
  if (fused && strip_start(spec, &step)) return true;
  step.whole = fused;
  if (fused && (stripped || !maps_characters(spec, &step)))
    return (!stripped && change_fused(spec, &step)) || refuse(type, "where it looks at a fused text", error);
  if (!fused && bytes && step.kind != DECODE_FUSE)
    return change_bytes(spec, &step) || refuse(type, "behind ByteFallback, but for a Fuse", error);
  if (!fused && step.kind == DECODE_CTC && spec->n_decode > 0)
    return error_set(error, ERROR_UNSUPPORTED, "The tokenizer's CTC decoder has to be the first one.");
  if (spec->n_decode == LIMIT_TOKENIZER_STEPS)
    return error_set(error, ERROR_LIMIT, "The tokenizer's decoder has more than %d steps.", LIMIT_TOKENIZER_STEPS);
  if (step.kind == DECODE_CTC) spec->flags |= MODEL_DROP_REPEATS;
  if (step.kind == DECODE_SUFFIX) spec->flags |= MODEL_SHOWS_LAST;
  spec->decode[spec->n_decode++] = step;
  return true;
}

static struct slice text_or(const json_t *component, const char *key, const char *fallback) {
  struct slice text = json_take_text(component, key);
  return text.data ? text : slice_text(fallback);
}

static bool read_strip(struct tokenizer_spec *spec, const json_t *component, struct slice type, struct error *error) {
  const json_t *start = json_object_get(component, "start"), *stop = json_object_get(component, "stop");
  struct slice content = json_take_text(component, "content");
  json_int_t from = json_integer_value(start), to = json_integer_value(stop);
  if (utf8_characters(content) != 1 || from < 0 || to < 0 || from > LIMIT_TOKEN_BYTES || to > LIMIT_TOKEN_BYTES)
    return json_malformed("decoder", type, "it does not say which character to strip and how often", error);
  struct decode_step step = {.kind = DECODE_STRIP, .a = content, .start = (uint32_t)from, .stop = (uint32_t)to};
  return add_step(spec, step, type, error);
}

static bool read_replace(struct tokenizer_spec *spec, const json_t *component, struct slice type, struct error *error) {
  const json_t *pattern = json_object_get(component, "pattern");
  struct slice from = json_take_text(pattern, "String"), regex = json_take_text(pattern, "Regex");
  struct slice to = json_take_text(component, "content");
  if (!to.data || (from.size == 0 && regex.size == 0))
    return json_malformed("decoder", type, "it has no pattern, or no content", error);
  enum decode_kind kind = regex.data ? DECODE_MATCHES : DECODE_REPLACE;
  return add_step(spec, (struct decode_step){.kind = kind, .a = regex.data ? regex : from, .b = to}, type, error);
}

static bool read_marks(struct tokenizer_spec *spec, const json_t *component, struct slice type, struct error *error) {
  struct slice scheme = json_take_text(component, "prepend_scheme");
  bool prefixed = scheme.data ? !slice_is(scheme, "never") : json_take_bool(component, "add_prefix_space", true);
  struct slice mark = text_or(component, "replacement", SPACE_MARK);
  if (mark.size == 0) return json_malformed("decoder", type, "its replacement is empty", error);
  return add_step(spec, (struct decode_step){.kind = DECODE_MARKS, .a = mark, .apart = prefixed}, type, error);
}

static bool read_ctc(struct tokenizer_spec *spec, const json_t *component, struct slice type, struct error *error) {
  struct decode_step step = {.kind = DECODE_CTC,
                             .a = text_or(component, "pad_token", "<pad>"),
                             .b = text_or(component, "word_delimiter_token", "|"),
                             .apart = json_take_bool(component, "cleanup", true)};
  if (step.a.size == 0 || step.b.size == 0)
    return json_malformed("decoder", type, "its pad_token or its word_delimiter_token is empty", error);
  return add_step(spec, step, type, error);
}

bool json_read_written_decoder(struct tokenizer_spec *spec, const json_t *component, struct error *error) {
  struct slice type = json_type_of(component);
  struct decode_step step = {.kind = DECODE_FUSE};
  if (slice_is(type, "Strip")) return read_strip(spec, component, type, error);
  if (slice_is(type, "Replace")) return read_replace(spec, component, type, error);
  if (slice_is(type, "Metaspace")) return read_marks(spec, component, type, error);
  if (slice_is(type, "CTC")) return read_ctc(spec, component, type, error);
  if (slice_is(type, "ByteFallback")) {
    step.kind = DECODE_BYTES;
  } else if (slice_is(type, "ByteLevel")) {
    step.kind = DECODE_LETTERS;
  } else if (slice_is(type, "WordPiece")) {
    step = (struct decode_step){.kind = DECODE_WORDS,
                                .a = text_or(component, "prefix", "##"),
                                .apart = json_take_bool(component, "cleanup", true)};
  } else if (slice_is(type, "BPEDecoder")) {
    step = (struct decode_step){.kind = DECODE_SUFFIX, .a = text_or(component, "suffix", "</w>")};
    if (step.a.size == 0) return json_malformed("decoder", type, "its suffix is empty", error);
  } else if (!slice_is(type, "Fuse")) {
    return json_unsupported("decoder", type, error);
  }
  return add_step(spec, step, type, error);
}
