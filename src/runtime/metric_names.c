/* Names, labels, help and buckets of the runtime's metrics. */
#include "runtime/metric_names.h"

#include "runtime/runtime_metrics.h"

/* --- buckets ------------------------------------------------------------------------------------------------------ */

/* Of a request's parts: from a token of a small model to an hour's queue. */
static const struct metric_bounds request_seconds = {23, {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                                                          0.15,  0.25,   0.5,   0.75, 1,     2.5,  5,     7.5,
                                                          10,    25,     50,    100,  250,   600,  3600}};
static const struct metric_bounds token_seconds = {20,
                                                   {0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05,
                                                    0.075, 0.1,    0.15,  0.2,    0.3,  0.5,   1,    2.5,  5,    10}};
static const struct metric_bounds token_counts = {
    17, {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000}};
/* 0 apart from the rest: whether anything was found. */
static const struct metric_bounds found_counts = {
    16, {0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144}};
static const struct metric_bounds batch_sizes = {
    17, {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024}};
static const struct metric_bounds step_counts = {
    15, {1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}};
static const struct metric_bounds ratios = {12, {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1}};
static const struct metric_bounds preemption_counts = {6, {0, 1, 2, 3, 5, 10}};

/* --- names -------------------------------------------------------------------------------------------------------- */

#define AT(field) offsetof(struct runtime_metrics, field)
#define SHED(reason, class, labels)                                                                                    \
  { AT(shed[reason][class]), METRIC_COUNTER, shed, labels, shed_help, NULL }

static const char refused[] = "llm_requests_refused_total",
                  refused_help[] = "Requests refused at submission, by reason.";
static const char finished[] = "llm_requests_finished_total", finished_help[] = "Requests ended, by reason.";
static const char probes[] = "llm_engine_probes_total";
static const char probes_help[] =
    "Times that the engine computed tokens of its own choice, to see whether it still can.";
static const char shed[] = "llm_requests_shed_total", shed_help[] = "Requests given up before they began.";

