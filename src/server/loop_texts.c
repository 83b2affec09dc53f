/* Texts that wait for room at the engine. A request has so many of them there at once that steps are full; the end of
 * one lets the next in. Where others have taken all room and none of its own is left whose end would tell, a timer has
 * it look again. */
#include "server/loop_state.h"

#include "server/reply.h"
#include "server/request_log.h"
#include "server/text_feed.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { LOOK_AGAIN_MS = 10 };

static struct server_loop *loop_of(const struct answer *answer) { return answer->place->own; }

static int texts_running(const struct answer *answer) { return answer->feed->next - answer->n_ended; }

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static void waiting_remove(struct server_loop *own, struct text_feed *feed) {
  struct text_feed **place = &own->waiting;
  if (!feed->waits) return;
  while (*place != feed) place = &(*place)->next_waiting;
  *place = feed->next_waiting;
  feed->waits = false;
}

static void timer_arm(const struct server_loop *own) {
  const struct itimerspec at = {.it_value.tv_nsec = LOOK_AGAIN_MS * 1000000L};
  timerfd_settime(own->timer, 0, &at, NULL);
}

/* Texts of a request that has found none of its own at the engine: those before it in the list have waited longer. */
static void waiting_look(struct http_loop *loop, void *argument) {
  struct server_loop *own = argument;
  struct text_feed *list = own->waiting;
  uint64_t count;
  ssize_t size = read(own->timer, &count, sizeof count);
  (void)size; /* it was readable */
  own->waiting = NULL;
  while (list) {
    struct text_feed *feed = list;
    struct http_request *request = http_find(loop, feed->answer->http_id);
    list = feed->next_waiting;
    feed->waits = false;
    if (request) loop_texts_go_on(request); /* otherwise its connection is closing: server_loop_close comes */
  }
}

static bool timer_open(struct http_loop *loop, struct server_loop *own, spate_error *error) {
  struct error reason;
  if (own->timer >= 0) return true;
  own->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (own->timer >= 0 && http_loop_watch(loop, own->timer, waiting_look, own, &reason)) return true;
  if (own->timer >= 0) close(own->timer);
  own->timer = -1;
  *error = (spate_error){SPATE_BUSY, "The queue is full, and there is no descriptor to wait with: try again later."};
  return false;
}

static bool texts_wait(struct http_request *request, struct answer *answer, spate_error *error) {
  struct server_loop *own = loop_of(answer);
  struct text_feed **place = &own->waiting;
  if (texts_running(answer) > 0) return true;
  if (!timer_open(request->loop, own, error)) return false;
  if (!*place) timer_arm(own); /* with others it is armed, and whoever comes does not put it off */
  while (*place) place = &(*place)->next_waiting;
  answer->feed->waits = true;
  answer->feed->next_waiting = NULL;
  *place = answer->feed;
  return true;
}

/* --- feeding ------------------------------------------------------------------------------------------------------ */

static bool text_submit(struct answer *answer, spate_error *error) {
  struct text_feed *feed = answer->feed;
  spate_embed_request one;
  int32_t *ids;
  if (!text_feed_take(feed, &one, &ids, error)) return false;
  one.behind = texts_running(answer); /* whoever comes with a single text meanwhile is before the last of many */
  uint64_t id = spate_embed(answer->place->served->engine, answer->place->inbox, &one, error);
  free(ids);
  if (id == 0) return false;
  loop_choices_enter(&answer->choice[feed->next++], id);
  return true;
}

/* False: one is refused, and the answer is there still. */
static bool texts_submit(struct http_request *request, struct answer *answer, spate_error *error) {
  struct text_feed *feed = answer->feed;
  while (feed->next < answer->n_choice && texts_running(answer) < feed->most) {
    if (text_submit(answer, error)) continue;
    bool full = error->code == SPATE_BUSY && feed->next > 0;
    return full && texts_wait(request, answer, error);
  }
  return true;
}

bool loop_texts_feed(struct http_request *request, spate_error *error) {
  struct answer *answer = request->user;
  if (texts_submit(request, answer, error)) return true;
  request->user = NULL;
  loop_answer_detach(answer);
  return false;
}

void loop_texts_go_on(struct http_request *request) {
  struct answer *answer = request->user;
  spate_error error;
  if (!answer || !answer->feed || answer->feed->waits || texts_submit(request, answer, &error)) return;
  request_note_end(request, answer, "failed");
  request->user = NULL;
  loop_answer_detach(answer); /* which frees it, if none of its texts is at the engine */
  reply_engine_error(request, error.code, error.text);
}

void loop_texts_end(struct answer *answer) {
  struct text_feed *feed = answer->feed;
  if (!feed) return;
  waiting_remove(loop_of(answer), feed);
  for (int i = feed->next; i < answer->n_choice; i++) answer->choice[i].ended = true; /* they have never begun */
  answer->n_ended += answer->n_choice - feed->next;
  feed->next = answer->n_choice;
}

void loop_texts_stop(struct http_loop *loop) {
  struct server_loop *own = http_loop_user(loop);
  if (own->timer >= 0) close(own->timer);
}
