/* Files of a made-up /proc and /sys. For tests, after cmocka.h. */
#ifndef SPATE_TESTS_FACT_FILE_H
#define SPATE_TESTS_FACT_FILE_H

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct fact {
  const char *path, *text;
};

/* Writes one file below root, with the folders that it needs. */
static inline void fact_write(const char *root, const struct fact *fact) {
  char path[512];
  snprintf(path, sizeof path, "%s%s", root, fact->path);
  for (char *slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    mkdir(path, 0700);
    *slash = '/';
  }
  FILE *stream = fopen(path, "w");
  assert_non_null(stream);
  fputs(fact->text, stream);
  fclose(stream);
}

#endif
