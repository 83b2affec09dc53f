/* The metrics of the tables, and the moments at which they are observed. */
#include "runtime/runtime_metrics.h"

#include "runtime/metric_names.h"
#include "runtime/metric_totals.h"

/* --- life --------------------------------------------------------------------------------------------------------- */

enum { LABELS_MAX = 4096 };

static bool labels_write(struct runtime_metrics *m, const struct loaded_engine *engine, bool reuse) {
  const struct limits *limits = &engine->limits;
  buffer_init(&m->model_labels, LABELS_MAX);
  buffer_init(&m->cache_labels, LABELS_MAX);
  metric_write_label(&m->model_labels, "model_name", slice_text(engine->file.facts->name));
  buffer_text(&m->model_labels, ",engine=\"0\"");
  buffer_append(&m->model_labels, "", 1);
  buffer_print(&m->cache_labels,
               "block_size=\"%d\",num_gpu_blocks=\"%u\",cache_dtype=\"%s\",enable_prefix_caching=\"%s\"",
               limits->block_size, limits->n_block[0], kv_dtype_name(limits->kv_dtype), reuse ? "True" : "False");
  return buffer_append(&m->cache_labels, "", 1) && !m->model_labels.failed;
}

void runtime_metrics_define(struct runtime_metrics *m) {
  for (int i = 0; i < METRIC_DEFINITIONS; i++) {
    const struct metric_definition *d = &metric_definitions[i];
    struct metric *metric = metric_at(m, d->at);
    *metric = (struct metric){.kind = d->kind, .name = d->name, .labels = d->labels, .help = d->help};
    if (d->bounds) {
      metric->bounds = d->bounds->at;
      metric->n_bound = d->bounds->count;
      metric->one_writer = true; /* the step thread */
    }
    metric_register(&m->registry, metric);
  }
}

bool runtime_metrics_init(struct runtime_metrics *m, const struct loaded_engine *engine, bool reuse,
                          struct error *error) {
  runtime_metrics_define(m);
  if (!labels_write(m, engine, reuse)) return error_set(error, ERROR_MEMORY, "Out of memory for the metrics' labels.");
  m->cache_config.labels = m->cache_labels.data;
  metric_set(&m->cache_config, 1);
  metric_set(&m->kv_blocks, engine->limits.n_block[0]);
  metric_set(&m->step_sequence_limit, engine->limits.seats);
  metric_set(&m->step_token_limit, engine->limits.tokens);
  metric_set(&m->host_expert_bytes, (double)engine->footprint.host_weights);
  return true;
}

void runtime_metrics_release(struct runtime_metrics *m) {
  buffer_release(&m->model_labels);
  buffer_release(&m->cache_labels);
}

bool runtime_metrics_page(const struct runtime_metrics *m, const char *model_labels, struct buffer *out) {
  struct metric_alias alias[METRIC_VLLM_NAMES];
  for (int i = 0; i < METRIC_VLLM_NAMES; i++)
    alias[i] = (struct metric_alias){.metric = metric_at(m, metric_vllm_names[i].at),
                                     .name = metric_vllm_names[i].name,
                                     .common = model_labels,
                                     .labels = metric_vllm_names[i].labels};
  return metric_write(&m->registry, out) && metric_write_aliases(alias, METRIC_VLLM_NAMES, out);
}

bool runtime_metrics_write(struct runtime_metrics *m, struct buffer *out) {
  metric_set(&m->waiting, atomic_load(&m->arriving) + atomic_load(&m->queued)); /* those at the worker wait too */
  return m->totals ? metric_totals_write(m->totals, m, out) : runtime_metrics_page(m, m->model_labels.data, out);
}

/* --- observing ---------------------------------------------------------------------------------------------------- */

static void counter_raise(struct metric *counter, uint64_t to) {
  metric_add(counter, to - atomic_load_explicit(&counter->count, memory_order_relaxed));
}

void runtime_metrics_update(struct runtime_metrics *m, const struct schedule_stats *stats) {
  counter_raise(&m->prompt_tokens, stats->prompt_tokens);
  counter_raise(&m->queried_tokens, stats->queried_tokens);
  counter_raise(&m->cached_tokens, stats->cached_tokens);
  counter_raise(&m->recomputed_tokens, stats->recomputed_tokens);
  counter_raise(&m->preemptions, stats->preemptions);
  counter_raise(&m->generation_tokens, stats->generated_tokens);
  counter_raise(&m->steps, stats->steps);
  atomic_store(&m->queued, stats->waiting);
  metric_set(&m->running, stats->running);
  counter_raise(&m->itl_missed, stats->gaps_missed);
  metric_set(&m->itl_p99, stats->gap_p99_us * 1e-6);
  metric_set(&m->itl_prompt_tokens, stats->gap_prompt_tokens);
  metric_set(&m->itl_sequences, stats->gap_sequences);
  metric_set(&m->kv_usage, stats->kv_used);
  metric_set(&m->adapter_slots, stats->adapters);
}

/* By whoever reads the metrics, several at once. */
static void counter_follow(struct metric *counter, uint64_t to) {
  uint64_t before = atomic_load(&counter->count);
  while (before < to && !atomic_compare_exchange_weak(&counter->count, &before, to))
    ;
}

