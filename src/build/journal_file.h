/* One file of a calibration's journal (calibration_journal.h): a header, then bytes of which the reader knows by itself
 * how many come. It is read as what anybody may have left there: a size in it decides nothing; but what it says counts
 * only where nobody but the user of this process can have written it. One thread. */
#ifndef SPATE_BUILD_JOURNAL_FILE_H
#define SPATE_BUILD_JOURNAL_FILE_H

#include "base/hash.h"
#include "engine/temporary_file.h"

enum { JOURNAL_VERSION = 3 };

enum journal_kind { JOURNAL_FITS = 1, JOURNAL_VALUES };

struct journal_header {
  uint8_t magic[8];
  uint32_t version;        /* JOURNAL_VERSION */
  uint32_t kind;           /* enum journal_kind */
  uint32_t op;             /* of the plan, that the walk goes on with */
  uint32_t reserved;       /* 0 */
  uint64_t bytes;          /* after the header */
  struct hash128 identity; /* of the build that it belongs to */
  struct hash128 content;  /* of what comes after the header */
  struct hash128 seal;     /* of everything above */
};

/* That the folder is there, is one, and belongs to this process's user, who alone may write in it. */
bool journal_folder_check(const char *folder, struct error *error);

/* --- writing ------------------------------------------------------------------------------------------------------ */

struct journal_writer {
  struct temporary_file file;
  struct journal_header header;
  struct hasher *hasher;
};

/* The header's kind, op and identity are the caller's. Release it in any case: what was not committed is removed. */
bool journal_writer_open(struct journal_writer *writer, const char *path, const struct journal_header *header,
                         struct error *error);
bool journal_writer_add(struct journal_writer *writer, struct slice bytes, struct error *error);
/* Flushed to the disk, then the file has its name. */
bool journal_writer_commit(struct journal_writer *writer, struct error *error);
void journal_writer_release(struct journal_writer *writer);

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct journal_reader {
  int descriptor;   /* −1: none */
  const char *path; /* the caller's */
  struct journal_header header;
  uint64_t left; /* bytes */
  struct hasher *hasher;
};

/* Checks all that the header can tell. Release it in any case. */
bool journal_reader_open(struct journal_reader *reader, const char *path, enum journal_kind kind,
                         struct hash128 identity, struct error *error);
/* The next bytes. What they are is certain only when journal_reader_end has found nothing wrong. */
bool journal_reader_take(struct journal_reader *reader, void *out, size_t size, struct error *error);
/* As numbers, all of which are finite. */
bool journal_reader_floats(struct journal_reader *reader, float *out, size_t count, struct error *error);
bool journal_reader_end(struct journal_reader *reader, struct error *error);
void journal_reader_release(struct journal_reader *reader);

#endif
