/* Images of an engine that opens: what its model makes of them, and the processes that decode them. */
#ifndef SPATE_LIB_IMAGES_OPEN_H
#define SPATE_LIB_IMAGES_OPEN_H

#include "lib/spate_state.h"

/* Into what the engine is opened with: its encoder, and its rows of encoded images. */
bool image_options_read(const spate_open_options *from, struct engine_options *to, struct error *error);

int image_decoders_of(const spate_open_options *options);

/* Starts the processes, where the model sees images. Otherwise, and where they cannot be had, the engine's
 * images_problem says so to those who send some: texts are served all the same. False: for want of memory, which may be
 * there at the next try. */
bool images_open(spate_engine *engine, const spate_open_options *options, struct error *error);

#endif
