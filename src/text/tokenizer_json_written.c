/* tokenizer.json as it is written: what its decoder shows each token as. Steps are run here, on the string of each
 * token, for each place that it may have in a text. What cannot be told token by token is refused. */
#include "text/byte_level.h"
#include "text/normalize.h"
#include "text/tokenizer_json.h"

#include "base/utf8.h"

#include <ctype.h>
#include <stdlib.h>

/* --- reading ---------------------------------------------------------------------------------------------------- */

static bool refuse(struct slice type, const char *why, struct error *error) {
  return error_set(error, ERROR_UNSUPPORTED, "The tokenizer's decoder '%.*s' is not supported %s.", SLICE_ARGS(type),
                   why);
}

static bool read_before(const struct tokenizer_spec *spec, enum decode_kind kind) {
  for (int i = 0; i < spec->n_decode; i++)
    if (spec->decode[i].kind == kind) return true;
  return false;
}

/* Of a fused text's beginning, which detokenizers know. */
static bool strips_start(const struct tokenizer_spec *spec, const struct decode_step *step) {
  bool strips = step->kind == DECODE_STRIP && step->stop == 0 && slice_is(step->a, " ");
  return strips && !(spec->flags & MODEL_STRIP_SPACE);
}

/* What is done to each character is the same for tokens as for their text, unless there are tokens of bytes. */
static bool maps_characters(const struct tokenizer_spec *spec, const struct decode_step *step) {
  bool one = utf8_characters(step->a) == 1, stripped = spec->flags & MODEL_STRIP_SPACE;
  if (stripped || read_before(spec, DECODE_BYTES) || read_before(spec, DECODE_LETTERS)) return false;
  return step->kind == DECODE_MARKS || (step->kind == DECODE_REPLACE && one) ||
         (step->kind == DECODE_WORDS && !step->apart);
}

/* A text is shown while it is written. */
static bool step_fits(const struct tokenizer_spec *spec, const struct decode_step *step, struct slice type,
                      struct error *error) {
  bool fused = read_before(spec, DECODE_FUSE) || read_before(spec, DECODE_LETTERS);
  if (step->kind == DECODE_FUSE) return true;
  if (fused && !strips_start(spec, step) && !maps_characters(spec, step))
    return refuse(type, "where it looks at a fused text", error);
  if (!fused && read_before(spec, DECODE_BYTES)) return refuse(type, "behind ByteFallback, but for a Fuse", error);
  if (step->kind == DECODE_CTC && spec->n_decode > 0)
    return error_set(error, ERROR_UNSUPPORTED, "The tokenizer's CTC decoder has to be the first one.");
  return true;
}

