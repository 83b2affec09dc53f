/* A picture of several runs: latencies and answers a second against the load. */
#ifndef SPATE_LOAD_LOAD_PLOT_H
#define SPATE_LOAD_LOAD_PLOT_H

#include "base/buffer.h"
#include "load/load_tally.h"

/* load[i]: clients, or requests a second, of tally[i]; load_name says which. with_good: answers within the SLO have a
 * line of their own. */
void load_plot_draw(const double *load, const struct load_tally *tally, int count, const char *load_name,
                    bool with_good, struct buffer *svg);

#endif
