/* The table of facts, and their values as texts. */
#include "doctor/fact.h"

#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const fact_areas[AREA_COUNT] = {"machine", "engine", "server"};

const struct fact_definition fact_definitions[FACT_COUNT] = {
    [FACT_CPU] = {"cpu", AREA_MACHINE, UNIT_TEXT, "/proc/cpuinfo"},
    [FACT_VECTORS] = {"vectors", AREA_MACHINE, UNIT_TEXT, "/proc/cpuinfo"},
    [FACT_VECTORS_LACK] = {"vectors_lack", AREA_MACHINE, UNIT_FLAG, "/proc/cpuinfo"},
    [FACT_ISA_FORCED] = {"isa_forced", AREA_MACHINE, UNIT_FLAG, "SPATE_ISA"},
    [FACT_CPUS] = {"cpus", AREA_MACHINE, UNIT_NUMBER, "affinity and cgroup quota"},
    [FACT_CPU_QUOTA] = {"cpu_quota", AREA_MACHINE, UNIT_NUMBER, "cgroup cpu.max"},
    [FACT_CPU_QUOTA_REST] = {"cpu_quota_rest", AREA_MACHINE, UNIT_NUMBER, "cgroup cpu.max"},
    [FACT_THROTTLED] = {"throttled", AREA_MACHINE, UNIT_SHARE, "cgroup cpu.stat"},
    [FACT_LOAD] = {"load", AREA_MACHINE, UNIT_NUMBER, "/proc/loadavg for each CPU of the machine"},
    [FACT_GOVERNOR] = {"governor", AREA_MACHINE, UNIT_TEXT, "cpu0/cpufreq/scaling_governor"},
    [FACT_GOVERNOR_SLOW] = {"governor_slow", AREA_MACHINE, UNIT_FLAG, "cpu0/cpufreq/scaling_governor"},
    [FACT_NUMA_NODES] = {"numa_nodes", AREA_MACHINE, UNIT_NUMBER, "/sys/devices/system/node"},
    [FACT_MEMORY] = {"memory", AREA_MACHINE, UNIT_BYTES, "/proc/meminfo MemTotal"},
    [FACT_MEMORY_LIMIT] = {"memory_limit", AREA_MACHINE, UNIT_BYTES, "cgroup memory.max"},
    [FACT_MEMORY_AVAILABLE] = {"memory_available", AREA_MACHINE, UNIT_BYTES, "MemAvailable and the cgroup"},
    [FACT_HUGE_PAGES] = {"huge_pages", AREA_MACHINE, UNIT_TEXT, "/sys/kernel/mm/transparent_hugepage/enabled"},
    [FACT_HUGE_PAGES_OFF] = {"huge_pages_off", AREA_MACHINE, UNIT_FLAG, "/sys/kernel/mm/transparent_hugepage/enabled"},
    [FACT_DESCRIPTORS] = {"descriptors", AREA_MACHINE, UNIT_NUMBER, "ulimit -Hn"},
    [FACT_DISK] = {"disk", AREA_MACHINE, UNIT_BYTES, "free where engines are cached"},
    [FACT_GPUS] = {"gpus", AREA_MACHINE, UNIT_NUMBER, "/proc/driver/nvidia, /dev/nvidia*"},
    [FACT_GPU] = {"gpu", AREA_MACHINE, UNIT_TEXT, "/proc/driver/nvidia/gpus"},
    [FACT_DRIVER] = {"driver", AREA_MACHINE, UNIT_TEXT, "/proc/driver/nvidia/version"},
    [FACT_DRIVER_VERSION] = {"driver_version", AREA_MACHINE, UNIT_NUMBER, "/proc/driver/nvidia/version"},
    [FACT_READ_RATE] = {"read_rate", AREA_MACHINE, UNIT_BYTES, "read in a second, by --measure"},

    [FACT_ENGINE_KIND] = {"kind", AREA_ENGINE, UNIT_TEXT, "spate inspect"},
    [FACT_ENGINE_PROBLEM] = {"problem", AREA_ENGINE, UNIT_TEXT, "spate inspect"},
    [FACT_ENGINE_REFUSED] = {"refused", AREA_ENGINE, UNIT_FLAG, "spate inspect"},
    [FACT_MODEL] = {"model", AREA_ENGINE, UNIT_TEXT, "spate inspect"},
    [FACT_TARGET] = {"target", AREA_ENGINE, UNIT_TEXT, "manifest"},
    [FACT_TARGET_AWAY] = {"target_away", AREA_ENGINE, UNIT_FLAG, "manifest, gpus"},
    [FACT_TARGET_SLOW] = {"target_slow", AREA_ENGINE, UNIT_FLAG, "manifest, gpus"},
    [FACT_QUANT_MODE] = {"quant_mode", AREA_ENGINE, UNIT_TEXT, "manifest"},
    [FACT_AVERAGE_BITS] = {"average_bits", AREA_ENGINE, UNIT_NUMBER, "manifest"},
    [FACT_WEIGHTS] = {"weights", AREA_ENGINE, UNIT_BYTES, "spate inspect"},
    [FACT_WORKSPACE] = {"workspace", AREA_ENGINE, UNIT_BYTES, "spate inspect"},
    [FACT_MEMORY_OPEN] = {"memory_open", AREA_ENGINE, UNIT_BYTES, "memory_available and, here, server_memory"},
    [FACT_MEMORY_NEEDED] = {"memory_needed", AREA_ENGINE, UNIT_BYTES, "weights, workspace, one sequence"},
    [FACT_MEMORY_SHARE] = {"memory_share", AREA_ENGINE, UNIT_SHARE, "memory_needed of memory_open"},
    [FACT_CPU_EXPERTS] = {"cpu_experts", AREA_ENGINE, UNIT_NUMBER, "--cpu-experts, of the layers that have experts"},
    [FACT_HOST_EXPERTS] = {"host_experts", AREA_ENGINE, UNIT_BYTES, "of a GPU's weights, those that stay on the host"},
    [FACT_HOST_SHARE] = {"host_share", AREA_ENGINE, UNIT_SHARE, "host_experts of memory_available"},
    [FACT_MAX_BATCH_SIZE] = {"max_batch_size", AREA_ENGINE, UNIT_NUMBER, "manifest"},
    [FACT_MAX_SEQ_LEN] = {"max_seq_len", AREA_ENGINE, UNIT_NUMBER, "manifest"},
    [FACT_MAX_NUM_TOKENS] = {"max_num_tokens", AREA_ENGINE, UNIT_NUMBER, "manifest"},
    [FACT_CONTEXT] = {"context", AREA_ENGINE, UNIT_NUMBER, "--context"},
    [FACT_KV_BYTES] = {"kv_cache", AREA_ENGINE, UNIT_BYTES, "what serve would give the KV cache"},
    [FACT_KV_TOKENS] = {"kv_tokens", AREA_ENGINE, UNIT_NUMBER, "that it holds"},
    [FACT_KV_SEQUENCES] = {"kv_sequences", AREA_ENGINE, UNIT_NUMBER, "of --context tokens, that it holds"},
    [FACT_KV_WANTED] = {"kv_wanted", AREA_ENGINE, UNIT_BYTES, "for max_batch_size of them"},
    [FACT_SEATS_FILLED] = {"seats_filled", AREA_ENGINE, UNIT_SHARE, "kv_sequences of max_batch_size"},
    [FACT_PERPLEXITY] = {"perplexity", AREA_ENGINE, UNIT_NUMBER, "manifest, by spate build --eval"},
    [FACT_KL] = {"mean_kl", AREA_ENGINE, UNIT_NUMBER, "manifest, by spate build --eval-against"},
    [FACT_SAME_TOP] = {"same_top", AREA_ENGINE, UNIT_SHARE, "manifest, by spate build --eval-against"},
    [FACT_STEP_FLOOR] = {"step_floor", AREA_ENGINE, UNIT_SECONDS, "weights by read_rate"},

    [FACT_HEALTH] = {"health", AREA_SERVER, UNIT_NUMBER, "status of /health"},
    [FACT_READY] = {"ready", AREA_SERVER, UNIT_NUMBER, "status of /ready"},
    [FACT_ASLEEP] = {"asleep", AREA_SERVER, UNIT_FLAG, "/health"},
    [FACT_REQUESTS] = {"requests", AREA_SERVER, UNIT_NUMBER, "llm_requests_total"},
    [FACT_WAITING] = {"waiting", AREA_SERVER, UNIT_NUMBER, "llm_requests_waiting"},
    [FACT_RUNNING] = {"running", AREA_SERVER, UNIT_NUMBER, "llm_requests_running"},
    [FACT_STEPS] = {"steps", AREA_SERVER, UNIT_NUMBER, "llm_steps_total"},
    [FACT_STEPS_BETWEEN] = {"steps_between", AREA_SERVER, UNIT_NUMBER, "llm_steps_total, during --during"},
    [FACT_BUSY] = {"busy", AREA_SERVER, UNIT_SHARE, "llm_requests_refused_total of reason queue"},
    [FACT_CROWDED] = {"crowded", AREA_SERVER, UNIT_SHARE, "http_requests_refused_total of reason address"},
    [FACT_TEXTS_REFUSED] = {"texts_refused", AREA_SERVER, UNIT_SHARE, "http_requests_refused_total of reason tokens"},
    [FACT_OUTRANKED] = {"outranked", AREA_SERVER, UNIT_SHARE, "llm_requests_shed_total of reason place"},
    [FACT_TOO_LATE] = {"too_late", AREA_SERVER, UNIT_SHARE, "llm_requests_shed_total of reason timeout"},
    [FACT_REFUSED] = {"refused_requests", AREA_SERVER, UNIT_SHARE,
                      "llm_requests_refused_total of size, invalid, and finished ones of reason refused"},
    [FACT_FAILED] = {"failed", AREA_SERVER, UNIT_SHARE, "llm_requests_finished_total of reason failed"},
    [FACT_CANCELLED] = {"cancelled", AREA_SERVER, UNIT_SHARE, "llm_requests_finished_total of reason cancelled"},
    [FACT_SERVER_ERRORS] = {"server_errors", AREA_SERVER, UNIT_SHARE, "http_requests_total of status 5xx"},
    [FACT_UNAUTHORIZED] = {"unauthorized", AREA_SERVER, UNIT_SHARE, "http_requests_total of status 401"},
    [FACT_QUEUE_P50] = {"queue_p50", AREA_SERVER, UNIT_SECONDS, "llm_queue_seconds, p50"},
    [FACT_QUEUE_P99] = {"queue_p99", AREA_SERVER, UNIT_SECONDS, "llm_queue_seconds, p99"},
    [FACT_QUEUE_SHARE] = {"queue_share", AREA_SERVER, UNIT_SHARE, "llm_queue_seconds of the time to the first token"},
    [FACT_PREFILL_P99] = {"prefill_p99", AREA_SERVER, UNIT_SECONDS, "llm_prefill_seconds, p99"},
    [FACT_FIRST_P50] = {"first_token_p50", AREA_SERVER, UNIT_SECONDS, "llm_time_to_first_token_seconds, p50"},
    [FACT_FIRST_P99] = {"first_token_p99", AREA_SERVER, UNIT_SECONDS, "llm_time_to_first_token_seconds, p99"},
    [FACT_GAP_P50] = {"gap_p50", AREA_SERVER, UNIT_SECONDS, "llm_time_between_tokens_seconds, p50"},
    [FACT_GAP_P99] = {"gap_p99", AREA_SERVER, UNIT_SECONDS, "llm_time_between_tokens_seconds, p99"},
    [FACT_GAP_RATIO] = {"gap_ratio", AREA_SERVER, UNIT_NUMBER, "llm_time_between_tokens_seconds, p99 by p50"},
    [FACT_GAP_FLOORS] = {"gap_floors", AREA_SERVER, UNIT_NUMBER, "llm_time_between_tokens_seconds, p50 by step_floor"},
    [FACT_STEP_SEQUENCES] = {"step_sequences", AREA_SERVER, UNIT_NUMBER, "llm_step_sequences, mean"},
    [FACT_STEP_TOKENS] = {"step_tokens", AREA_SERVER, UNIT_NUMBER, "llm_step_tokens, p99"},
    [FACT_SEQUENCE_LIMIT] = {"sequence_limit", AREA_SERVER, UNIT_NUMBER, "llm_step_sequence_limit"},
    [FACT_TOKEN_LIMIT] = {"token_limit", AREA_SERVER, UNIT_NUMBER, "llm_step_token_limit"},
    [FACT_PROMPT_SHARE] = {"prompt_share", AREA_SERVER, UNIT_SHARE, "llm_step_tokens that are no stream's"},
    [FACT_KV_USED] = {"kv_used", AREA_SERVER, UNIT_SHARE, "llm_step_kv_cache_usage_ratio, p90"},
    [FACT_CACHE_TOKENS] = {"cache_tokens", AREA_SERVER, UNIT_NUMBER, "llm_cache_config_info"},
    [FACT_CACHE_TYPE] = {"cache_type", AREA_SERVER, UNIT_TEXT, "llm_cache_config_info"},
    [FACT_PREEMPTIONS] = {"preemptions", AREA_SERVER, UNIT_SHARE, "llm_preemptions_total by finished requests"},
    [FACT_REUSE_OFF] = {"reuse_off", AREA_SERVER, UNIT_FLAG, "llm_cache_config_info"},
    [FACT_PREFIX_HITS] = {"prefix_hits", AREA_SERVER, UNIT_SHARE, "llm_prefix_cache_hit_tokens_total"},
    [FACT_IGNORED_FIELDS] = {"ignored_fields", AREA_SERVER, UNIT_NUMBER, "http_ignored_fields_total"},
    [FACT_SPANS_LOST] = {"spans_lost", AREA_SERVER, UNIT_NUMBER, "llm_trace_spans_lost_total"},
    [FACT_SERVER_MEMORY] = {"server_memory", AREA_SERVER, UNIT_BYTES, "llm_process_memory_bytes"},
};

