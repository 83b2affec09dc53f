/* Who waits in vain: shed for others, behind too many, or out of time. */
#include "runtime/queue_review.h"

#include "runtime/runtime_state.h"

enum { RANK_US = 100000 };

void queue_rank(struct runtime *rt, uint64_t now_us) {
  if (now_us - rt->ranked_us < RANK_US) return;
  rt->ranked_us = now_us;
  schedule_rank(rt->schedule, now_us);
  images_review(rt);
}

static void timeout_tell(struct request *r) {
  struct error error;
  int generated = 0;
  for (int i = 0; i < r->n_generation; i++) generated += r->generation[i].generated;
  error_set(&error, ERROR_TIMEOUT, "The request has taken the %.3g seconds of its timeout_s; %d tokens were generated.",
            (double)(r->deadline_us - r->submitted_us) * 1e-6, generated);
  request_fail(r, &error);
}

/* A request that has not begun. */
static void request_give_up(struct request *r, enum shed_reason reason, const struct error *error) {
  if (request_ended(r)) return;
  r->shed = reason;
  request_fail(r, error);
}

static void shed_tell(struct request *r) {
  struct error error;
  error_set(&error, ERROR_BUSY,
            "The queue was full and a request of a better priority than %d has taken the place of this one: try again "
            "later.",
            r->generation[0].sequence.priority);
  request_give_up(r, SHED_FOR_OTHERS, &error);
}

/* Who would wait for longer than its deadline leaves is told now. */
static void hopeless_tell(struct runtime *rt, struct request *r) {
  const struct sequence *q = &r->generation[0].sequence;
  struct error error;
  error_set(&error, ERROR_BUSY,
            "%d requests go before this one, which would take %.3g more seconds, and its timeout_s of %.3g is over "
            "before: try again later.",
            q->ahead, (double)schedule_wait_us(rt->schedule, q->ahead) * 1e-6,
            (double)(r->deadline_us - r->submitted_us) * 1e-6);
  request_give_up(r, SHED_TOO_LATE, &error);
}

void queue_review(struct runtime *rt, struct request *r, uint64_t now_us) {
  if (now_us >= r->deadline_us && !request_ended(r)) timeout_tell(r);
  enum request_place place = atomic_load_explicit(&r->place, memory_order_relaxed);
  if (place == REQUEST_BEGUN) return;
  const struct sequence *q = &r->generation[0].sequence;
  bool begins = q->started_us > 0;
  if (begins ? !request_table_begin(r) : place == REQUEST_SHED) shed_tell(r);
  if (!begins && q->hopeless) hopeless_tell(rt, r);
}
