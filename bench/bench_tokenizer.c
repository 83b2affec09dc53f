/* How fast the tokenizer encodes: bench_tokenizer TOKENIZER TEXT
 *
 * TOKENIZER is a .gguf or a tokenizer.json, TEXT a file of prose (a megabyte or more). Prints MB/s of processor time on
 * one core, beside the floor (reading and checking the text once), and seconds for hostile texts of 1 MB. */
#include "base/file.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "text/vocab_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { REPEATS = 7, HOSTILE_BYTES = 1000000 };

static double cpu_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int compare(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

static bool compile(const char *path, struct buffer *blob, struct error *error) {
  struct file file;
  size_t size = strlen(path);
  if (size > 5 && strcmp(path + size - 5, ".gguf") == 0) {
    struct gguf *gguf = gguf_open(path, error);
    bool done = gguf && tokenizer_compile_gguf(gguf, blob, error);
    gguf_close(gguf);
    return done;
  }
  if (!file_open(&file, path, error)) return false;
  bool done = tokenizer_compile_json(slice_make(file.data, file.size), slice_make("", 0), blob, error);
  file_close(&file);
  return done;
}

/* The median seconds of one encoding, and its number of tokens. */
static double encode_seconds(const struct tokenizer *tokenizer, struct slice text, size_t *tokens) {
  double seconds[REPEATS];
  struct error error = {0};
  struct token_list ids;
  token_list_init(&ids, text.size + 1);
  for (int i = 0; i < REPEATS; i++) {
    token_list_clear(&ids);
    double start = cpu_seconds();
    if (!tokenizer_encode(tokenizer, text, 0, &ids, &error)) {
      fprintf(stderr, "%s\n", error.text);
      exit(1);
    }
    seconds[i] = cpu_seconds() - start;
  }
  *tokens = ids.count;
  token_list_release(&ids);
  qsort(seconds, REPEATS, sizeof *seconds, compare);
  return seconds[REPEATS / 2];
}

static void bench_text(const struct tokenizer *tokenizer, struct slice text) {
  double start = cpu_seconds(), megabytes = (double)text.size / 1e6;
  bool valid = utf8_valid(text);
  double floor = cpu_seconds() - start;
  size_t tokens;
  double seconds = encode_seconds(tokenizer, text, &tokens);
  printf("prose: %.1f MB/s (%.1f MB, %zu tokens); floor: %.0f MB/s to check that it is %svalid UTF-8\n",
         megabytes / seconds, megabytes, tokens, megabytes / floor, valid ? "" : "in");
}

static void bench_hostile(const struct tokenizer *tokenizer) {
  static const char letters[] = "a 0!\n";
  static char text[HOSTILE_BYTES];
  for (size_t i = 0; i + 1 < sizeof letters; i++) {
    size_t tokens;
    memset(text, letters[i], sizeof text);
    double seconds = encode_seconds(tokenizer, slice_make(text, sizeof text), &tokens);
    printf("1 MB of 0x%02x: %.3f s (%zu tokens)\n", (unsigned)letters[i], seconds, tokens);
  }
}

int main(int argc, char **argv) {
  struct error error = {0};
  struct buffer blob;
  struct file text;
  if (argc != 3) {
    fprintf(stderr, "usage: bench_tokenizer TOKENIZER TEXT\n");
    return 2;
  }
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  struct tokenizer *tokenizer = NULL;
  if (!compile(argv[1], &blob, &error) || !(tokenizer = tokenizer_open(buffer_slice(&blob), &error)) ||
      !file_open(&text, argv[2], &error)) {
    fprintf(stderr, "%s\n", error.text);
    return 1;
  }
  printf("%s, table of %.1f MB\n", tokenizer_facts(tokenizer)->name, (double)blob.size / 1e6);
  bench_text(tokenizer, slice_make(text.data, text.size));
  bench_hostile(tokenizer);
  file_close(&text);
  tokenizer_close(tokenizer);
  buffer_release(&blob);
  return 0;
}
