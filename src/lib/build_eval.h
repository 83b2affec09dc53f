/* The figures of an engine that is being built, for its manifest. */
#ifndef SPATE_LIB_BUILD_EVAL_H
#define SPATE_LIB_BUILD_EVAL_H

#include "build/build.h"
#include "spate.h"

/* Has the build evaluate, where its options ask for it: what cannot be is refused before work starts. The options must
 * outlive the build. */
bool build_eval_prepare(const spate_build_options *options, struct build_options *build, struct error *error);

#endif
