#include "runtime/engine_probe.h"

#include "base/clock.h"
#include "base/log.h"
#include "runtime/runtime_state.h"

static void failed_set(struct engine_probe *probe, bool failed) {
  if (atomic_exchange(&probe->failed, failed) == failed) return;
  if (failed)
    log_error("The engine computes no finite numbers, neither for requests nor for tokens of its own choice.");
  else
    log_warning("The engine computes finite numbers again.");
}

void probe_hear_request(struct engine_probe *probe, bool spoilt) {
  if (spoilt) {
    probe->n_spoilt++;
    return;
  }
  probe->n_spoilt = probe->n_tried = 0;
  if (atomic_load_explicit(&probe->failed, memory_order_relaxed)) failed_set(probe, false);
}

static void probe_conclude(struct runtime *rt, bool finite) {
  struct engine_probe *probe = &rt->probe;
  metric_add(finite ? &rt->metrics.probes_finite : &rt->metrics.probes_spoilt, 1);
  probe->n_spoilt = probe->n_tried = 0;
  probe->due_us = clock_us() + PROBE_AGAIN_US;
  failed_set(probe, !finite);
}

static bool probe_is_due(const struct engine_probe *probe) {
  return probe->n_tried > 0 || probe->n_spoilt >= PROBE_AFTER ||
         (atomic_load_explicit(&probe->failed, memory_order_relaxed) && clock_us() >= probe->due_us);
}

void probe_hear(struct runtime *rt, const struct schedule_event *event) {
  struct engine_probe *probe = &rt->probe;
  if (event->kind == EVENT_OUT) {
    probe->scheduled = false;
    return;
  }
  if (probe->answered) return;
  bool spoilt = event->kind == EVENT_SPOILT;
  probe->answered = true;
  if (schedule_remove(rt->schedule, &probe->sequence)) probe->scheduled = false;
  if (spoilt && !probe_is_due(probe)) return; /* a request has had a token meanwhile */
  if (!spoilt || ++probe->n_tried == PROBE_TRIES) probe_conclude(rt, !spoilt);
}

/* Before all others, so that it waits for nobody's answer but for want of a seat. */
static void probe_start(struct runtime *rt) {
  struct engine_probe *probe = &rt->probe;
  int64_t vocab = rt->engine->plan->vocab;
  probe->tokens[0] = (int32_t)(vocab * (probe->n_tried + 1) / (PROBE_TRIES + 1));
  probe->sequence = (struct sequence){.tokens = probe->tokens,
                                      .n_prompt = 1,
                                      .max_tokens = 1,
                                      .priority = INT32_MIN,
                                      .salt = keyed_hash(&rt->key, slice_text("probe")),
                                      .sampling = {.top_p = 1}};
  probe->answered = false;
  probe->scheduled = true;
  schedule_add(rt->schedule, &probe->sequence, clock_us());
}

bool probe_review(struct runtime *rt, bool draining) {
  struct engine_probe *probe = &rt->probe;
  bool stopped = atomic_load_explicit(&rt->failed, memory_order_relaxed);
  if (probe->scheduled && (draining || stopped) && (schedule_remove(rt->schedule, &probe->sequence) || stopped))
    probe->scheduled = false;
  if (!probe->scheduled && !draining && !stopped && probe_is_due(probe) && schedule_fits(rt->schedule, 1, 1, 0, NULL))
    probe_start(rt);
  return probe->scheduled;
}
