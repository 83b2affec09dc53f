/* From the inbox to the answers. An answer is in the table until the engine's last event; request->user points to it
 * until the response is complete or the client gone; whoever lets go last frees it. */
#include "server/server_loop.h"

#include "server/answer.h"

#include <assert.h>
#include <stdlib.h>

enum {
  N_BUCKET = 1024, /* a power of two; ids ascend, so they spread evenly */
  TAKE_AT_ONCE = 64,
  TAKE_ROUNDS = 16, /* then sockets get their turn; what is left keeps the descriptor readable */
};

struct server_loop {
  struct server *server;
  spate_inbox *inbox;
  struct answer *bucket[N_BUCKET];
};

/* --- the table --------------------------------------------------------------------------------------------------- */

static struct answer **place_find(struct server_loop *own, uint64_t engine_id) {
  struct answer **place = &own->bucket[engine_id % N_BUCKET];
  while (*place && (*place)->engine_id != engine_id) place = &(*place)->next;
  return place;
}

static void table_add(struct server_loop *own, struct answer *answer) {
  struct answer **bucket = &own->bucket[answer->engine_id % N_BUCKET];
  answer->next = *bucket;
  *bucket = answer;
}

static void answer_end(struct server_loop *own, struct answer *answer) {
  atomic_fetch_sub(&own->server->running, 1);
  answer_free(answer);
}

/* --- events ------------------------------------------------------------------------------------------------------ */

static void event_handle(struct http_loop *loop, struct server_loop *own, const spate_event *event) {
  struct answer **place = place_find(own, event->id), *answer = *place;
  assert(answer); /* it is there from submission to its last event */
  bool last = event->kind != SPATE_TEXT;
  if (last) *place = answer->next;
  struct http_request *request = http_find(loop, answer->http_id);
  if (!request) { /* the client has left, or is leaving: then server_loop_close comes and finds it ended */
    if (last && answer->left)
      answer_end(own, answer);
    else
      answer->ended = last;
    return;
  }
  enum answer_progress progress = answer_take(answer, request, event);
  if (progress == ANSWER_TOO_SLOW && !last) spate_cancel(own->server->engine, event->id);
  if (progress != ANSWER_OVER) return;
  request->user = NULL;
  answer_end(own, answer);
}

static void inbox_readable(struct http_loop *loop, void *argument) {
  struct server_loop *own = argument;
  spate_event events[TAKE_AT_ONCE];
  int count = TAKE_AT_ONCE;
  for (int round = 0; round < TAKE_ROUNDS && count > 0; round++) {
    count = spate_inbox_take(own->inbox, events, TAKE_AT_ONCE, 0); /* the take that finds nothing gives back the room */
    for (int i = 0; i < count; i++) event_handle(loop, own, &events[i]);
  }
}

/* --- life -------------------------------------------------------------------------------------------------------- */

bool server_loop_start(struct http_loop *loop, struct server *server, struct error *error) {
  struct server_loop *own = calloc(1, sizeof *own);
  if (!own) return error_set(error, ERROR_MEMORY, "Out of memory for a network loop.");
  own->server = server;
  http_loop_set_user(loop, own);
  spate_error reason;
  own->inbox = spate_inbox_new(server->engine, &reason);
  bool started = own->inbox ? http_loop_watch(loop, spate_inbox_descriptor(own->inbox), inbox_readable, own, error)
                            : error_set(error, (enum error_code)reason.code, "%s", reason.text);
  if (!started) server_loop_stop(loop);
  return started;
}

void server_loop_stop(struct http_loop *loop) {
  struct server_loop *own = http_loop_user(loop);
  spate_inbox_free(own->inbox);
  for (int i = 0; i < N_BUCKET; i++) {
    while (own->bucket[i]) {
      struct answer *answer = own->bucket[i];
      own->bucket[i] = answer->next;
      answer_end(own, answer);
    }
  }
  free(own);
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

bool server_loop_submit(struct http_request *request, const spate_request *wanted, enum answer_form form,
                        spate_error *error) {
  struct server_loop *own = http_loop_user(request->loop);
  struct answer *answer = answer_new(form, request->id);
  if (!answer) {
    *error = (spate_error){SPATE_MEMORY, "Out of memory for a request."};
    return false;
  }
  answer->engine_id = spate_submit(own->server->engine, own->inbox, wanted, error);
  if (!answer->engine_id) {
    answer_free(answer);
    return false;
  }
  atomic_fetch_add(&own->server->running, 1);
  table_add(own, answer);
  request->user = answer;
  return true;
}

void server_loop_drain(struct http_request *request) {
  struct answer *answer = request->user;
  if (!answer || answer_drain(answer, request) != ANSWER_OVER) return;
  request->user = NULL;
  answer_end(http_loop_user(request->loop), answer);
}

void server_loop_close(struct http_request *request) {
  struct server_loop *own = http_loop_user(request->loop);
  struct answer *answer = request->user;
  request->user = NULL;
  if (!answer) return;
  if (answer->ended) {
    answer_end(own, answer);
    return;
  }
  answer->left = true;
  spate_cancel(own->server->engine, answer->engine_id);
}
