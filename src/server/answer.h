/* The answer to one HTTP request: takes the engine's events of its choices in order and writes the response in the form
 * that the route speaks (answer_form.h). While a client is slower than the engine, its text waits here and is merged,
 * so that nobody else's does; one that leaves too much waiting loses its request. Belongs to the thread of its loop. */
#ifndef SPATE_SERVER_ANSWER_H
#define SPATE_SERVER_ANSWER_H

#include "http/http_request.h"
#include "server/answer_form.h"

/* Each prompt is a request at the engine, with facts.n choices. What waits in it is counted in *kept_by_all too. NULL
 * when out of memory. */
struct answer *answer_new(const struct answer_form *form, uint64_t http_id, int n_choice, atomic_size_t *kept_by_all);
void answer_free(struct answer *answer);

/* Keeps bytes in one of the choice's buffers until they are sent; false when more waits than may. */
bool answer_keep(struct choice *choice, struct buffer *place, const void *bytes, size_t size);

/* What is held back elsewhere for the answer has another size now; false when more waits than may. */
bool answer_held_count(struct answer *answer, size_t before, size_t now);

enum answer_progress {
  ANSWER_GOES_ON,
  ANSWER_OVER,     /* the response is complete: what its other choices still do is of no use */
  ANSWER_TOO_SLOW, /* more of a stream waits than may: cancel; the answer ends with the engine's last event */
};

/* An event of the engine for one choice. */
enum answer_progress answer_take(struct choice *choice, struct http_request *request, const spate_event *event);

/* The slow client has caught up. */
enum answer_progress answer_drain(struct answer *answer, struct http_request *request);

#endif
