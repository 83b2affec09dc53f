/* blobs/DIGEST.incomplete grows until it is whole and has the digest, and is given its name then. */
#include "pull/pull_state.h"

#include "base/clock.h"
#include "hub/hub_headers.h"
#include "pull/blob_digest.h"
#include "pull/pull_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 20, TOLD_US = 100000 };

struct blob {
  struct pull *pull;
  const struct hub_file *file;
  int descriptor;
  char path[PATH_MAX], final[PATH_MAX];
  struct blob_digest *digest; /* of what is in the file */
  uint64_t size;              /* of the same */
  uint64_t asked_from;        /* by the request under way */
  bool kept;                  /* some of it came in another run */
  bool anew;                  /* what has come is to be dropped, and the file asked for from its start */
  int status, retry_after_s;  /* of the last response */
};

static void note(const struct pull *pull, const char *sentence) {
  if (pull->options->note) pull->options->note(pull->options->user, sentence);
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

static bool write_refuse(const struct blob *blob, int why, struct error *error) {
  if (why == ENOSPC || why == EDQUOT)
    return error_set(error, ERROR_IO,
                     "The disk is full: make room and pull again, which goes on at %" PRIu64 " of %" PRIu64
                     " bytes of %.200s.",
                     blob->size, blob->file->size, blob->file->name);
  return error_set(error, ERROR_IO, "%s cannot be written: %s.", blob->path, strerror(why));
}

/* Takes back what is in the file. */
static bool blob_empty(struct blob *blob, struct error *error) {
  char digest[HUB_DIGEST_BYTES];
  if (blob->digest) blob_digest_finish(blob->digest, digest);
  blob->digest = blob_digest_new(blob->file);
  blob->size = blob->pull->done = 0;
  blob->kept = blob->anew = false;
  if (!blob->digest) return error_set(error, ERROR_MEMORY, "There is no memory for a digest.");
  return (ftruncate(blob->descriptor, 0) == 0 && lseek(blob->descriptor, 0, SEEK_SET) == 0) ||
         write_refuse(blob, errno, error);
}

/* Some ten times a second: a piece that comes is small. */
static bool told(struct blob *blob, struct error *error) {
  struct pull *pull = blob->pull;
  const struct pull_options *options = pull->options;
  uint64_t now = clock_us();
  pull->done = blob->size;
  if (pull->told_us && now - pull->told_us < TOLD_US && blob->size < blob->file->size) return true;
  pull->told_us = now;
  return !options->progress || options->progress(options->user, blob->file->name, blob->size, blob->file->size) ||
         error_set(error, ERROR_CANCELLED, "Interrupted.");
}

/* What came in another run is part of the digest. */
static bool kept_read(struct blob *blob, struct error *error) {
  char *piece = malloc(PIECE_BYTES);
  ssize_t size = 1;
  bool good = piece || error_set(error, ERROR_MEMORY, "There is no memory for a digest.");
  while (good && (size = read(blob->descriptor, piece, PIECE_BYTES)) > 0) {
    blob_digest_update(blob->digest, slice_make(piece, (size_t)size));
    blob->size += (uint64_t)size;
    good = told(blob, error);
  }
  free(piece);
  if (good && size < 0) return error_set(error, ERROR_IO, "%s cannot be read: %s.", blob->path, strerror(errno));
  return good;
}

static bool blob_open(struct blob *blob, struct error *error) {
  struct stat status;
  blob->descriptor = open(blob->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (blob->descriptor < 0 || fstat(blob->descriptor, &status) != 0) return write_refuse(blob, errno, error);
  if (status.st_size == 0 || (uint64_t)status.st_size > blob->file->size) return blob_empty(blob, error);
  blob->kept = true;
  blob->digest = blob_digest_new(blob->file);
  return blob->digest ? kept_read(blob, error) : error_set(error, ERROR_MEMORY, "There is no memory for a digest.");
}

/* --- what comes --------------------------------------------------------------------------------------------------- */

/* What was asked from a byte on comes from there to the end. */
static bool range_fits(const struct blob *blob, const char *range) {
  uint64_t first, last, total, size = blob->file->size;
  return hub_range_read(range, &first, &last, &total) && first == blob->asked_from && last == size - 1 &&
         (total == size || total == UINT64_MAX);
}

static bool status_check(struct blob *blob, const struct fetch_head *head, struct error *error) {
  bool part = blob->asked_from > 0;
  if (head->status == 200) return !part || blob_empty(blob, error); /* from its start, whatever was asked */
  if (head->status == 206 && part && range_fits(blob, head->range)) return true;
  if (head->status == 206 || (head->status == 416 && part)) {
    blob->anew = part;
    return error_set(error, ERROR_FORMAT,
                     "%s answered with status %d and \"%.60s\", asked for %.200s from byte %" PRIu64 " of %" PRIu64 ".",
                     head->authority, head->status, head->range, blob->file->name, blob->asked_from, blob->file->size);
  }
  return pull_refusal(blob->pull, head, blob->file->name, error);
}

static bool on_head(void *user, const struct fetch_head *head, struct error *error) {
  struct blob *blob = user;
  blob->status = head->status;
  blob->retry_after_s = head->retry_after_s;
  if (!status_check(blob, head, error)) return false;
  if (*head->encoding && strcasecmp(head->encoding, "identity") != 0)
    return error_set(error, ERROR_UNSUPPORTED, "%s sends %.200s encoded as \"%.30s\", which was not asked for.",
                     head->authority, blob->file->name, head->encoding);
  uint64_t left = blob->file->size - blob->size;
  if (head->length == UINT64_MAX || head->length == left) return true;
  return error_set(error, ERROR_FORMAT, "%s sends %" PRIu64 " bytes of %.200s, expected %" PRIu64 ".", head->authority,
                   head->length, blob->file->name, left);
}

static bool bytes_write(struct blob *blob, struct slice bytes, struct error *error) {
  for (size_t at = 0; at < bytes.size;) {
    ssize_t size = write(blob->descriptor, bytes.data + at, bytes.size - at);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return write_refuse(blob, size < 0 ? errno : ENOSPC, error);
    blob_digest_update(blob->digest, slice_make(bytes.data + at, (size_t)size));
    blob->size += (uint64_t)size;
    at += (size_t)size;
  }
  return true;
}

static bool on_body(void *user, struct slice bytes, struct error *error) {
  struct blob *blob = user;
  if (bytes.size > blob->file->size - blob->size)
    return error_set(error, ERROR_FORMAT, "More than the %" PRIu64 " bytes that %.200s has are sent for it.",
                     blob->file->size, blob->file->name);
  return bytes_write(blob, bytes, error) && told(blob, error);
}

/* --- one request after another ------------------------------------------------------------------------------------ */

static bool file_url(const struct blob *blob, struct http_url *url, struct error *error) {
  const struct pull *pull = blob->pull;
  struct buffer text;
  buffer_init(&text, LIMIT_FETCH_URL_BYTES);
  buffer_print(&text, "%s/%s/resolve/%s/", pull->environment.endpoint, pull->options->id.repository, pull->commit);
  pull_escape(&text, blob->file->name, true);
  bool good = text.failed ? error_set(error, ERROR_LIMIT, "The address of %.200s is too long.", blob->file->name)
                          : http_url_parse(url, buffer_slice(&text), error);
  buffer_release(&text);
  return good;
}

/* One request. *again: another may bring more. */
static bool part_fetch(struct blob *blob, const struct http_url *url, bool *again, struct error *error) {
  const struct fetch_sink sink = {on_head, on_body, blob};
  uint64_t before = blob->size;
  blob->asked_from = blob->size;
  blob->status = 0;
  blob->retry_after_s = -1;
  enum fetch_end end = fetch_run(&blob->pull->fetch, url, blob->asked_from, &sink, error);
  if (end == FETCH_DONE && blob->size < blob->file->size) {
    error_set(error, ERROR_IO, "%.200s ended after %" PRIu64 " of its %" PRIu64 " bytes.", blob->file->name, blob->size,
              blob->file->size);
    end = FETCH_BROKEN;
  }
  bool begun = before > 0 || blob->size > 0; /* so that there was a connection once */
  *again = end == FETCH_BROKEN || (end == FETCH_REFUSED && begun) ||
           (end == FETCH_ENDED && (blob->anew || pull_may_retry(blob->status)));
  return end == FETCH_DONE;
}

static bool body_fetch(struct blob *blob, struct error *error) {
  struct http_url url;
  uint64_t most = blob->size; /* what was dropped and came again is nothing new */
  if (!file_url(blob, &url, error)) return false;
  for (int n = 1; blob->size < blob->file->size; n++) {
    bool again;
    if (part_fetch(blob, &url, &again, error)) break;
    if (blob->size > most) n = 1;
    if (blob->size > most) most = blob->size;
    if (!again || n >= LIMIT_HUB_ATTEMPTS || error->code == ERROR_CANCELLED) return false;
    note(blob->pull, error->text);
    if (blob->anew && !blob_empty(blob, error)) return false;
    if (!pull_wait(blob->pull, n, blob->retry_after_s, error)) return false;
  }
  return true;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

/* Compares, and drops what is wrong. */
static bool digest_check(struct blob *blob, struct error *error) {
  char digest[HUB_DIGEST_BYTES];
  bool good = blob_digest_finish(blob->digest, digest);
  blob->digest = NULL;
  if (!good) return error_set(error, ERROR_INTERNAL, "The digest of %.200s cannot be computed.", blob->file->name);
  if (strcmp(digest, blob->file->digest) == 0) return true;
  unlink(blob->path);
  return error_set(error, ERROR_FORMAT,
                   "%.200s came with the digest %s, expected %s: it was changed on the way, and is removed.",
                   blob->file->name, digest, blob->file->digest);
}

static bool blob_finish(struct blob *blob, struct error *error) {
  if (fdatasync(blob->descriptor) != 0 || rename(blob->path, blob->final) != 0) return write_refuse(blob, errno, error);
  return true;
}

/* What another run left may be damaged: then it is fetched whole, once. */
static bool blob_run(struct blob *blob, struct error *error) {
  if (!blob_open(blob, error) || !body_fetch(blob, error)) return false;
  bool kept = blob->kept;
  if (digest_check(blob, error)) return blob_finish(blob, error);
  if (!kept || error->code != ERROR_FORMAT) return false;
  note(blob->pull, error->text);
  close(blob->descriptor);
  blob->size = 0;
  return blob_open(blob, error) && body_fetch(blob, error) && digest_check(blob, error) && blob_finish(blob, error);
}

static bool blob_there(const struct hub_file *file, const char *path) {
  struct stat status;
  return stat(path, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size == file->size;
}

static bool lock_wait(const struct pull *pull, const struct hub_file *file, int *lock, struct error *error) {
  char path[PATH_MAX];
  const char *folder = strrchr(pull->folder, '/');
  if (snprintf(path, sizeof path, "%s/.locks%s/%s.lock", pull->root, folder, file->digest) >= PATH_MAX)
    return error_set(error, ERROR_INVALID, "The path of the cache of models is too long.");
  for (bool waits = false;; waits = true) {
    enum lock_outcome outcome = pull_lock_try(path, lock, error);
    if (outcome != LOCK_BUSY) return outcome == LOCK_TAKEN;
    if (!waits) note(pull, "Another process is fetching the same file: waiting for it.");
    if (!pull_wait(pull, 1, 0, error)) return false;
  }
}

bool pull_blob(struct pull *pull, const struct hub_file *file, struct error *error) {
  struct blob blob = {.pull = pull, .file = file, .descriptor = -1};
  char digest[HUB_DIGEST_BYTES];
  int lock;
  pull->at = file;
  pull->done = pull->told_us = 0;
  if (!pull_blob_path(pull, file, ".incomplete", blob.path, error) ||
      !pull_blob_path(pull, file, "", blob.final, error) || !lock_wait(pull, file, &lock, error))
    return false;
  bool good = (blob_there(file, blob.final) || blob_run(&blob, error)) && pull_place(pull, file, error);
  if (blob.digest) blob_digest_finish(blob.digest, digest);
  if (blob.descriptor >= 0) close(blob.descriptor);
  close(lock);
  pull->at = NULL;
  return good;
}

uint64_t pull_blob_present(const struct pull *pull, const struct hub_file *file) {
  char path[PATH_MAX];
  struct stat status;
  if (!pull_blob_path(pull, file, "", path, NULL)) return 0;
  if (blob_there(file, path)) return file->size;
  if (!pull_blob_path(pull, file, ".incomplete", path, NULL) || stat(path, &status) != 0) return 0;
  uint64_t size = (uint64_t)status.st_size;
  return size <= file->size ? size : 0;
}
