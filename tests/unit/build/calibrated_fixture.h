/* What a fixture expects of engines that calibration has rounded, and these engines: one file of a program has them. */
#ifndef SPATE_TESTS_CALIBRATED_FIXTURE_H
#define SPATE_TESTS_CALIBRATED_FIXTURE_H

#include "backend/backends.h"
#include "build/build.h"
#include "engine/engine_file.h"
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char calibrated_path[] = "/tmp/spate-calibrated-XXXXXX";
static struct safetensors *fixture;

/* As cmocka wants it: 0 when all is well. */
static inline int fixture_begin(const char *expected) {
  struct error error;
  int file = mkstemp(calibrated_path);
  fixture = safetensors_open(expected, &error);
  if (file < 0 || !fixture) return 1;
  close(file);
  return 0;
}

static inline int fixture_end(void) {
  safetensors_close(fixture);
  return unlink(calibrated_path);
}

/* Numbers of a method ("": of none), in the order that tools/ wrote them in. */
static inline const float *expected_of(const char *method, const char *what) {
  char name[64];
  snprintf(name, sizeof name, "%s%s%s", method, *method ? "." : "", what);
  const struct tensor *tensor = tensor_find(&fixture->tensors, name);
  if (!tensor) fail_msg("The fixture has no %s.", name);
  return (const float *)(const void *)tensor->data.data;
}

/* In full precision is what `overrides` says: so the inputs of the rest are transformers'. To be closed. */
static inline void calibrated_build(struct build_options build, struct engine_file *file) {
  struct error error = {0};
  build.output = calibrated_path;
  build.backend = &backend_cpu;
  if (!build_engine(&build, &error) || !engine_file_open(file, calibrated_path, &error)) fail_msg("%s", error.text);
}

/* Of all weights' hashes; closes the file. */
static inline struct hash128 weights_hash(struct engine_file *file) {
  struct hash128 hash = file->header->section[SECTION_WEIGHT_TABLE].hash;
  engine_file_close(file);
  return hash;
}

#endif
