/* The texts of one request that become vectors, on their way to the engine: a few at a time, and the next when one has
 * ended, so that a request of many has an answer however short the queue is, and leaves room in it for others. Belongs
 * to its answer, on the thread of its loop. */
#ifndef SPATE_SERVER_TEXT_FEED_H
#define SPATE_SERVER_TEXT_FEED_H

#include "server/embed_request.h"

struct answer;

struct text_feed {
  struct embed_request wanted; /* owned: its JSON has the texts */
  bool pairs;            /* texts of `first` and `second` go to the engine together; otherwise one after the other */
  const char *prompt[2]; /* what stands before those of `first` and `second`, by its name; NULL: as usual */
  int tenant;
  int next;              /* text, as a choice of the answer */
  int most;              /* at the engine at once */
  uint64_t submitted_us; /* the request */
  struct answer *answer;
  struct text_feed *next_waiting; /* of those in the loop's list */
  bool waits;                     /* it is in there: none of its texts is at the engine, which had no room for one */
};

/* Takes over what the request wants, in any case. NULL: there is no memory. */
struct text_feed *text_feed_new(struct embed_request *wanted, bool pairs);
void text_feed_free(struct text_feed *feed); /* NULL is allowed */

/* Requests at the engine. */
int text_feed_count(const struct text_feed *feed);

/* The next text as the engine takes it; release *ids after submitting it. False: there is no memory, or no time left.
 */
bool text_feed_take(const struct text_feed *feed, spate_embed_request *one, int32_t **ids, spate_error *error);

#endif
