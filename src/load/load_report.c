/* JSON out. */
#include "load/load_report.h"

#include "base/json.h"

static void number_write(struct buffer *out, const char *name, double number) {
  buffer_print(out, ",\"%s\":", name);
  json_write_number(out, number);
}

static void spread_write(struct buffer *out, const char *name, const struct load_spread *spread) {
  buffer_print(out, ",\"%s\":{\"count\":%lld", name, (long long)spread->count);
  number_write(out, "mean", spread->mean);
  for (int i = 0; i < LOAD_QUANTILES; i++) number_write(out, load_quantile_name[i], spread->quantile[i]);
  number_write(out, "max", spread->most);
  buffer_text(out, "}");
}

static void failures_write(struct buffer *out, const struct load_tally *tally, const struct load_result *result) {
  const char *comma = "";
  buffer_text(out, ",\"errors\":{");
  for (int end = LOAD_CONNECT; end < LOAD_END_COUNT; end++) {
    if (!tally->ended[end]) continue;
    buffer_print(out, "%s\"%s\":{\"count\":%d,\"first\":", comma, load_end_name[end], tally->ended[end]);
    json_write_string(out, slice_text(result->first[end]));
    buffer_text(out, "}");
    comma = ",";
  }
  buffer_text(out, "}");
}

/* Null: the server does not tell. */
static void count_write(struct buffer *out, const char *name, int64_t count) {
  if (count < 0)
    buffer_print(out, ",\"%s\":null", name);
  else
    buffer_print(out, ",\"%s\":%lld", name, (long long)count);
}

static void goodput_write(struct buffer *out, const struct load_tally *tally, const struct load_slo *slo) {
  buffer_print(out, ",\"goodput\":{\"requests\":%d", tally->good);
  number_write(out, "requests_per_second", load_per_second(tally, tally->good));
  number_write(out, "share", (double)tally->good / tally->sent);
  if (slo->ttft > 0) number_write(out, "slo_ttft_ms", slo->ttft);
  if (slo->itl > 0) number_write(out, "slo_itl_ms", slo->itl);
  if (slo->e2e > 0) number_write(out, "slo_e2e_ms", slo->e2e);
  buffer_text(out, "}");
}

bool load_report_write(const struct load_plan *plan, const struct load_tally *tally, const struct load_result *result,
                       const struct load_slo *slo, struct buffer *out) {
  buffer_print(out, "{\"loop\":\"%s\"", plan->clients ? "closed" : plan->rate > 0 ? "open" : "trace");
  if (plan->clients) buffer_print(out, ",\"clients\":%d", plan->clients);
  if (plan->rate > 0) number_write(out, "rate", plan->rate);
  buffer_print(out, ",\"requests\":%d,\"sent\":%d,\"completed\":%d,\"failed\":%d", plan->count, tally->sent,
               tally->ended[LOAD_OK], tally->sent - tally->ended[LOAD_OK]);
  failures_write(out, tally, result);
  number_write(out, "seconds", tally->seconds);
  count_write(out, "prompt_tokens", tally->prompt_tokens);
  count_write(out, "output_tokens", tally->output_tokens);
  count_write(out, "events", tally->events);
  number_write(out, "requests_per_second", load_per_second(tally, tally->ended[LOAD_OK]));
  number_write(out, "output_tokens_per_second", load_per_second(tally, (double)tally->output_tokens));
  spread_write(out, "ttft_ms", &tally->ttft);
  spread_write(out, "itl_ms", &tally->itl);
  spread_write(out, "e2e_ms", &tally->e2e);
  if (!plan->clients) spread_write(out, "lag_ms", &tally->lag);
  if (slo) goodput_write(out, tally, slo);
  number_write(out, "client_cpu_seconds", tally->processor);
  return buffer_text(out, "}");
}

static void seconds_write(struct buffer *out, uint64_t us) {
  buffer_print(out, "%llu.%06llu", (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000));
}

bool load_record_write(int run, const struct load_plan *plan, int index, struct buffer *out) {
  const struct load_request *request = &plan->request[index];
  buffer_print(out, "{\"run\":%d,\"request\":%d,\"end\":\"%s\",\"status\":%d", run, index, load_end_name[request->end],
               request->status);
  if (request->client >= 0) buffer_print(out, ",\"client\":%d", request->client);
  buffer_print(out, ",\"input_wanted\":%d,\"output_wanted\":%d", request->input, request->output);
  count_write(out, "prompt_tokens", request->prompt_tokens);
  count_write(out, "output_tokens", request->output_tokens);
  buffer_text(out, ",\"due\":");
  seconds_write(out, load_due_us(request));
  buffer_text(out, ",\"sent\":");
  seconds_write(out, request->sent_us);
  buffer_text(out, ",\"events\":[");
  for (int i = 0; i < request->n_event; i++) {
    if (i > 0) buffer_text(out, ",");
    seconds_write(out, request->sent_us + request->event_us[i]);
  }
  buffer_text(out, "],\"done\":");
  seconds_write(out, request->done_us);
  return buffer_text(out, "}\n");
}
