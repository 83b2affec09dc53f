/* Helpers: what they decode, what becomes of bad ones, and what the kernel does to one that wants more than it may.
 * This program is its own helper, and with other arguments a bad one. */
#include "image_support.h"

#include "base/clock.h"
#include "base/limits.h"
#include "image/decode_helper.h"
#include "image/decode_pool.h"
#include "image/decode_sandbox.h"
#include "image/decode_wire.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 60000 };

/* --- bad helpers ------------------------------------------------------------------------------------------------ */

static void say(uint32_t magic, uint32_t code, uint32_t width, uint32_t height, uint32_t text_size) {
  struct wire_reply reply = {magic, code, width, height, text_size};
  if (write(HELPER_DESCRIPTOR, &reply, sizeof reply) < 0) _exit(9);
}

/* Reads an order and its bytes, by the one call that a sandbox has for it. */
static void order_take(void) {
  struct wire_order order;
  char bytes[4096];
  if (read(HELPER_DESCRIPTOR, &order, sizeof order) != sizeof order) _exit(0);
  for (size_t left = order.size; left > 0;) {
    ssize_t n = read(HELPER_DESCRIPTOR, bytes, left < sizeof bytes ? left : sizeof bytes);
    if (n <= 0) _exit(0);
    left -= (size_t)n;
  }
}

static const char *how; /* this program is to behave */

static void bad_child(void) {
  signal(SIGSEGV, SIG_DFL); /* a sanitizer would print a page */
  if (strcmp(how, "silent") == 0) return;
  if (strcmp(how, "refused") == 0) {
    say(WIRE_REPLY, ERROR_UNSUPPORTED, 0, 0, 4);
    if (write(HELPER_DESCRIPTOR, "\nNo.", 4) == 4) pause();
  }
  say(strcmp(how, "greeting") == 0 ? 5 : WIRE_REPLY, 0, 0, 0, 0);
  order_take();
  if (strcmp(how, "crash") == 0) raise(SIGSEGV);
  if (strcmp(how, "exit") == 0) _exit(0);
  if (strcmp(how, "hang") == 0) pause();
  if (strcmp(how, "magic") == 0) say(1, 0, 1, 1, 0);
  if (strcmp(how, "code") == 0) say(WIRE_REPLY, 12345, 0, 0, 0);
  if (strcmp(how, "device") == 0) say(WIRE_REPLY, ERROR_DEVICE, 0, 0, 0);
  if (strcmp(how, "large") == 0) say(WIRE_REPLY, 0, 0xFFFFFFFFu, 0xFFFFFFFFu, 0);
  if (strcmp(how, "empty") == 0) say(WIRE_REPLY, 0, 0, 7, 0);
  if (strcmp(how, "both") == 0) say(WIRE_REPLY, 0, 1, 1, 5);
  if (strcmp(how, "talk") == 0) say(WIRE_REPLY, ERROR_INVALID, 0, 0, 1 << 30);
  if (strcmp(how, "bytes") == 0) { /* a sentence that is not UTF-8 */
    say(WIRE_REPLY, ERROR_INVALID, 0, 0, 2);
    if (write(HELPER_DESCRIPTOR, "\xC3(", 2) < 0) _exit(9);
  }
  if (strcmp(how, "short") == 0) say(WIRE_REPLY, 0, 100, 100, 0);
  if (strcmp(how, "stop") == 0) { /* in the middle of the pixels */
    say(WIRE_REPLY, 0, 100, 100, 0);
    _exit(0);
  }
  if (strcmp(how, "more") == 0) { /* an answer, then more, and what of the next order there is */
    say(WIRE_REPLY, ERROR_INVALID, 0, 0, 0);
    for (;;) say(WIRE_REPLY, ERROR_LIMIT, 0, 0, 0);
  }
  pause();
}

