/* Whether the calibration knows the form of a network, asked before anything is read. */
#ifndef SPATE_BUILD_CALIBRATION_FORM_H
#define SPATE_BUILD_CALIBRATION_FORM_H

#include "build/network_walk.h"

/* Refuses plans with matrices that no site has as what they are. */
bool calibration_follows(const struct plan *plan, struct error *error);

#endif
