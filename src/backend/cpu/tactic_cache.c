/* Reading and writing the tactic file. At compile only; any failure is silent, as the file only saves time. */
#include "backend/cpu/tactic_cache.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TACTIC_FILE_BYTES = 1 << 20 };

/* Another version's kernels may have other choices that are best. */
static const char heading[] = "spate tactics 2, version " SPATE_VERSION "\n";

/* Every line is printable text, one tab, a number; the last line is complete. */
static bool line_valid(struct slice line, struct slice *key, int *value) {
  size_t tab = 0;
  while (tab < line.size && line.data[tab] != '\t') {
    if (line.data[tab] < ' ') return false;
    tab++;
  }
  size_t digits = line.size - tab;
  if (tab == 0 || digits < 2 || digits > 8) return false;
  int number = 0;
  for (size_t i = tab + 1; i < line.size; i++) {
    if (line.data[i] < '0' || line.data[i] > '9') return false;
    number = number * 10 + (line.data[i] - '0');
  }
  *key = slice_make(line.data, tab);
  *value = number;
  return true;
}

/* Takes the next line off rest; false when there is no complete one. */
static bool line_next(struct slice *rest, struct slice *line) {
  const uint8_t *end = rest->size ? memchr(rest->data, '\n', rest->size) : NULL;
  if (!end) return false;
  *line = slice_make(rest->data, (size_t)(end - rest->data));
  *rest = slice_make(end + 1, rest->size - line->size - 1);
  return true;
}

static struct slice body_of(const struct tactic_cache *cache) {
  struct slice all = buffer_slice(&cache->text);
  size_t skip = all.size ? strlen(heading) : 0; /* empty only when memory ran out */
  return slice_make(all.data + skip, all.size - skip);
}

static bool text_valid(struct slice text) {
  if (!slice_starts(text, heading)) return false;
  struct slice rest = slice_make(text.data + strlen(heading), text.size - strlen(heading)), line, key;
  int value;
  while (line_next(&rest, &line))
    if (!line_valid(line, &key, &value)) return false;
  return rest.size == 0;
}

static void file_read(struct buffer *text, const char *path) {
  FILE *file = fopen(path, "re");
  if (!file) return;
  void *room = buffer_reserve(text, TACTIC_FILE_BYTES / 2);
  if (room) text->size += fread(room, 1, TACTIC_FILE_BYTES / 2, file);
  fclose(file);
}

void tactic_cache_open(struct tactic_cache *cache, const char *path) {
  cache->changed = false;
  buffer_init(&cache->text, TACTIC_FILE_BYTES);
  if (path) file_read(&cache->text, path);
  if (cache->text.failed || !text_valid(buffer_slice(&cache->text))) {
    buffer_clear(&cache->text);
    buffer_text(&cache->text, heading);
  }
}

/* The last line of a key counts: a value that turned out to be unusable is overruled by adding another. */
bool tactic_cache_get(const struct tactic_cache *cache, const char *key, int *value) {
  bool found = false;
  struct slice rest = body_of(cache), line, name;
  for (int number; line_next(&rest, &line);) {
    if (!line_valid(line, &name, &number) || !slice_is(name, key)) continue;
    *value = number;
    found = true;
  }
  return found;
}

void tactic_cache_put(struct tactic_cache *cache, const char *key, int value) {
  buffer_print(&cache->text, "%s\t%d\n", key, value);
  cache->changed = true;
}

static void file_write(const struct buffer *text, const char *path) {
  char temporary[PATH_MAX];
  int length = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
  if (length < 0 || length >= (int)sizeof temporary) return;
  int descriptor = mkstemp(temporary);
  if (descriptor < 0) return;
  bool whole = write(descriptor, text->data, text->size) == (ssize_t)text->size;
  whole = close(descriptor) == 0 && whole;
  if (!whole || rename(temporary, path) != 0) unlink(temporary);
}

void tactic_cache_close(struct tactic_cache *cache, const char *path) {
  if (path && cache->changed && !cache->text.failed) file_write(&cache->text, path);
  buffer_release(&cache->text);
}
