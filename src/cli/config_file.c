/* spate.yaml, by libyaml's events: a mapping of names to single values, each set through the option table with its
 * line. What YAML has beyond that (lists, anchors, tags, several documents) is refused. */
#include "base/limits.h"
#include "cli/config.h"
#include "cli/option_table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
  yaml_parser_t parser;
  yaml_event_t event; /* the latest; deleted when the next is read */
  struct slice bytes;
  const char *path;
  struct settings *settings;
  unsigned command;
  struct arena *texts;
  int seen[OPTION_MAX]; /* the line that has set each option; 0: none */
  char *text;           /* the sentence, 512 bytes */
};

/* "path:line: sentence" */
static bool refuse(struct reader *r, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool refuse(struct reader *r, int line, const char *format, ...) {
  char sentence[400];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  snprintf(r->text, 512, "%.100s:%d: %s", r->path, line, sentence);
  return false;
}

static int line_of(const yaml_event_t *event) { return (int)event->start_mark.line + 1; }

/* What cannot be read as characters has a place, but no line. */
static bool refuse_syntax(struct reader *r) {
  const yaml_parser_t *parser = &r->parser;
  if (parser->error == YAML_MEMORY_ERROR) return refuse(r, 1, "Memory for reading it ran out.");
  int line = (int)parser->problem_mark.line + 1;
  if (parser->error == YAML_READER_ERROR) {
    line = 1;
    for (size_t i = 0; i < r->bytes.size && i < parser->problem_offset; i++) line += r->bytes.data[i] == '\n';
  }
  return refuse(r, line, "This is not YAML: %s.", parser->problem);
}

static bool next(struct reader *r) {
  yaml_event_delete(&r->event);
  return yaml_parser_parse(&r->parser, &r->event) || refuse_syntax(r);
}

/* A kept copy of the latest event, which is a scalar without U+0000; NULL with a sentence. */
static const char *scalar_keep(struct reader *r) {
  const char *value = (const char *)r->event.data.scalar.value;
  size_t length = r->event.data.scalar.length;
  if (strlen(value) != length) {
    refuse(r, line_of(&r->event), "\"%.60s\" goes on after a zero byte, which no setting holds.", value);
    return NULL;
  }
  const char *kept = arena_text(r->texts, slice_make(value, length));
  if (!kept) refuse(r, line_of(&r->event), "The texts of the file take more than %d bytes.", LIMIT_SETTINGS_BYTES);
  return kept;
}

static const struct option *key_find(struct reader *r) {
  static const char expected[] = "expected lines such as \"port: 8000\"";
  int line = line_of(&r->event);
  if (r->event.type != YAML_SCALAR_EVENT) {
    refuse(r, line, "The name of a setting is no text; %s.", expected);
    return NULL;
  }
  struct slice name = slice_make(r->event.data.scalar.value, r->event.data.scalar.length);
  const struct option *option = option_named(r->command, name);
  if (option && option_is_setting(option)) return option;
  option = option_nearest(r->command, name, option_is_setting, name.size);
  if (option)
    refuse(r, line, "There is no setting \"%.100s\"; the nearest is %s.", (const char *)name.data, option->name);
  else
    refuse(r, line, "There is no setting \"%.100s\": spate config --print lists them.", (const char *)name.data);
  return NULL;
}

/* Is the latest event a value as a setting has it? */
static bool value_check(struct reader *r, const char *name) {
  const yaml_event_t *event = &r->event;
  int line = line_of(event);
  switch (event->type) {
  case YAML_SCALAR_EVENT: break;
  case YAML_SEQUENCE_START_EVENT:
    return refuse(r, line, "%s is a list, expected one value; where several may be given, commas stand between them.",
                  name);
  case YAML_ALIAS_EVENT: return refuse(r, line, "%s is an alias, expected the value itself.", name);
  default: return refuse(r, line, "%s is a group of settings, expected one value.", name);
  }
  if (event->data.scalar.anchor) return refuse(r, line, "%s has an anchor, expected the value alone.", name);
  if (event->data.scalar.tag) return refuse(r, line, "%s has a tag, expected the value alone.", name);
  const char *value = (const char *)event->data.scalar.value;
  if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (*value == '\0' || strcmp(value, "~") == 0))
    return refuse(r, line, "%s has no value: write one, or leave the line out.", name);
  return true;
}

