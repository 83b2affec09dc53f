/* Milliseconds of one image's way, one thread: decoding in this process, decoding in a helper, preprocessing; the least
 * and the median of some runs. bench/image_vs_pil.py runs it beside PIL and numpy.
 *   bench_image FILE PREPROCESSOR_CONFIG RUNS */
#include "base/clock.h"
#include "base/file.h"
#include "image/decode.h"
#include "image/decode_helper.h"
#include "image/decode_pool.h"
#include "image/preprocess.h"

#include <stdio.h>
#include <stdlib.h>

enum { RUNS_MAX = 1000 };

static int fail(const struct error *error) {
  fprintf(stderr, "bench_image: %s\n", error->text);
  return 1;
}

static int order(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void times_print(const char *name, uint64_t *ns, int runs) {
  qsort(ns, (size_t)runs, sizeof *ns, order);
  printf("%s %.3f %.3f\n", name, (double)ns[0] / 1e6, (double)ns[runs / 2] / 1e6);
}

static bool decode_time(struct slice bytes, int runs, struct decode_pool *pool, struct image *image,
                        struct error *error) {
  uint64_t ns[RUNS_MAX];
  for (int i = 0; i < runs; i++) {
    uint64_t start = clock_ns();
    image_release(image);
    bool done = pool ? decode_pool_run(pool, bytes, slice_text(""), image, error) : image_decode(bytes, image, error);
    if (!done) return false;
    ns[i] = clock_ns() - start;
  }
  times_print(pool ? "decode_in_helper" : "decode", ns, runs);
  return true;
}

static bool preprocess_time(const struct preprocess_config *config, const struct image *image, int runs,
                            struct error *error) {
  uint64_t ns[RUNS_MAX];
  struct preprocess_plan plan;
  struct preprocess_layout layout = preprocess_layout_of(config);
  if (!preprocess_measure(config, image->width, image->height, &plan, error)) return false;
  float *numbers = malloc(preprocess_count(&plan, &layout) * sizeof *numbers);
  bool done = numbers != NULL;
  for (int i = 0; done && i < runs; i++) {
    uint64_t start = clock_ns();
    done = preprocess_run(config, &plan, &layout, image, numbers, error);
    ns[i] = clock_ns() - start;
  }
  free(numbers);
  if (done) times_print("preprocess", ns, runs);
  return done;
}

int main(int argc, char **argv) {
  static struct preprocess_config config;
  struct file file, text;
  struct error error = {0};
  struct image image = {0};
  decode_helper_main(argc, argv);
  int runs = argc == 4 ? atoi(argv[3]) : 0;
  if (runs < 1 || runs > RUNS_MAX) {
    fprintf(stderr, "usage: bench_image FILE PREPROCESSOR_CONFIG RUNS (1 to %d)\n", RUNS_MAX);
    return 2;
  }
  if (!file_open(&file, argv[1], &error) || !file_open(&text, argv[2], &error)) return fail(&error);
  struct decode_pool *pool = decode_pool_open(&(struct decode_pool_options){NULL, 1, 60000}, &error);
  struct slice bytes = slice_make(file.data, file.size);
  if (!pool || !preprocess_config_parse(slice_make(text.data, text.size), &config, &error) ||
      !decode_time(bytes, runs, pool, &image, &error) || !decode_time(bytes, runs, NULL, &image, &error) ||
      !preprocess_time(&config, &image, runs, &error))
    return fail(&error);
  decode_pool_close(pool);
  image_release(&image);
  file_close(&file);
  file_close(&text);
  return 0;
}
