/* What a calibration's findings depend on, as a hash: a journal with another one belongs to another build. */
#ifndef SPATE_BUILD_JOURNAL_IDENTITY_H
#define SPATE_BUILD_JOURNAL_IDENTITY_H

#include "base/hash.h"
#include "build/calibrate.h"
#include "build/float_program.h"

/* Reads all of the model's bytes that the build will, telling the job's progress. */
bool journal_identity_make(const struct calibration_job *job, const struct float_device *device,
                           struct hash128 *identity, struct error *error);

#endif
