/* Values of options, from wherever they come, and the command line: "--name value", "--name=value", short names with a
 * value, switches. */
#include "base/buffer.h"
#include "base/name_distance.h"
#include "cli/option_table.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void option_variable(const struct option *option, char variable[VARIABLE_MAX]) {
  snprintf(variable, VARIABLE_MAX, "SPATE_%s", option->name);
  for (char *at = variable; *at; at++) *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
}

static bool refuse(char text[512], const char *given, const struct option *option, const struct place *place,
                   const char *expected) {
  char name[192], variable[VARIABLE_MAX];
  option_variable(option, variable);
  if (place->source == SOURCE_FILE)
    snprintf(name, sizeof name, "%.100s:%d: %s", place->file, place->line, option->name);
  else
    snprintf(name, sizeof name, "%s%s", place->source == SOURCE_ENVIRONMENT ? "" : "--",
             place->source == SOURCE_ENVIRONMENT ? variable : option->name);
  if (option->secret) given = "...";
  snprintf(text, 512, "%s is \"%.100s\", expected %s.", name, given, expected);
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

/* What a file or the environment has put there goes when somebody nearer gives others. */
static bool list_add(struct text_list *list, const struct option *option, const char *given, struct origin *origin,
                     const struct place *place, char text[512]) {
  if (origin->source != place->source) list->count = 0;
  *origin = (struct origin){place->source, place->line};
  if (list->count < TEXT_LIST_MAX) {
    list->text[list->count++] = given;
    return true;
  }
  snprintf(text, 512, "--%s was given more than %d times.", option->name, TEXT_LIST_MAX);
  return false;
}

static bool in_range(const struct option *option, double number) {
  return (option->least == 0 && option->most == 0) || (number >= option->least && number <= option->most);
}

static bool int_store(int *field, const struct option *option, const char *given) {
  double number;
  if (!number_parse(given, &number) || number != floor(number) || fabs(number) > 1e9) return false;
  if (!in_range(option, number)) return false;
  *field = (int)number;
  return true;
}

static bool real_store(double *field, const struct option *option, const char *given) {
  return number_parse(given, field) && in_range(option, *field);
}

static bool switch_store(bool *field, const struct option *option, const char *given) {
  bool on = strcmp(given, "true") == 0;
  if (!on && strcmp(given, "false") != 0) return false;
  *field = on == (option->kind == OPTION_FLAG);
  return true;
}

/* Is it one of the option's words, if it has any? */
static bool text_fits(const struct option *option, const char *given) {
  size_t size = strlen(given), length;
  for (const char *word = option->words; word; word = word[length] ? word + length + 1 : NULL) {
    length = strcspn(word, "|");
    bool any_case = isupper((unsigned char)word[0]);
    if (length == size && (any_case ? strncasecmp(word, given, size) : memcmp(word, given, size)) == 0) return true;
  }
  return !option->words;
}

static bool text_store(const char **field, const struct option *option, const char *given) {
  if (!text_fits(option, given)) return false;
  *field = given;
  return true;
}

/* "error, warning, info or debug" */
static void words_list(const char *words, char out[EXPECTED_MAX]) {
  const char *last = strrchr(words, '|');
  size_t at = 0;
  for (; *words && at < EXPECTED_MAX - 8; words++) {
    if (*words != '|')
      out[at++] = *words;
    else
      at += (size_t)sprintf(out + at, "%s", words == last ? " or " : ", ");
  }
  out[at] = '\0';
}

void option_expect(const struct option *option, char out[EXPECTED_MAX]) {
  static const char *const kinds[] = {
      [OPTION_FLAG] = "true or false", [OPTION_UNSET] = "true or false",
      [OPTION_INT] = "a whole number", [OPTION_SEED] = "a whole number from 0 to 9223372036854775807",
      [OPTION_REAL] = "a number",      [OPTION_BYTES] = "bytes such as 512M",
      [OPTION_TEXT] = "a text",        [OPTION_LIST] = "a text",
  };
  if (option->words)
    words_list(option->words, out);
  else if (option->most > 0)
    snprintf(out, EXPECTED_MAX, "%s from %.10g to %.10g", kinds[option->kind], option->least, option->most);
  else
    snprintf(out, EXPECTED_MAX, "%s", kinds[option->kind]);
}

static bool value_store(void *field, const struct option *option, const char *given) {
  switch (option->kind) {
  case OPTION_FLAG:
  case OPTION_UNSET: return switch_store(field, option, given);
  case OPTION_TEXT: return text_store(field, option, given);
  case OPTION_INT: return int_store(field, option, given);
  case OPTION_REAL: return real_store(field, option, given);
  case OPTION_SEED: return seed_parse(given, field);
  case OPTION_BYTES: return bytes_parse(given, field);
  case OPTION_LIST: break;
  }
  return false;
}

int option_origin(const struct option *option) {
  int first = 0;
  while (options[first].field != option->field) first++;
  return first;
}

bool option_set(struct settings *settings, const struct option *option, const char *given, const struct place *place,
                char text[512]) {
  char *base = (char *)settings, expected[EXPECTED_MAX];
  void *field = base + option->field;
  struct origin *origin = &settings->origin[option_origin(option)];
  if (option->kind == OPTION_LIST) return list_add(field, option, given, origin, place, text);
  if (!value_store(field, option, given)) {
    option_expect(option, expected);
    return refuse(text, given, option, place, expected);
  }
  if (option->given) *(bool *)(void *)(base + option->given) = true;
  *origin = (struct origin){place->source, place->line};
  return true;
}

const struct option *option_named(unsigned command, struct slice name) {
  for (int i = 0; i < option_count; i++)
    if ((options[i].commands & command) && slice_is(name, options[i].name)) return &options[i];
  return NULL;
}

bool option_is_setting(const struct option *option) {
  if (!(option->commands & FOR_SERVE) || strcmp(option->name, "config") == 0 || strcmp(option->name, "help") == 0)
    return false;
  if (strncmp(option->name, "no-", 3) != 0) return true;
  const struct option *positive = option_named(option->commands, slice_text(option->name + 3));
  return !positive || positive->kind != OPTION_UNSET;
}

const struct option *option_nearest(unsigned command, struct slice name, bool (*is_meant)(const struct option *),
                                    size_t most) {
  const struct option *nearest = NULL;
  size_t least = name.size / 2 + 1;
  if (name.size > NAME_COMPARED_MAX) return NULL;
  for (int i = 0; i < option_count; i++) {
    if (!(options[i].commands & command) || (is_meant && !is_meant(&options[i]))) continue;
    size_t distance = name_distance(name, slice_text(options[i].name));
    if (distance >= least || distance > most) continue;
    least = distance;
    nearest = &options[i];
  }
  return nearest;
}
