/* From the inbox to the answers. The first choice of each prompt is in the table from its submission to the engine's
 * last event; request->user points to its answer until the response is complete or the client gone (then the answer is
 * detached). Whoever lets go last frees the answer. */
#include "server/server_loop.h"

#include "server/answer.h"
#include "server/request_log.h"

#include <assert.h>
#include <stdlib.h>

enum {
  N_BUCKET = 1024, /* a power of two; an id ends with the number of its slot, so that live ones differ */
  TAKE_AT_ONCE = 64,
  TAKE_ROUNDS = 16, /* then sockets get their turn; what is left keeps the descriptor readable */
};

struct server_loop {
  struct server *server;
  spate_inbox *inbox;
  struct choice *bucket[N_BUCKET]; /* first choices by engine id */
};

/* --- the table --------------------------------------------------------------------------------------------------- */

static struct choice **place_find(struct server_loop *own, uint64_t engine_id) {
  struct choice **place = &own->bucket[engine_id % N_BUCKET];
  while (*place && (*place)->engine_id != engine_id) place = &(*place)->next;
  return place;
}

static void table_add(struct server_loop *own, struct choice *choice) {
  struct choice **bucket = &own->bucket[choice->engine_id % N_BUCKET];
  choice->next = *bucket;
  *bucket = choice;
}

/* Frees an answer that nobody points to any more. */
static void answer_settle(struct server_loop *own, struct answer *answer) {
  if (!answer->detached || answer->n_ended < answer->n_choice) return;
  atomic_fetch_sub(&own->server->running, 1);
  answer_free(answer);
}

static void choices_cancel(struct server_loop *own, struct answer *answer) {
  for (int i = 0; i < answer->n_choice; i += answer->facts.n)
    if (answer->choice[i].n_open > 0) spate_cancel(own->server->engine, answer->choice[i].engine_id);
}

/* The response is complete, or nobody waits for it. */
static void answer_detach(struct server_loop *own, struct answer *answer) {
  answer->detached = true;
  choices_cancel(own, answer);
  answer_settle(own, answer);
}

/* --- events ------------------------------------------------------------------------------------------------------ */

static void choice_end(struct choice *choice, struct choice *first) {
  if (choice->ended) return;
  choice->ended = true;
  choice->answer->n_ended++;
  first->n_open--;
}

/* An answer is done, or all of a request's have failed: with the last of them it leaves the table. */
static void ends_note(struct server_loop *own, struct choice *first, const spate_event *event) {
  if (event->kind == SPATE_DONE) choice_end(first + event->answer, first);
  for (int i = 0; i < first->answer->facts.n && event->kind == SPATE_FAILED; i++) choice_end(first + i, first);
  if (first->n_open == 0) *place_find(own, event->id) = first->next;
}

static void event_handle(struct http_loop *loop, struct server_loop *own, const spate_event *event) {
  struct choice *first = *place_find(own, event->id), *choice = first + event->answer;
  assert(first); /* it is there from submission to its last event */
  struct answer *answer = first->answer;
  ends_note(own, first, event);
  if (answer->detached) {
    answer_settle(own, answer);
    return;
  }
  struct http_request *request = http_find(loop, answer->http_id);
  if (!request) return; /* its connection is closing: server_loop_close comes */
  request_note_event(request, event);
  enum answer_progress progress = answer_take(choice, request, event);
  if (progress == ANSWER_TOO_SLOW) choices_cancel(own, answer);
  if (progress != ANSWER_OVER) return;
  request_note_end(request, answer, "failed");
  request->user = NULL;
  answer_detach(own, answer);
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
      struct choice *choice = own->bucket[i];
      own->bucket[i] = choice->next;
      choice->answer->n_ended += choice->n_open;
      choice->answer->detached = true; /* every connection is closed */
      answer_settle(own, choice->answer);
    }
  }
  free(own);
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

void server_loop_begin(struct http_request *request, struct answer *answer) {
  struct server_loop *own = http_loop_user(request->loop);
  atomic_fetch_add(&own->server->running, 1);
  request->user = answer;
  request_note_begin(request);
}

bool server_loop_submit(struct http_request *request, int index, const spate_request *wanted, spate_error *error) {
  struct server_loop *own = http_loop_user(request->loop);
  struct answer *answer = request->user;
  struct choice *first = &answer->choice[index * answer->facts.n];
  first->engine_id = spate_submit(own->server->engine, own->inbox, wanted, error);
  if (first->engine_id) {
    first->n_open = answer->facts.n;
    table_add(own, first);
    return true;
  }
  for (int i = first->index; i < answer->n_choice; i++) answer->choice[i].ended = true; /* they have never begun */
  answer->n_ended += answer->n_choice - first->index;
  request->user = NULL;
  answer_detach(own, answer);
  return false;
}

void server_loop_drain(struct http_request *request) {
  struct answer *answer = request->user;
  if (!answer || answer_drain(answer, request) != ANSWER_OVER) return;
  request_note_end(request, answer, "failed");
  request->user = NULL;
  answer_detach(http_loop_user(request->loop), answer);
}

void server_loop_close(struct http_request *request) {
  struct answer *answer = request->user;
  request->user = NULL;
  if (!answer) return;
  request_note_end(request, answer, "cancelled");
  answer_detach(http_loop_user(request->loop), answer);
}
