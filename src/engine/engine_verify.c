/* Watching over an open engine file: its hashes once, in the background, and its size while it is served. */
#include "base/file_guard.h"
#include "engine/engine_file.h"

#include <unistd.h>

bool engine_file_intact(const struct engine_file *file, struct error *error) {
  if (!file->header) return true; /* made without a file */
  if (file_intact(&file->file)) {
    if (!file_guard_tripped(&file->file)) return true;
    return error_set(error, ERROR_DEVICE,
                     "Part of the engine file of %s could not be read while it was being served: the engine stops. "
                     "Check the disk, and replace engine files by renaming a new one over them.",
                     file->facts->name);
  }
  return error_set(
      error, ERROR_DEVICE,
      "The engine file of %s changed its size while it was being served: the engine stops. Build it again, "
      "and replace engine files by renaming a new one over them.",
      file->facts->name);
}

/* Weights that are done, of all. */
struct verified {
  int done, total;
};

static bool stop_seen(struct engine_verify *verify, struct verified so_far) {
  if (verify->goes_on && !verify->goes_on(verify->user, so_far.done, so_far.total)) atomic_store(&verify->stop, true);
  return atomic_load_explicit(&verify->stop, memory_order_relaxed);
}

/* Hashes in pieces, so that a stop is seen within milliseconds and a file that shrinks is not read past its end. */
static bool bytes_verify(const struct engine_file *file, struct slice bytes, struct hash128 expected,
                         struct engine_verify *verify, struct verified so_far) {
  enum { PIECE = 4 << 20 };
  struct hasher *hasher = hasher_new(0);
  if (!hasher) return true; /* out of memory is no damage: the next start verifies again */
  bool stopped = false;
  for (size_t at = 0; at < bytes.size && !stopped; at += PIECE) {
    size_t size = bytes.size - at < PIECE ? bytes.size - at : PIECE;
    stopped = !engine_file_intact(file, NULL) || stop_seen(verify, so_far);
    if (!stopped) hasher_update(hasher, slice_make(bytes.data + at, size));
  }
  return hash_equal(hasher_finish(hasher), expected) || stopped;
}

static bool verify_refuse(const struct engine_file *file, const char *part, const char *name, struct error *error) {
  if (!engine_file_intact(file, error)) return false; /* what was hashed is not there any more */
  if (file->disposable && (!file_named(file->file.descriptor, file->path) || unlink(file->path) == 0))
    return error_set(error, ERROR_DEVICE,
                     "%s is damaged: %s %s does not match its checksum. It was built into the cache and has been "
                     "removed: start again to build it anew.",
                     file->path, part, name);
  return error_set(error, ERROR_DEVICE,
                   "%s is damaged: %s %s does not match its checksum; copy it again, or build it again with: "
                   "spate build MODEL -o %s.",
                   file->path, part, name, file->path);
}

bool engine_file_verify(const struct engine_file *file, struct engine_verify *verify, struct error *error) {
  struct verified so_far = {.total = engine_file_weights(file)};
  if (!bytes_verify(file, file->manifest, file->header->section[SECTION_MANIFEST].hash, verify, so_far))
    return verify_refuse(file, "its section", engine_section_name(SECTION_MANIFEST), error);
  for (; so_far.done < so_far.total && !verify->stop; so_far.done++) {
    const char *name;
    int i = so_far.done;
    engine_file_weight_of(file, i, &name);
    if (!bytes_verify(file, engine_file_weight(file, i), file->weights[i].hash, verify, so_far))
      return verify_refuse(file, "the weight", name, error);
  }
  return engine_file_intact(file, error);
}
