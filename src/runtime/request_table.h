/* Request ids: which are live, how many there may be, and cancelling one by its id. An id is a serial number and a
 * slot, so that one that is over never means another request. Any thread; one short lock. */
#ifndef SPATE_RUNTIME_REQUEST_TABLE_H
#define SPATE_RUNTIME_REQUEST_TABLE_H

#include "runtime/request.h"
#include "schedule/shed.h"

#include <pthread.h>

struct request_table {
  pthread_mutex_t lock;
  struct request **slot; /* [n_slot], NULL: free */
  int32_t *free;         /* stack of free slots */
  int32_t n_slot, n_free;
  int32_t max_request;              /* half of the slots: those that were shed keep theirs until they know it */
  int32_t n_request;                /* live and not shed */
  struct shed_candidate *candidate; /* [n_slot] */
  uint64_t serial;
  size_t charged; /* bytes of those */
  int64_t max_queued_tokens;
  _Atomic int64_t queued_tokens; /* of those that have no token yet; grows under the lock alone */
};

bool request_table_init(struct request_table *table, int32_t max_request, int64_t max_queued_tokens);
void request_table_release(struct request_table *table);

/* Gives the request its id and counts its bytes and tokens. When there are too many requests, bytes or tokens, those of
 * lower priority that wait are shed for it (true in *shed), or it is ERROR_BUSY; ERROR_LIMIT when there would be too
 * many bytes even if it were alone. Tokens are never too many alone. */
bool request_table_enter(struct request_table *table, struct request *request, bool *shed, struct error *error);
void request_table_leave(struct request_table *table, struct request *request);

/* By the request's owner: it has begun, and is not shed any more; false when it already was. */
bool request_table_begin(struct request *request);

/* By the request's owner, without the lock: so many of its tokens wait now, none once it has begun. */
void request_table_recount(struct request_table *table, struct request *request, int64_t queued_tokens);

int32_t request_table_live(struct request_table *table);

/* Marks a live request as cancelled; false when there is none of that id. */
bool request_table_cancel(struct request_table *table, uint64_t id);

/* Marks all requests of an inbox as cancelled; NULL: of every inbox. */
void request_table_cancel_all(struct request_table *table, const struct inbox *inbox);

#endif
