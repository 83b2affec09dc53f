/* Writing engine files: layout, sections, commit. */
#include "engine/engine_writer.h"

#include "base/checked.h"
#include "engine/engine_magic.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Offsets from *total on in the order in which the plan reads its weights, the first of which is writer's `first`; the
 * end of the last in *total. */
static bool weights_place(struct engine_writer *writer, const struct plan *plan, int first, uint64_t *total,
                          struct error *error) {
  int *order = calloc((size_t)plan->n_weight + 1, sizeof *order);
  size_t at = *total;
  bool fits = order && plan_read_order(plan, order);
  for (int i = 0; fits && i < plan->n_weight; i++) {
    struct engine_weight *entry = &writer->weights[first + order[i]];
    fits = size_align(at, ENGINE_SECTION_ALIGN, &at);
    entry->offset = at;
    entry->bytes = backend_packed_bytes(writer->backend, &plan_weights(plan)[order[i]]);
    fits = fits && size_add(at, entry->bytes, &at);
  }
  free(order);
  *total = at;
  return fits || error_set(error, ERROR_MEMORY, "The weights of the engine cannot be laid out.");
}

bool engine_writer_init(struct engine_writer *writer, const char *path, const struct plan *plan,
                        const struct plan *vision, const struct backend *backend, struct error *error) {
  const struct target *target = target_get(backend->target);
  int n_weight = plan->n_weight + (vision ? vision->n_weight : 0);
  *writer = (struct engine_writer){.file.descriptor = -1, .backend = backend, .n_weight = n_weight};
  memcpy(writer->header.magic, engine_magic, sizeof engine_magic);
  writer->header.version = ENGINE_FILE_VERSION;
  writer->header.layout = target->layout;
  snprintf(writer->header.target, sizeof writer->header.target, "%s", target->name);
  writer->path = path;
  writer->weights = calloc((size_t)n_weight + 1, sizeof *writer->weights);
  if (!writer->weights) return error_set(error, ERROR_MEMORY, "Out of memory for the weight table of %s.", path);
  uint64_t *total = &writer->header.section[SECTION_WEIGHTS].bytes;
  return weights_place(writer, plan, 0, total, error) &&
         (!vision || weights_place(writer, vision, plan->n_weight, total, error));
}

void engine_writer_release(struct engine_writer *writer) {
  temporary_file_release(&writer->file);
  free(writer->weights);
  *writer = (struct engine_writer){.file.descriptor = -1};
}

/* Where each section begins; the header's total follows. */
static void sections_place(struct engine_header *header) {
  uint64_t at = ENGINE_HEADER_BYTES;
  for (int i = 0; i < SECTION_COUNT; i++) {
    uint64_t align = i == SECTION_WEIGHTS ? ENGINE_WEIGHTS_ALIGN : ENGINE_SECTION_ALIGN;
    header->section[i].offset = (at + align - 1) / align * align;
    at = header->section[i].offset + header->section[i].bytes;
  }
  header->total = at;
}

