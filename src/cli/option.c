/* The option table and its parser: "--name value", "--name=value", short names with a value, flags. */
#include "cli/option.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* UNSET is a flag that takes back another one. */
enum option_kind {
  OPTION_FLAG,
  OPTION_UNSET,
  OPTION_INT,
  OPTION_SEED,
  OPTION_REAL,
  OPTION_BYTES,
  OPTION_TEXT,
  OPTION_LIST
};

struct option {
  const char *name;
  char letter; /* short form, or 0 */
  enum option_kind kind;
  unsigned commands;
  size_t field; /* offset in struct settings */
  size_t given; /* offset of a bool set when the option is given; 0: none (the first field is not a bool) */
  const char *value, *help;
};

#define AT(field)     offsetof(struct settings, field)
#define PLAIN(field)  AT(field), 0
#define MARKED(field) AT(field), AT(has_##field)

static const struct option options[] = {
    {"output", 'o', OPTION_TEXT, FOR_BUILD, PLAIN(output), "FILE", "the engine file to write"},
    {"quant-mode", 0, OPTION_TEXT, FOR_LIMITS, PLAIN(quant_mode), "MODE",
     "FP32, FP16, BF16, INT8_WEIGHT, INT4_WEIGHT, FP8, W8A8 or auto (default: as the model's file is)"},
    {"quant-algo", 0, OPTION_TEXT, FOR_LIMITS, PLAIN(quant_algo), "NAME",
     "how integers are found: RTN (to nearest, default), AWQ, GPTQ or SMOOTHQUANT"},
    {"quant-override", 0, OPTION_TEXT, FOR_LIMITS, PLAIN(quant_override), "LIST",
     "modes of single weights, such as lm_head=INT8_WEIGHT,*.down_proj=BF16; the last that matches wins"},
    {"target-bits", 0, OPTION_REAL, FOR_LIMITS, PLAIN(target_bits), "BITS",
     "of quant-mode auto: what a number of the matrices may take on average, such as 4.5"},
    {"emulate", 0, OPTION_FLAG, FOR_LIMITS, PLAIN(emulate), 0, "run FP8 as floats where there is no such arithmetic"},
    {"calib-data", 0, OPTION_TEXT, FOR_LIMITS, PLAIN(calib_data), "FILE",
     "text that AWQ, GPTQ and SMOOTHQUANT watch the model read (default: one that comes with Spate)"},
    {"max-batch-size", 0, OPTION_INT, FOR_LIMITS, PLAIN(max_batch_size), "N", "sequences in one step (default 32)"},
    {"opt-batch-size", 0, OPTION_INT, FOR_LIMITS, PLAIN(opt_batch_size), "N",
     "decode batch that kernel choices are timed at (default 16, at most max-batch-size)"},
    {"max-input-len", 0, OPTION_INT, FOR_LIMITS, PLAIN(max_input_len), "N",
     "tokens of a prompt (default max-seq-len - 1)"},
    {"max-seq-len", 0, OPTION_INT, FOR_LIMITS, PLAIN(max_seq_len), "N",
     "tokens of a prompt and its answer (default 8192 or the model's longest)"},
    {"max-num-tokens", 0, OPTION_INT, FOR_LIMITS, PLAIN(max_num_tokens), "N",
     "tokens of one step (default 512, at least max-batch-size)"},
    {"kv-cache-type", 0, OPTION_TEXT, FOR_LIMITS, PLAIN(kv_cache_type), "TYPE", "PAGED (default) or CONTIGUOUS"},
    {"target", 0, OPTION_TEXT, FOR_BUILD, PLAIN(target), "NAME", "what to pack for: cpu (default) or cuda"},

    {"threads", 't', OPTION_INT, FOR_ENGINE | FOR_TABLE, PLAIN(threads), "N",
     "compute threads (default: what affinity and the cgroup's quota allow)"},
    {"free-gpu-memory-fraction", 0, OPTION_REAL, FOR_ENGINE, PLAIN(memory_fraction), "F",
     "of the available memory for the KV cache (default 0.3 on a CPU)"},
    {"kv-cache-memory", 0, OPTION_BYTES, FOR_ENGINE, PLAIN(kv_cache_memory), "BYTES",
     "KV cache in bytes, with an optional K, M or G; overrides the fraction"},
    {"kv-cache-dtype", 0, OPTION_TEXT, FOR_ENGINE, PLAIN(kv_cache_dtype), "TYPE",
     "fp16, bf16, fp32, fp8, int8 or auto (default: fp32 for an FP32 engine, else bf16 on AMX, fp16 elsewhere)"},
    {"block-size", 0, OPTION_INT, FOR_ENGINE, PLAIN(block_size), "N",
     "tokens of a KV block, a power of two up to 256 (default 16)"},
    {"backend", 0, OPTION_TEXT, FOR_ENGINE, PLAIN(backend), "NAME",
     "the engine's target (default: cpu or cuda), reference (exact), null (no arithmetic) or late (cpu, a step late)"},
    {"no-fuse", 0, OPTION_FLAG, FOR_ENGINE, PLAIN(no_fuse), 0,
     "run every op alone, by its definition in double precision: slow, to compare with when an answer looks wrong"},
    {"batch-invariant", 0, OPTION_FLAG, FOR_ENGINE, PLAIN(batch_invariant), 0,
     "an answer's bytes depend on nothing else in its steps: always so on a CPU, slower on a GPU"},
    {"device", 0, OPTION_TEXT, FOR_ENGINE | FOR_TABLE, PLAIN(device), "NAME",
     "cpu, cuda or auto (default): the GPU when there is one; an engine file has its own"},
    {"cache-dir", 0, OPTION_TEXT, FOR_ENGINE, PLAIN(cache_dir), "DIR",
     "where engines built from models are kept (default ~/.cache/spate)"},
    {"cache-limit", 0, OPTION_BYTES, FOR_ENGINE, PLAIN(cache_limit), "BYTES",
     "what they may take together; those used longest ago are removed (default: any number)"},
    {"max-queue", 0, OPTION_INT, FOR_SERVE, PLAIN(max_queue), "N",
     "requests that may wait; more are answered 429 (default 1024)"},
    {"max-queue-tokens", 0, OPTION_INT, FOR_SERVE, PLAIN(max_queue_tokens), "N",
     "tokens of their prompts and answers; more are answered 429 (default 16 x max-batch-size x max-seq-len)"},
    {"stall-timeout", 0, OPTION_REAL, FOR_SERVE, PLAIN(stall_timeout), "SECONDS",
     "work that waits so long without a step ending makes /health answer 503 (default 60)"},
    {"scheduler", 0, OPTION_TEXT, FOR_SERVE, PLAIN(scheduler), "POLICY",
     "continuous (default), dynamic (batches form within a delay) or static (full batches)"},
    {"batch-delay-ms", 0, OPTION_INT, FOR_SERVE, PLAIN(batch_delay_ms), "MS",
     "how long a dynamic batch waits for more requests (default 10)"},
    {"enable-block-reuse", 0, OPTION_UNSET, FOR_ENGINE, PLAIN(no_block_reuse), 0,
     "compute a prefix once for all prompts that share it (default)"},
    {"no-enable-block-reuse", 0, OPTION_FLAG, FOR_ENGINE, PLAIN(no_block_reuse), 0, "compute every prompt whole"},
    {"tensor-parallel-size", 0, OPTION_INT, FOR_ENGINE, PLAIN(tensor_parallel_size), "N",
     "devices that share one model (only 1 exists so far)"},

    {"host", 0, OPTION_TEXT, FOR_SERVE, PLAIN(host), "ADDRESS", "to listen on (default 127.0.0.1)"},
    {"port", 0, OPTION_INT, FOR_SERVE, MARKED(port), "N", "to listen on; 0: any free one (default 8000)"},
    {"workers", 0, OPTION_INT, FOR_SERVE, PLAIN(workers), "N", "network threads (default 1)"},
    {"timeout-keep-alive", 0, OPTION_INT, FOR_SERVE, MARKED(keep_alive), "SECONDS",
     "how long an idle connection stays open; 0: each response ends its connection (default 30)"},
    {"limit-concurrency", 0, OPTION_INT, FOR_SERVE, PLAIN(limit_concurrency), "N",
     "connections at once; more are answered 503 (default 1000)"},
    {"max-connections-per-ip", 0, OPTION_INT, FOR_SERVE, PLAIN(max_connections_per_ip), "N",
     "connections of one address at once; more are answered 429 (default: any number)"},
    {"uds", 0, OPTION_TEXT, FOR_SERVE, PLAIN(uds), "PATH",
     "listen on a Unix socket that only this user may connect to, instead of on an address"},
    {"tls-cert", 0, OPTION_TEXT, FOR_SERVE, PLAIN(tls_cert), "FILE",
     "serve HTTPS with this certificate and its chain, in PEM form"},
    {"tls-key", 0, OPTION_TEXT, FOR_SERVE, PLAIN(tls_key), "FILE", "the certificate's key, in PEM form"},
    {"root-path", 0, OPTION_TEXT, FOR_SERVE, PLAIN(root_path), "PATH",
     "what a proxy puts before the paths, which exist with and without it"},
    {"allowed-origins", 0, OPTION_TEXT, FOR_SERVE, PLAIN(allowed_origins), "ORIGINS",
     "web pages that may read the answers, with commas, or * for all (default: none)"},
    {"allowed-methods", 0, OPTION_TEXT, FOR_SERVE, PLAIN(allowed_methods), "METHODS",
     "what those pages may send, with commas, or * for all (default: GET)"},
    {"allowed-headers", 0, OPTION_TEXT, FOR_SERVE, PLAIN(allowed_headers), "NAMES",
     "what those pages may send, with commas, or * for all (default: those that need no leave)"},
    {"allow-credentials", 0, OPTION_FLAG, FOR_SERVE, PLAIN(allow_credentials), 0,
     "those pages may send cookies and certificates"},
    {"api-key", 0, OPTION_TEXT, FOR_SERVE, PLAIN(api_key), "KEYS",
     "asked for on every path but health; several with commas (default: $SPATE_API_KEY, or none is asked for)"},
    {"shutdown-timeout", 0, OPTION_INT, FOR_SERVE, MARKED(shutdown_timeout), "SECONDS",
     "what running requests get to finish after SIGTERM; a second signal ends them (default 30)"},
    {"log-level", 0, OPTION_TEXT, FOR_SERVE, PLAIN(log_level), "LEVEL", "error, warning, info (default) or debug"},
    {"log-format", 0, OPTION_TEXT, FOR_SERVE, PLAIN(log_format), "FORMAT", "text (default) or json: an object a line"},
    {"log-prompts", 0, OPTION_FLAG, FOR_SERVE, PLAIN(log_prompts), 0,
     "write the beginning of each prompt to the log, which holds none otherwise"},

    {"prompt", 'p', OPTION_TEXT, FOR_GENERATE | FOR_TOKENIZE, PLAIN(prompt), "TEXT",
     "the prompt, taken as it is; without it, standard input is read"},
    {"system", 0, OPTION_TEXT, FOR_CHAT, PLAIN(system), "TEXT", "the system message that begins the conversation"},
    {"max-tokens", 'n', OPTION_INT, FOR_SAMPLING, MARKED(max_tokens), "N",
     "tokens to generate at most (default 256; chat: what max-seq-len leaves)"},
    {"temperature", 0, OPTION_REAL, FOR_SAMPLING, MARKED(temperature), "T", "0 is greedy (default: the model's, or 1)"},
    {"top-k", 0, OPTION_INT, FOR_SAMPLING, MARKED(top_k), "K", "draw from the K likeliest tokens (default: off)"},
    {"top-p", 0, OPTION_REAL, FOR_SAMPLING, MARKED(top_p), "P",
     "draw from the likeliest tokens of mass P (default: off)"},
    {"seed", 0, OPTION_SEED, FOR_SAMPLING, MARKED(seed), "N", "makes the draw repeatable (default: random)"},
    {"min-p", 0, OPTION_REAL, FOR_SAMPLING, MARKED(min_p), "P",
     "draw from tokens at least P times as likely as the likeliest (default: off)"},
    {"typical-p", 0, OPTION_REAL, FOR_SAMPLING, MARKED(typical_p), "P",
     "draw from the most typical tokens of mass P (default: off)"},
    {"repetition-penalty", 0, OPTION_REAL, FOR_SAMPLING, MARKED(repetition_penalty), "R",
     "divides the logits of tokens that were there before (default: the model's, or 1)"},
    {"frequency-penalty", 0, OPTION_REAL, FOR_SAMPLING, PLAIN(frequency_penalty), "R",
     "taken from a token's logit for each time it was generated (default 0)"},
    {"presence-penalty", 0, OPTION_REAL, FOR_SAMPLING, PLAIN(presence_penalty), "R",
     "taken from the logit of a token that was generated (default 0)"},
    {"min-tokens", 0, OPTION_INT, FOR_SAMPLING, PLAIN(min_tokens), "N", "tokens to generate at least (default 0)"},
    {"ignore-eos", 0, OPTION_FLAG, FOR_SAMPLING, PLAIN(ignore_eos), 0, "go on when the model would end"},
    {"stop", 0, OPTION_LIST, FOR_SAMPLING, PLAIN(stop), "TEXT", "end before this text; may be given 16 times"},
    {"include-stop", 0, OPTION_FLAG, FOR_SAMPLING, PLAIN(include_stop), 0, "print the text that ended it too"},
    {"bad-word", 0, OPTION_LIST, FOR_SAMPLING, PLAIN(bad_words), "TEXT",
     "never generate this text; may be given 16 times"},

    {"eval", 0, OPTION_TEXT, FOR_BUILD, PLAIN(eval_text), "FILE",
     "write into the manifest how well the engine predicts this text"},
    {"eval-against", 0, OPTION_TEXT, FOR_BUILD, PLAIN(eval_against), "ENGINE",
     "and how far it is from this engine, or from the FP32 engine of this model"},
    {"text", 0, OPTION_TEXT, FOR_LOSS, PLAIN(text), "FILE", "a text to predict: perplexity"},
    {"window", 0, OPTION_INT, FOR_LOSS, PLAIN(window), "N",
     "tokens of it that see each other (default 1024, at most max-seq-len)"},
    {"tokens", 0, OPTION_INT, FOR_LOSS, PLAIN(eval_tokens), "N", "of it, from its start (default: all)"},
    {"against", 0, OPTION_TEXT, FOR_EVAL, PLAIN(against), "ENGINE",
     "compare with this engine, or with the FP32 engine of this model: KL divergence, same first choices"},
    {"task", 0, OPTION_TEXT, FOR_EVAL, PLAIN(task), "FILE",
     "questions in JSON lines, in the layout of MMLU, ARC or GSM8K: accuracy"},
    {"shots", 0, OPTION_TEXT, FOR_EVAL, PLAIN(shots), "FILE", "such questions that stand answered before each"},
    {"limit", 0, OPTION_INT, FOR_EVAL, PLAIN(max_items), "N", "questions of the task, from its start (default: all)"},
    {"json", 0, OPTION_TEXT, FOR_LOSS, PLAIN(json_file), "FILE", "write the results there, as JSON"},
    {"plot", 0, OPTION_TEXT, FOR_LOSS, PLAIN(plot), "FILE", "draw loss against speed and size there, as SVG"},
    {"result", 0, OPTION_LIST, FOR_LOSS, PLAIN(results), "FILE",
     "a file that --json wrote, for the plot too; may be given 16 times"},

    {"batch", 0, OPTION_TEXT, FOR_BENCH, PLAIN(batch), "N",
     "sequences decoded together (default 1); --random: several"},
    {"random", 0, OPTION_TEXT, FOR_BENCH, PLAIN(random), "NAME",
     "a known network with random weights: llama-3.1-8b, llama-2-7b, llama-3.2-1b, qwen3-8b, ..."},
    {"context", 0, OPTION_INT, FOR_BENCH, MARKED(context), "N",
     "tokens in the cache of each sequence of a random network (default 1024)"},
    {"beside", 0, OPTION_INT, FOR_BENCH, PLAIN(beside), "N", "--random: each batch also beside N of a prompt"},
    {"prompt-tokens", 0, OPTION_INT, FOR_BENCH | FOR_TABLE, MARKED(prompt_tokens), "N",
     "of each sequence (default 512; --random: 2048, or 0 for none)"},
    {"decode-tokens", 0, OPTION_INT, FOR_BENCH | FOR_TABLE, MARKED(decode_tokens), "N", "the same (default 128)"},
    {"repeat", 0, OPTION_INT, FOR_BENCH | FOR_TABLE, MARKED(repeat), "N",
     "runs that the medians are over (default 3; --random: 20)"},
    {"api", 0, OPTION_TEXT, FOR_LOAD, PLAIN(api), "NAME",
     "generate (default), or OpenAI's completions or chat, which other servers have too"},
    {"model", 0, OPTION_TEXT, FOR_LOAD, PLAIN(served_model), "NAME", "what requests name (default: they name none)"},
    {"api-key", 0, OPTION_TEXT, FOR_LOAD, PLAIN(api_key), "KEY", "what the server asks for (default: $SPATE_API_KEY)"},
    {"clients", 0, OPTION_TEXT, FOR_LOAD, PLAIN(clients), "LIST",
     "a closed loop: that many ask again once they have their answer (default 8); 1,8,32: one load after another"},
    {"rate", 0, OPTION_TEXT, FOR_LOAD, PLAIN(rate), "LIST",
     "an open loop: that many requests a second, whatever becomes of them; 1,2.5,4: one load after another"},
    {"arrivals", 0, OPTION_TEXT, FOR_LOAD, PLAIN(arrivals), "NAME", "of the open loop: poisson (default) or even"},
    {"requests", 0, OPTION_INT, FOR_LOAD, MARKED(requests), "N", "of each load (default 100)"},
    {"input-tokens", 0, OPTION_TEXT, FOR_LOAD, PLAIN(input_tokens), "LENGTH",
     "of prompts: N, or MEAN:SPREAD of a log-normal distribution (default 161:1, like ShareGPT)"},
    {"output-tokens", 0, OPTION_TEXT, FOR_LOAD, PLAIN(output_tokens), "LENGTH", "of answers: the same (default 338:1)"},
    {"seed", 0, OPTION_SEED, FOR_LOAD, MARKED(seed), "N", "of lengths, words and times (default 0)"},
    {"trace", 0, OPTION_TEXT, FOR_LOAD, PLAIN(trace), "FILE",
     "requests from there, as lines of JSON with prompt or input_tokens, max_tokens, at and client"},
    {"allow-eos", 0, OPTION_FLAG, FOR_LOAD, PLAIN(allow_eos), 0, "answers may end before they have their tokens"},
    {"timeout", 0, OPTION_REAL, FOR_LOAD, MARKED(timeout), "SECONDS", "a request fails after that (default 600)"},
    {"slo", 0, OPTION_TEXT, FOR_LOAD, PLAIN(slo), "LIST",
     "goodput: what is within these milliseconds, such as ttft=400,itl=30,e2e=5000"},
    {"record", 0, OPTION_TEXT, FOR_LOAD, PLAIN(record), "FILE", "write every request's times there, as lines of JSON"},
    {"all-outputs", 0, OPTION_FLAG, FOR_BENCH, PLAIN(all_outputs), 0, "prefill computes the logits of every token"},
    {"machine", 0, OPTION_FLAG, FOR_BENCH, PLAIN(machine), 0, "measure this machine's limits, without a model"},
    {"json", 0, OPTION_FLAG, FOR_BENCH | FOR_LOAD | FOR_INSPECT | FOR_TOKENIZE, PLAIN(json), 0, "print JSON"},
    {"no-special", 0, OPTION_FLAG, FOR_TOKENIZE, PLAIN(no_special), 0, "add no BOS or EOS"},
    {"help", 'h', OPTION_FLAG, ~0u, PLAIN(help), 0, "print this"},
};

