/* The command line from one table: parsing, --help, config files and checks all read it, so that an option is described
 * once. To add one: a field in struct settings, a line in the table of option.c. To add a command: a line in main.c. */
#ifndef SPATE_CLI_OPTION_H
#define SPATE_CLI_OPTION_H

#include <stdbool.h>
#include <stdint.h>

/* Which commands take an option. */
enum {
  FOR_BUILD = 1,
  FOR_SERVE = 2,
  FOR_GENERATE = 4,
  FOR_INSPECT = 8,
  FOR_BENCH = 16,
  FOR_TOKENIZE = 32,
  FOR_CHAT = 64,
  FOR_EVAL = 128,
  FOR_TABLE = 256,
  FOR_CONFIG = 512,
  FOR_LOAD = 1024,
  FOR_HELP = 2048,
  FOR_DOCTOR = 4096,
  FOR_TUNE = 8192,
  FOR_EMBED = 16384,
  FOR_PULL = 32768,
  FOR_LOSS = FOR_EVAL | FOR_TABLE,        /* those that measure how well a text is predicted */
  FOR_SAMPLING = FOR_GENERATE | FOR_CHAT, /* those that answer on the terminal */
  FOR_ENGINE = FOR_SERVE | FOR_SAMPLING | FOR_EMBED | FOR_BENCH | FOR_EVAL, /* those that open an engine */
  FOR_ADAPTERS = FOR_SERVE | FOR_SAMPLING | FOR_EVAL,                       /* those that may use adapters */
  FOR_LIMITS = FOR_BUILD | FOR_ENGINE,                                      /* those that may build one */
};

enum { TEXT_LIST_MAX = 16, OPTION_MAX = 160 };

/* Of an option that may be given several times. */
struct text_list {
  const char *text[TEXT_LIST_MAX];
  int count;
};

/* What has set an option; a later one overrides those before it. */
enum source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_FLAG };

struct origin {
  enum source source;
  int line; /* of the file */
};

/* Every option's value; 0 or NULL when it was not given. Texts belong to argv, the environment or a config file's
 * arena. */
struct settings {
  const char *operand; /* MODEL, ENGINE or FILE */
  char **more;         /* [n_more] what follows it, of a command that takes texts there */
  int n_more;
  const char *config;               /* the path of spate.yaml */
  struct origin origin[OPTION_MAX]; /* of the option in the same place of the table */

  const char *output, *quant_mode, *quant_algo, *calib_data, *quant_override, *kv_cache_type, *target, *merge_lora;
  int max_batch_size, opt_batch_size, max_input_len, max_seq_len, max_num_tokens;

  int threads, block_size, cpu_experts, max_queue, max_queue_tokens, batch_delay_ms;
  bool no_block_reuse, no_fuse, emulate, rerank, batch_invariant;
  const char *lora_dir;
  int max_loras, max_lora_rank, max_cpu_loras;
  int image_decoders, max_images, media_timeout;
  struct text_list media_prefixes, media_addresses;
  const char *scheduler;
  double memory_fraction, target_bits;
  uint64_t kv_cache_memory, cache_limit, lora_memory, image_cache_memory;
  double stall_timeout, target_itl_ms, idle_release;
  const char *kv_cache_dtype, *backend, *device, *cache_dir;

  const char *uds, *tls_cert, *tls_key, *root_path;
  const char *allowed_origins, *allowed_methods, *allowed_headers;
  bool allow_credentials;
  int max_connections_per_ip;
  const char *host, *log_level, *log_format, *api_key, *min_priority, *admin_key, *reload_dir;
  const char *otlp_traces_endpoint;
  bool log_prompts;
  int port, workers, keep_alive, limit_concurrency, shutdown_timeout, tensor_parallel_size;
  bool has_port, has_keep_alive, has_shutdown_timeout;

  const char *prompt, *system;
  int max_tokens, top_k, min_tokens;
  double temperature, top_p, min_p, typical_p, repetition_penalty, frequency_penalty, presence_penalty;
  uint64_t seed;
  bool has_max_tokens, has_temperature, has_top_p, has_top_k, has_seed;
  bool has_min_p, has_typical_p, has_repetition_penalty, ignore_eos, include_stop;
  struct text_list stop, bad_words, loras, images;

  const char *prompt_name, *embed_format;
  int dimensions, truncate;

  const char *eval_text, *eval_against;
  const char *text, *against, *task, *shots, *json_file, *plot;
  struct text_list results;
  int window, eval_tokens, max_items;

  const char *api, *served_model, *clients, *rate, *arrivals, *input_tokens, *output_tokens, *trace, *slo, *record,
      *workload, *budget;
  int requests;
  double timeout;
  bool has_requests, has_timeout, allow_eos;

  const char *batch, *random;
  int context, beside, prompt_tokens, decode_tokens, repeat;
  bool has_context, has_prompt_tokens, has_decode_tokens, has_repeat;
  const char *completion, *url;
  int during;
  bool measure, machine, all_outputs, json, no_special, print, man, help;
};

/* Reads the arguments of one command (argv[0] is the command's name). False with a sentence in text. */
bool options_parse(struct settings *settings, unsigned command, int argc, char **argv, char text[512]);

/* The options of a command, aligned, for --help. */
void options_print(unsigned command);

#endif
