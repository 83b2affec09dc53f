/* tokenizer.json as it is written: what each token is shown as. The decoder's steps are run on its string, for each
 * place that it may have in a text. */
#include "text/byte_level.h"
#include "text/normalize.h"
#include "text/tokenizer_json.h"

#include <ctype.h>
#include <stdlib.h>

/* What BERT's own code does to a text, in this order. */
const char *const decode_tidied[DECODE_TIDIED][2] = {
    {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
    {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};

enum { SHOWN_MOST = 8 * LIMIT_TOKEN_BYTES }; /* on its way: each token may go through many steps */

/* One token on its way through the steps. */
struct showing {
  struct normalizer patterns[LIMIT_TOKENIZER_STEPS]; /* of DECODE_REPLACE and DECODE_MATCHES, by step */
  struct split_match match;
  struct buffer out[2];
  int free_buffer;
  struct slice text;
};

static bool change(struct showing *s, const struct normalizer *step, struct error *error) {
  struct slice result;
  if (!normalize_step(step, &s->match, s->text, &s->out[s->free_buffer], &result, error)) return false;
  if (result.data == buffer_slice(&s->out[s->free_buffer]).data) s->free_buffer ^= 1;
  s->text = result;
  return true;
}

static bool replace(struct showing *s, struct slice from, struct slice to, struct error *error) {
  return change(s, &(struct normalizer){.kind = STEP_REPLACE, .a = from, .b = to}, error);
}

static bool tidy(struct showing *s, struct error *error) {
  for (size_t i = 0; i < DECODE_TIDIED; i++)
    if (!replace(s, slice_text(decode_tidied[i][0]), slice_text(decode_tidied[i][1]), error)) return false;
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
  return split_match_init(&s->match) || spec_out_of_memory(error);
}

bool json_show_tokens(struct tokenizer_spec *spec, struct error *error) {
  struct showing s = {0};
  buffer_init(&s.out[0], SHOWN_MOST);
  buffer_init(&s.out[1], SHOWN_MOST);
  spec->shown = arena_array(&spec->arena, spec->n_token * TOKEN_PLACES, sizeof *spec->shown);
  bool fine = spec->shown ? patterns_open(&s, spec, error) : spec_out_of_memory(error);
  for (uint32_t id = 0; fine && id < spec->n_token; id++)
    for (unsigned place = 0; fine && place < TOKEN_PLACES; place++) fine = show(&s, spec, id, place, error);
  for (int i = 0; i < spec->n_decode; i++) normalizer_close(&s.patterns[i]);
  split_match_release(&s.match);
  buffer_release(&s.out[0]);
  buffer_release(&s.out[1]);
  return fine;
}
