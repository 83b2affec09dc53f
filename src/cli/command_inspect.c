/* spate inspect: what is in a model or an engine file, from the library's JSON: facts indented as they nest, lists of
 * objects as tables. Nothing here knows what the facts are, but for which numbers are bytes. */
#include "base/json.h"
#include "cli/command.h"
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>

enum { CELL_MAX = 4096, COLUMN_MAX = 16, WIDTH_MAX = 60, NAME_WIDTH = 44 };

struct cell {
  char text[CELL_MAX];
};

/* Control characters become '?': the text comes from a file and goes to a terminal. */
static void cell_add(struct cell *cell, const char *text) {
  size_t size = strlen(cell->text);
  for (; *text && size < CELL_MAX - 1; text++)
    cell->text[size++] = (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text;
  cell->text[size] = '\0';
}

static bool is_bytes(const char *name) {
  static const char *const names[] = {"bytes", "weights", "workspace", "kv_per_token", "kv_per_sequence"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return true;
  return false;
}

static void number_add(struct cell *cell, const char *name, const json_t *value) {
  double number = json_number_value(value);
  char text[64];
  if (!is_bytes(name))
    snprintf(text, sizeof text, "%.15g", number);
  else if (number < 10e3)
    snprintf(text, sizeof text, "%.0f B", number);
  else if (number < 10e6)
    snprintf(text, sizeof text, "%.1f KB", number * 1e-3);
  else
    snprintf(text, sizeof text, "%.1f MB", number * 1e-6);
  cell_add(cell, text);
}

/* One value on one line. A list is joined; of an object in it, the first member stands for it. */
static void value_add(struct cell *cell, const char *name, const json_t *value) {
  switch (json_typeof(value)) {
  case JSON_STRING: cell_add(cell, json_string_value(value)); break;
  case JSON_INTEGER:
  case JSON_REAL: number_add(cell, name, value); break;
  case JSON_TRUE: cell_add(cell, "yes"); break;
  case JSON_FALSE: cell_add(cell, "no"); break;
  case JSON_NULL: cell_add(cell, "none"); break;
  case JSON_OBJECT: {
    void *first = json_object_iter((json_t *)(uintptr_t)value); /* jansson takes no const here */
    if (first) value_add(cell, json_object_iter_key(first), json_object_iter_value(first));
    break;
  }
  case JSON_ARRAY:
    for (size_t i = 0; i < json_array_size(value); i++) {
      if (i) cell_add(cell, " ");
      value_add(cell, name, json_array_get(value, i));
    }
    break;
  }
}

static struct cell cell_of(const char *name, const json_t *value) {
  struct cell cell = {""};
  if (value) value_add(&cell, name, value);
  return cell;
}

/* --- tables ------------------------------------------------------------------------------------------------------ */

struct column {
  const char *name;
  int width; /* characters; all lines are padded to it */
};

static void line_print(const struct column *columns, int n_column, const json_t *object, int indent) {
  printf("%*s", indent, "");
  for (int i = 0; i < n_column; i++) {
    struct cell cell = object ? cell_of(columns[i].name, json_object_get(object, columns[i].name)) : (struct cell){""};
    if (!object) cell_add(&cell, columns[i].name);
    if (i + 1 < n_column)
      printf("%-*s  ", columns[i].width, cell.text);
    else
      printf("%s\n", cell.text);
  }
}

/* Rows are objects that have the members of the first. */
static void table_print(json_t *rows, int indent) {
  struct column columns[COLUMN_MAX];
  int n_column = 0;
  json_t *first = json_array_get(rows, 0);
  for (void *at = json_object_iter(first); at && n_column < COLUMN_MAX; at = json_object_iter_next(first, at)) {
    struct column *column = &columns[n_column++];
    *column = (struct column){json_object_iter_key(at), (int)strlen(json_object_iter_key(at))};
    for (size_t i = 0; i < json_array_size(rows); i++) {
      struct cell cell = cell_of(column->name, json_object_get(json_array_get(rows, i), column->name));
      int width = (int)strlen(cell.text);
      if (width > column->width) column->width = width < WIDTH_MAX ? width : WIDTH_MAX;
    }
  }
  line_print(columns, n_column, NULL, indent);
  for (size_t i = 0; i < json_array_size(rows); i++) line_print(columns, n_column, json_array_get(rows, i), indent);
}

/* --- facts ------------------------------------------------------------------------------------------------------- */

static bool is_table(const json_t *value) { return json_is_array(value) && json_is_object(json_array_get(value, 0)); }

/* Objects nest at most as deep as the JSON reader allows. */
static void facts_print(json_t *object, int indent) {
  for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
    const char *name = json_object_iter_key(at);
    json_t *value = json_object_iter_value(at);
    bool nested = json_is_object(value) || is_table(value);
    struct cell label = {""};
    cell_add(&label, name);
    printf("%*s%-*s", indent, "", nested ? 0 : NAME_WIDTH - indent, label.text);
    if (!nested) {
      struct cell cell = cell_of(name, value);
      printf("  %s", cell.text);
    }
    printf("\n");
    if (json_is_object(value))
      facts_print(value, indent + 2);
    else if (nested)
      table_print(value, indent + 2);
  }
}

int command_inspect(const struct settings *settings) {
  spate_text json;
  spate_error error;
  struct progress progress = progress_quiet();
  if (!spate_inspect(settings->operand, progress_show, &progress, &json, &error)) return command_fail(error.text);
  struct error detail;
  json_t *root = settings->json ? NULL : json_parse(slice_make(json.data, json.size), &detail);
  int code = 0;
  if (settings->json)
    printf("%s\n", json.data);
  else if (root)
    facts_print(root, 0);
  else
    code = command_fail(detail.text);
  json_decref(root);
  spate_text_free(&json);
  return code;
}