/* Reserves the disk space, so that a full disk is told now and not in the middle. */
static bool space_reserve(struct engine_writer *writer, struct error *error) {
  uint64_t need = writer->header.total;
  struct statvfs disk;
  if (fstatvfs(writer->file.descriptor, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < need)
    return error_set(error, ERROR_MEMORY,
                     "%s needs %" PRIu64 " MiB and the disk has %" PRIu64
                     " MiB free; free some, write to another disk, "
                     "or choose a smaller quant_mode.",
                     writer->path, need >> 20, (uint64_t)disk.f_bavail * disk.f_frsize >> 20);
  if (fallocate(writer->file.descriptor, 0, 0, (off_t)need) == 0) return true;
  if (errno != EOPNOTSUPP) return temporary_file_refuse(&writer->file, "given its size", error);
  return ftruncate(writer->file.descriptor, (off_t)need) == 0 ||
         temporary_file_refuse(&writer->file, "given its size", error);
}

static bool bytes_write(struct engine_writer *writer, uint64_t offset, struct slice bytes, struct error *error) {
  while (bytes.size > 0) {
    ssize_t written = pwrite(writer->file.descriptor, bytes.data, bytes.size, (off_t)offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return temporary_file_refuse(&writer->file, "written", error);
    bytes = slice_make(bytes.data + written, bytes.size - (size_t)written);
    offset += (uint64_t)written;
  }
  return true;
}

static bool section_write(struct engine_writer *writer, int kind, const void *data, struct error *error) {
  struct engine_section *section = &writer->header.section[kind];
  struct slice bytes = slice_make(data, section->bytes);
  section->hash = hash_bytes(bytes, 0);
  return bytes_write(writer, section->offset, bytes, error);
}

/* The blocks one after another. */
static bool plans_write(struct engine_writer *writer, const struct engine_contents *contents, struct error *error) {
  uint64_t bytes = writer->header.section[SECTION_PLAN].bytes;
  uint8_t *both = calloc(1, bytes);
  if (!both) return error_set(error, ERROR_MEMORY, "Out of memory for the plans of %s.", writer->path);
  memcpy(both, contents->plan, contents->plan->bytes);
  if (contents->vision) memcpy(both + bytes - contents->vision->bytes, contents->vision, contents->vision->bytes);
  bool written = section_write(writer, SECTION_PLAN, both, error);
  free(both);
  return written;
}

bool engine_writer_begin(struct engine_writer *writer, const struct engine_contents *contents, struct error *error) {
  struct engine_section *section = writer->header.section;
  section[SECTION_FACTS].bytes = sizeof *contents->facts;
  section[SECTION_PLAN].bytes = contents->plan->bytes;
  if (contents->vision)
    section[SECTION_PLAN].bytes = engine_plan_align(contents->plan->bytes) + contents->vision->bytes;
  section[SECTION_WEIGHT_TABLE].bytes = (uint64_t)writer->n_weight * sizeof *writer->weights;
  section[SECTION_TOKENIZER].bytes = contents->tokenizer.size;
  section[SECTION_TEMPLATE].bytes = contents->chat_template.size;
  section[SECTION_IMAGES].bytes = contents->images.size;
  sections_place(&writer->header);
  return temporary_file_open(&writer->file, writer->path, error) && space_reserve(writer, error) &&
         section_write(writer, SECTION_FACTS, contents->facts, error) && plans_write(writer, contents, error) &&
         section_write(writer, SECTION_TOKENIZER, contents->tokenizer.data, error) &&
         section_write(writer, SECTION_TEMPLATE, contents->chat_template.data, error) &&
         section_write(writer, SECTION_IMAGES, contents->images.data, error);
}

bool engine_writer_weight(struct engine_writer *writer, int weight, uint64_t at, struct slice bytes,
                          struct error *error) {
  uint64_t offset = writer->header.section[SECTION_WEIGHTS].offset + writer->weights[weight].offset + at;
  return bytes_write(writer, offset, bytes, error);
}

bool engine_writer_read(const struct engine_writer *writer, int weight, uint64_t at, void *out, size_t size,
                        struct error *error) {
  uint64_t offset = writer->header.section[SECTION_WEIGHTS].offset + writer->weights[weight].offset + at;
  for (uint8_t *to = out; size > 0;) {
    ssize_t got = pread(writer->file.descriptor, to, size, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return temporary_file_refuse(&writer->file, "read", error);
    to += got;
    size -= (size_t)got;
    offset += (uint64_t)got;
  }
  return true;
}

void engine_writer_hash(struct engine_writer *writer, int weight, struct hash128 hash) {
  writer->weights[weight].hash = hash;
}

static bool ending_write(struct engine_writer *writer, const struct engine_ending *ending, struct error *error) {
  struct engine_header *header = &writer->header;
  header->section[SECTION_FOLDS].bytes = ending->folds.size;
  header->section[SECTION_MANIFEST].bytes = ending->manifest.size;
  header->base = ending->base;
  sections_place(header);
  if (!section_write(writer, SECTION_FOLDS, ending->folds.data, error) ||
      !section_write(writer, SECTION_MANIFEST, ending->manifest.data, error) ||
      !section_write(writer, SECTION_WEIGHT_TABLE, writer->weights, error))
    return false;
  header->hash = hash_bytes(slice_make(header, offsetof(struct engine_header, hash)), 0);
  return bytes_write(writer, 0, slice_make(header, sizeof *header), error);
}

bool engine_writer_seal(struct engine_writer *writer, const struct engine_ending *ending, char path[PATH_MAX],
                        struct error *error) {
  const struct temporary_file *file = &writer->file;
  if (file->name)
    snprintf(path, PATH_MAX, "%s", file->name);
  else
    snprintf(path, PATH_MAX, "/proc/self/fd/%d", file->descriptor);
  return ending_write(writer, ending, error);
}

bool engine_writer_commit(struct engine_writer *writer, const struct engine_ending *ending, struct error *error) {
  return ending_write(writer, ending, error) && temporary_file_commit(&writer->file, error);
}