const struct metric_definition metric_definitions[] = {
    {AT(requests), METRIC_COUNTER, "llm_requests_total", NULL, "Requests accepted.", NULL},
    {AT(refused[REFUSED_QUEUE]), METRIC_COUNTER, refused, "reason=\"queue\"", refused_help, NULL},
    {AT(refused[REFUSED_SIZE]), METRIC_COUNTER, refused, "reason=\"size\"", refused_help, NULL},
    {AT(refused[REFUSED_INVALID]), METRIC_COUNTER, refused, "reason=\"invalid\"", refused_help, NULL},
    {AT(refused[REFUSED_STOPPED]), METRIC_COUNTER, refused, "reason=\"stopped\"", refused_help, NULL},
    {AT(refused[REFUSED_FAILED]), METRIC_COUNTER, refused, "reason=\"failed\"", refused_help, NULL},
    {AT(finished_stop), METRIC_COUNTER, finished, "reason=\"stop\"", finished_help, NULL},
    {AT(finished_length), METRIC_COUNTER, finished, "reason=\"length\"", finished_help, NULL},
    {AT(finished_cancelled), METRIC_COUNTER, finished, "reason=\"cancelled\"", finished_help, NULL},
    {AT(finished_failed), METRIC_COUNTER, finished, "reason=\"failed\"", finished_help, NULL},
    {AT(finished_refused), METRIC_COUNTER, finished, "reason=\"refused\"", finished_help, NULL},
    SHED(SHED_FOR_OTHERS, SHED_HIGH, "priority=\"high\",reason=\"place\""),
    SHED(SHED_FOR_OTHERS, SHED_NORMAL, "priority=\"normal\",reason=\"place\""),
    SHED(SHED_FOR_OTHERS, SHED_LOW, "priority=\"low\",reason=\"place\""),
    SHED(SHED_TOO_LATE, SHED_HIGH, "priority=\"high\",reason=\"timeout\""),
    SHED(SHED_TOO_LATE, SHED_NORMAL, "priority=\"normal\",reason=\"timeout\""),
    SHED(SHED_TOO_LATE, SHED_LOW, "priority=\"low\",reason=\"timeout\""),
    {AT(waiting), METRIC_GAUGE, "llm_requests_waiting", NULL, "Requests waiting for a seat.", NULL},
    {AT(running), METRIC_GAUGE, "llm_requests_running", NULL, "Requests with a seat.", NULL},

    {AT(prompt_tokens), METRIC_COUNTER, "llm_prompt_tokens_total", NULL, "Prompt tokens computed.", NULL},
    {AT(queried_tokens), METRIC_COUNTER, "llm_prefix_cache_queried_tokens_total", NULL,
     "Prompt tokens of started requests, looked for in the cache.", NULL},
    {AT(cached_tokens), METRIC_COUNTER, "llm_prefix_cache_hit_tokens_total", NULL,
     "Prompt tokens found in the cache, which are not computed.", NULL},
    {AT(generation_tokens), METRIC_COUNTER, "llm_generation_tokens_total", NULL, "Tokens generated.", NULL},
    {AT(recomputed_tokens), METRIC_COUNTER, "llm_recomputed_tokens_total", NULL,
     "Tokens computed again after a preemption.", NULL},
    {AT(preemptions), METRIC_COUNTER, "llm_preemptions_total", NULL,
     "Requests sent back to wait because KV blocks or seats ran out.", NULL},

    {AT(generation_seconds), METRIC_HISTOGRAM, "llm_generation_seconds", NULL,
     "Time from the submission of a request to its end, whatever ended it.", &request_seconds},
    {AT(first_token_seconds), METRIC_HISTOGRAM, "llm_time_to_first_token_seconds", NULL,
     "Time from submission to the first token.", &request_seconds},
    {AT(queue_seconds), METRIC_HISTOGRAM, "llm_queue_seconds", NULL,
     "Time from submission until the request is first taken into a step.", &request_seconds},
    {AT(prefill_seconds), METRIC_HISTOGRAM, "llm_prefill_seconds", NULL,
     "Time from the first step of a request to its first token.", &request_seconds},
    {AT(decode_seconds), METRIC_HISTOGRAM, "llm_decode_seconds", NULL,
     "Time from the first token of a request to its last, of all its answers.", &request_seconds},
    {AT(between_tokens_seconds), METRIC_HISTOGRAM, "llm_time_between_tokens_seconds", NULL,
     "Time between two tokens of an answer.", &token_seconds},

    {AT(request_prompt_tokens), METRIC_HISTOGRAM, "llm_request_prompt_tokens", NULL,
     "Prompt tokens of a request that was started.", &token_counts},
    {AT(request_cached_tokens), METRIC_HISTOGRAM, "llm_request_cached_tokens", NULL,
     "Prompt tokens of it that were found in the cache.", &found_counts},
    {AT(request_generation_tokens), METRIC_HISTOGRAM, "llm_request_generation_tokens", NULL,
     "Tokens generated for a request that was started, all its answers together.", &token_counts},
    {AT(request_preemptions), METRIC_HISTOGRAM, "llm_request_preemptions", NULL,
     "How often a request that was started was sent back to wait.", &preemption_counts},

    {AT(steps), METRIC_COUNTER, "llm_steps_total", NULL, "Steps run.", NULL},
    {AT(probes_finite), METRIC_COUNTER, probes, "result=\"finite\"", probes_help, NULL},
    {AT(probes_spoilt), METRIC_COUNTER, probes, "result=\"not_finite\"", probes_help, NULL},
    {AT(step_sequences), METRIC_HISTOGRAM, "llm_step_sequences", NULL, "Sequences in a step: the size of its batch.",
     &batch_sizes},
    {AT(step_tokens), METRIC_HISTOGRAM, "llm_step_tokens", NULL,
     "Tokens computed in a step, of prompts and of streams.", &step_counts},
    {AT(step_kv_usage), METRIC_HISTOGRAM, "llm_step_kv_cache_usage_ratio", NULL,
     "KV blocks in use while a step runs, 0 to 1.", &ratios},
    {AT(step_sequence_limit), METRIC_GAUGE, "llm_step_sequence_limit", NULL,
     "Sequences that a step may have (max_batch_size).", NULL},
    {AT(step_token_limit), METRIC_GAUGE, "llm_step_token_limit", NULL, "Tokens that a step may have (max_num_tokens).",
     NULL},
    {AT(host_expert_bytes), METRIC_GAUGE, "llm_host_expert_bytes", NULL,
     "Experts in the host's memory, beside a GPU (--cpu-experts).", NULL},
    {AT(itl_target), METRIC_GAUGE, "llm_itl_target_seconds", NULL,
     "What the time between two tokens is kept under (--target-itl-ms); 0: no target.", NULL},
    {AT(itl_p99), METRIC_GAUGE, "llm_itl_current_seconds", NULL,
     "The 99th percentile of the time between two tokens, as it is now; 0 without a target.", NULL},
    {AT(itl_prompt_tokens), METRIC_GAUGE, "llm_itl_prompt_token_limit", NULL,
     "Prompt tokens that the last step with streams could carry for the target; 0 without one.", NULL},
    {AT(itl_sequences), METRIC_GAUGE, "llm_itl_sequence_limit", NULL,
     "Sequences that may run for the target; 0 without one.", NULL},
    {AT(itl_missed), METRIC_COUNTER, "llm_itl_missed_steps_total", NULL,
     "Steps with streams that took longer than the target.", NULL},
    {AT(adapter_slots), METRIC_GAUGE, "llm_lora_slots_used", NULL, "Adapters on the device, or on their way there.",
     NULL},
    {AT(adapters_held), METRIC_GAUGE, "llm_lora_held", NULL, "Adapters in the host's memory.", NULL},
    {AT(adapter_bytes), METRIC_GAUGE, "llm_lora_held_bytes", NULL, "What those take.", NULL},
    {AT(adapter_loads), METRIC_COUNTER, "llm_lora_loads_total", NULL, "Adapters read from their files.", NULL},
    {AT(adapter_failures), METRIC_COUNTER, "llm_lora_load_failures_total", NULL, "Adapters that could not be.", NULL},
    {AT(adapter_evictions), METRIC_COUNTER, "llm_lora_evictions_total", NULL,
     "Adapters dropped from the host's memory for others (--max-cpu-loras).", NULL},
    {AT(adapter_placements), METRIC_COUNTER, "llm_lora_placements_total", NULL,
     "Adapters put into a slot of the device (--max-loras).", NULL},
    {AT(images), METRIC_COUNTER, "llm_images_total", NULL, "Images of requests whose images could all be read.", NULL},
    {AT(image_hits), METRIC_COUNTER, "llm_image_cache_hits_total", NULL,
     "Images that were there already, encoded or on their way: they are neither decoded nor encoded again.", NULL},
    {AT(image_misses), METRIC_COUNTER, "llm_image_cache_misses_total", NULL, "Images that were not.", NULL},
    {AT(image_evictions), METRIC_COUNTER, "llm_image_cache_evictions_total", NULL,
     "Encoded images dropped for others (--image-cache-memory).", NULL},
    {AT(image_losses), METRIC_COUNTER, "llm_image_decoder_losses_total", NULL,
     "Images whose decoder crashed, hung or answered nonsense.", NULL},
    {AT(image_prepare_seconds), METRIC_HISTOGRAM, "llm_image_prepare_seconds", NULL,
     "Time that decoding and preprocessing the images of a request took.", &request_seconds},
    {AT(image_encoder_seconds), METRIC_HISTOGRAM, "llm_image_encoder_seconds", NULL,
     "Time of a run of the encoder of images, of whosever images: they are counted runs too.", &token_seconds},
    {AT(kv_usage), METRIC_GAUGE, "llm_kv_cache_usage_ratio", NULL, "KV blocks in use, 0 to 1.", NULL},
    {AT(kv_blocks), METRIC_GAUGE, "llm_kv_cache_blocks", NULL, "KV blocks that there are.", NULL},
    {AT(cache_releases), METRIC_COUNTER, "llm_kv_cache_releases_total", NULL,
     "How often the memory of an idle KV cache was given back.", NULL},
    {AT(cache_config), METRIC_GAUGE, "llm_cache_config_info", NULL, "How the KV cache is laid out; always 1.", NULL},
};

