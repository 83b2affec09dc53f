/* The order of what sets an option, the environment, and the print of what came of it. */
#include "cli/config.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/name_distance.h"
#include "cli/option_table.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TYPO_CHANGES = 2, COLUMN = 40, SETTING_NAME_MAX = 160 };

static const char prefix[] = "SPATE_";

/* max-queue of MAX_QUEUE; empty when it is too long for a name of ours. */
static struct slice name_of_variable(const char *variable, size_t size, char name[VARIABLE_MAX]) {
  if (size >= VARIABLE_MAX) return slice_make(name, 0);
  for (size_t i = 0; i < size; i++) name[i] = variable[i] == '_' ? '-' : (char)tolower((unsigned char)variable[i]);
  return slice_make(name, size);
}

static bool refuse_typo(const char *variable, const struct option *nearest, char text[512]) {
  char meant[VARIABLE_MAX];
  option_variable(nearest, meant);
  snprintf(text, 512, "%.*s is set and is no setting; the nearest is %s: rename it, or unset it.",
           (int)strcspn(variable, "="), variable, meant);
  return false;
}

/* Of "SPATE_NAME=value". */
static bool variable_read(struct settings *settings, unsigned command, const struct settings *line,
                          const char *variable, char text[512]) {
  static const struct place place = {.source = SOURCE_ENVIRONMENT};
  char letters[VARIABLE_MAX], exact[VARIABLE_MAX];
  const char *after = variable + sizeof prefix - 1, *equals = strchr(after, '=');
  if (!equals) return true;
  struct slice name = name_of_variable(after, (size_t)(equals - after), letters);
  if (slice_is(name, "config")) return true; /* config_resolve has read it */
  const struct option *option = option_named(command, name);
  if (!option || !option_is_setting(option)) {
    option = option_nearest(command, name, option_is_setting, TYPO_CHANGES);
    return !option || refuse_typo(variable, option, text);
  }
  option_variable(option, exact);
  if (memcmp(variable, exact, (size_t)(equals - variable)) != 0) return refuse_typo(variable, option, text);
  if (line->origin[option_origin(option)].source == SOURCE_FLAG) return true;
  return option_set(settings, option, equals + 1, &place, text);
}

bool config_environment_read(struct settings *settings, unsigned command, const struct settings *line,
                             char *const *environment, char text[512]) {
  for (; *environment; environment++)
    if (strncmp(*environment, prefix, sizeof prefix - 1) == 0 &&
        !variable_read(settings, command, line, *environment, text))
      return false;
  return true;
}

/* --- where to listen ---------------------------------------------------------------------------------------------- */

static int origin_index(const char *name) { return option_origin(option_named(FOR_SERVE, slice_text(name))); }

/* By where it comes from: --port, SPATE_PORT or "port (spate.yaml:3)". */
static void setting_name(const struct settings *settings, const char *name, char out[SETTING_NAME_MAX]) {
  const struct origin *origin = &settings->origin[origin_index(name)];
  if (origin->source == SOURCE_FILE)
    snprintf(out, SETTING_NAME_MAX, "%s (%.100s:%d)", name, settings->config, origin->line);
  else if (origin->source == SOURCE_ENVIRONMENT)
    option_variable(option_named(FOR_SERVE, slice_text(name)), out);
  else
    snprintf(out, SETTING_NAME_MAX, "--%s", name);
}

static bool place_refuse(const struct settings *settings, const char *other, char text[512]) {
  char path_name[SETTING_NAME_MAX], other_name[SETTING_NAME_MAX];
  setting_name(settings, "uds", path_name);
  setting_name(settings, other, other_name);
  snprintf(text, 512, "%s and %s were both given, and a server listens on one or the other: leave one out.", path_name,
           other_name);
  return false;
}

