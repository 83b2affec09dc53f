/* From the inbox to the answers. The first choice of each prompt is in the table from its submission to the engine's
 * last event; request->user points to its answer until the response is complete or the client gone (then the answer is
 * detached). Whoever lets go last frees the answer. An engine that has left the slot is held until its last answer is
 * freed. */
#include "server/loop_state.h"

#include "server/admin.h"
#include "server/answer.h"
#include "server/reply.h"
#include "server/request_log.h"
#include "server/text_feed.h"

#include <assert.h>
#include <stdlib.h>

enum {
  TAKE_AT_ONCE = 64,
  TAKE_ROUNDS = 16, /* then sockets get their turn; what is left keeps the descriptor readable */
};

/* --- the table --------------------------------------------------------------------------------------------------- */

static struct choice **place_find(struct loop_engine *engine, uint64_t engine_id) {
  struct choice **place = &engine->bucket[engine_id % N_BUCKET];
  while (*place && (*place)->engine_id != engine_id) place = &(*place)->next;
  return place;
}

static void table_add(struct loop_engine *engine, struct choice *choice) {
  struct choice **bucket = &engine->bucket[choice->engine_id % N_BUCKET];
  choice->next = *bucket;
  *bucket = choice;
}

/* Frees an answer that nobody points to any more. Its engine goes when the bell rings: its inbox may just be read. */
static void answer_settle(struct answer *answer) {
  if (!answer->detached || answer->n_ended < answer->n_choice) return;
  struct loop_engine *engine = answer->place;
  atomic_fetch_sub(&engine->own->server->running, 1);
  answer_free(answer);
  if (--engine->n_answer == 0 && engine != engine->own->current)
    engine_slot_ring(engine->own->server->slot, engine->own->index);
}

static void choices_cancel(struct answer *answer) {
  for (int i = 0; i < answer->n_choice; i += answer->facts.n)
    if (answer->choice[i].n_open > 0) spate_cancel(answer->place->served->engine, answer->choice[i].engine_id);
}

void loop_answer_detach(struct answer *answer) {
  answer->detached = true;
  loop_texts_end(answer);
  choices_cancel(answer);
  answer_settle(answer);
}

/* --- events ------------------------------------------------------------------------------------------------------ */

static void choice_end(struct choice *choice, struct choice *first) {
  if (choice->ended) return;
  choice->ended = true;
  choice->answer->n_ended++;
  first->n_open--;
}

/* An answer is done, or all of a request's have failed: with the last of them it leaves the table. */
static void ends_note(struct loop_engine *engine, struct choice *first, const spate_event *event) {
  if (event->kind == SPATE_DONE) choice_end(first + event->answer, first);
  for (int i = 0; i < first->answer->facts.n && event->kind == SPATE_FAILED; i++) choice_end(first + i, first);
  if (first->n_open == 0) *place_find(engine, event->id) = first->next;
}

static void event_handle(struct http_loop *loop, struct loop_engine *engine, const spate_event *event) {
  struct choice *first = *place_find(engine, event->id), *choice = first + event->answer;
  assert(first); /* it is there from submission to its last event */
  struct answer *answer = first->answer;
  ends_note(engine, first, event);
  if (answer->detached) {
    answer_settle(answer);
    return;
  }
  struct http_request *request = http_find(loop, answer->http_id);
  if (!request) return; /* its connection is closing: server_loop_close comes */
  request_note_event(request, event);
  if (event->finish == SPATE_FINISH_CANCELLED) loop_texts_end(answer); /* the server is stopping */
  enum answer_progress progress = answer_take(choice, request, event);
  if (progress == ANSWER_TOO_SLOW) choices_cancel(answer);
  if (progress == ANSWER_GOES_ON) loop_texts_go_on(request);
  if (progress != ANSWER_OVER) return;
  request_note_end(request, answer, "failed");
  request->user = NULL;
  loop_answer_detach(answer);
}

static void inbox_readable(struct http_loop *loop, void *argument) {
  struct loop_engine *engine = argument;
  spate_event events[TAKE_AT_ONCE];
  int count = TAKE_AT_ONCE;
  for (int round = 0; round < TAKE_ROUNDS && count > 0; round++) {
    count =
        spate_inbox_take(engine->inbox, events, TAKE_AT_ONCE, 0); /* the take that finds nothing gives back the room */
    for (int i = 0; i < count; i++) event_handle(loop, engine, &events[i]);
  }
}

/* --- engines ------------------------------------------------------------------------------------------------------ */

/* Takes over the hold on an engine. NULL: there is no memory, or no descriptor. */
static struct loop_engine *engine_take(struct http_loop *loop, struct server_loop *own, struct served_engine *served,
                                       struct error *error) {
  struct loop_engine *engine = calloc(1, sizeof *engine);
  spate_error reason = {SPATE_MEMORY, "Out of memory for a network loop."};
  spate_inbox *inbox = engine ? spate_inbox_new(served->engine, &reason) : NULL;
  if (!inbox) error_set(error, (enum error_code)reason.code, "%s", reason.text);
  if (inbox && http_loop_watch(loop, spate_inbox_descriptor(inbox), inbox_readable, engine, error)) {
    *engine = (struct loop_engine){.own = own, .served = served, .inbox = inbox, .next = own->engines};
    own->engines = engine;
    return engine;
  }
  spate_inbox_free(inbox);
  free(engine);
  engine_slot_drop(own->server->slot, served);
  return NULL;
}

static void engine_drop(struct loop_engine *engine) {
  spate_inbox_free(engine->inbox);
  engine_slot_drop(engine->own->server->slot, engine->served);
  free(engine);
}