/* In a sandbox: each of these must kill it. */
static void wishing_child(void) {
  struct error error;
  static const char path[] = "/etc/passwd";
  if (!sandbox_enter(&error)) _exit(1);
  say(WIRE_REPLY, 0, 0, 0, 0);
  order_take();
  char byte = 0;
  if (strcmp(how, "open") == 0) syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
  if (strcmp(how, "socket") == 0) syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
  if (strcmp(how, "connect") == 0) syscall(SYS_connect, HELPER_DESCRIPTOR, NULL, 0);
  if (strcmp(how, "clone") == 0) syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (strcmp(how, "exec") == 0) syscall(SYS_execve, "/bin/true", NULL, NULL);
  if (strcmp(how, "kill") == 0) syscall(SYS_kill, getppid(), 0);
  if (strcmp(how, "other") == 0) syscall(SYS_read, 0, &byte, 1);
  if (strcmp(how, "stderr") == 0) syscall(SYS_write, 2, &byte, 1);
  if (strcmp(how, "code") == 0)
    syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (strcmp(how, "file") == 0) syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, HELPER_DESCRIPTOR, 0);
  if (strcmp(how, "protect") == 0) syscall(SYS_mprotect, (uintptr_t)path & ~4095ul, 4096, PROT_READ | PROT_EXEC);
  if (strcmp(how, "ioctl") == 0) syscall(SYS_ioctl, HELPER_DESCRIPTOR, 0x541B, &byte);
  say(WIRE_REPLY, ERROR_INVALID, 0, 0, 0); /* it was let do it */
  for (;;) order_take();
}

/* --- the pool --------------------------------------------------------------------------------------------------- */

static struct slice taken, refused;

static struct decode_pool *pool_waiting(const char *kind, const char *behaviour, int helpers, int timeout_ms,
                                        int wait_ms) {
  static char *command[4];
  struct error error = {0};
  command[0] = (char *)(uintptr_t) "/proc/self/exe";
  command[1] = (char *)(uintptr_t)kind;
  command[2] = (char *)(uintptr_t)behaviour;
  struct decode_pool *pool =
      decode_pool_open(&(struct decode_pool_options){kind ? command : NULL, helpers, timeout_ms, wait_ms}, &error);
  if (!pool) fail_msg("%s", error.text);
  return pool;
}

/* What is awaited comes long before these are over. */
static struct decode_pool *pool_with(const char *kind, const char *behaviour, int helpers) {
  return pool_waiting(kind, behaviour, helpers, LIMIT_HELPER_MS, DECODE_WAIT_MOST_MS);
}

static bool run(struct decode_pool *pool, struct slice file, char *sentence) {
  struct image image = {0};
  struct error error = {0};
  bool done = decode_pool_run(pool, file, slice_text(""), UINT64_MAX, &image, &error);
  if (done) image_release(&image);
  if (sentence) snprintf(sentence, ERROR_TEXT_MAX, "%s", error.text);
  if (!done) assert_true(error.code == ERROR_INVALID || error.code == ERROR_UNSUPPORTED);
  return done;
}