static bool add_step(struct tokenizer_spec *spec, struct decode_step step, struct slice type, struct error *error) {
  if (!step_fits(spec, &step, type, error)) return false;
  if (spec->n_decode == LIMIT_TOKENIZER_STEPS)
    return error_set(error, ERROR_LIMIT, "The tokenizer's decoder has more than %d steps.", LIMIT_TOKENIZER_STEPS);
  bool fused = read_before(spec, DECODE_FUSE) || read_before(spec, DECODE_LETTERS);
  bool start = fused && step.kind == DECODE_STRIP;
  if (start && step.start > 0) {
    spec->flags |= MODEL_STRIP_SPACE;
    spec->strip_most = step.start;
  }
  if (step.kind == DECODE_CTC) spec->flags |= MODEL_DROP_REPEATS;
  if (step.kind == DECODE_SUFFIX) spec->flags |= MODEL_SHOWS_LAST;
  step.whole = fused;
  if (!start) spec->decode[spec->n_decode++] = step;
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

/* --- showing ---------------------------------------------------------------------------------------------------- */

/* One token on its way through the steps. */
struct showing {
  struct normalizer patterns[LIMIT_TOKENIZER_STEPS]; /* of DECODE_REPLACE and DECODE_MATCHES, by step */
  pcre2_match_data *match;
  struct buffer out[2];
  int free_buffer;
  struct slice text;
};

static bool change(struct showing *s, const struct normalizer *step, struct error *error) {
  struct slice result;
  if (!normalize_step(step, s->match, s->text, &s->out[s->free_buffer], &result, error)) return false;
  if (result.data == buffer_slice(&s->out[s->free_buffer]).data) s->free_buffer ^= 1;
  s->text = result;
  return true;
}

static bool replace(struct showing *s, struct slice from, struct slice to, struct error *error) {
  return change(s, &(struct normalizer){.kind = STEP_REPLACE, .a = from, .b = to}, error);
}

/* As BERT's own code does it to a text. */
static bool tidy(struct showing *s, struct error *error) {
  static const char *const pairs[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                         {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                         {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    if (!replace(s, slice_text(pairs[i][0]), slice_text(pairs[i][1]), error)) return false;
  return true;
}

static bool prepend_space(struct showing *s, struct error *error) {
  if (s->text.size == 0) s->text = slice_text(""); /* which is changed, too */
  struct buffer *out = &s->out[s->free_buffer];
  buffer_clear(out);
  buffer_text(out, " ");
  if (!buffer_append(out, s->text.data, s->text.size) && s->text.size) return spec_out_of_memory(error);
  s->text = buffer_slice(out);
  s->free_buffer ^= 1;
  return true;
}

static bool show_words(struct showing *s, const struct decode_step *step, bool first, struct error *error) {
  struct slice prefix = step->a;
  bool continues = s->text.size >= prefix.size && memcmp(s->text.data, prefix.data, prefix.size) == 0;
  if (!first && continues)
    s->text = slice_make(s->text.data + prefix.size, s->text.size - prefix.size);
  else if (!first && !prepend_space(s, error))
    return false;
  return !step->apart || tidy(s, error);
}

static bool show_ctc(struct showing *s, const struct decode_step *step, struct error *error) {
  if (!replace(s, step->a, slice_text(""), error)) return false;
  return !step->apart || (tidy(s, error) && replace(s, step->b, slice_text(" "), error));
}

static bool slice_ends(struct slice text, struct slice end) {
  return text.size >= end.size && memcmp(text.data + text.size - end.size, end.data, end.size) == 0;
}

static void show_strip(struct showing *s, const struct decode_step *step) {
  struct slice character = step->a;
  for (uint32_t i = 0; i < step->start && s->text.size >= character.size; i++) {
    if (memcmp(s->text.data, character.data, character.size) != 0) break;
    s->text = slice_make(s->text.data + character.size, s->text.size - character.size);
  }
  for (uint32_t i = 0; i < step->stop && slice_ends(s->text, character); i++) s->text.size -= character.size;
}

/* "<0x41>": of either case, as the package takes it. */
static bool show_byte(struct showing *s, struct error *error) {
  const uint8_t *text = s->text.data;
  if (s->text.size != 6 || !slice_starts(s->text, "<0x") || text[5] != '>' || !isxdigit(text[3]) || !isxdigit(text[4]))
    return true;
  uint8_t byte = (uint8_t)strtoul((const char[]){(char)text[3], (char)text[4], 0}, NULL, 16);
  struct buffer *out = &s->out[s->free_buffer];
  buffer_clear(out);
  if (!buffer_append(out, &byte, 1)) return spec_out_of_memory(error);
  s->text = buffer_slice(out);
  s->free_buffer ^= 1;
  return true;
}

static bool show_letters(struct showing *s, struct error *error) {
  struct buffer *out = &s->out[s->free_buffer];
  buffer_clear(out);
  uint8_t *room = buffer_reserve(out, s->text.size + 1);
  size_t size;
  if (!room) return spec_out_of_memory(error);
  if (!byte_level_decode(s->text, room, &size)) return true;
  s->text = slice_make(room, size);
  s->free_buffer ^= 1;
  return true;
}

/* place: enum token_place. */
static bool show_step(struct showing *s, const struct decode_step *step, const struct normalizer *pattern,
                      unsigned place, struct error *error) {
  bool first = step->whole || place & PLACE_FIRST, last = place & PLACE_LAST;
  bool vanishes = step->kind == DECODE_MARKS && first && step->apart;
  switch (step->kind) {
  case DECODE_JOIN: return first || prepend_space(s, error);
  case DECODE_REPLACE:
  case DECODE_MATCHES: return change(s, pattern, error);
  case DECODE_STRIP: show_strip(s, step); return true;
  case DECODE_MARKS: return replace(s, step->a, slice_text(vanishes ? "" : " "), error);
  case DECODE_WORDS: return show_words(s, step, first, error);
  case DECODE_SUFFIX: return replace(s, step->a, slice_text(last ? "" : " "), error);
  case DECODE_CTC: return show_ctc(s, step, error);
  case DECODE_BYTES: return show_byte(s, error);
  case DECODE_LETTERS: return show_letters(s, error);
  default: return true;
  }
}

static bool show(struct showing *s, struct tokenizer_spec *spec, uint32_t id, unsigned place, struct error *error) {
  struct token_spec *token = &spec->tokens[id];
  s->text = token->named.data ? token->named : token->bytes;
  if (!s->text.data) s->text = slice_text("");
  for (int i = 0; i < spec->n_decode; i++) {
    const struct decode_step *step = &spec->decode[i];
    if (!show_step(s, step, &s->patterns[i], place, error)) return false;
    if (step->kind == DECODE_CTC && s->text.size == 0) token->flags |= TOKEN_UNSEEN;
  }
  if (s->text.size > LIMIT_TOKEN_BYTES)
    return error_set(error, ERROR_LIMIT, "Token %u is shown as %zu bytes, more than the %d allowed.", id, s->text.size,
                     LIMIT_TOKEN_BYTES);
  struct slice shown = spec_copy(spec, s->text);
  spec->shown[(size_t)id * TOKEN_PLACES + place] = shown;
  return shown.data || spec_out_of_memory(error);
}

static bool patterns_open(struct showing *s, const struct tokenizer_spec *spec, struct error *error) {
  for (int i = 0; i < spec->n_decode; i++) {
    const struct decode_step *step = &spec->decode[i];
    enum step_kind kind = step->kind == DECODE_MATCHES ? STEP_REPLACE_MATCHES : STEP_REPLACE;
    s->patterns[i] = (struct normalizer){.kind = kind, .a = step->a, .b = step->b};
    if (!normalizer_open(&s->patterns[i], error)) return false;
  }
  s->match = pcre2_match_data_create(1, NULL);
  return s->match || spec_out_of_memory(error);
}

bool json_show_tokens(struct tokenizer_spec *spec, struct error *error) {
  struct showing s = {0};
  buffer_init(&s.out[0], LIMIT_TOKENIZER_BYTES);
  buffer_init(&s.out[1], LIMIT_TOKENIZER_BYTES);
  spec->shown = arena_array(&spec->arena, spec->n_token * TOKEN_PLACES, sizeof *spec->shown);
  bool fine = spec->shown ? patterns_open(&s, spec, error) : spec_out_of_memory(error);
  for (uint32_t id = 0; fine && id < spec->n_token; id++)
    for (unsigned place = 0; fine && place < TOKEN_PLACES; place++) fine = show(&s, spec, id, place, error);
  for (int i = 0; i < spec->n_decode; i++) normalizer_close(&s.patterns[i]);
  pcre2_match_data_free(s.match);
  buffer_release(&s.out[0]);
  buffer_release(&s.out[1]);
  return fine;
}