void fact_set(struct facts *facts, enum fact_id id, double value) {
  facts->known[id] = isfinite(value);
  facts->value[id] = value;
}

/* Some terminals obey the controls from U+0080 to U+009F, also as bare bytes. */
void text_tame(char *text) {
  for (size_t left = strlen(text); left > 0;) {
    uint32_t code;
    size_t size = utf8_read(slice_make((const uint8_t *)text, left), &code), bytes = size ? size : 1;
    if (size == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0)) memset(text, '?', bytes);
    text += bytes;
    left -= bytes;
  }
}

void fact_set_text(struct facts *facts, enum fact_id id, const char *text) {
  int size = snprintf(facts->text[id], FACT_TEXT_MAX, "%s", text);
  text_tame(facts->text[id]);
  facts->known[id] = size > 0;
}

/* Binary steps, as the options take them: 512M, 2G. */
static void bytes_print(double bytes, char out[FACT_TEXT_MAX]) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  int step = 0;
  for (; fabs(bytes) >= 1024 && step < 5; step++) bytes /= 1024;
  snprintf(out, FACT_TEXT_MAX, bytes >= 100 || step == 0 ? "%.0f %s" : "%.1f %s", bytes, units[step]);
}

static void seconds_print(double seconds, char out[FACT_TEXT_MAX]) {
  if (seconds >= 1)
    snprintf(out, FACT_TEXT_MAX, "%.3g s", seconds);
  else if (seconds >= 1e-3)
    snprintf(out, FACT_TEXT_MAX, "%.3g ms", seconds * 1e3);
  else
    snprintf(out, FACT_TEXT_MAX, "%.3g µs", seconds * 1e6);
}

