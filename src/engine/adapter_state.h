/* What the store's files share. Internal to adapter_store.c (asking, and the store's life), adapter_loader.c and
 * adapter_placer.c (its threads), adapter_identity.c, adapter_folder.c and adapter_alias.c (names that were given). */
#ifndef SPATE_ENGINE_ADAPTER_STATE_H
#define SPATE_ENGINE_ADAPTER_STATE_H

#include "base/limits.h"
#include "engine/adapter_names.h"
#include "engine/adapter_store.h"

#include <pthread.h>
#include <sys/types.h>
#include <time.h>

enum {
  ADAPTER_RETRY_US = 2000000, /* until what has failed is read again */
  ADAPTER_READERS = 2,        /* so that a large one delays nobody else's */
};

/* What tells a file's content from what it was before: of the matrices and of their settings. */
struct identity {
  bool settled; /* it was so before and after reading, and a later change would be of another time */
  struct {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec written, changed; /* whoever writes can set the first to what it was, not the second */
  } part[2];
};

/* Of the adapter at `path`, now; what is not there is zeros. settled: no change since could look the same. */
void identity_read(const char *path, struct identity *identity);

/* A file or folder of the folder that has been asked for. It is forgotten some time after it has gone. */
struct stored_file {
  const char *name;
  struct stored_file *next; /* of all */
  int32_t n_stored;         /* adapters of it, */
  int32_t n_alias;          /* names that stand for it: it stays while there are any */
  uint64_t bytes;           /* that its adapter took when it was read last; 0: it never was */
  uint64_t id;              /* of what was read last; 0: nothing is known to be the same */
  struct identity identity;
  struct stored_adapter *current; /* NULL: it is to be read */
  char text[];
};

/* A name that was given, or taken away. */
struct stored_alias {
  const char *name;
  struct stored_file *file; /* NULL: nobody is called so */
  char text[];
};

struct placement {
  struct stored_adapter *stored;
  enum adapter_placing state;
  struct error error;
};

struct adapter_store {
  struct adapter_store_options options;
  char *folder, *given; /* its path without links, and as it was given */
  pthread_t reader[ADAPTER_READERS], placer;
  int n_reader; /* that run */
  bool places;  /* the placer runs */

  pthread_mutex_t lock;         /* of what follows */
  pthread_cond_t work, placing; /* of the readers; of the placer */
  pthread_cond_t settled;
  bool stopping;
  int n_reading;                     /* adapters that are being read, */
  uint64_t reading_bytes;            /* and what is known to be theirs */
  bool looking;                      /* one of the readers looks at the folder */
  uint64_t looks_wanted, looks_done; /* at the folder, whatever its time says */
  uint64_t late_us;                  /* when one that had waited for long was read last without room, or refused */
  uint64_t next_look_ns;             /* by the clock; whoever looks writes it */
  struct adapter_names *names;
  struct timespec listed;                  /* the folder's time, when it was listed */
  bool list_again;                         /* though it has that time still */
  void *files, *aliases;                   /* search trees, by name */
  struct stored_file *first_file, **swept; /* from here on files are looked at, whether they are to be forgotten */
  size_t n_alias;
  struct stored_adapter *all, **last; /* in the order in which they were asked for first */
  struct placement *placement;        /* [n_slot] */
  uint64_t n_id;
  struct adapter_store_stats stats;
};

void *adapter_loader_thread(void *store);
void *adapter_placer_thread(void *store);

/* --- under the lock ----------------------------------------------------------------------------------------------- */

/* The file that is called so; NULL: none is. */
const char *file_called(const struct adapter_store *store, const char *name);
struct stored_file *file_of(struct adapter_store *store, const char *name, struct error *error);

/* The adapter of a file, held. */
struct stored_adapter *file_take(struct adapter_store *store, const char *name, bool urgent, struct error *error);
/* Waits for one that is held. */
bool stored_await(struct adapter_store *store, struct stored_adapter *stored, struct error *error);
void stored_drop(struct adapter_store *store, struct stored_adapter *stored);
void stored_free(const struct adapter_store *store, struct stored_adapter *stored);

/* Who asks for its file from now on gets another; it goes when nobody holds it. */
void stored_detach(struct stored_adapter *stored);
bool failed_long_ago(const struct stored_adapter *stored);

/* Is there room for what is coming, or (NULL) for what there is? */
bool store_has_room(const struct adapter_store *store, const struct stored_adapter *coming);

/* adapter_folder.c, by one of the readers: looks at the folder, without the lock meanwhile; and at a page of the files
 * that have been asked for, of which nothing is kept when they are gone. False: there are no more. */
void folder_look(struct adapter_store *store);
bool files_sweep(struct adapter_store *store);

/* --- names -------------------------------------------------------------------------------------------------------- */

/* Both stored_file and stored_alias begin with theirs: for search trees. */
int stored_name_compare(const void *a, const void *b);

/* A name as text of its own; false when no adapter can be called so. */
bool adapter_name_copy(struct slice name, char text[LIMIT_ADAPTER_NAME_BYTES + 1], struct error *error);

bool refuse_unknown_adapter(const char *name, struct error *error);

#endif
