/* Engines of the tiny networks that see images: a folder of links to what is theirs, and the engine built of it. */
#ifndef SPATE_TESTS_SEEING_FIXTURE_H
#define SPATE_TESTS_SEEING_FIXTURE_H

#include "build/build.h"
#include "engine/engine_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <dirent.h>

#include "backend/backends.h"

struct seeing_folder {
  char model[64], engine[80];
};

/* The folder has links to what is in another. */
static inline void links_make(const char *folder, const char *from) {
  struct dirent *entry;
  DIR *all = opendir(from);
  if (!all) fail_msg("%s cannot be opened", from);
  while ((entry = readdir(all))) {
    char target[1024], path[1024];
    if (!strchr(entry->d_name, '.') || entry->d_name[0] == '.') continue;
    snprintf(target, sizeof target, "%s/%s", from, entry->d_name);
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    unlink(path);
    assert_int_equal(symlink(target, path), 0);
  }
  closedir(all);
}

static inline void links_remove(const char *folder) {
  struct dirent *entry;
  DIR *all = opendir(folder);
  while ((entry = readdir(all))) unlinkat(dirfd(all), entry->d_name, 0);
  closedir(all);
}

static inline bool seeing_folder_make(struct seeing_folder *folder) {
  snprintf(folder->model, sizeof folder->model, "/tmp/spate-seeing-XXXXXX");
  if (!mkdtemp(folder->model)) return false;
  snprintf(folder->engine, sizeof folder->engine, "%s.spate", folder->model);
  return true;
}

static inline void seeing_folder_remove(const struct seeing_folder *folder) {
  links_remove(folder->model);
  unlink(folder->engine);
  rmdir(folder->model);
}

/* Builds the engine of one of the networks of tests/fixtures/vision, in the place of the last one. */
static inline void seeing_build(const struct seeing_folder *folder, const char *name, struct engine_config config) {
  struct error error = {0};
  char path[512];
  links_remove(folder->model);
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/vision/%s%s", FIXTURES, name, i ? "/serve" : "");
    links_make(folder->model, path);
  }
  struct build_options build = {
      .model = folder->model, .output = folder->engine, .backend = &backend_cpu, .n_thread = 1, .config = config};
  if (!build_engine(&build, &error)) fail_msg("%s: %s", name, error.text);
}

#endif