void fact_print_value(enum fact_unit unit, double value, char out[FACT_TEXT_MAX]) {
  switch (unit) {
  case UNIT_BYTES: bytes_print(value, out); break;
  case UNIT_SECONDS: seconds_print(value, out); break;
  case UNIT_SHARE: snprintf(out, FACT_TEXT_MAX, "%.3g %%", value * 100); break;
  case UNIT_FLAG: snprintf(out, FACT_TEXT_MAX, "%s", value != 0 ? "yes" : "no"); break;
  default: snprintf(out, FACT_TEXT_MAX, value == floor(value) || fabs(value) >= 100 ? "%.0f" : "%.3g", value); break;
  }
}

void fact_print(const struct facts *facts, enum fact_id id, char out[FACT_TEXT_MAX]) {
  enum fact_unit unit = fact_definitions[id].unit;
  if (!facts->known[id])
    strcpy(out, "unknown");
  else if (unit == UNIT_TEXT)
    memcpy(out, facts->text[id], FACT_TEXT_MAX);
  else
    fact_print_value(unit, facts->value[id], out);
}

enum fact_id fact_named(const char *name, int size) {
  int id = 0;
  while (id < FACT_COUNT &&
         !(strncmp(fact_definitions[id].name, name, (size_t)size) == 0 && fact_definitions[id].name[size] == '\0'))
    id++;
  return (enum fact_id)id;
}
