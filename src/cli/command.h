/* The commands. Each takes parsed settings and returns the process's exit code: 0, or 1 after printing a sentence (of
 * doctor: command_doctor.c). */
#ifndef SPATE_CLI_COMMAND_H
#define SPATE_CLI_COMMAND_H

#include "cli/option.h"
#include "spate.h"

#include <stdio.h>

int command_build(const struct settings *settings);
int command_serve(const struct settings *settings);
int command_generate(const struct settings *settings);
int command_embed(const struct settings *settings);
int command_chat(const struct settings *settings);
int command_inspect(const struct settings *settings);
int command_bench_serve(const struct settings *settings);
int command_bench(const struct settings *settings);
int command_quantize_table(const struct settings *settings);
int command_eval(const struct settings *settings);
int command_tokenize(const struct settings *settings);
int command_config(const struct settings *settings);
int command_tune(const struct settings *settings);
int command_health(const struct settings *settings);
int command_doctor(const struct settings *settings);
int command_pull(const struct settings *settings);
int command_help(const struct settings *settings);

struct command {
  const char *name, *operand, *help; /* an operand in brackets may be left out */
  unsigned bit;                      /* FOR_SERVE and so on: whose options it takes */
  int (*run)(const struct settings *settings);
};

extern const struct command commands[]; /* main.c */
extern const int command_count;

const struct command *command_named(const char *name); /* NULL when there is none */

/* What --help prints; of all commands for NULL. Returns 0. */
int usage_print(const struct command *command);

enum { DEFAULT_PORT = 8000 }; /* of a server */

/* --- what several commands need ----------------------------------------------------------------------------------- */

/* A line "who: sentence". It may quote a file: what would command a terminal is left out. */
void sentence_print(FILE *stream, const char *who, const char *sentence);

/* Prints "spate: sentence" on standard error, or logs it where the log is JSON; returns 1. */
int command_fail(const char *sentence);

/* Opens the operand's engine; NULL with the sentence. */
struct progress;
spate_engine *settings_open(const struct settings *settings, struct progress *progress, spate_error *error);

/* The same with progress begun and ended; NULL after printing the sentence. */
spate_engine *command_open(const struct settings *settings);

void build_options_fill(const struct settings *settings, spate_build_options *build);

/* What command_open opens with, but for the progress; build is part of it. */
void open_options_fill(const struct settings *settings, spate_build_options *build, spate_open_options *open);

/* The prompt of -p, or all of standard input (at most 16 MiB) in an allocated buffer; NULL after printing. */
char *prompt_read(const struct settings *settings, size_t *size);

#endif
