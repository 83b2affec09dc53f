/* Milliseconds of one image's way, one thread: decoding in this process, decoding in a helper, preprocessing; the least
 * and the median of some runs, by the thread's own clock; in a helper the mean of all its processes and this one.
 * bench/image_vs_pil.py runs it beside PIL and numpy.
 *   bench_image FILE PREPROCESSOR_CONFIG RUNS */
#include "base/clock.h"
#include "base/file.h"
#include "image/decode.h"
#include "image/decode_helper.h"
#include "image/decode_pool.h"
#include "image/preprocess.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { RUNS_MAX = 1000 };

static int fail(const struct error *error) {
  fprintf(stderr, "bench_image: %s\n", error->text);
  return 1;
}

static uint64_t own_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int order(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void times_print(const char *name, uint64_t *ns, int runs) {
  qsort(ns, (size_t)runs, sizeof *ns, order);
  printf("%s %.3f %.3f\n", name, (double)ns[0] / 1e6, (double)ns[runs / 2] / 1e6);
}

static bool decode_time(struct slice bytes, int runs, struct image *image, struct error *error) {
  uint64_t ns[RUNS_MAX];
  for (int i = 0; i < runs; i++) {
    uint64_t start = own_ns();
    image_release(image);
    if (!image_decode(bytes, image, error)) return false;
    ns[i] = own_ns() - start;
  }
  times_print("decode", ns, runs);
  return true;
}

static double ms_of(struct timeval time) { return (double)time.tv_sec * 1e3 + (double)time.tv_usec / 1e3; }

static double all_ms(void) {
  struct rusage own, children;
  getrusage(RUSAGE_SELF, &own);
  getrusage(RUSAGE_CHILDREN, &children);
  return ms_of(own.ru_utime) + ms_of(own.ru_stime) + ms_of(children.ru_utime) + ms_of(children.ru_stime);
}

/* Of this process, a helper and its children together, who are counted when they have ended. */
static bool helper_time(struct slice bytes, int runs, double *ms, struct error *error) {
  struct image image;
  double start = all_ms();
  struct decode_pool *pool = decode_pool_open(&(struct decode_pool_options){NULL, 1, 60000, 60000}, error);
  bool done = pool != NULL;
  for (int i = 0; done && i < runs; i++) {
    done = decode_pool_run(pool, bytes, slice_text(""), UINT64_MAX, &image, error);
    if (done) image_release(&image);
  }
  decode_pool_close(pool);
  *ms = all_ms() - start;
  return done;
}

static bool helper_print(struct slice bytes, int runs, struct error *error) {
  double started, ran;
  if (!helper_time(bytes, 0, &started, error) || !helper_time(bytes, runs, &ran, error)) return false;
  printf("helper_start %.3f %.3f\n", started, started);
  printf("decode_in_helper %.3f %.3f\n", (ran - started) / runs, (ran - started) / runs);
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
    uint64_t start = own_ns();
    done = preprocess_run(config, &plan, &layout, image, numbers, error);
    ns[i] = own_ns() - start;
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
  struct slice bytes = slice_make(file.data, file.size);
  if (!preprocess_config_parse(slice_make(text.data, text.size), &config, &error) ||
      !decode_time(bytes, runs, &image, &error) || !helper_print(bytes, runs, &error) ||
      !preprocess_time(&config, &image, runs, &error))
    return fail(&error);
  image_release(&image);
  file_close(&file);
  file_close(&text);
  return 0;
}