enum { OPTION_COUNT = sizeof options / sizeof *options };

static bool refuse(char text[512], const char *given, const struct option *option, const char *expected) {
  snprintf(text, 512, "--%s is \"%.100s\", expected %s.", option->name, given, expected);
  return false;
}

static bool number_parse(const char *given, double *value) {
  char *end;
  errno = 0;
  *value = strtod(given, &end);
  return *given && *end == '\0' && errno == 0 && isfinite(*value);
}

/* Digits alone; *end is what follows them. */
static bool digits_parse(const char *given, uint64_t *value, char **end) {
  errno = 0;
  *value = strtoull(given, end, 10);
  return given[0] >= '0' && given[0] <= '9' && errno == 0;
}

/* Up to INT64_MAX, as in a request over HTTP. */
static bool seed_parse(const char *given, uint64_t *value) {
  char *end;
  return digits_parse(given, value, &end) && *end == '\0' && *value <= INT64_MAX;
}

static bool bytes_parse(const char *given, uint64_t *bytes) {
  char *end;
  uint64_t count;
  if (!digits_parse(given, &count, &end)) return false;
  int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
  if (end[shift ? 1 : 0] != '\0') return false;
  *bytes = count << shift;
  return *bytes >> shift == count;
}

static bool list_add(struct text_list *list, const struct option *option, const char *given, char text[512]) {
  if (list->count < TEXT_LIST_MAX) {
    list->text[list->count++] = given;
    return true;
  }
  snprintf(text, 512, "--%s was given more than %d times.", option->name, TEXT_LIST_MAX);
  return false;
}

