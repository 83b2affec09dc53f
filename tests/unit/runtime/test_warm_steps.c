/* A decode step that is not the first allocates nothing and takes no lock: counted on the step thread from one submit
 * to a later one, with everything that the step loop does in between. */
#include <stdio.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
int main(void) {
  printf("SKIPPED: the sanitizer has an allocator of its own\n");
  return 77;
}
#else

#include "runtime_fixture.h"

#include <dlfcn.h>
#include <pthread.h>

enum { FIRST_STEP = 10, LAST_STEP = 50 };

static _Thread_local bool counting;
static int n_allocation, n_lock; /* the step thread's */
static int n_step;

/* --- what the C library calls the same, counted ------------------------------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void __libc_free(void *memory);

__attribute__((visibility("default"))) void *malloc(size_t size) {
  if (counting) n_allocation++;
  return __libc_malloc(size);
}

__attribute__((visibility("default"))) void *calloc(size_t count, size_t size) {
  if (counting) n_allocation++;
  return __libc_calloc(count, size);
}

__attribute__((visibility("default"))) void *realloc(void *memory, size_t size) {
  if (counting) n_allocation++;
  return __libc_realloc(memory, size);
}

__attribute__((visibility("default"))) void free(void *memory) {
  if (counting) n_allocation++;
  __libc_free(memory);
}

static int (*real_lock)(pthread_mutex_t *mutex);

__attribute__((visibility("default"))) int pthread_mutex_lock(pthread_mutex_t *mutex) {
  if (!real_lock) *(void **)&real_lock = dlsym(RTLD_NEXT, "pthread_mutex_lock");
  if (counting) n_lock++;
  return real_lock(mutex);
}

/* --- the test ----------------------------------------------------------------------------------------------------- */

static bool counted_submit(struct program *program, const struct batch *batch, struct error *error) {
  counting = n_step >= FIRST_STEP && n_step < LAST_STEP;
  n_step++;
  return backend_cpu.submit(program, batch, error);
}

static void test_warm_steps(void **state) {
  (void)state;
  struct fixture f = {0};
  struct backend backend = backend_cpu;
  backend.submit = counted_submit;
  fixture_open(&f, &backend);
  fixture_start(&f);
  struct inbox *inbox = inbox_make(&f);
  struct request_params params = params_make("warm", LAST_STEP + 5);
  struct slice stop = slice_text("never said");
  struct slice bad = slice_text("no");
  params.rules = (struct rule_params){.rules = {.repetition_penalty = 1.1f, .presence_penalty = 0.1f, .min_tokens = 30},
                                      .bad_word = &bad,
                                      .n_bad_word = 1,
                                      .ignore_end = true};
  params.stop = &stop;
  params.n_stop = 1;
  params.sampling =
      (struct sampling){.temperature = 1, .top_p = 0.9f, .top_k = 40, .n_top = 5, .want_logprob = true, .seed = 7};
  submit(&f, inbox, &params);
  struct inbox_event event = {0};
  do {
    assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
  } while (event.kind == INBOX_TEXT);
  assert_int_equal(event.kind, INBOX_DONE);
  runtime_inbox_close(f.runtime, inbox);
  fixture_close(&f);
  assert_true(n_step > LAST_STEP);
  assert_int_equal(n_allocation, 0);
  assert_int_equal(n_lock, 0);
}

/* The counters count. */
static void test_counters(void **state) {
  (void)state;
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  counting = true;
  void *volatile memory = malloc(1);
  free(memory);
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
  counting = false;
  assert_int_equal(n_allocation, 2);
  assert_int_equal(n_lock, 1);
  n_allocation = n_lock = 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_counters), cmocka_unit_test(test_warm_steps)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
