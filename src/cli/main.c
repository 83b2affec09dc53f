/* spate: the command table, and what commands share. */
#include "base/limits.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/config.h"
#include "cli/progress.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_BYTES_MAX = 16 << 20, EVAL_OUTPUTS = 128 };

const struct command commands[] = {
    {"serve", "MODEL|ENGINE", "serve a model over HTTP", FOR_SERVE, command_serve},
    {"generate", "MODEL|ENGINE", "generate text on the terminal", FOR_GENERATE, command_generate},
    {"embed", "MODEL|ENGINE", "print the vectors of the texts that follow, or of the lines of standard input",
     FOR_EMBED, command_embed},
    {"chat", "MODEL|ENGINE", "hold a conversation on the terminal", FOR_CHAT, command_chat},
    {"build", "MODEL", "build an engine file from a model", FOR_BUILD, command_build},
    {"inspect", "FILE", "show what is in a model or an engine file", FOR_INSPECT, command_inspect},
    {"bench", "[MODEL|ENGINE]", "measure a model, or the machine with --machine", FOR_BENCH, command_bench},
    {"bench-serve", "[URL]", "put load on a server and measure its answers", FOR_LOAD, command_bench_serve},
    {"tune", "MODEL|ENGINE", "measure which settings serve a load best, and write them", FOR_SERVE | FOR_TUNE,
     command_tune},
    {"eval", "[MODEL|ENGINE]", "measure how well a model predicts and answers", FOR_EVAL, command_eval},
    {"quantize-table", "MODEL", "measure what each quant mode gains and loses here", FOR_TABLE, command_quantize_table},
    {"pull", "ORG/NAME", "fetch ORG/NAME[:FILE or :QUANT][@REVISION] from the Hugging Face hub", FOR_PULL,
     command_pull},
    {"tokenize", "MODEL|ENGINE", "show the tokens of a text", FOR_TOKENIZE, command_tokenize},
    {"config", "[MODEL|ENGINE]", "check the settings that serve would have, or --print them", FOR_SERVE | FOR_CONFIG,
     command_config},
    {"health", "[MODEL|ENGINE]", "ask the server that serve would be with these settings whether it is well", FOR_SERVE,
     command_health},
    {"doctor", "[MODEL|ENGINE]", "look at this machine, an engine and a server, and say what to change", FOR_DOCTOR,
     command_doctor},
    {"help", "[COMMAND]", "show a command's options, a man page, or a shell's completion", FOR_HELP, command_help},
};

const int command_count = sizeof commands / sizeof *commands;

void sentence_print(FILE *stream, const char *who, const char *sentence) {
  fprintf(stream, "%s: ", who);
  for (; *sentence; sentence++) putc((unsigned char)*sentence < 0x20 || *sentence == 0x7f ? ' ' : *sentence, stream);
  putc('\n', stream);
}

int command_fail(const char *sentence) {
  if (log_format_get() == LOG_JSON)
    log_error("%s", sentence);
  else
    sentence_print(stderr, "spate", sentence);
  return 1;
}

void build_options_fill(const struct settings *s, spate_build_options *build) {
  spate_build_options_init(build);
  build->model = s->operand;
  build->output = s->output;
  build->quant_mode = s->quant_mode;
  build->quant_algo = s->quant_algo;
  build->calib_data = s->calib_data;
  build->quant_override = s->quant_override;
  build->merge_lora = s->merge_lora;
  build->rerank = s->rerank;
  build->emulate = s->emulate;
  build->target_bits = s->target_bits;
  build->target = s->target;
  build->kv_cache_type = s->kv_cache_type;
  build->max_batch_size = s->max_batch_size;
  build->opt_batch_size = s->opt_batch_size;
  build->max_input_len = s->max_input_len;
  build->max_seq_len = s->max_seq_len;
  build->max_num_tokens = s->max_num_tokens;
  build->eval_text = s->eval_text;
  build->eval_against = s->eval_against;
}

static void adapters_fill(const struct settings *s, spate_open_options *open) {
  open->lora_dir = s->lora_dir;
  open->max_loras = s->max_loras;
  open->max_lora_rank = s->max_lora_rank;
  open->max_cpu_loras = s->max_cpu_loras;
  open->lora_memory = s->lora_memory;
}

static void images_fill(const struct settings *s, spate_open_options *open) {
  open->image_decoders = s->image_decoders;
  open->max_images = s->max_images;
  open->image_cache_memory = s->image_cache_memory;
}