/* Pixels of each fixture, through a process. */
static void test_pixels(void **state) {
  (void)state;
  struct decode_pool *pool = pool_with(NULL, NULL, 2);
  struct slice table = fixture_read("", "decode.tsv");
  char *rest = NULL;
  for (char *line = strtok_r((char *)(uintptr_t)table.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    char name[64];
    int width, height;
    unsigned crc;
    assert_int_equal(sscanf(line, "%63s %d %d %x", name, &width, &height, &crc), 4);
    struct slice file = fixture_read("decode", name);
    struct image image;
    struct error error = {0};
    if (!decode_pool_run(pool, file, slice_text(""), UINT64_MAX, &image, &error)) fail_msg("%s: %s", name, error.text);
    assert_int_equal(crc_of(image.pixels, image_bytes(image.width, image.height)), crc);
    image_release(&image);
    fixture_free(file);
  }
  fixture_free(table);
  assert_int_equal(decode_pool_losses(pool), 0);
  decode_pool_close(pool);
}

/* A sentence comes through, and the helper is the same one afterwards. */
static void test_refused(void **state) {
  (void)state;
  char sentence[ERROR_TEXT_MAX];
  struct decode_pool *pool = pool_with(NULL, NULL, 1);
  assert_false(run(pool, refused, sentence));
  assert_string_equal(sentence, "The PNG image ends before its last row: it was cut off, send it whole.");
  assert_true(run(pool, taken, NULL));
  assert_false(run(pool, slice_text("x"), sentence));
  assert_string_equal(sentence, "The image is neither JPEG, PNG nor WebP by its first bytes: send one of these.");
  assert_int_equal(decode_pool_losses(pool), 0);
  decode_pool_close(pool);
}

static void test_bad_helpers(void **state) {
  (void)state;
  static const char nonsense[] =
      "The image made its decoder answer what no decoder does: it is malformed, send another.";
  static const char late[] = "The image was not decoded within 200 ms and was given up: send a smaller one.";
  static const char ended[] = "The image ended its decoder: it is malformed, send another.";
  static const struct {
    const char *how, *sentence;
  } rows[] = {
      {"crash", ended},     {"exit", ended},     {"hang", late},      {"magic", nonsense}, {"code", nonsense},
      {"device", nonsense}, {"large", nonsense}, {"empty", nonsense}, {"both", nonsense},  {"talk", nonsense},
      {"short", late},      {"stop", ended},     {"bytes", nonsense},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char sentence[ERROR_TEXT_MAX];
    struct decode_pool *pool = pool_waiting("bad-helper", rows[i].how, 1,
                                            rows[i].sentence == late ? 200 : LIMIT_HELPER_MS, DECODE_WAIT_MOST_MS);
    for (int again = 0; again < 2; again++) {
      assert_false(run(pool, taken, sentence));
      if (strcmp(sentence, rows[i].sentence) != 0) fail_msg("%s: %s", rows[i].how, sentence);
      assert_int_equal(decode_pool_losses(pool), again + 1);
    }
    decode_pool_close(pool);
  }
}

/* A request's time is over while its image waits for a decoder, or is in one, which is no fault of the decoder's. */
static void test_time_is_over(void **state) {
  (void)state;
  struct decode_pool *pool = pool_with("bad-helper", "hang", 1);
  for (int i = 0; i < 4; i++) {
    struct image image;
    struct error error = {0};
    assert_false(decode_pool_run(pool, taken, slice_text(""), i % 2 ? 1 : clock_us() + 50000, &image, &error));
    assert_int_equal(error.code, ERROR_TIMEOUT);
    assert_string_equal(error.text, "The request's time was over before its image was decoded.");
  }
  assert_int_equal(decode_pool_losses(pool), 0);
  decode_pool_close(pool);
}

/* A child has one image: what it does after its answer is nobody's. */
static void test_more_than_a_reply(void **state) {
  (void)state;
  struct decode_pool *pool = pool_with("bad-helper", "more", 1);
  for (int i = 0; i < 5; i++) assert_false(run(pool, taken, NULL)); /* INVALID each time, not LIMIT */
  assert_int_equal(decode_pool_losses(pool), 0);
  decode_pool_close(pool);
}

static void test_bad_starts(void **state) {
  (void)state;
  static const struct {
    const char *program, *how, *sentence;
    int helpers, timeout_ms, wait_ms;
  } rows[] = {
      {"/proc/self/exe", "mute", "An image decoder ended before it was ready: look at the system's log.", 1, 200, 200},
      {"/proc/self/exe", "silent", "An image decoder ended before it was ready: look at the system's log.", 1, 200,
       200},
      {"/proc/self/exe", "greeting",
       "The image made its decoder answer what no decoder does: it is malformed, send another.", 1, 200, 200},
      {"/proc/self/exe", "refused", "?No.", 2, 200, 200},
      {"/no/such/program", "mute", "An image decoder (/no/such/program) cannot be started: No such file or directory.",
       1, 200, 200},
      {"/proc/self/exe", "mute", "There cannot be 17 image decoders: ask for 1 to 16.", 17, 200, 200},
      {"/proc/self/exe", "mute", "Decoding an image cannot be allowed 0 ms: allow 1 to 60000.", 1, 0, 200},
      {"/proc/self/exe", "mute", "An image cannot wait 0 ms for a decoder: allow 1 to 60000.", 1, 200, 0},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct error error = {0};
    char *command[] = {(char *)(uintptr_t)rows[i].program, (char[]){"bad-helper"}, (char *)(uintptr_t)rows[i].how,
                       NULL};
    assert_null(decode_pool_open(
        &(struct decode_pool_options){command, rows[i].helpers, rows[i].timeout_ms, rows[i].wait_ms}, &error));
    assert_string_equal(error.text, rows[i].sentence);
  }
}

/* What a process may not wish for kills it; without a wish it answers. */
static void test_wishes(void **state) {
  (void)state;
  char answer[ERROR_TEXT_MAX];
  struct decode_pool *modest = pool_with("wishes", "nothing", 1);
  assert_false(run(modest, taken, answer));
  assert_string_equal(answer, "");
  decode_pool_close(modest);
  static const char *const hows[] = {"open",  "socket", "connect", "clone", "exec",    "kill",
                                     "other", "stderr", "code",    "file",  "protect", "ioctl"};
  for (size_t i = 0; i < sizeof hows / sizeof *hows; i++) {
    char sentence[ERROR_TEXT_MAX];
    struct decode_pool *pool = pool_with("wishes", hows[i], 1);
    assert_false(run(pool, taken, sentence));
    if (strcmp(sentence, "The image ended its decoder: it is malformed, send another.") != 0)
      fail_msg("%s: %s", hows[i], sentence);
    decode_pool_close(pool);
  }
}

/* Good helpers are killed from outside while four threads have images for them. */
static void *decode_many(void *argument) {
  struct decode_pool *pool = argument;
  intptr_t done = 0;
  for (int i = 0; i < 100; i++) done += run(pool, taken, NULL);
  return (void *)done;
}

/* The process ids of a process's children, of its first thread. */
static int children_find(pid_t parent, pid_t *pids, int max) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
  FILE *file = fopen(path, "r");
  int n = 0;
  if (!file) return 0;
  while (n < max && fscanf(file, "%d", &pids[n]) == 1) n++;
  fclose(file);
  return n;
}

