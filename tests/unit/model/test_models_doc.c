/* docs/models.md must hold the table that --print prints: the families as the program knows them, and the tiny
 * checkpoints, by whose architecture a family is checked against transformers (tests/parity). */
#include "base/file.h"
#include "base/json.h"
#include "model/family.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static bool name_is_hf(const char *name) { return name[0] >= 'A' && name[0] <= 'Z'; }

/* Each name once. */
static void architectures_write(const struct family *family, bool hf, struct buffer *out) {
  int n = 0;
  for (const struct architecture *own = family->architectures; own->name; own++)
    if (name_is_hf(own->name) == hf) buffer_print(out, "%s`%s`", n++ ? ", " : "", own->name);
  if (n == 0) buffer_text(out, "–");
}

static bool family_has(const struct family *family, const char *architecture) {
  for (const struct architecture *own = family->architectures; architecture && own->name; own++)
    if (strcmp(own->name, architecture) == 0) return true;
  return false;
}

/* The fixtures of one kind that are the family's; * marks those with a GGUF twin. */
static void fixtures_write(const struct family *family, const char *kind, struct buffer *out, int *n) {
  char folder[512], path[1024];
  struct dirent **entries;
  snprintf(folder, sizeof folder, "%s/%s", FIXTURES, kind);
  int count = scandir(folder, &entries, NULL, alphasort);
  assert_true(count > 0);
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%.200s/config.json", folder, entries[i]->d_name);
    json_t *config = json_load_file(path, 0, NULL);
    const char *architecture = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    snprintf(path, sizeof path, "%s/%.200s/model.gguf", folder, entries[i]->d_name);
    if (family_has(family, architecture))
      buffer_print(out, "%s%s%s", (*n)++ ? ", " : "", entries[i]->d_name, access(path, R_OK) == 0 ? "*" : "");
    json_decref(config);
    free(entries[i]);
  }
  free(entries);
}

static void table_write(struct buffer *out) {
  buffer_text(
      out,
      "| family | `architectures` of config.json | GGUF | sizes tried | tiny checkpoints |\n|---|---|---|---|---|\n");
  const struct family *family;
  for (int i = 0; (family = family_at(i)); i++) {
    int n = 0;
    buffer_print(out, "| %s | ", family->title);
    architectures_write(family, true, out);
    buffer_text(out, " | ");
    architectures_write(family, false, out);
    buffer_print(out, " | %s | ", family->tried ? family->tried : "–");
    fixtures_write(family, "model", out, &n);
    fixtures_write(family, "vision", out, &n);
    fixtures_write(family, "encoder", out, &n);
    if (n == 0) fail_msg("No fixture is of the family %s", family->title);
    buffer_text(out, " |\n");
  }
}

static void test_doc_is_current(void **state) {
  (void)state;
  struct buffer table;
  struct file doc;
  struct error error;
  buffer_init(&table, 1 << 20);
  table_write(&table);
  if (!file_open(&doc, FIXTURES "/../../docs/models.md", &error)) fail_msg("%s", error.text);
  if (!memmem(doc.data, doc.size, table.data, table.size))
    fail_msg("docs/models.md is out of date: put in what test_models_doc --print prints");
  file_close(&doc);
  buffer_release(&table);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_doc_is_current)};
  if (argc == 1 || strcmp(argv[1], "--print") != 0) return cmocka_run_group_tests(tests, NULL, NULL);
  struct buffer table;
  buffer_init(&table, 1 << 20);
  table_write(&table);
  fwrite(table.data, 1, table.size, stdout);
  buffer_release(&table);
  return 0;
}
