/* Counters become shares, histograms percentiles. What has been seen too rarely to be judged stays unknown. */
#include "doctor/server_facts.h"

#include "base/json.h"
#include "base/limits.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LEAST_SEEN = 20 }; /* observations from which on a percentile or a share is one */

/* A page and what it is compared with. */
struct pages {
  const struct metric_page *now, *before;
};

/* What a counter (or all of one label's value) has come to. */
static double counted(const struct pages *pages, const char *name, const char *label, const char *prefix) {
  double now = metric_page_sum(pages->now, name, label, prefix);
  double before = pages->before ? metric_page_sum(pages->before, name, label, prefix) : 0;
  return isnan(before) ? now : now - before; /* a label's value may have come since */
}

static double at_least(double value, double least) { return isnan(value) ? least : value; }

/* Of so many; nothing is said about few. */
static void share_set(struct facts *facts, enum fact_id id, double part, double whole) {
  if (whole >= LEAST_SEEN) fact_set(facts, id, at_least(part, 0) / whole);
}

static void quantile_set(struct facts *facts, enum fact_id id, const struct pages *pages, const char *name,
                         double quantile) {
  fact_set(facts, id, metric_page_quantile(pages->now, pages->before, name, quantile, LEAST_SEEN));
}

/* --- what came ---------------------------------------------------------------------------------------------------- */

static void requests_find(struct facts *facts, const struct pages *pages) {
  static const char finished[] = "llm_requests_finished_total", shed[] = "llm_requests_shed_total";
  static const char refused[] = "llm_requests_refused_total", turned_away[] = "http_requests_refused_total";
  static const char http[] = "http_requests_total";
  double accepted = counted(pages, "llm_requests_total", NULL, ""), ended = counted(pages, finished, NULL, "");
  double all = counted(pages, http, NULL, ""), posted = counted(pages, http, "method", "POST");
  double offered = accepted + at_least(counted(pages, refused, NULL, ""), 0);
  double unfit = at_least(counted(pages, refused, "reason", "size"), 0) +
                 at_least(counted(pages, refused, "reason", "invalid"), 0) +
                 at_least(counted(pages, finished, "reason", "refused"), 0);
  fact_set(facts, FACT_REQUESTS, accepted);
  fact_set(facts, FACT_WAITING, metric_page_sum(pages->now, "llm_requests_waiting", NULL, ""));
  fact_set(facts, FACT_RUNNING, metric_page_sum(pages->now, "llm_requests_running", NULL, ""));
  share_set(facts, FACT_REFUSED, unfit, offered);
  share_set(facts, FACT_FAILED, counted(pages, finished, "reason", "failed"), ended);
  share_set(facts, FACT_CANCELLED, counted(pages, finished, "reason", "cancelled"), ended);
  share_set(facts, FACT_BUSY, counted(pages, refused, "reason", "queue"), offered);
  share_set(facts, FACT_CROWDED, counted(pages, turned_away, "reason", "address"), all);
  share_set(facts, FACT_TEXTS_REFUSED, counted(pages, turned_away, "reason", "tokens"), posted);
  share_set(facts, FACT_OUTRANKED, counted(pages, shed, "reason", "place"), offered);
  share_set(facts, FACT_TOO_LATE, counted(pages, shed, "reason", "timeout"), offered);
  share_set(facts, FACT_SERVER_ERRORS, counted(pages, http, "status", "5"), all);
  share_set(facts, FACT_UNAUTHORIZED, counted(pages, http, "status", "401"), all);
  share_set(facts, FACT_PREEMPTIONS, counted(pages, "llm_preemptions_total", NULL, ""), ended);
  fact_set(facts, FACT_IGNORED_FIELDS, counted(pages, "http_ignored_fields_total", NULL, ""));
  fact_set(facts, FACT_SPANS_LOST, counted(pages, "llm_trace_spans_lost_total", NULL, ""));
}

