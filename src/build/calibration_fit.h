/* Whether there is memory to calibrate, asked before anything is written. */
#ifndef SPATE_BUILD_CALIBRATION_FIT_H
#define SPATE_BUILD_CALIBRATION_FIT_H

#include "build/calibrate.h"

/* Refuses what needs more than `available` bytes and tells what would not. job->writer is not looked at. */
bool calibration_fit(const struct calibration_job *job, uint64_t available, struct error *error);

#endif