/* As the kernel writes it: S sleeps, Z is a zombie; X: it is gone. */
static char process_state(pid_t pid) {
  char path[64], text[256];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE *file = fopen(path, "r");
  if (!file) return 'X';
  size_t size = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[size] = 0;
  const char *state = strrchr(text, ')'); /* after the program's name */
  return state ? state[2] : 'X';
}

/* ThreadSanitizer gives each process a thread of its own, which may keep its descriptors a moment longer. */
static int threads_left(pid_t pid) {
  char path[64];
  int n = 0;
  snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  DIR *threads = opendir(path);
  for (struct dirent *entry; threads && (entry = readdir(threads));) n += entry->d_name[0] != '.';
  if (threads) closedir(threads);
  return n;
}

/* Kills a process and waits until it has closed all it had: it is gone or a zombie. */
static void kill_for_good(pid_t pid) {
  kill(pid, SIGKILL);
  for (int wait = 0; wait < WAIT_MS; wait++, usleep(1000))
    if (strchr("ZX", process_state(pid)) && threads_left(pid) <= 1) return;
  fail();
}

/* The helper's child that has greeted and sleeps until there is an image, not the one before it, which is ending. */
static pid_t child_waiting(pid_t helper) {
  for (int wait = 0; wait < WAIT_MS; wait++, usleep(1000)) {
    pid_t child;
    if (children_find(helper, &child, 1) == 1 && process_state(child) == 'S') return child;
  }
  fail();
  return 0;
}

static atomic_int n_told; /* of those who want the decoder */

static void *decode_one(void *argument) {
  struct image image;
  struct error error = {0};
  decode_pool_run(argument, taken, slice_text(""), UINT64_MAX, &image, &error);
  atomic_fetch_add(&n_told, 1);
  return (void *)(intptr_t)error.code;
}

/* Of two who want one decoder that hangs, one has it, until it is killed here, and the other does not wait for ever. */
static void test_wait_is_bounded(void **state) {
  (void)state;
  pthread_t threads[2];
  intptr_t codes = 0;
  pid_t helper, child;
  struct decode_pool *pool = pool_waiting("bad-helper", "hang", 1, LIMIT_HELPER_MS, 50);
  if (children_find(getpid(), &helper, 1) != 1 || children_find(helper, &child, 1) != 1) skip();
  atomic_store(&n_told, 0);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, decode_one, pool), 0);
  for (int wait = 0; atomic_load(&n_told) == 0; wait++, usleep(1000))
    if (wait == WAIT_MS) fail_msg("Neither of two who want the decoder is told within %d ms.", WAIT_MS);
  kill_for_good(child);
  for (int i = 0; i < 2; i++) {
    void *code;
    pthread_join(threads[i], &code);
    codes += (intptr_t)code;
  }
  assert_int_equal(codes, ERROR_BUSY + ERROR_INVALID);
  assert_int_equal(decode_pool_losses(pool), 1);
  decode_pool_close(pool);
}

static void test_killed_from_outside(void **state) {
  (void)state;
  struct decode_pool *pool = pool_with(NULL, NULL, 2);
  pthread_t threads[4];
  pid_t pids[16];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, decode_many, pool), 0);
  int killed = 0;
  for (int i = 0; i < 5; i++) {
    usleep(2000);
    int n = children_find(getpid(), pids, 16);
    if (n > 0) killed += kill(i % 2 ? -pids[i % n] : pids[i % n], SIGKILL) == 0; /* with its child, or without */
  }
  intptr_t done = 0;
  for (int i = 0; i < 4; i++) {
    void *result;
    pthread_join(threads[i], &result);
    done += (intptr_t)result;
  }
  assert_true(done <= 400 && done >= 400 - killed);
  decode_pool_close(pool);
  pool = pool_with(NULL, NULL, 1);
  for (int round = 0; round < 3; round++) { /* the child that waits, its helper, both: it costs nobody an image */
    pid_t helper = 0;
    if (children_find(getpid(), &helper, 1) != 1) break;
    pid_t child = child_waiting(helper);
    if (round != 1) kill_for_good(child);
    if (round != 0) kill_for_good(helper);
    for (int i = 0; i < 4; i++) {
      char why[ERROR_TEXT_MAX];
      if (!run(pool, taken, why)) fail_msg("round %d, image %d: %s", round, i, why);
    }
  }
  decode_pool_close(pool);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* none is left */
}

