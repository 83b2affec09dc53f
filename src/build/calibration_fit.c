/* What passes between the sites grows with the text, what a site holds does not. */
#include "build/calibration_fit.h"

#include <inttypes.h>

/* The most windows of the text that fit; 0: not even one does. */
static int windows_fitting(const struct calibration_job *job, uint64_t available) {
  struct calibration_data data = *job->data;
  struct calibration_job shorter = *job;
  shorter.data = &data;
  while (data.n_window > 0 && calibration_memory(&shorter) > available) data.n_window--;
  return data.n_window;
}

bool calibration_fit(const struct calibration_job *job, uint64_t available, struct error *error) {
  uint64_t need = calibration_memory(job);
  int windows = windows_fitting(job, available);
  char remedy[96] = "no calibration text is short enough";
  if (need <= available) return true;
  if (windows > 0)
    snprintf(remedy, sizeof remedy, "a calibration text of %d tokens would fit", windows * job->data->length);
  return error_set(error, ERROR_MEMORY,
                   "Calibrating needs about %" PRIu64 " MiB of memory and %" PRIu64
                   " MiB are available: %s; free some, or choose quant_algo RTN, which needs none of it.",
                   (need >> 20) + 1, available >> 20, remedy);
}
