/* Viterbi over the places between characters. Where ways are as likely, the one found first stays, as in the package
 * `tokenizers`. */
#include "text/unigram.h"

#include "base/limits.h"
#include "base/utf8.h"

#include <stdlib.h>

static const double unknown_penalty = 10;

void unigram_scratch_release(struct unigram_scratch *scratch) {
  free(scratch->places);
  free(scratch->path);
  *scratch = (struct unigram_scratch){0};
}

static bool scratch_reserve(struct unigram_scratch *scratch, size_t places) {
  if (places <= scratch->capacity) return true;
  unigram_scratch_release(scratch);
  scratch->places = malloc(places * sizeof *scratch->places);
  scratch->path = malloc(places * sizeof *scratch->path);
  scratch->capacity = scratch->places && scratch->path ? places : 0;
  return scratch->capacity;
}

static void place_offer(struct unigram_place *places, size_t start, size_t end, double score, uint32_t id) {
  struct unigram_place *place = &places[end];
  if (place->start == TOKEN_NONE || score > place->score) *place = (struct unigram_place){score, (uint32_t)start, id};
}

/* All tokens that begin at `start`, and the unknown one where the character there is none. A spoiled trie may be deeper
 * than any token is long. */
static void offers_from(const struct tokenizer_tables *tables, struct slice piece, size_t start, size_t character,
                        struct unigram_place *places) {
  const struct trie_node *node = tables->trie;
  double score = places[start].score;
  bool known = false;
  for (size_t end = start; end < piece.size && end - start < LIMIT_UNIGRAM_TOKEN_BYTES;) {
    node = trie_step(tables->trie, node, piece.data[end++]);
    if (!node) break;
    bool within = end < piece.size && (piece.data[end] & 0xC0) == 0x80;
    if (node->token == TOKEN_NONE || within) continue;
    place_offer(places, start, end, score + tables->scores[node->token], node->token);
    known = known || end == start + character;
  }
  if (!known)
    place_offer(places, start, start + character, score + tables->header->score_least - unknown_penalty, TOKEN_NONE);
}

static void ways_find(const struct tokenizer_tables *tables, struct slice piece, struct unigram_place *places) {
  for (size_t at = 1; at <= piece.size; at++) places[at].start = TOKEN_NONE;
  places[0] = (struct unigram_place){0};
  for (size_t at = 0, size; at < piece.size; at += size) {
    uint32_t code;
    size = utf8_read(slice_make(piece.data + at, piece.size - at), &code);
    if (size == 0) size = 1; /* only in a text that is not UTF-8, which no tokenizer takes */
    offers_from(tables, piece, at, size, places);
  }
}

/* A run of unknown characters. */
static bool append_run(const struct tokenizer_tables *tables, struct slice run, struct token_list *out) {
  bool bytes = tables->header->flags & MODEL_BYTE_FALLBACK;
  for (size_t i = 0; bytes && i < run.size; i++) bytes = tables->byte_tokens[run.data[i]] != TOKEN_NONE;
  if (!bytes) return tables->header->unk < 0 || token_list_append(out, tables->header->unk);
  for (size_t i = 0; i < run.size; i++)
    if (!token_list_append(out, (int32_t)tables->byte_tokens[run.data[i]])) return false;
  return true;
}

static bool append_path(const struct tokenizer_tables *tables, struct slice piece,
                        const struct unigram_scratch *scratch, size_t count, struct token_list *out) {
  size_t run = 0, run_start = 0; /* bytes of unknown characters before this place */
  for (size_t i = count; i-- > 0;) {
    size_t end = scratch->path[i];
    const struct unigram_place *place = &scratch->places[end];
    if (place->id == TOKEN_NONE) {
      if (run == 0) run_start = place->start;
      run += end - place->start;
      continue;
    }
    if (run > 0 && !append_run(tables, slice_make(piece.data + run_start, run), out)) return false;
    run = 0;
    if (!token_list_append(out, (int32_t)place->id)) return false;
  }
  return run == 0 || append_run(tables, slice_make(piece.data + run_start, run), out);
}

bool unigram_encode(const struct tokenizer_tables *tables, struct slice piece, struct unigram_scratch *scratch,
                    struct token_list *out) {
  if (piece.size == 0) return true;
  if (piece.size >= TOKEN_NONE || !scratch_reserve(scratch, piece.size + 1)) return false;
  ways_find(tables, piece, scratch->places);
  size_t count = 0;
  for (uint32_t at = (uint32_t)piece.size; at > 0; at = scratch->places[at].start) scratch->path[count++] = at;
  return append_path(tables, piece, scratch, count, out);
}