_Static_assert(sizeof metric_definitions / sizeof *metric_definitions == METRIC_DEFINITIONS, "count the definitions");

/* vLLM's names, with its labels. Nothing is counted for them: each shows the value of one of the metrics above. Those
 * with gpu_ and time_per_output_token are its older ones, which production-stack's router and dashboards still read. */
const struct metric_vllm_name metric_vllm_names[] = {
    {AT(running), "vllm:num_requests_running", NULL},
    {AT(waiting), "vllm:num_requests_waiting", NULL},
    {AT(kv_usage), "vllm:kv_cache_usage_perc", NULL},
    {AT(kv_usage), "vllm:gpu_cache_usage_perc", NULL},
    {AT(cache_config), "vllm:cache_config_info", NULL},
    {AT(queried_tokens), "vllm:prefix_cache_queries_total", NULL},
    {AT(cached_tokens), "vllm:prefix_cache_hits_total", NULL},
    {AT(queried_tokens), "vllm:gpu_prefix_cache_queries_total", NULL},
    {AT(cached_tokens), "vllm:gpu_prefix_cache_hits_total", NULL},
    {AT(preemptions), "vllm:num_preemptions_total", NULL},
    {AT(queried_tokens), "vllm:prompt_tokens_total", NULL}, /* cached ones included, as vLLM counts */
    {AT(generation_tokens), "vllm:generation_tokens_total", NULL},
    {AT(finished_stop), "vllm:request_success_total", "finished_reason=\"stop\""},
    {AT(finished_length), "vllm:request_success_total", "finished_reason=\"length\""},
    {AT(finished_cancelled), "vllm:request_success_total", "finished_reason=\"abort\""},
    {AT(finished_failed), "vllm:request_success_total", "finished_reason=\"error\""},
    {AT(finished_refused), "vllm:request_success_total", "finished_reason=\"refused\""}, /* which vLLM does not count */
    {AT(first_token_seconds), "vllm:time_to_first_token_seconds", NULL},
    {AT(between_tokens_seconds), "vllm:inter_token_latency_seconds", NULL},
    {AT(between_tokens_seconds), "vllm:time_per_output_token_seconds", NULL},
    {AT(generation_seconds), "vllm:e2e_request_latency_seconds", NULL},
    {AT(queue_seconds), "vllm:request_queue_time_seconds", NULL},
    {AT(prefill_seconds), "vllm:request_prefill_time_seconds", NULL},
    {AT(decode_seconds), "vllm:request_decode_time_seconds", NULL},
    {AT(request_prompt_tokens), "vllm:request_prompt_tokens", NULL},
    {AT(request_generation_tokens), "vllm:request_generation_tokens", NULL},
};

_Static_assert(sizeof metric_vllm_names / sizeof *metric_vllm_names == METRIC_VLLM_NAMES, "count the names");
