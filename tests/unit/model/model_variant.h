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

static inline void offsets_move(json_t *header, json_int_t from, json_int_t by) {
  const char *name;
  json_t *entry;
  json_object_foreach(header, name, entry) {
    json_t *offsets = json_object_get(entry, "data_offsets");
    json_int_t begin = json_integer_value(json_array_get(offsets, 0)),
               end = json_integer_value(json_array_get(offsets, 1));
    if (!offsets || end < from) continue;
    if (begin >= from) json_array_set_new(offsets, 0, json_integer(begin + by));
    json_array_set_new(offsets, 1, json_integer(end + by));
  }
}

/* A tensor of the folder's model.safetensors becomes one of zeros, F32, of `rows` × `cols`. */
static inline void variant_reshape(const struct model_variant *variant, const char *tensor, int rows, int cols) {
  char path[PATH_MAX];
  struct file file;
  struct error error;
  uint64_t size;
  snprintf(path, sizeof path, "%.40s/model.safetensors", variant->path);
  if (!file_open(&file, path, &error)) abort();
  memcpy(&size, file.data, sizeof size);
  json_t *header = json_loadb((const char *)file.data + 8, (size_t)size, 0, NULL);
  json_t *entry = json_object_get(header, tensor), *offsets = json_object_get(entry, "data_offsets");
  size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0)), bytes = (size_t)rows * (size_t)cols * 4;
  size_t end = (size_t)json_integer_value(json_array_get(offsets, 1)), rest = file.size - 8 - (size_t)size - end;
  json_object_update_new(entry, json_pack("{s:s, s:[i,i]}", "dtype", "F32", "shape", rows, cols));
  offsets_move(header, (json_int_t)end, (json_int_t)bytes - (json_int_t)(end - begin));
  char *text = json_dumps(header, JSON_COMPACT);
  uint8_t *zeros = calloc(1, bytes + 1);
  FILE *out = unlink(path) == 0 ? fopen(path, "wb") : NULL; /* the link */
  if (!text || !zeros || !out) abort();
  const uint8_t *data = file.data + 8 + size;
  uint64_t now = (strlen(text) + 7) / 8 * 8;
  fwrite(&now, sizeof now, 1, out);
  fprintf(out, "%-*s", (int)now, text);
  fwrite(data, 1, begin, out);
  fwrite(zeros, 1, bytes, out);
  fwrite(data + end, 1, rest, out);
  if (fclose(out) != 0) abort();
  free(zeros);
  free(text);
  json_decref(header);
  file_close(&file);
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

/* Copies FIXTURES/KIND/NAME/model.gguf into a new file at path ("/tmp/…XXXXXX", to be unlinked), with `size` bytes
 * replaced that begin `skip` bytes behind the first occurrence of `text`. */
static inline void gguf_variant_make_in(char *path, const char *kind, const char *name, const char *text, size_t skip,
                                        const void *bytes, size_t size) {
  char source[PATH_MAX];
  struct file file;
  struct error error;
  snprintf(source, sizeof source, "%s/%.20s/%.100s/model.gguf", FIXTURES, kind, name);
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

static inline void gguf_variant_make(char *path, const char *name, const char *text, size_t skip, const void *bytes,
                                     size_t size) {
  gguf_variant_make_in(path, "model", name, text, skip, bytes, size);
}

/* The same with a list as another key, in front of the others: `count` elements of `size` bytes of a GGUF type. */
static inline void gguf_variant_list(char *path, const char *name, const char *key, uint32_t type, uint64_t count,
                                     const void *elements, size_t size) {
  enum { HEAD = 24, COUNT_AT = 16, LIST = 9, STRING = 8, ALIGNMENT = 32 };
  static const char filler[ALIGNMENT] = "";
  char source[PATH_MAX];
  struct file file;
  struct error error;
  uint64_t n_value, key_size = strlen(key), all = count * size;
  snprintf(source, sizeof source, "%s/model/%.100s/model.gguf", FIXTURES, name);
  if (!file_open(&file, source, &error)) abort();
  uint64_t added = 8 + key_size + 16 + all + 8 + 1 + 4 + 8, fill = -added % ALIGNMENT, one = 1;
  memcpy(&n_value, file.data + COUNT_AT, sizeof n_value);
  n_value += 2;
  FILE *out = fdopen(mkstemp(path), "wb");
  if (!out) abort();
  const struct {
    const void *bytes;
    size_t size;
  } parts[] = {{file.data, COUNT_AT},
               {&n_value, 8},
               {&key_size, 8},
               {key, key_size},
               {&(uint32_t){LIST}, 4},
               {&type, 4},
               {&count, 8},
               {elements, all},
               {&one, 8}, /* a text that keeps what is behind aligned */
               {"_", 1},
               {&(uint32_t){STRING}, 4},
               {&fill, 8},
               {filler, fill},
               {file.data + HEAD, file.size - HEAD}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (fwrite(parts[i].bytes, 1, parts[i].size, out) != parts[i].size) abort();
  if (fclose(out) != 0) abort();
  file_close(&file);
}

#endif
