/* Random numbers of a load, the same on every machine for a seed: POSIX's erand48. */
#ifndef SPATE_LOAD_LOAD_DRAW_H
#define SPATE_LOAD_LOAD_DRAW_H

#include "base/buffer.h"
#include "load/load_plan.h"

struct load_dice {
  unsigned short state[3];
};

/* Different streams of one seed have nothing to do with each other. */
struct load_dice load_dice_make(uint64_t seed, uint64_t stream);

int load_draw_length(struct load_dice *dice, const struct load_length *length);
double load_draw_gap(struct load_dice *dice, double rate); /* seconds between two arrivals of a Poisson process */

/* That many English words: texts of two streams have no beginning in common that is worth caching. */
void load_draw_words(struct load_dice *dice, int count, struct buffer *out);

#endif
