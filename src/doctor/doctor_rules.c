/* The table of symptoms. Bounds of latency, refusals and preemptions are those of deploy/prometheus/spate_rules.yml. */
#include "doctor/doctor_rules.h"

#include "base/limits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HOLDS(fact, when, bound)                                                                                       \
  { fact, when, bound }
#define ABOVE(fact, bound) HOLDS(fact, WHEN_ABOVE, bound)
#define BELOW(fact, bound) HOLDS(fact, WHEN_BELOW, bound)
#define IS(fact)           ABOVE(fact, 0)
#define IS_NOT(fact)       BELOW(fact, 1)
#define MEBIBYTE           (1024.0 * 1024)
#define GIBIBYTE           (1024 * MEBIBYTE)

const struct rule doctor_rules[] = {
    /* --- machine */
    {{IS(FACT_VECTORS_LACK)},
     "This CPU has none of the vector instructions that Spate has kernels for, so scalar ones run.",
     "Use a machine with AVX2, AVX-512, AMX or NEON; in a virtual machine, let it see the host's CPU (QEMU: -cpu "
     "host)."},
    {{IS(FACT_ISA_FORCED)},
     "SPATE_ISA is set, so Spate runs the kernels that it names and not the best ones.",
     "Unset SPATE_ISA where the server starts."},
    {{ABOVE(FACT_CPU_QUOTA_REST, 0.05)},
     "The cgroup's quota is {cpu_quota} CPUs; threads are whole, so {cpu_quota_rest} of a CPU stays unused.",
     "Make the quota a whole number of CPUs (Kubernetes: resources.limits.cpu)."},
    {{ABOVE(FACT_THROTTLED, 0.05)},
     "The cgroup's CPU quota stopped its processes in {throttled} of its periods, and all threads wait for the one "
     "that is stopped.",
     "Raise the quota above {cpu_quota} CPUs, or give Spate fewer threads than that (--threads)."},
    {{ABOVE(FACT_LOAD, 1.5)},
     "{load} programs want each CPU: Spate's threads wait for each other while others run.",
     "Stop the other programs, or keep CPUs for Spate (taskset, AllowedCPUs=) and set --threads to their number."},
    {{IS(FACT_GOVERNOR_SLOW)},
     "The CPU's frequency governor is {governor}, which keeps the clock low.",
     "cpupower frequency-set -g performance"},
    {{ABOVE(FACT_NUMA_NODES, 1)},
     "The machine has {numa_nodes} memory nodes, and Spate does not place its memory: threads of one read weights "
     "from another.",
     "Run one server in each node (numactl --cpunodebind=0 --membind=0 spate serve ...)."},
    {{IS(FACT_HUGE_PAGES_OFF)},
     "Huge pages are switched off, so the KV cache is read through pages of 4 KiB.",
     "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"},
    {{BELOW(FACT_DESCRIPTORS, 1256)},
     "{descriptors} file descriptors are allowed, fewer than the default 1000 connections and what else is open "
     "need.",
     "Raise the hard limit (ulimit -Hn 65536, LimitNOFILE=65536), or set --limit-concurrency lower."},
    {{BELOW(FACT_DISK, GIBIBYTE)},
     "{disk} are free where engines are cached, less than most engines take.",
     "Free some, name another folder with --cache-dir, or bound the cache with --cache-limit."},
    {{BELOW(FACT_MEMORY_AVAILABLE, 0.5 * GIBIBYTE)},
     "{memory_available} of memory are available.",
     "End other programs, or raise the cgroup's limit (memory.max)."},
    {{BELOW(FACT_DRIVER_VERSION, 580), IS(FACT_GPUS)},
     "The GPU's driver is {driver}; CUDA 13, which Spate's kernels are built with, asks for 580.",
     "Install a driver of the branch 580 or later, or run on the CPU with --device cpu."},

    /* --- engine */
    {{IS(FACT_ENGINE_REFUSED)},
     "A build of this model with default options would be refused: {problem}",
     "docs/troubleshooting.md has what is behind each sentence."},
    {{IS(FACT_TARGET_AWAY)},
     "The engine is packed for {target}, and this machine shows no such device.",
     "Build it for this machine: spate build MODEL --target cpu -o ENGINE"},
    {{IS(FACT_TARGET_SLOW)},
     "The engine is packed for {target}, and this machine has a GPU ({gpu}).",
     "Build it for the GPU: spate build MODEL --target cuda -o ENGINE"},
    {{ABOVE(FACT_MEMORY_SHARE, 1), ABOVE(FACT_AVERAGE_BITS, 6)},
     "Serving it takes {memory_needed} with one sequence, and {memory_open} are available.",
     "Build with --quant-mode INT4_WEIGHT (now {average_bits} bits a weight), or with a lower --max-seq-len than "
     "{max_seq_len}."},
    {{ABOVE(FACT_MEMORY_SHARE, 1), BELOW(FACT_AVERAGE_BITS, 6)},
     "Serving it takes {memory_needed} with one sequence, and {memory_open} are available.",
     "Build with a lower --max-seq-len than {max_seq_len}, choose a smaller model, or add memory."},
    {{ABOVE(FACT_HOST_SHARE, 1)},
     "The experts of {cpu_experts} layers take {host_experts} of this machine's memory, and {memory_available} are "
     "available.",
     "Give --cpu-experts fewer than {cpu_experts} layers, free some memory, or add some."},
    {{BELOW(FACT_SEATS_FILLED, 0.5), BELOW(FACT_MEMORY_SHARE, 1)},
     "The KV cache of {kv_cache} holds {kv_sequences} sequences of {context} tokens; the engine has "
     "{max_batch_size} seats.",
     "--kv-cache-memory {kv_wanted#} fills them; --kv-cache-dtype int8 or fp8 takes about half; or start the server "
     "with --max-batch-size {kv_sequences#}."},
    {{ABOVE(FACT_KL, 0.1)},
     "Its answers are far from the unquantized model's: {mean_kl} nats a token, the same first choice in {same_top}.",
     "Build with --quant-algo GPTQ, with --quant-mode auto and more --target-bits than {average_bits}, or "
     "INT8_WEIGHT."},

    /* --- server */
    {{ABOVE(FACT_HEALTH, 399)},
     "The server says that its engine makes no progress, or computes no finite numbers.",
     "Read the last lines of its log, which say what is wrong, then restart it; --stall-timeout is how long a "
     "step may take."},
    {{ABOVE(FACT_READY, 399), BELOW(FACT_HEALTH, 400), IS_NOT(FACT_ASLEEP)},
     "The server takes no new work: it is stopping.",
     "Send requests to another server, or start it again."},
    {{IS(FACT_ASLEEP)},
     "The server sleeps: its engine's memory is given back, and requests are answered 503.",
     "POST /wake_up with a key of --admin-key opens the engine again."},
    {{BELOW(FACT_STEPS_BETWEEN, 1), IS(FACT_RUNNING)},
     "{running} requests run, and no step ended in the time that was looked at.",
     "Look whether the machine swaps or the device hangs, then restart the server."},
    {{ABOVE(FACT_FAILED, 0.01)},
     "Requests end by an error or by their timeout_s.",
     "The log has a sentence for each; where it is timeout_s, raise that, or lower the load."},
    {{ABOVE(FACT_SERVER_ERRORS, 0.01), BELOW(FACT_FAILED, 0.01)},
     "Answers are 5xx though few requests fail: the server refused connections or bodies, slept, or was stopping.",
     "Where http_requests_refused_total counts connections, raise --limit-concurrency; where it counts bodies, add a "
     "server, or send smaller ones; http_requests_total tells the paths."},
    {{ABOVE(FACT_BUSY, 0.01)},
     "Requests are answered 429: the queue is full.",
     "Raise --max-queue and --max-queue-tokens where clients can wait; otherwise add a server, or remove what the "
     "other findings name."},
    {{ABOVE(FACT_OUTRANKED, 0.01)},
     "Requests are answered 429: the queue is full, and those of a better priority take their places.",
     "Raise --max-queue and --max-queue-tokens where clients can wait, give fewer requests a better priority "
     "(--min-priority bounds it), or add a server."},
    {{ABOVE(FACT_TOO_LATE, 0.01)},
     "Requests are answered 429: their timeout_s would be over before they begin.",
     "Raise the clients' timeout_s, or add a server; the queue need not be longer."},
    {{ABOVE(FACT_CROWDED, 0.01)},
     "Connections are answered 429: their address has as many as one may have.",
     "Raise --max-connections-per-ip behind a proxy; elsewhere let clients use the connections that they have."},
    {{ABOVE(FACT_TEXTS_REFUSED, 0.01)},
     "Texts are answered 429: as many wait for their tokens as may.",
     "Send fewer texts to /tokenize and /detokenize at once, or shorter ones, or add a server."},
    {{ABOVE(FACT_REFUSED, 0.01)},
     "Requests are refused: their prompts or max_tokens do not fit the engine, or a field is wrong.",
     "Build with a higher --max-input-len and --max-seq-len, or shorten the prompts; each answer says which."},
    {{ABOVE(FACT_UNAUTHORIZED, 0.05)},
     "Requests come without an API key that is known.",
     "Compare the clients' keys with --api-key (SPATE_API_KEY)."},
    {{ABOVE(FACT_CANCELLED, 0.1)},
     "Clients leave before their answer is whole.",
     "Raise the clients' (or the proxy's) timeout, let them stream, or lower their max_tokens."},
    {{ABOVE(FACT_QUEUE_P99, 5), ABOVE(FACT_KV_USED, 0.9)},
     "Requests wait long before they start, and the KV cache is full ({kv_used}).",
     "Raise --kv-cache-memory or --free-gpu-memory-fraction so that it holds {cache_tokens*2} tokens, or take about "
     "half for each with --kv-cache-dtype int8 or fp8 (now {cache_type})."},
    {{ABOVE(FACT_QUEUE_P99, 5), BELOW(FACT_KV_USED, 0.9), BELOW(FACT_PROMPT_SHARE, 0.8)},
     "Requests wait long before they start, and the KV cache has room ({kv_used} used): seats run out.",
     "Start the server with --max-batch-size {sequence_limit*2} (now {sequence_limit}; steps have {step_sequences} "
     "sequences), or add a server."},
    {{ABOVE(FACT_QUEUE_P99, 5), BELOW(FACT_KV_USED, 0.9), ABOVE(FACT_PROMPT_SHARE, 0.8)},
     "Requests wait long before they start: steps are full of prompts ({prompt_share} of their tokens).",
     "Start the server with --max-num-tokens {token_limit*2} (now {token_limit}), put what prompts share at their "
     "beginning, or add a server."},
    {{ABOVE(FACT_PREEMPTIONS, 0.1)},
     "Requests are sent back to wait, and what they had computed is computed again: KV blocks run out.",
     "Raise --kv-cache-memory so that it holds {cache_tokens*2} tokens, set --kv-cache-dtype int8 or fp8 (now "
     "{cache_type}), or start the server with a lower --max-batch-size."},
    {{IS(FACT_REUSE_OFF), ABOVE(FACT_FIRST_P99, 2)},
     "First tokens are late, and prompts that begin alike are computed anew each time.",
     "Start the server with --enable-block-reuse."},
    {{ABOVE(FACT_FIRST_P99, 2), ABOVE(FACT_QUEUE_SHARE, 0.5), BELOW(FACT_QUEUE_P99, 5)},
     "First tokens are late, most of it ({queue_share}) waiting for a seat.",
     "Start the server with a higher --max-batch-size if the KV cache has room ({kv_used} used), else raise "
     "--kv-cache-memory; or add a server."},
    {{ABOVE(FACT_FIRST_P99, 2), BELOW(FACT_QUEUE_SHARE, 0.5), BELOW(FACT_PREFIX_HITS, 0.1)},
     "First tokens are late, most of it computing prompts, of which the cache had {prefix_hits}.",
     "Put what prompts share at their beginning, byte for byte and with one cache_salt; start the server with "
     "--max-num-tokens {token_limit*2} (now {token_limit}), or with --quant-mode W8A8, whose prompts are faster."},
    {{ABOVE(FACT_FIRST_P99, 2), BELOW(FACT_QUEUE_SHARE, 0.5), ABOVE(FACT_PREFIX_HITS, 0.1)},
     "First tokens are late, most of it computing prompts, though the cache had {prefix_hits} of them.",
     "Start the server with --max-num-tokens {token_limit*2} (now {token_limit}), or with --quant-mode W8A8, whose "
     "prompts are faster; or use a faster device."},
    {{ABOVE(FACT_GAP_P99, 0.2), ABOVE(FACT_PROMPT_SHARE, 0.5)},
     "Tokens come slowly after one another, in steps that carry prompts too ({prompt_share} of their tokens).",
     "Start the server with --target-itl-ms 200, which shortens steps as they need it, or with --max-num-tokens "
     "{token_limit/2} (now {token_limit}) for good."},
    {{ABOVE(FACT_GAP_P99, 0.2), BELOW(FACT_PROMPT_SHARE, 0.5)},
     "Tokens come slowly after one another, in steps of {step_sequences} sequences with few prompts beside them.",
     "Build with --quant-mode INT4_WEIGHT or INT8_WEIGHT, which read less, or with a lower --max-batch-size; or use "
     "a faster device."},
    {{ABOVE(FACT_GAP_RATIO, 5), ABOVE(FACT_GAP_P99, 0.05), BELOW(FACT_GAP_P99, 0.2)},
     "Streams stutter: the slowest of 100 tokens takes {gap_ratio} times as long as most ({gap_p99} against "
     "{gap_p50}).",
     "Start the server with --target-itl-ms, or --max-num-tokens {token_limit/2} (now {token_limit}), if prompts come "
     "meanwhile ({prompt_share} of the tokens), else look what else runs there."},
    {{ABOVE(FACT_GAP_FLOORS, 4), BELOW(FACT_STEP_SEQUENCES, 8), BELOW(FACT_PROMPT_SHARE, 0.5)},
     "A step takes {gap_floors} times as long as reading the weights once ({gap_p50} against {step_floor}).",
     "See that nothing else runs on these CPUs (load {load}) and that the server has --threads {cpus}; spate bench "
     "ENGINE lists ops that run on slow paths."},
    {{IS(FACT_IGNORED_FIELDS)},
     "Clients send {ignored_fields} fields that the server does not know, and ignores.",
     "Compare what they send with docs/http-api.md."},
    {{IS(FACT_SPANS_LOST)},
     "{spans_lost} spans did not reach the collector of traces.",
     "See that it runs where --otlp-traces-endpoint says, and what it answers."},
};

