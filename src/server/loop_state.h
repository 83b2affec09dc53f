/* Private to server_loop.c and loop_texts.c: what a network loop keeps, and the way of a request's choices into its
 * table. */
#ifndef SPATE_SERVER_LOOP_STATE_H
#define SPATE_SERVER_LOOP_STATE_H

#include "server/server_loop.h"

enum { N_BUCKET = 1024 /* a power of two; an id ends with the number of its slot, so that live ones differ */ };

/* An engine as this loop uses it. */
struct loop_engine {
  struct server_loop *own;
  struct served_engine *served; /* held */
  spate_inbox *inbox;
  int n_answer;                    /* that are not freed */
  struct choice *bucket[N_BUCKET]; /* first choices by engine id */
  struct loop_engine *next;
};

struct server_loop {
  struct server *server;
  int index;                   /* in the slot */
  struct loop_engine *current; /* NULL: asleep, or there was no memory to take it over */
  struct loop_engine *engines; /* list: current, and others that have answers */
  struct text_feed *waiting;   /* list: of requests that wait for room in the queue, */
  int timer;                   /* and the descriptor that tells when to look again; −1: not yet */
};

/* A prompt's choices, under the id that the engine has given it. */
void loop_choices_enter(struct choice *first, uint64_t engine_id);

/* The response is complete, or nobody waits for it. */
void loop_answer_detach(struct answer *answer);

/* loop_texts.c. Submits as many of the answer's texts as there is room for. False when one is refused: nothing is
 * answered, and the answer is gone. */
bool loop_texts_feed(struct http_request *request, spate_error *error);
/* No text of it is submitted any more. */
void loop_texts_end(struct answer *answer);
/* After an event of it. */
void loop_texts_go_on(struct http_request *request);
void loop_texts_stop(struct http_loop *loop);

#endif