static bool int_store(int *field, const struct option *option, const char *given, char text[512]) {
  double number;
  if (!number_parse(given, &number) || number != floor(number) || fabs(number) > 1e9)
    return refuse(text, given, option, "a whole number");
  *field = (int)number;
  return true;
}

static bool value_store(struct settings *settings, const struct option *option, const char *given, char text[512]) {
  char *base = (char *)settings;
  void *field = base + option->field;
  if (option->given) *(bool *)(void *)(base + option->given) = true;
  switch (option->kind) {
  case OPTION_FLAG:
  case OPTION_UNSET: *(bool *)field = option->kind == OPTION_FLAG; return true;
  case OPTION_TEXT: *(const char **)field = given; return true;
  case OPTION_LIST: return list_add(field, option, given, text);
  case OPTION_INT: return int_store(field, option, given, text);
  case OPTION_REAL: return number_parse(given, field) || refuse(text, given, option, "a number");
  case OPTION_SEED:
    return seed_parse(given, field) || refuse(text, given, option, "a whole number from 0 to 9223372036854775807");
  case OPTION_BYTES: return bytes_parse(given, field) || refuse(text, given, option, "bytes such as 512M");
  }
  return false;
}

/* --name, --name=value or -x; NULL when the command has no such option. *value is what follows '=', or NULL. */
static const struct option *option_find(unsigned command, const char *argument, const char **value) {
  const char *equals = strchr(argument, '=');
  bool is_long = argument[1] == '-';
  size_t size = is_long ? (equals ? (size_t)(equals - argument) : strlen(argument)) - 2 : 1;
  *value = is_long && equals ? equals + 1 : NULL;
  for (int i = 0; i < OPTION_COUNT; i++) {
    if (!(options[i].commands & command)) continue;
    bool same = is_long ? strlen(options[i].name) == size && memcmp(options[i].name, argument + 2, size) == 0
                        : options[i].letter == argument[1] && argument[2] == '\0';
    if (same) return &options[i];
  }
  return NULL;
}

