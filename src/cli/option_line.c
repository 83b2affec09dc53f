/* The command line and its --help. */
#include "cli/option_table.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* --name, --name=value or -x; NULL when the command has no such option. *value is what follows '=', or NULL. */
static const struct option *option_find(unsigned command, const char *argument, const char **value) {
  const char *equals = strchr(argument, '=');
  bool is_long = argument[1] == '-';
  *value = is_long && equals ? equals + 1 : NULL;
  if (is_long)
    return option_named(command,
                        slice_make(argument + 2, (equals ? (size_t)(equals - argument) : strlen(argument)) - 2));
  for (int i = 0; i < option_count; i++)
    if ((options[i].commands & command) && options[i].letter == argument[1] && argument[2] == '\0') return &options[i];
  return NULL;
}

static bool refuse_unknown(unsigned command, const char *name, const char *argument, char text[512]) {
  size_t size = strcspn(argument, "=");
  const struct option *nearest =
      argument[1] == '-' ? option_nearest(command, slice_make(argument + 2, size - 2), NULL, size) : NULL;
  char hint[96] = "";
  if (nearest) snprintf(hint, sizeof hint, "; the nearest is --%s", nearest->name);
  snprintf(text, 512, "%s has no option \"%.100s\"%s: see spate %s --help.", name, argument, hint, name);
  return false;
}

static bool operand_store(struct settings *settings, const char *given, char text[512]) {
  struct origin *origin = &settings->origin[option_origin(option_named(FOR_SERVE, slice_text("model")))];
  if (settings->operand && origin->source == SOURCE_FLAG) {
    snprintf(text, 512, "Both \"%.100s\" and \"%.100s\" were given where one is expected.", settings->operand, given);
    return false;
  }
  settings->operand = given;
  *origin = (struct origin){.source = SOURCE_FLAG};
  return true;
}

/* A text behind the operand, where the command takes some: they gather at the beginning of argv, which has been read.
 */
static bool more_store(struct settings *settings, unsigned command, char **argv, int index) {
  if (!(command & FOR_EMBED) || !settings->operand) return false;
  settings->more = argv + 1;
  settings->more[settings->n_more++] = argv[index];
  return true;
}

static bool option_store(struct settings *settings, const struct option *option, const char *given, char text[512]) {
  static const struct place place = {.source = SOURCE_FLAG};
  if (option->field == offsetof(struct settings, operand)) return operand_store(settings, given, text);
  return option_set(settings, option, given, &place, text);
}

bool options_parse(struct settings *settings, unsigned command, int argc, char **argv, char text[512]) {
  bool only_operands = false;
  for (int i = 1; i < argc; i++) {
    const char *given, *argument = argv[i];
    if (only_operands || argument[0] != '-' || argument[1] == '\0') {
      if (!more_store(settings, command, argv, i) && !operand_store(settings, argument, text)) return false;
      continue;
    }
    if (strcmp(argument, "--") == 0) {
      only_operands = true;
      continue;
    }
    const struct option *option = option_find(command, argument, &given);
    if (!option) return refuse_unknown(command, argv[0], argument, text);
    if (!given) given = option_is_switch(option) ? "true" : argv[++i]; /* argv ends with NULL */
    if (!given) {
      snprintf(text, 512, "--%s takes a value.", option->name);
      return false;
    }
    if (!option_store(settings, option, given, text)) return false;
  }
  return true;
}

void options_print(unsigned command) {
  for (int i = 0; i < option_count; i++) {
    const struct option *option = &options[i];
    if (!(option->commands & command)) continue;
    char left[64], letter[8] = "    ";
    if (option->letter) snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, option->name, option->value ? " " : "",
             option->value ? option->value : "");
    printf("  %-34s  %s\n", left, option->help);
  }
}