/* An empty host, such as of a variable that an image has and its user empties, is none. */
static bool place_choose(struct settings *settings, char text[512]) {
  struct origin *path = &settings->origin[origin_index("uds")], *host = &settings->origin[origin_index("host")],
                *port = &settings->origin[origin_index("port")];
  if (settings->host && !*settings->host) *host = (struct origin){SOURCE_DEFAULT, 0};
  enum source address = host->source > port->source ? host->source : port->source;
  bool both = path->source != SOURCE_DEFAULT && address != SOURCE_DEFAULT;
  if (both && path->source == address) return place_refuse(settings, port->source == address ? "port" : "host", text);
  if (both && path->source > address) *host = *port = (struct origin){SOURCE_DEFAULT, 0};
  if (both && path->source < address) *path = (struct origin){SOURCE_DEFAULT, 0};
  if (path->source == SOURCE_DEFAULT) settings->uds = NULL;
  if (host->source == SOURCE_DEFAULT) settings->host = NULL;
  if (port->source == SOURCE_DEFAULT) settings->has_port = false;
  return true;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

bool config_resolve(struct settings *settings, unsigned command, int argc, char **argv, struct arena *texts,
                    char text[512]) {
  struct settings line = {0};
  if (!options_parse(&line, command, argc, argv, text)) return false;
  const char *path = line.config ? line.config : getenv("SPATE_CONFIG");
  if (line.help) {
    *settings = line;
    return true;
  }
  settings->config = path;
  return (!path || config_file_read(settings, command, path, texts, text)) &&
         config_environment_read(settings, command, &line, environ, text) &&
         options_parse(settings, command, argc, argv, text) && place_choose(settings, text);
}

/* --- print -------------------------------------------------------------------------------------------------------- */

/* As a file and the environment have it: with commas between them. */
static void list_write(const struct text_list *list, struct buffer *out) {
  struct buffer text;
  buffer_init(&text, LIMIT_SETTINGS_BYTES);
  for (int i = 0; i < list->count; i++) buffer_print(&text, "%s%s", i ? "," : "", list->text[i]);
  json_write_string(out, buffer_slice(&text));
  buffer_release(&text);
}

static void value_write(const struct settings *settings, const struct option *option, struct buffer *out) {
  const void *field = (const char *)settings + option->field;
  switch (option->kind) {
  case OPTION_FLAG:
  case OPTION_UNSET: buffer_text(out, *(const bool *)field == (option->kind == OPTION_FLAG) ? "true" : "false"); return;
  case OPTION_INT: buffer_print(out, "%d", *(const int *)field); return;
  case OPTION_SEED:
  case OPTION_BYTES: buffer_print(out, "%" PRIu64, *(const uint64_t *)field); return;
  case OPTION_REAL: json_write_number(out, *(const double *)field); return;
  case OPTION_TEXT: json_write_string(out, slice_text(*(const char *const *)field)); return;
  case OPTION_LIST: list_write(field, out); return;
  }
}

/* What its help says in "(default ...)", or the word before "(default)". */
static struct slice default_of(const struct option *option) {
  static const char mark[] = "(default";
  const char *at = strstr(option->help, mark), *begin;
  if (option_is_switch(option)) return slice_text(option->kind == OPTION_FLAG ? "false" : "true");
  if (!at) return slice_text("");
  if (at[sizeof mark - 1] == ')') {
    for (begin = at - 1; begin > option->help && begin[-1] != ' '; begin--) {
    }
    return slice_make(begin, (size_t)(at - 1 - begin));
  }
  at += sizeof mark - 1;
  at += strspn(at, ": ");
  return slice_make(at, strcspn(at, ")"));
}

/* A path may hold what would end a comment. */
static void path_write(const char *path, struct buffer *out) {
  for (; *path; path++) buffer_append(out, (unsigned char)*path < 0x20 ? " " : path, 1);
}

static void origin_write(const struct settings *settings, const struct option *option, const struct origin *origin,
                         struct buffer *out) {
  char variable[VARIABLE_MAX];
  option_variable(option, variable);
  switch (origin->source) {
  case SOURCE_DEFAULT: buffer_text(out, default_of(option).size ? "default" : "not set"); return;
  case SOURCE_FILE:
    path_write(settings->config, out);
    buffer_print(out, ":%d", origin->line);
    return;
  case SOURCE_ENVIRONMENT: buffer_text(out, variable); return;
  case SOURCE_FLAG: buffer_text(out, "command line"); return;
  }
}

static void setting_write(const struct settings *settings, const struct option *option, struct buffer *out) {
  const struct origin *origin = &settings->origin[option_origin(option)];
  size_t begin = out->size;
  bool shown = origin->source != SOURCE_DEFAULT && !option->secret;
  buffer_print(out, "%s%s: ", shown ? "" : "#", option->name);
  if (shown)
    value_write(settings, option, out);
  else if (origin->source != SOURCE_DEFAULT)
    buffer_text(out, "set, and not shown");
  else
    buffer_append(out, default_of(option).data, default_of(option).size);
  size_t width = out->size - begin;
  buffer_print(out, "%*s # ", (int)(width < COLUMN ? COLUMN - width : 0), "");
  origin_write(settings, option, origin, out);
  buffer_text(out, "\n");
}

bool config_print(const struct settings *settings, unsigned command, struct buffer *out) {
  for (int i = 0; i < option_count; i++)
    if ((options[i].commands & command) && option_is_setting(&options[i])) setting_write(settings, &options[i], out);
  return !out->failed;
}

bool config_write(const struct settings *settings, unsigned command, struct buffer *out) {
  char variable[VARIABLE_MAX];
  for (int i = 0; i < option_count; i++) {
    const struct option *option = &options[i];
    if (!(option->commands & command) || !option_is_setting(option)) continue;
    if (settings->origin[option_origin(option)].source == SOURCE_DEFAULT) continue;
    buffer_print(out, "%s%s: ", option->secret ? "# " : "", option->name);
    option_variable(option, variable);
    if (option->secret)
      buffer_print(out, "is set, and not written: $%s may hold it", variable);
    else
      value_write(settings, option, out);
    buffer_text(out, "\n");
  }
  return !out->failed;
}
