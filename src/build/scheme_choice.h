/* Which scheme each weight of a plan gets: by the quant_mode, the types in the checkpoint and what the backend runs. */
#ifndef SPATE_BUILD_SCHEME_CHOICE_H
#define SPATE_BUILD_SCHEME_CHOICE_H

#include "engine/engine_config.h"
#include "model/checkpoint.h"
#include "plan/backend.h"

struct scheme_wish {
  enum quant_mode mode;
  const char *overrides; /* quant_override.h; NULL: none */
  bool emulate;          /* FP8 may run where there is no such arithmetic, as floats */
  double target_bits;    /* of QUANT_AUTO; 0: not given */
};

/* Sets the scheme of every weight of the plan; the overrides are known to be sound. notes[n_weight] tells, as static
 * text, why a weight is stored wider than its file has it; NULL: it is not. Fails when the backend cannot run an op
 * with any scheme that the mode allows, with the backend's sentence and the layer. */
bool scheme_choose(struct plan *plan, const struct checkpoint *checkpoint, const struct scheme_wish *wish,
                   const struct backend *backend, const char **notes, struct error *error);

/* Can the ops that use the weight as a matrix run as its scheme now is? The sentence names the layer and the weight. */
bool scheme_supported(const struct plan *plan, int weight, const struct backend *backend, struct error *error);

#endif