static void times_find(struct facts *facts, const struct pages *pages) {
  static const char queue[] = "llm_queue_seconds", first[] = "llm_time_to_first_token_seconds";
  static const char gap[] = "llm_time_between_tokens_seconds";
  double waited = counted(pages, "llm_queue_seconds_sum", NULL, "");
  double all = counted(pages, "llm_time_to_first_token_seconds_sum", NULL, "");
  quantile_set(facts, FACT_QUEUE_P50, pages, queue, 0.5);
  quantile_set(facts, FACT_QUEUE_P99, pages, queue, 0.99);
  quantile_set(facts, FACT_PREFILL_P99, pages, "llm_prefill_seconds", 0.99);
  quantile_set(facts, FACT_FIRST_P50, pages, first, 0.5);
  quantile_set(facts, FACT_FIRST_P99, pages, first, 0.99);
  quantile_set(facts, FACT_GAP_P50, pages, gap, 0.5);
  quantile_set(facts, FACT_GAP_P99, pages, gap, 0.99);
  if (facts->known[FACT_FIRST_P99] && all > 0) fact_set(facts, FACT_QUEUE_SHARE, fmin(1, waited / all));
  if (!facts->known[FACT_GAP_P50] || facts->value[FACT_GAP_P50] <= 0) return;
  fact_set(facts, FACT_GAP_RATIO, facts->value[FACT_GAP_P99] / facts->value[FACT_GAP_P50]);
  if (facts->known[FACT_STEP_FLOOR])
    fact_set(facts, FACT_GAP_FLOORS, facts->value[FACT_GAP_P50] / facts->value[FACT_STEP_FLOOR]);
}

static void steps_find(struct facts *facts, const struct pages *pages) {
  double steps = counted(pages, "llm_step_tokens_count", NULL, "");
  double tokens = counted(pages, "llm_step_tokens_sum", NULL, "");
  double sequences = counted(pages, "llm_step_sequences_sum", NULL, "");
  double prompts =
      counted(pages, "llm_prompt_tokens_total", NULL, "") + counted(pages, "llm_recomputed_tokens_total", NULL, "");
  fact_set(facts, FACT_STEPS, counted(pages, "llm_steps_total", NULL, ""));
  if (pages->before) fact_set(facts, FACT_STEPS_BETWEEN, facts->value[FACT_STEPS]);
  share_set(facts, FACT_STEP_SEQUENCES, sequences, steps);
  quantile_set(facts, FACT_STEP_TOKENS, pages, "llm_step_tokens", 0.99);
  quantile_set(facts, FACT_KV_USED, pages, "llm_step_kv_cache_usage_ratio", 0.9);
  share_set(facts, FACT_PROMPT_SHARE, fmin(prompts, tokens), tokens);
  fact_set(facts, FACT_SEQUENCE_LIMIT, metric_page_sum(pages->now, "llm_step_sequence_limit", NULL, ""));
  fact_set(facts, FACT_TOKEN_LIMIT, metric_page_sum(pages->now, "llm_step_token_limit", NULL, ""));
}

/* --- the cache ---------------------------------------------------------------------------------------------------- */

static double label_number(const struct metric_sample *sample, const char *label) {
  char text[32] = "";
  struct slice value;
  if (!metric_sample_label(sample, label, &value) || value.size >= sizeof text) return NAN;
  memcpy(text, value.data, value.size);
  return strtod(text, NULL);
}

static void cache_find(struct facts *facts, const struct pages *pages) {
  double queried = counted(pages, "llm_prefix_cache_queried_tokens_total", NULL, "");
  share_set(facts, FACT_PREFIX_HITS, counted(pages, "llm_prefix_cache_hit_tokens_total", NULL, ""), queried);
  for (size_t i = 0; i < pages->now->count; i++) {
    const struct metric_sample *sample = &pages->now->sample[i];
    char type[32] = "";
    struct slice value;
    if (!slice_is(sample->name, "llm_cache_config_info")) continue;
    fact_set(facts, FACT_CACHE_TOKENS, label_number(sample, "block_size") * label_number(sample, "num_gpu_blocks"));
    if (metric_sample_label(sample, "enable_prefix_caching", &value))
      fact_set(facts, FACT_REUSE_OFF, slice_is(value, "False"));
    if (!metric_sample_label(sample, "cache_dtype", &value)) continue;
    snprintf(type, sizeof type, "%.*s", SLICE_ARGS(value));
    fact_set_text(facts, FACT_CACHE_TYPE, type);
  }
}

/* Another process, whose counters began at 0, or another engine, whose settings and speed are not those of the requests
 * that were counted before it. */
