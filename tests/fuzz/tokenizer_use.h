/* What fuzzers do with a tokenizer that was compiled: encode a text of many kinds of characters, or one of their own,
 * and decode what comes of it. */
#ifndef SPATE_TESTS_TOKENIZER_USE_H
#define SPATE_TESTS_TOKENIZER_USE_H

#include "base/utf8.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

#include <stdlib.h>

enum { USE_TOKENS = 1 << 16, USE_BYTES = 1 << 20, USE_RANGES = 4, USE_LONG = 5000 };

/* Bits of a choice's first byte. */
enum {
  USE_NO_SPECIAL = 1, /* nothing is put around a text */
  USE_NO_PARSE = 2,   /* special tokens are text in it */
  USE_REPEATED = 4,   /* the text comes again and again: what pieces merged to is remembered */
  USE_GUARDED = 8,    /* and once more, with ranges that the next bytes place */
  USE_DECODE = 16,    /* and the upper four are flags of decoding, but for the start */
};

/* The next byte, 0 behind the end. */
static inline uint8_t use_byte(struct slice *choice) {
  if (choice->size == 0) return 0;
  *choice = slice_make(choice->data + 1, choice->size - 1);
  return choice->data[-1];
}

/* Where the character at or behind `at` begins; the text's end, where there is none. */
static inline size_t use_place(struct slice text, size_t at) {
  while (at < text.size && (text.data[at] & 0xC0) == 0x80) at++;
  return at < text.size ? at : text.size;
}

/* Ranges of the text, places[2 * i] bytes behind the one before, in order and apart. */
static inline size_t use_ranges(struct slice text, const uint8_t *places, struct text_range *ranges) {
  size_t at = 0, count = 0;
  for (int i = 0; i < USE_RANGES; i++) {
    size_t start = use_place(text, at + places[2 * i]), end = use_place(text, start + 1 + places[2 * i + 1] % 32);
    if (start == end) break;
    ranges[count++] = (struct text_range){start, end};
    at = end + 1;
  }
  return count;
}

static inline void use_text(struct slice choice, bool repeated, struct buffer *out) {
  static const char usual[] =
      "Hello  world\xC3\xA9 e\xCC\x81 123 <s></s>\n\n aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaa\xF0\x9F\xA6\x99 ab abab \xE2\x96\x81   ";
  if (choice.size == 0 || !utf8_valid(choice)) choice = slice_text(usual);
  do buffer_append(out, choice.data, choice.size);
  while (repeated && out->size < USE_LONG);
}

/* Whole characters come out, as many as there is room for. */
static inline void use_ids(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, unsigned flags) {
  struct detokenizer detokenizer;
  detokenizer_init(&detokenizer, tokenizer, flags);
  for (size_t i = 0; i <= count; i++) {
    size_t most = i < count ? DETOKENIZER_OUT_MAX : DETOKENIZER_REST_MAX;
    uint8_t *text = malloc(most);
    if (!text) abort();
    size_t size = i < count ? detokenizer_feed(&detokenizer, ids[i], text) : detokenizer_flush(&detokenizer, text);
    if (size > most || !utf8_valid(slice_make(text, size))) abort();
    free(text);
  }
}

/* The first ids are those of all. */
static inline void use_first(const struct tokenizer *tokenizer, struct slice text, unsigned flags, size_t most,
                             const struct token_list *all) {
  struct token_list first;
  token_list_init(&first, most);
  if (tokenizer_encode_first(tokenizer, text, flags, &first, NULL) &&
      (first.count > most || (first.count > 0 && memcmp(first.ids, all->ids, first.count * sizeof *first.ids) != 0)))
    abort();
  token_list_release(&first);
}

/* choice says how, and may end with the text; an empty one chooses what is usual. */
static inline void tokenizer_use(const struct tokenizer *tokenizer, struct slice choice) {
  uint8_t bits = use_byte(&choice), most = use_byte(&choice), places[2 * USE_RANGES] = {0};
  unsigned flags =
      (bits & USE_NO_SPECIAL ? 0u : ENCODE_ADD_SPECIAL) | (bits & USE_NO_PARSE ? 0u : ENCODE_PARSE_SPECIAL);
  unsigned decode = (bits / USE_DECODE) ^ DETOKENIZE_START;
  struct text_range ranges[USE_RANGES];
  struct token_list ids;
  struct buffer text;
  bool guarded = bits & USE_GUARDED;
  token_list_init(&ids, USE_TOKENS);
  buffer_init(&text, USE_BYTES);
  for (size_t i = 0; guarded && i < sizeof places; i++) places[i] = use_byte(&choice);
  use_text(choice, bits & USE_REPEATED, &text);
  struct slice whole = buffer_slice(&text);
  if (tokenizer_encode(tokenizer, whole, flags, &ids, NULL) && most > 0) use_first(tokenizer, whole, flags, most, &ids);
  use_ids(tokenizer, ids.ids, ids.count, decode);
  token_list_clear(&ids);
  if (guarded) tokenizer_encode_guarded(tokenizer, whole, flags, ranges, use_ranges(whole, places, ranges), &ids, NULL);
  for (size_t i = 0; i < choice.size && i < 64; i++) token_list_append(&ids, (int32_t)choice.data[i] - 2);
  if (choice.size > 0) use_ids(tokenizer, ids.ids, ids.count, decode);
  buffer_release(&text);
  token_list_release(&ids);
}

#endif
