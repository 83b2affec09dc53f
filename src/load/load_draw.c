/* Draws. */
#include "load/load_draw.h"

#include "base/limits.h"

#include <math.h>
#include <stdlib.h>

/* Common words, one token each with most vocabularies. */
static const char *const words[] = {
    "the",    "river",  "city",  "old",    "stone",  "market", "morning", "letter", "window", "garden",  "winter",
    "people", "water",  "light", "table",  "train",  "house",  "green",   "story",  "school", "paper",   "music",
    "number", "summer", "road",  "bridge", "field",  "voice",  "island",  "doctor", "silver", "forest",  "north",
    "street", "family", "horse", "cloud",  "engine", "party",  "world",   "mother", "father", "village", "mountain"};
enum { WORDS = sizeof words / sizeof *words };

struct load_dice load_dice_make(uint64_t seed, uint64_t stream) {
  uint64_t mixed = (seed ^ 0x9e3779b97f4a7c15u) + stream * 0xbf58476d1ce4e5b9u;
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
  mixed ^= mixed >> 31;
  return (struct load_dice){{(unsigned short)mixed, (unsigned short)(mixed >> 16), (unsigned short)(mixed >> 32)}};
}

/* Box and Muller's; 1 − u is above 0. */
static double normal_draw(struct load_dice *dice) {
  double radius = sqrt(-2 * log(1 - erand48(dice->state)));
  return radius * cos(2 * M_PI * erand48(dice->state));
}

int load_draw_length(struct load_dice *dice, const struct load_length *length) {
  double tokens = length->mean;
  if (length->spread > 0)
    tokens = exp(log(length->mean) - length->spread * length->spread / 2 + length->spread * normal_draw(dice));
  double most = length->spread > 0 ? LOAD_LENGTH_MOST : LIMIT_LOAD_TOKENS;
  return (int)fmin(most, fmax(1, round(tokens)));
}

double load_draw_gap(struct load_dice *dice, double rate) { return -log(1 - erand48(dice->state)) / rate; }

void load_draw_words(struct load_dice *dice, int count, struct buffer *out) {
  for (int i = 0; i < count; i++) {
    if (i > 0) buffer_text(out, " ");
    buffer_text(out, words[(int)(erand48(dice->state) * WORDS)]);
  }
}
