/* Pre-tokenizing: cuts normalized text into the pieces that are merged independently. */
#ifndef SPATE_TEXT_PRETOKENIZE_H
#define SPATE_TEXT_PRETOKENIZE_H

#include "text/split_pattern.h"

/* What is done with a piece; false stops the splitting (and *error says why). */
struct piece_sink {
  bool (*take)(void *context, struct slice piece, struct error *error);
  void *context;
};

/* Applies the patterns one inside the other: each piece of the first is split by the second, and so on. */
bool pretokenize(const struct split_pattern *patterns, int count, struct split_match *match, struct slice text,
                 const struct piece_sink *sink, struct error *error);

/* Splits before each run of spaces: where no merge crosses the start of a word, merging the words one by one gives the
 * same tokens as merging the text. */
bool pretokenize_words(struct slice text, const struct piece_sink *sink, struct error *error);

#endif
