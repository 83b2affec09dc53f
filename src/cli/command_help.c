/* spate help: the usage of all commands or of one, and what is generated for man and for shells when Spate is built. */
#include "cli/command.h"
#include "cli/completion.h"
#include "cli/manual.h"

#include <stdio.h>
#include <string.h>

const struct command *command_named(const char *name) {
  for (int i = 0; i < command_count; i++)
    if (strcmp(name, commands[i].name) == 0) return &commands[i];
  return NULL;
}

int usage_print(const struct command *command) {
  if (command) {
    printf("usage: spate %s %s [options]\n%s\n\n", command->name, command->operand, command->help);
    options_print(command->bit);
    return 0;
  }
  printf("spate %s: LLM inference on one machine\n\nusage: spate COMMAND ...\n\n", spate_version());
  for (int i = 0; i < command_count; i++)
    printf("  %-15s%-16s%s\n", commands[i].name, commands[i].operand, commands[i].help);
  printf(
      "\nspate COMMAND --help lists a command's options. MODEL is a Hugging Face directory, a .gguf file or ORG/NAME\n"
      "that spate pull has fetched; ENGINE is a file that spate build wrote.\n");
  return 0;
}

int command_help(const struct settings *settings) {
  const char *topic = settings->operand;
  const struct command *command = topic ? command_named(topic) : NULL;
  char text[512];
  if (settings->completion) {
    completion_print(settings->completion);
    return 0;
  }
  if (topic && settings->man && strcmp(topic, "spate.yaml") == 0) {
    manual_print_settings();
    return 0;
  }
  if (topic && !command) {
    snprintf(text, sizeof text, "There is no command \"%.100s\": see spate --help.", topic);
    return command_fail(text);
  }
  if (!settings->man) return usage_print(command);
  if (command)
    manual_print_command(command);
  else
    manual_print_overview();
  return 0;
}
