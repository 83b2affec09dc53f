/* A picture of evaluations: loss against speed, and against size, a point for each engine. SVG without a library. */
#ifndef SPATE_BUILD_EVAL_PLOT_H
#define SPATE_BUILD_EVAL_PLOT_H

#include "base/buffer.h"
#include "base/error.h"

/* Each result is the JSON of an evaluation or of a table of modes (spate_tools.h). The loss is the mean KL divergence
 * where every result has one (an engine of FP32 may lack it: it is what others are compared with), on a logarithmic
 * axis, and perplexity otherwise. Speed is that of decoding at batch 1 where all tell it, else that of evaluating. */
bool eval_plot(const struct slice *results, size_t count, struct buffer *svg, struct error *error);

#endif
