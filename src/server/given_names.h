/* Names that adapters of an engine were given or that were taken away by request: they outlive the engine. */
#ifndef SPATE_SERVER_GIVEN_NAMES_H
#define SPATE_SERVER_GIVEN_NAMES_H

#include "base/buffer.h"
#include "spate.h"

struct given_names {
  struct buffer text; /* of each: its name, a NUL, the adapter (nothing: it was taken away), a NUL */
};

void given_names_init(struct given_names *names);
void given_names_release(struct given_names *names);

/* Those of the engine, instead of what was there. */
void given_names_note(struct given_names *names, const spate_engine *engine);
void given_names_give(const struct given_names *names, spate_engine *engine);

#endif
