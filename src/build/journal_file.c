/* The bytes of a journal's file. */
#include "build/journal_file.h"

#include "base/slice.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t journal_magic[8] = "SPATECAL";

static struct hash128 header_seal(const struct journal_header *header) {
  return hash_bytes(slice_make(header, offsetof(struct journal_header, seal)), 0);
}

/* --- trust -------------------------------------------------------------------------------------------------------- */

static bool owner_check(const char *path, const struct stat *status, struct error *error) {
  if (status->st_uid != geteuid())
    return error_set(error, ERROR_INVALID,
                     "%s belongs to user %ju and this process to user %ju, so what it holds is not believed.", path,
                     (uintmax_t)status->st_uid, (uintmax_t)geteuid());
  if (status->st_mode & (S_IWGRP | S_IWOTH))
    return error_set(error, ERROR_INVALID,
                     "%s can be written by others than its owner (mode %03o), so what it holds is not believed.", path,
                     status->st_mode & 0777u);
  return true;
}

bool journal_folder_check(const char *folder, struct error *error) {
  struct stat status;
  int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (descriptor < 0) {
    enum error_code code = errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO;
    return error_set(error, code, "%s cannot be opened as a folder: %s.", folder, strerror(errno));
  }
  bool known = fstat(descriptor, &status) == 0;
  close(descriptor);
  return known ? owner_check(folder, &status, error)
               : error_set(error, ERROR_IO, "The owner of %s cannot be told: %s.", folder, strerror(errno));
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static bool bytes_put(struct journal_writer *writer, uint64_t at, struct slice bytes, struct error *error) {
  while (bytes.size > 0) {
    ssize_t written = pwrite(writer->file.descriptor, bytes.data, bytes.size, (off_t)at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return temporary_file_refuse(&writer->file, "written", error);
    bytes = slice_make(bytes.data + written, bytes.size - (size_t)written);
    at += (uint64_t)written;
  }
  return true;
}

bool journal_writer_open(struct journal_writer *writer, const char *path, const struct journal_header *header,
                         struct error *error) {
  *writer = (struct journal_writer){.file.descriptor = -1, .header = *header, .hasher = hasher_new(0)};
  memcpy(writer->header.magic, journal_magic, sizeof journal_magic);
  writer->header.version = JOURNAL_VERSION;
  writer->header.bytes = 0;
  if (!writer->hasher) return error_set(error, ERROR_MEMORY, "Out of memory for a hash.");
  if (!temporary_file_open(&writer->file, path, error)) return false;
  return fchmod(writer->file.descriptor, S_IRUSR | S_IWUSR) == 0 ||
         temporary_file_refuse(&writer->file, "kept from others", error);
}

bool journal_writer_add(struct journal_writer *writer, struct slice bytes, struct error *error) {
  hasher_update(writer->hasher, bytes);
  if (!bytes_put(writer, sizeof writer->header + writer->header.bytes, bytes, error)) return false;
  writer->header.bytes += bytes.size;
  return true;
}

bool journal_writer_commit(struct journal_writer *writer, struct error *error) {
  writer->header.content = hasher_finish(writer->hasher);
  writer->hasher = NULL;
  writer->header.seal = header_seal(&writer->header);
  return bytes_put(writer, 0, slice_make(&writer->header, sizeof writer->header), error) &&
         temporary_file_commit(&writer->file, error);
}

void journal_writer_release(struct journal_writer *writer) {
  if (writer->hasher) hasher_finish(writer->hasher);
  writer->hasher = NULL;
  temporary_file_release(&writer->file);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static bool bytes_get(struct journal_reader *reader, void *out, size_t size, struct error *error) {
  for (uint8_t *to = out; size > 0;) {
    ssize_t got = read(reader->descriptor, to, size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return error_set(error, ERROR_IO, "%s cannot be read: %s.", reader->path, strerror(errno));
    if (got == 0) return error_set(error, ERROR_FORMAT, "%s ended while it was read.", reader->path);
    to += got;
    size -= (size_t)got;
  }
  return true;
}

static bool header_check(const struct journal_reader *reader, enum journal_kind kind, uint64_t size,
                         struct hash128 identity, struct error *error) {
  const struct journal_header *header = &reader->header;
  const char *path = reader->path;
  if (memcmp(header->magic, journal_magic, sizeof journal_magic) != 0)
    return error_set(error, ERROR_FORMAT, "%s is no file of a calibration.", path);
  if (header->version != JOURNAL_VERSION)
    return error_set(error, ERROR_UNSUPPORTED, "%s has version %" PRIu32 " and this program reads version %d.", path,
                     header->version, JOURNAL_VERSION);
  if (!hash_equal(header->seal, header_seal(header)))
    return error_set(error, ERROR_FORMAT, "The header of %s is damaged: its hash does not match.", path);
  if (header->kind != kind || header->reserved != 0)
    return error_set(error, ERROR_FORMAT, "%s is of kind %" PRIu32 " where %d is expected.", path, header->kind, kind);
  if (!hash_equal(header->identity, identity))
    return error_set(error, ERROR_INVALID,
                     "%s is of another build: its model, options, text, device, kernel set or version of Spate differ.",
                     path);
  if (header->bytes != size - sizeof *header)
    return error_set(error, ERROR_FORMAT, "%s has %" PRIu64 " bytes after its header and should have %" PRIu64 ".",
                     path, size - sizeof *header, header->bytes);
  return true;
}

bool journal_reader_open(struct journal_reader *reader, const char *path, enum journal_kind kind,
                         struct hash128 identity, struct error *error) {
  struct stat status;
  *reader = (struct journal_reader){.descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), .path = path};
  if (reader->descriptor < 0) {
    enum error_code code = errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO;
    return error_set(error, code, "%s cannot be opened: %s.", path, strerror(errno));
  }
  if (fstat(reader->descriptor, &status) != 0 || !S_ISREG(status.st_mode))
    return error_set(error, ERROR_FORMAT, "%s is not a regular file.", path);
  if (!owner_check(path, &status, error)) return false;
  if ((uint64_t)status.st_size < sizeof reader->header)
    return error_set(error, ERROR_FORMAT, "%s has %jd bytes; the header of a calibration's file has %zu.", path,
                     (intmax_t)status.st_size, sizeof reader->header);
  reader->hasher = hasher_new(0);
  if (!reader->hasher) return error_set(error, ERROR_MEMORY, "Out of memory for a hash.");
  if (!bytes_get(reader, &reader->header, sizeof reader->header, error) ||
      !header_check(reader, kind, (uint64_t)status.st_size, identity, error))
    return false;
  reader->left = reader->header.bytes;
  return true;
}

bool journal_reader_take(struct journal_reader *reader, void *out, size_t size, struct error *error) {
  if (size > reader->left)
    return error_set(error, ERROR_FORMAT, "%s ends %" PRIu64 " bytes too early for this network.", reader->path,
                     size - reader->left);
  if (!bytes_get(reader, out, size, error)) return false;
  hasher_update(reader->hasher, slice_make(out, size));
  reader->left -= size;
  return true;
}

bool journal_reader_floats(struct journal_reader *reader, float *out, size_t count, struct error *error) {
  if (!journal_reader_take(reader, out, count * sizeof *out, error)) return false;
  for (size_t i = 0; i < count; i++)
    if (!isfinite(out[i])) return error_set(error, ERROR_FORMAT, "%s holds a number that is not finite.", reader->path);
  return true;
}

bool journal_reader_end(struct journal_reader *reader, struct error *error) {
  if (reader->left > 0)
    return error_set(error, ERROR_FORMAT, "%s holds %" PRIu64 " bytes more than this network has.", reader->path,
                     reader->left);
  struct hash128 content = hasher_finish(reader->hasher);
  reader->hasher = NULL;
  if (hash_equal(content, reader->header.content)) return true;
  return error_set(error, ERROR_FORMAT, "%s is damaged: the hash of its content does not match.", reader->path);
}

void journal_reader_release(struct journal_reader *reader) {
  if (reader->hasher) hasher_finish(reader->hasher);
  if (reader->descriptor >= 0) close(reader->descriptor);
  *reader = (struct journal_reader){.descriptor = -1};
}