/* Lets go of engines that have left the slot and have no answers any more. */
static void engines_tidy(struct http_loop *loop, struct server_loop *own) {
  for (struct loop_engine **place = &own->engines, *engine; (engine = *place);) {
    if (engine == own->current || engine->n_answer > 0) {
      place = &engine->next;
      continue;
    }
    *place = engine->next;
    http_loop_unwatch(loop, spate_inbox_descriptor(engine->inbox));
    engine_drop(engine);
  }
}

/* Takes over what is in the slot. False when that failed: the loop then refuses requests, and tries again with each. */
static bool engine_adopt(struct http_loop *loop, struct server_loop *own, struct error *error) {
  struct served_engine *served = engine_slot_look(own->server->slot, own->index);
  bool same = served && own->current && own->current->served == served;
  if (same)
    engine_slot_drop(own->server->slot, served);
  else
    own->current = served ? engine_take(loop, own, served, error) : NULL;
  engine_slot_adopted(own->server->slot, own->index);
  return own->current || !served;
}

static void bell_rings(struct http_loop *loop, void *argument) {
  struct server_loop *own = argument;
  struct slot_result result;
  engine_slot_silence(own->server->slot, own->index);
  engine_adopt(loop, own, NULL);
  engines_tidy(loop, own);
  while (engine_slot_result(own->server->slot, own->index, &result)) admin_answer(loop, &result);
}

struct served_engine *server_loop_engine(struct http_request *request) {
  struct server_loop *own = http_loop_user(request->loop);
  struct error error;
  if (!own->current && !engine_adopt(request->loop, own, &error))
    reply_engine_error(request, (spate_code)error.code, error.text);
  else if (!own->current)
    reply_error(request, 503, "Retry-After: 5\r\n",
                "The server sleeps until it is woken (POST /wake_up): try again later.");
  return own->current ? own->current->served : NULL;
}

struct served_engine *server_loop_current(const struct http_loop *loop) {
  const struct server_loop *own = http_loop_user(loop);
  return own->current ? own->current->served : NULL;
}

int server_loop_index(const struct http_loop *loop) {
  const struct server_loop *own = http_loop_user(loop);
  return own->index;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

bool server_loop_start(struct http_loop *loop, struct server *server, struct error *error) {
  struct server_loop *own = calloc(1, sizeof *own);
  if (!own) return error_set(error, ERROR_MEMORY, "Out of memory for a network loop.");
  own->server = server;
  own->timer = -1;
  int bell = engine_slot_enter(server->slot, &own->index, error);
  if (bell < 0) {
    free(own);
    return false;
  }
  http_loop_set_user(loop, own);
  bool started = http_loop_watch(loop, bell, bell_rings, own, error) && engine_adopt(loop, own, error);
  if (!started) server_loop_stop(loop);
  return started;
}

static void choices_end(struct choice *choice) {
  while (choice) {
    struct choice *next = choice->next;
    choice->answer->n_ended += choice->n_open;
    choice->answer->detached = true; /* every connection is closed */
    loop_texts_end(choice->answer);
    answer_settle(choice->answer);
    choice = next;
  }
}

void server_loop_stop(struct http_loop *loop) {
  struct server_loop *own = http_loop_user(loop);
  while (own->engines) {
    struct loop_engine *engine = own->engines;
    own->engines = engine->next;
    for (int i = 0; i < N_BUCKET; i++) choices_end(engine->bucket[i]);
    engine_drop(engine);
  }
  engine_slot_leave(own->server->slot, own->index);
  loop_texts_stop(loop);
  free(own);
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

void server_loop_begin(struct http_request *request, struct answer *answer) {
  struct server_loop *own = http_loop_user(request->loop);
  atomic_fetch_add(&own->server->running, 1);
  answer->place = own->current;
  own->current->n_answer++;
  request->user = answer;
  request_note_begin(request, answer->facts.model);
}

void loop_choices_enter(struct choice *first, uint64_t engine_id) {
  first->engine_id = engine_id;
  first->n_open = first->answer->facts.n;
  table_add(first->answer->place, first);
}

bool server_loop_submit(struct http_request *request, int index, const spate_request *wanted, spate_error *error) {
  struct answer *answer = request->user;
  struct choice *first = &answer->choice[index * answer->facts.n];
  uint64_t id = spate_submit(answer->place->served->engine, answer->place->inbox, wanted, error);
  if (id) loop_choices_enter(first, id);
  if (id) return true;
  for (int i = first->index; i < answer->n_choice; i++) answer->choice[i].ended = true; /* they have never begun */
  answer->n_ended += answer->n_choice - first->index;
  request->user = NULL;
  loop_answer_detach(answer);
  return false;
}

bool server_loop_texts(struct http_request *request, struct text_feed *feed, spate_error *error) {
  struct answer *answer = request->user;
  int full = answer->place->served->info.max_batch_size;
  feed->answer = answer;
  feed->most = 2 * full; /* a step's, and the next one's */
  answer->feed = feed;
  return loop_texts_feed(request, error);
}

void server_loop_drain(struct http_request *request) {
  struct answer *answer = request->user;
  if (!answer || answer_drain(answer, request) != ANSWER_OVER) return;
  request_note_end(request, answer, "failed");
  request->user = NULL;
  loop_answer_detach(answer);
}

void server_loop_close(struct http_request *request) {
  struct answer *answer = request->user;
  request->user = NULL;
  if (!answer) return;
  request_note_end(request, answer, "cancelled");
  loop_answer_detach(answer);
}
