/* Adapters by name in the host's memory, and their way into a program's slots. Two threads of the store's read them,
 * one places them; what requests hold is never dropped, of the rest what was used longest ago goes first. Names are
 * those of adapter_names.h, and those that were given. Any thread, unless said otherwise. */
#ifndef SPATE_ENGINE_ADAPTER_STORE_H
#define SPATE_ENGINE_ADAPTER_STORE_H

#include "engine/adapter_read.h"

#include <stdatomic.h>

struct program;

struct adapter_store_options {
  const char *folder;               /* of all adapters; copied */
  const struct engine_file *engine; /* that they are for */
  struct program *program;
  int32_t n_slot;
  int32_t max_rank;
  int32_t max_held;   /* adapters in the host's memory; more only while requests hold them, see below */
  uint64_t max_bytes; /* of all of them; one that is being read, and never was before, may take its own besides */
  struct adapter *(*read)(const char *path, const struct engine_file *engine, int32_t max_rank, struct error *error);
  void (*release)(struct adapter *adapter);
  /* As backend.adapter_load. */
  bool (*place)(struct program *program, int slot, const struct adapter *adapter, struct error *error);
  void (*changed)(void *user); /* an adapter is ready or has failed, or a placement has ended; from all threads */
  void *user;
};

enum adapter_state { ADAPTER_COMING, ADAPTER_READY, ADAPTER_FAILED };

/* An adapter that is held, or on its way. `error` and `id` are there when it is no longer coming. */
struct stored_adapter {
  _Atomic(enum adapter_state) state;
  uint64_t id;              /* the same number is the same content; never 0 */
  struct error error;       /* FAILED */
  atomic_int waits, runs;   /* requests, as the runtime counts them */
  struct stored_file *file; /* this and what follows is the store's */
  struct adapter *adapter;  /* READY */
  int32_t holders;
  bool reading;      /* it is COMING, and begun */
  bool urgent;       /* whoever waits for it holds others: it may be one more than max_held */
  bool current;      /* who asks for its file gets it */
  uint64_t asked_us; /* when it was asked for first: after a second it may be one more than max_held, too */
  uint64_t used_us;  /* when it was last asked for, or failed */
  struct stored_adapter *next;
};

struct adapter_store_stats {
  uint64_t loads, failures, evictions, placements;
  int held; /* adapters in the host's memory */
  uint64_t held_bytes;
};

struct adapter_store;

/* NULL when the folder cannot be listed, or there is no thread. */
struct adapter_store *adapter_store_new(const struct adapter_store_options *options, struct error *error);
void adapter_store_free(struct adapter_store *store); /* nobody holds an adapter; NULL is allowed */

/* Holds the adapter of that name and has it read if need be. NULL: there is none of that name (ERROR_NOT_FOUND), or
 * reading it has failed just now, with that sentence. Reads nothing itself. urgent: as above. */
struct stored_adapter *adapter_store_take(struct adapter_store *store, struct slice name, bool urgent,
                                          struct error *error);
void adapter_store_drop(struct adapter_store *store, struct stored_adapter *stored);

const char *stored_adapter_name(const struct stored_adapter *stored);

/* One thread alone asks for placements: of an adapter that is ready and that it holds, into a slot without a placement
 * that is under way. PLACE_DONE and PLACE_FAILED are told once. */
enum adapter_placing { PLACE_NONE, PLACE_COMING, PLACE_DONE, PLACE_FAILED };
void adapter_store_place(struct adapter_store *store, int slot, struct stored_adapter *stored);
enum adapter_placing adapter_store_placed(struct adapter_store *store, int slot, struct error *error);

/* Waits until an adapter that is held is there, and in the slot; by the thread that asks for placements. */
bool adapter_store_put(struct adapter_store *store, int slot, struct stored_adapter *stored, struct error *error);

/* From now on `name` is the adapter `path`: its name in the folder, or the folder's path and that. Looks at the folder
 * anew, returns when it is read, as it is from now on, and may wait for another to be dropped. */
bool adapter_store_load(struct adapter_store *store, struct slice name, struct slice path, struct error *error);

/* Nobody new gets the adapter by this name until it is loaded by it again. */
bool adapter_store_unload(struct adapter_store *store, struct slice name, struct error *error);

/* The names that were given, with the file that each stands for, or taken away: NULL. With the store's lock. And one of
 * them, given or taken away in another store of the folder: nothing is read. */
void adapter_store_given(struct adapter_store *store, void (*visit)(void *user, const char *name, const char *file),
                         void *user);
bool adapter_store_give(struct adapter_store *store, struct slice name, struct slice file, struct error *error);

bool adapter_store_has(struct adapter_store *store, struct slice name);

/* Calls visit with the names, ascending within those of the folder and within those given, at most `most` of them,
 * without the store's lock. Of a folder that changes meanwhile some are left out, or told twice. */
void adapter_store_list(struct adapter_store *store, size_t most, void (*visit)(void *user, const char *name),
                        void *user);

/* With the requests that wait and run of each that is held. */
void adapter_store_visit(struct adapter_store *store, void (*visit)(void *user, const struct stored_adapter *stored),
                         void *user);

void adapter_store_stats(struct adapter_store *store, struct adapter_store_stats *stats);

#endif