void open_options_fill(const struct settings *s, spate_build_options *build, spate_open_options *open) {
  build_options_fill(s, build);
  spate_open_options_init(open);
  open->model = s->operand;
  open->build = build;
  open->cache_dir = s->cache_dir;
  open->cache_limit = s->cache_limit;
  open->backend = s->backend;
  open->device = s->device;
  open->threads = s->threads;
  open->free_gpu_memory_fraction = s->memory_fraction;
  open->kv_cache_memory = s->kv_cache_memory;
  open->stall_timeout_s = s->stall_timeout;
  open->idle_release_s = s->idle_release;
  open->kv_cache_dtype = s->kv_cache_dtype;
  open->no_fuse = s->no_fuse;
  open->batch_invariant = s->batch_invariant;
  open->cpu_experts = s->cpu_experts;
  open->block_size = s->block_size;
  open->max_queue = s->max_queue;
  open->max_queue_tokens = s->max_queue_tokens;
  open->scheduler = s->scheduler;
  open->batch_delay_ms = s->batch_delay_ms;
  open->target_itl_ms = s->target_itl_ms;
  open->no_block_reuse = s->no_block_reuse;
  adapters_fill(s, open);
  images_fill(s, open);
  open->max_outputs = s->text || s->task ? EVAL_OUTPUTS : 0;
}

spate_engine *settings_open(const struct settings *s, struct progress *progress, spate_error *error) {
  spate_build_options build;
  spate_open_options open;
  if (s->tensor_parallel_size > 1) {
    *error = (spate_error){SPATE_UNSUPPORTED, "--tensor-parallel-size above 1 does not exist yet: one device serves a "
                                              "model. Leave it out."};
    return NULL;
  }
  open_options_fill(s, &build, &open);
  open.progress = progress_show;
  open.user = progress;
  return spate_open(&open, error);
}

spate_engine *command_open(const struct settings *s) {
  struct progress progress;
  spate_error error;
  progress_begin(&progress);
  spate_engine *engine = settings_open(s, &progress, &error);
  bool wanted = progress_end(&progress);
  if (engine && wanted) return engine;
  command_fail(wanted ? error.text : "Interrupted.");
  spate_close(engine);
  return NULL;
}

char *prompt_read(const struct settings *settings, size_t *size) {
  char *text = settings->prompt ? strdup(settings->prompt) : malloc(PROMPT_BYTES_MAX + 1);
  if (!text) {
    command_fail("Out of memory for the prompt.");
    return NULL;
  }
  *size = settings->prompt ? strlen(text) : fread(text, 1, PROMPT_BYTES_MAX + 1, stdin);
  if (*size <= PROMPT_BYTES_MAX) return text;
  command_fail("The prompt is longer than 16 MiB.");
  free(text);
  return NULL;
}

static int settings_run(const struct command *command, const struct settings *settings) {
  char text[512];
  if (settings->help) return usage_print(command);
  if (!settings->operand && command->operand[0] != '[') {
    snprintf(text, sizeof text, "spate %s needs %s: see spate %s --help.", command->name, command->operand,
             command->name);
    return command_fail(text);
  }
  return command->run(settings);
}

/* What was printed is only there when all of it could be written. */
static int output_end(int code) {
  if ((fflush(stdout) == 0 && !ferror(stdout)) || code != 0) return code;
  return command_fail("Standard output could not be written: look at the disk, or at what reads it.");
}

/* What serves has its settings from a file and the environment too. */
static int command_run(const struct command *command, int argc, char **argv) {
  struct settings settings = {0};
  struct arena texts;
  char text[512];
  arena_init(&texts, LIMIT_SETTINGS_BYTES);
  bool is_served = command->bit & FOR_SERVE;
  bool parsed = is_served ? config_resolve(&settings, command->bit, argc, argv, &texts, text)
                          : options_parse(&settings, command->bit, argc, argv, text);
  int code = parsed ? settings_run(command, &settings) : command_fail(text);
  arena_release(&texts);
  return command->run == command_serve ? code : output_end(code);
}

/* What requests gave back stays with the process up to 2 MiB a heap: touching fresh pages takes longer than most of
 * what a request does with them (rendering a chat template 2.5 times as long). */
static void freed_memory_keep(void) {
  mallopt(M_TRIM_THRESHOLD, 2 << 20);
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
}

int main(int argc, char **argv) {
  freed_memory_keep();
  spate_image_helper(argc, argv);
  if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return usage_print(NULL);
  if (strcmp(argv[1], "--version") == 0) {
    printf("spate %s\n", spate_version());
    return 0;
  }
  const struct command *command = command_named(argv[1]);
  if (command) return command_run(command, argc - 1, argv + 1);
  char text[512];
  snprintf(text, sizeof text, "There is no command \"%.100s\": see spate --help.", argv[1]);
  return command_fail(text);
}
