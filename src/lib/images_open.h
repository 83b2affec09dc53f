/* Images of an engine that opens: what its model makes of them, and the processes that decode them. */
#ifndef SPATE_LIB_IMAGES_OPEN_H
#define SPATE_LIB_IMAGES_OPEN_H

#include "lib/spate_state.h"

bool image_options_check(const spate_open_options *options, struct error *error);

int image_decoders_of(const spate_open_options *options);

/* Starts the processes, where the model sees images. Otherwise, and where they cannot be had, the engine's
 * images_problem says so to those who send some: texts are served all the same. */
void images_open(spate_engine *engine, const spate_open_options *options);

#endif