void runtime_metrics_adapters(struct runtime_metrics *m, struct adapter_store *store) {
  struct adapter_store_stats stats;
  if (!store) return;
  adapter_store_stats(store, &stats);
  metric_set(&m->adapters_held, stats.held);
  metric_set(&m->adapter_bytes, (double)stats.held_bytes);
  counter_follow(&m->adapter_loads, stats.loads);
  counter_follow(&m->adapter_failures, stats.failures);
  counter_follow(&m->adapter_evictions, stats.evictions);
  counter_follow(&m->adapter_placements, stats.placements);
}

void runtime_metrics_store(struct runtime_metrics *m, struct image_store *store) {
  struct image_store_stats stats;
  if (!store) return;
  image_store_stats(store, &stats);
  counter_follow(&m->image_hits, stats.hits);
  counter_follow(&m->image_misses, stats.misses);
  counter_follow(&m->image_evictions, stats.evictions);
  counter_follow(&m->image_losses, stats.losses);
}

void runtime_metrics_images(struct runtime_metrics *m, const struct request_images *images) {
  metric_add(&m->images, (uint64_t)images->n);
  metric_observe(&m->image_prepare_seconds, (double)images->prepare_us * 1e-6);
}

void runtime_metrics_encoder(struct runtime_metrics *m, uint64_t run_us) {
  metric_observe(&m->image_encoder_seconds, (double)run_us * 1e-6);
}

static enum refusal refusal_of(enum error_code code) {
  switch (code) {
  case ERROR_BUSY: return REFUSED_QUEUE;
  case ERROR_LIMIT: return REFUSED_SIZE;
  case ERROR_DEVICE: return REFUSED_STOPPED;
  case ERROR_INVALID:
  case ERROR_UNSUPPORTED:
  case ERROR_NOT_FOUND: return REFUSED_INVALID;
  default: return REFUSED_FAILED; /* memory, as a rule */
  }
}

void runtime_metrics_refuse(struct runtime_metrics *m, const struct error *error) {
  metric_add(&m->refused[refusal_of(error->code)], 1);
}

static void seconds_observe(struct metric *histogram, uint64_t from_us, uint64_t to_us) {
  metric_observe(histogram, (double)(to_us - from_us) * 1e-6);
}

void runtime_metrics_step(struct runtime_metrics *m, const struct batch *batch, double kv_used) {
  metric_observe(&m->step_sequences, batch->n_row);
  metric_observe(&m->step_tokens, batch->n_token);
  metric_observe(&m->step_kv_usage, kv_used);
}

static void queue_observe(struct runtime_metrics *m, const struct request *r) {
  seconds_observe(&m->queue_seconds, r->submitted_us, r->generation[0].sequence.started_us);
}

void runtime_metrics_token(struct runtime_metrics *m, struct generation *g, uint64_t now_us) {
  struct request *r = g->request;
  if (g->generated > 0) seconds_observe(&m->between_tokens_seconds, g->last_us, now_us);
  g->last_us = r->last_us = now_us;
  if (r->first_us > 0) return;
  r->first_us = now_us;
  queue_observe(m, r);
  seconds_observe(&m->prefill_seconds, r->generation[0].sequence.started_us, now_us);
  seconds_observe(&m->first_token_seconds, r->submitted_us, now_us);
}

static void request_observe(struct runtime_metrics *m, const struct request *r) {
  int64_t generated = 0, preempted = 0;
  for (int i = 0; i < r->n_generation; i++) {
    preempted += r->generation[i].sequence.n_preempted;
    if (i < r->n_answer) generated += r->generation[i].generated;
  }
  metric_observe(&m->request_prompt_tokens, r->generation[0].sequence.n_prompt);
  metric_observe(&m->request_cached_tokens, r->generation[0].sequence.n_cached);
  metric_observe(&m->request_generation_tokens, (double)generated);
  metric_observe(&m->request_preemptions, (double)preempted);
}

/* Of several answers, the one that ended least as it should. */
static enum finish_reason finish_of(const struct request *r) {
  enum finish_reason worst = r->error.code ? FINISH_NONE : FINISH_STOP;
  for (int i = 0; i < r->n_answer && !r->error.code; i++)
    if (r->generation[i].finish > worst) worst = r->generation[i].finish;
  return worst;
}

static struct metric *shed_class(struct runtime_metrics *m, int32_t priority, enum shed_reason reason) {
  return &m->shed[reason][priority < 0 ? SHED_HIGH : priority > 0 ? SHED_LOW : SHED_NORMAL];
}

void runtime_metrics_end(struct runtime_metrics *m, struct request *r, uint64_t now_us) {
  struct metric *by_reason[] = {[FINISH_NONE] = &m->finished_failed,
                                [FINISH_STOP] = &m->finished_stop,
                                [FINISH_LENGTH] = &m->finished_length,
                                [FINISH_CANCELLED] = &m->finished_cancelled};
  if (r->counted) return;
  r->counted = true;
  if (r->shed) { /* refused, if late: it has neither finished nor failed */
    metric_add(shed_class(m, r->generation[0].sequence.priority, r->shed), 1);
    return;
  }
  metric_add(r->unfit ? &m->finished_refused : by_reason[finish_of(r)], 1);
  seconds_observe(&m->generation_seconds, r->submitted_us, now_us);
  if (r->first_us > 0) seconds_observe(&m->decode_seconds, r->first_us, r->last_us);
  if (r->generation[0].sequence.started_us == 0) return;
  if (r->first_us == 0) queue_observe(m, r); /* cancelled before it had a token, or a beam search */
  request_observe(m, r);
}