static bool operand_store(struct settings *settings, const char *given, char text[512]) {
  if (settings->operand) {
    snprintf(text, 512, "Both \"%.100s\" and \"%.100s\" were given where one is expected.", settings->operand, given);
    return false;
  }
  settings->operand = given;
  return true;
}

bool options_parse(struct settings *settings, unsigned command, int argc, char **argv, char text[512]) {
  bool only_operands = false;
  for (int i = 1; i < argc; i++) {
    const char *given, *argument = argv[i];
    if (only_operands || argument[0] != '-' || argument[1] == '\0') {
      if (!operand_store(settings, argument, text)) return false;
      continue;
    }
    if (strcmp(argument, "--") == 0) {
      only_operands = true;
      continue;
    }
    const struct option *option = option_find(command, argument, &given);
    if (!option) {
      snprintf(text, 512, "%s has no option \"%.100s\": see spate %s --help.", argv[0], argument, argv[0]);
      return false;
    }
    bool is_flag = option->kind == OPTION_FLAG || option->kind == OPTION_UNSET;
    if (!is_flag && !given && ++i < argc) given = argv[i];
    if (is_flag == (given != NULL)) {
      snprintf(text, 512, "--%s takes %s.", option->name, given ? "no value" : "a value");
      return false;
    }
    if (!value_store(settings, option, given, text)) return false;
  }
  return true;
}

void options_print(unsigned command) {
  for (int i = 0; i < OPTION_COUNT; i++) {
    const struct option *option = &options[i];
    if (!(option->commands & command)) continue;
    char left[64], letter[8] = "    ";
    if (option->letter) snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, option->name, option->value ? " " : "",
             option->value ? option->value : "");
    printf("  %-34s  %s\n", left, option->help);
  }
}