/* A name, which is the latest event, and its value. */
static bool setting_read(struct reader *r) {
  const struct option *option = key_find(r);
  if (!option) return false;
  int line = line_of(&r->event), *seen = &r->seen[option - options];
  if (*seen) return refuse(r, line, "%s was set in line %d already: leave one out.", option->name, *seen);
  *seen = line;
  if (!next(r) || !value_check(r, option->name)) return false;
  struct place place = {.source = SOURCE_FILE, .file = r->path, .line = line_of(&r->event)};
  const char *value = scalar_keep(r);
  return value && option_set(r->settings, option, value, &place, r->text);
}

static bool mapping_read(struct reader *r) {
  while (next(r)) {
    if (r->event.type == YAML_MAPPING_END_EVENT) return next(r);
    if (!setting_read(r)) return false;
  }
  return false;
}

/* What a file of nothing but comments, or of "---", holds. */
static bool is_nothing(const yaml_event_t *event) {
  return event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 0 && event->data.scalar.plain_implicit;
}

static bool document_read(struct reader *r) {
  if (!next(r) || !next(r)) return false; /* the stream begins; a document, or the end */
  if (r->event.type == YAML_STREAM_END_EVENT) return true;
  if (!next(r)) return false;
  if (is_nothing(&r->event)) {
    if (!next(r)) return false;
  } else if (r->event.type != YAML_MAPPING_START_EVENT) {
    return refuse(r, line_of(&r->event), "The file holds no settings, expected lines such as \"port: 8000\".");
  } else if (!mapping_read(r)) {
    return false;
  }
  if (!next(r)) return false;
  return r->event.type == YAML_STREAM_END_EVENT ||
         refuse(r, line_of(&r->event), "A second document begins here; expected one.");
}

bool config_bytes_read(struct settings *settings, unsigned command, const char *path, struct slice bytes,
                       struct arena *texts, char text[512]) {
  struct reader r = {
      .bytes = bytes, .path = path, .settings = settings, .command = command, .texts = texts, .text = text};
  if (!yaml_parser_initialize(&r.parser)) return refuse(&r, 1, "Memory for reading it ran out.");
  yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&r.parser, bytes.data, bytes.size);
  bool read = document_read(&r);
  yaml_event_delete(&r.event);
  yaml_parser_delete(&r.parser);
  return read;
}

static bool refuse_file(const char *path, const char *why, char text[512]) {
  snprintf(text, 512, "%.200s: %s", path, why);
  return false;
}

bool config_file_read(struct settings *settings, unsigned command, const char *path, struct arena *texts,
                      char text[512]) {
  char why[128];
  FILE *file = fopen(path, "re");
  if (!file) {
    snprintf(why, sizeof why, "The settings cannot be read: %s.", strerror(errno));
    return refuse_file(path, why, text);
  }
  char *bytes = malloc(LIMIT_SETTINGS_BYTES + 1);
  size_t size = bytes ? fread(bytes, 1, LIMIT_SETTINGS_BYTES + 1, file) : 0;
  snprintf(why, sizeof why, "The settings cannot be read: %s.", strerror(errno));
  bool failed = !bytes || ferror(file);
  fclose(file);
  bool read = false;
  if (failed)
    refuse_file(path, why, text);
  else if (size > LIMIT_SETTINGS_BYTES)
    refuse_file(path, "The file has more than 256 KiB, expected some lines of settings.", text);
  else
    read = config_bytes_read(settings, command, path, slice_make(bytes, size), texts, text);
  free(bytes);
  return read;
}