const int doctor_rule_count = sizeof doctor_rules / sizeof *doctor_rules;

static bool condition_holds(const struct rule_condition *condition, const struct facts *facts) {
  double value = facts->value[condition->fact];
  if (condition->when == WHEN_NONE) return true;
  if (!facts->known[condition->fact]) return false;
  return condition->when == WHEN_ABOVE ? value > condition->bound : value < condition->bound;
}

bool rule_holds(const struct rule *rule, const struct facts *facts) {
  bool holds = true;
  for (int i = 0; i < RULE_CONDITIONS; i++) holds = holds && condition_holds(&rule->condition[i], facts);
  return holds;
}

/* Where serve would refuse another value of its option: a step has a token for each of its sequences. */
static double option_clamp(const struct facts *facts, enum fact_id id, double value) {
  double sequences = facts->known[FACT_SEQUENCE_LIMIT] ? facts->value[FACT_SEQUENCE_LIMIT] : 1;
  double tokens = facts->known[FACT_TOKEN_LIMIT] ? facts->value[FACT_TOKEN_LIMIT] : LIMIT_STEP_TOKENS;
  if (id == FACT_TOKEN_LIMIT) return fmin(fmax(value, sequences), LIMIT_STEP_TOKENS);
  if (id == FACT_SEQUENCE_LIMIT) return fmin(fmin(value, tokens), LIMIT_BATCH_SIZE);
  return id == FACT_KV_SEQUENCES ? fmax(value, 1) : value;
}

