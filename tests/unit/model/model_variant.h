/* Copies of a fixture model with some of config.json changed, in a folder that is removed afterwards; copies of one's
 * GGUF twin with some bytes changed. */
#ifndef SPATE_TESTS_MODEL_VARIANT_H
#define SPATE_TESTS_MODEL_VARIANT_H

#include "base/file.h"
#include "base/json.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct model_variant {
  char path[PATH_MAX];
};

static inline void variant_link(const char *from, const char *to, const char *name) {
  char source[PATH_MAX], target[PATH_MAX];
  snprintf(source, sizeof source, "%.3800s/%.250s", from, name);
  snprintf(target, sizeof target, "%.40s/%.250s", to, name);
  if (symlink(source, target) != 0) perror(target);
}

/* The object that a key is of: one whose name stands before a dot, or the whole; *key moves behind it. */
static inline json_t *variant_object(json_t *config, const char **key) {
  const char *dot = strchr(*key, '.');
  if (!dot) return config;
  json_t *object = json_object_getn(config, *key, (size_t)(dot - *key));
  *key = dot + 1;
  return object;
}

/* A folder with links to the files of the fixture FIXTURES/KIND/NAME, but for config.json, whose keys ("key", or
 * "object.key") are replaced by those of the JSON object `change` (null removes one). */
static inline void variant_make_in(struct model_variant *variant, const char *kind, const char *name,
                                   const json_t *change) {
  char named[PATH_MAX], source[PATH_MAX + 16], target[PATH_MAX];
  snprintf(named, sizeof named, "%s/%.20s/%.100s", FIXTURES, kind, name);
  if (!realpath(named, source)) abort(); /* links lie elsewhere than a relative path begins */
  snprintf(variant->path, sizeof variant->path, "/tmp/spate-variant-XXXXXX");
  if (!mkdtemp(variant->path)) abort();
  DIR *folder = opendir(source);
  if (!folder) abort();
  for (struct dirent *entry; (entry = readdir(folder));)
    if (entry->d_name[0] != '.' && strcmp(entry->d_name, "config.json") != 0)
      variant_link(source, variant->path, entry->d_name);
  closedir(folder);
  strcat(source, "/config.json");
  json_t *config = json_load_file(source, 0, NULL), *value;
  const char *key;
  json_object_foreach((json_t *)(uintptr_t)change, key, value) {
    const char *last = key;
    json_t *object = variant_object(config, &last);
    if (json_is_null(value))
      json_object_del(object, last);
    else
      json_object_set(object, last, value);
  }
  snprintf(target, sizeof target, "%.40s/config.json", variant->path);
  if (json_dump_file(config, target, 0) != 0) abort();
  json_decref(config);
}

static inline void variant_make(struct model_variant *variant, const char *name, const json_t *change) {
  variant_make_in(variant, "model", name, change);
}

static inline void variant_remove(struct model_variant *variant) {
  DIR *folder = opendir(variant->path);
  for (struct dirent *entry; (entry = readdir(folder));) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.40s/%.255s", variant->path, entry->d_name);
    if (entry->d_name[0] != '.') unlink(path);
  }
  closedir(folder);
  rmdir(variant->path);
}

/* Copies FIXTURES/model/NAME/model.gguf into a new file at path ("/tmp/…XXXXXX", to be unlinked), with `size` bytes
 * replaced that begin `skip` bytes behind the first occurrence of `text`. */
static inline void gguf_variant_make(char *path, const char *name, const char *text, size_t skip, const void *bytes,
                                     size_t size) {
  char source[PATH_MAX];
  struct file file;
  struct error error;
  snprintf(source, sizeof source, "%s/model/%.100s/model.gguf", FIXTURES, name);
  if (!file_open(&file, source, &error)) abort();
  uint8_t *copy = malloc(file.size), *at = NULL;
  if (copy) at = memmem(memcpy(copy, file.data, file.size), file.size, text, strlen(text));
  int descriptor = mkstemp(path);
  if (!at || descriptor < 0) abort();
  memcpy(at + strlen(text) + skip, bytes, size);
  if (write(descriptor, copy, file.size) != (ssize_t)file.size) abort();
  close(descriptor);
  free(copy);
  file_close(&file);
}

#endif