static bool began_anew(const struct pages *pages) {
  static const char *const counters[] = {"llm_steps_total", "llm_requests_total", "http_requests_total"};
  double engines = counted(pages, "llm_engine_generation", NULL, "");
  bool anew = engines != 0 && !isnan(engines);
  for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
    anew = anew || counted(pages, counters[i], NULL, "") < 0;
  return pages->before && anew;
}

bool server_facts_find(struct facts *facts, const struct metric_page *page, const struct metric_page *before,
                       struct error *error) {
  struct pages pages = {page, before};
  fact_set(facts, FACT_SERVER_MEMORY, metric_page_sum(page, "llm_process_memory_bytes", NULL, ""));
  if (facts->value[FACT_ASLEEP] != 0) return true;
  if (began_anew(&pages))
    return error_set(error, ERROR_IO,
                     "The server started anew, or exchanged its engine, between the two looks: look again.");
  if (isnan(metric_page_sum(page, "llm_steps_total", NULL, "")))
    return error_set(error, ERROR_UNSUPPORTED, "The metrics have no llm_steps_total: expected those of spate serve.");
  requests_find(facts, &pages);
  steps_find(facts, &pages);
  times_find(facts, &pages);
  cache_find(facts, &pages);
  return true;
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static int ask(const struct http_probe *probe, const char *prefix, const char *path, struct buffer *body,
               struct error *error) {
  char full[512];
  snprintf(full, sizeof full, "%s%s", prefix, path);
  buffer_clear(body);
  return http_probe_get(probe, full, body, error);
}

/* The page points into body. */
static bool page_ask(const struct http_probe *probe, const char *prefix, struct buffer *body, struct metric_page *page,
                     struct error *error) {
  int status = ask(probe, prefix, "/metrics", body, error);
  if (status == 0) return false;
  if (status != 200)
    return error_set(error, ERROR_IO, "/metrics answers %d, expected 200%s.", status,
                     status == 401 ? ": give its key with --api-key" : "");
  return metric_page_read(page, buffer_slice(body), error);
}

/* What /health says besides its status; the answer may be anything. */
static bool is_asleep(struct slice health) {
  struct error error;
  json_t *root = json_parse(health, &error);
  const char *status = json_string_value(json_object_get(root, "status"));
  bool asleep = status && strcmp(status, "asleep") == 0;
  json_decref(root);
  return asleep;
}

static bool state_ask(struct facts *facts, const struct http_probe *probe, const char *prefix, struct error *error) {
  struct buffer body;
  buffer_init(&body, LIMIT_HEALTH_BYTES);
  int health = ask(probe, prefix, "/health", &body, error), ready = 0;
  if (health) fact_set(facts, FACT_ASLEEP, is_asleep(buffer_slice(&body)));
  if (health) ready = ask(probe, prefix, "/ready", &body, error);
  buffer_release(&body);
  if (health) fact_set(facts, FACT_HEALTH, health);
  if (ready) fact_set(facts, FACT_READY, ready);
  return health && ready;
}

double server_memory_ask(const struct http_probe *probe, const char *prefix) {
  struct buffer body;
  struct metric_page page = {0};
  struct error error;
  buffer_init(&body, LIMIT_METRIC_PAGE_BYTES);
  bool there = page_ask(probe, prefix, &body, &page, &error);
  double bytes = there ? at_least(metric_page_sum(&page, "llm_process_memory_bytes", NULL, ""), 0) : 0;
  metric_page_release(&page);
  buffer_release(&body);
  return bytes;
}

bool server_facts_ask(struct facts *facts, const struct http_probe *probe, const char *prefix, int seconds,
                      struct error *error) {
  struct buffer first, second;
  struct metric_page before = {0}, page = {0};
  if (!state_ask(facts, probe, prefix, error)) return false;
  buffer_init(&first, LIMIT_METRIC_PAGE_BYTES);
  buffer_init(&second, LIMIT_METRIC_PAGE_BYTES);
  bool done = seconds == 0 || page_ask(probe, prefix, &first, &before, error);
  if (done && seconds) sleep((unsigned)seconds);
  done = done && page_ask(probe, prefix, &second, &page, error) &&
         server_facts_find(facts, &page, seconds ? &before : NULL, error);
  metric_page_release(&before);
  metric_page_release(&page);
  buffer_release(&first);
  buffer_release(&second);
  return done;
}