/* What stands between braces: a fact's name, and perhaps how it is shown. False when there is no such fact. */
static bool value_print(const struct facts *facts, const char *name, int size, char value[FACT_TEXT_MAX]) {
  int suffix = size > 2 && name[size - 1] == '2' ? 2 : size > 1 && name[size - 1] == '#' ? 1 : 0;
  char how = suffix ? name[size - suffix] : '\0';
  enum fact_id id = fact_named(name, size - suffix);
  if (id == FACT_COUNT || (suffix == 2 && how != '*' && how != '/')) return false;
  enum fact_unit unit = fact_definitions[id].unit;
  double factor = how == '*' ? 2 : how == '/' ? 0.5 : 1;
  if (!suffix || !facts->known[id])
    fact_print(facts, id, value);
  else if (how == '#' && unit == UNIT_BYTES)
    snprintf(value, FACT_TEXT_MAX, "%.0fM", ceil(facts->value[id] / MEBIBYTE));
  else
    fact_print_value(unit, option_clamp(facts, id, ceil(facts->value[id] * factor)), value);
  return true;
}

bool rule_sentence(const char *sentence, const struct facts *facts, char out[RULE_TEXT_MAX]) {
  size_t have = 0;
  out[0] = '\0';
  while (*sentence && have < RULE_TEXT_MAX - 1) {
    char value[FACT_TEXT_MAX] = "";
    int plain = (int)strcspn(sentence, "{"), name = 0;
    if (sentence[plain] == '{') {
      name = (int)strcspn(sentence + plain, "}");
      if (sentence[plain + name] == '\0' || !value_print(facts, sentence + plain + 1, name - 1, value)) return false;
    }
    int wrote = snprintf(out + have, RULE_TEXT_MAX - have, "%.*s%s", plain, sentence, value);
    have += wrote > 0 ? (size_t)wrote : 0;
    sentence += plain + (name ? name + 1 : 0);
  }
  return true;
}