/* Whether it has a descriptor beyond its socket. */
static bool has_more(pid_t pid, int descriptors) {
  char path[64], text[4096];
  for (int fd = 0; fd < descriptors; fd++) {
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
    ssize_t size = readlink(path, text, sizeof text - 1);
    if (size < 0) continue;
    if (fd > HELPER_DESCRIPTOR) return true;
    text[size] = 0;
    if (fd < HELPER_DESCRIPTOR) assert_string_equal(text, "/dev/null");
  }
  return false;
}

static void process_check(pid_t pid, int descriptors) {
  char path[64], text[4096];
  int wait = 0; /* a helper closes its child's socket after the child has greeted */
  while (has_more(pid, descriptors)) {
    assert_true(wait++ < WAIT_MS);
    usleep(1000);
  }
  snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
  FILE *file = fopen(path, "rb");
  if (!file) return; /* root may look */
  size_t size = fread(text, 1, sizeof text, file);
  assert_null(memmem(text, size, "a-key", 5));
  fclose(file);
}

/* Nothing that this process has open is open in a helper or its child, and nothing of its environment is there. */
static void test_what_a_helper_has(void **state) {
  (void)state;
  pid_t helper, child;
  setenv("SPATE_TEST_SECRET", "a-key", 1);
  int open_here = fcntl(0, F_DUPFD, 20); /* without close-on-exec, beyond what a helper has anyway */
  assert_true(open_here >= 20);
  struct decode_pool *pool = pool_with(NULL, NULL, 1);
  if (children_find(getpid(), &helper, 1) != 1 || children_find(helper, &child, 1) != 1) skip();
  process_check(helper, open_here + 4);
  process_check(child, open_here + 4);
  close(open_here);
  decode_pool_close(pool);
}

static int descriptors_count(void) {
  int count = 0;
  for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

/* Many small ones, good and bad: nothing is left of any. */
static void test_many(void **state) {
  (void)state;
  struct decode_pool *pool = pool_with(NULL, NULL, 2);
  int before = descriptors_count();
  for (int i = 0; i < 500; i++) assert_int_equal(run(pool, i % 3 ? taken : refused, NULL), i % 3 != 0);
  assert_int_equal(descriptors_count(), before);
  assert_int_equal(decode_pool_losses(pool), 0);
  decode_pool_close(pool);
  assert_int_equal(descriptors_count(), before - 4);
}

/* Each image has another process. */
static void test_another_each_time(void **state) {
  (void)state;
  pid_t helper, seen[8];
  struct decode_pool *pool = pool_with(NULL, NULL, 1);
  if (children_find(getpid(), &helper, 1) != 1) skip();
  for (int i = 0; i < 8; i++) {
    assert_true(run(pool, taken, NULL));
    assert_false(run(pool, refused, NULL));
    int wait = 0; /* between two, the one before this ends */
    while ((children_find(helper, &seen[i], 1) != 1 || (i && seen[i] == seen[i - 1])) && wait++ < WAIT_MS) usleep(1000);
    for (int before = 0; before < i; before++) assert_int_not_equal(seen[i], seen[before]);
  }
  decode_pool_close(pool);
}

int main(int argc, char **argv) {
  decode_helper_main(argc, argv);
  if (argc == 3) {
    how = argv[2];
    if (strcmp(how, "mute") == 0) _exit(0);
    if (strcmp(how, "deaf") == 0) pause();
    decode_helper_serve(strcmp(argv[1], "wishes") == 0 ? wishing_child : bad_child);
  }
  taken = fixture_read("decode", "colour.png");
  refused = fixture_read("bad", "cut.png");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pixels),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_bad_helpers),
      cmocka_unit_test(test_time_is_over),
      cmocka_unit_test(test_wait_is_bounded),
      cmocka_unit_test(test_more_than_a_reply),
      cmocka_unit_test(test_bad_starts),
      cmocka_unit_test(test_wishes),
      cmocka_unit_test(test_killed_from_outside),
      cmocka_unit_test(test_what_a_helper_has),
      cmocka_unit_test(test_another_each_time),
      cmocka_unit_test(test_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
