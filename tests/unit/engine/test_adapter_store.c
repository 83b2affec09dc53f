/* Adapters that are no more than a name, in folders of a temporary one: who is read, held, dropped and told. */
#include "engine/adapter_store.h"

#include "base/limits.h"
#include "engine/adapter_names.h"
#include "engine/adapter_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../held_clock.h"

enum { SLOTS = 2, MANY = 2000, BYTES = 100, SETTLED_MS = 100, STILL_MS = 50, WAIT_MS = 120000 };
enum { LATE_MS = 1000, FULL_MS = 5000 }; /* as adapter_loader.c has them */

static char folder[64];
static atomic_int n_read, n_live;
static atomic_bool gate_shut; /* reading a "slow" adapter waits while it is */
static atomic_bool all_bad;   /* what is read has no lora_B */
static const char *renamed;   /* over the file that is read, before it is opened; NULL: nothing is */
static struct adapter_store *store;

static void pause_ms(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

/* By the store's clock, of which its threads hear at once. */
static void time_pass(int ms) {
  clock_advance(ms);
  pthread_mutex_lock(&store->lock);
  pthread_cond_broadcast(&store->work);
  pthread_mutex_unlock(&store->lock);
}

static struct adapter *fake_read(const char *path, const struct engine_file *engine, int32_t max_rank,
                                 struct error *error) {
  const char *name = strrchr(path, '/') + 1;
  (void)engine;
  atomic_fetch_add(&n_read, 1);
  while (strncmp(name, "slow", 4) == 0 && atomic_load(&gate_shut)) pause_ms(1);
  if (renamed) assert_int_equal(rename(renamed, path), 0);
  if (strncmp(name, "bad", 3) == 0 || atomic_load(&all_bad)) {
    error_set(error, ERROR_FORMAT, "%s has no lora_B.", name);
    return NULL;
  }
  if (strncmp(name, "wide", 4) == 0) {
    error_set(error, ERROR_LIMIT, "%s has more than rank %d.", name, max_rank);
    return NULL;
  }
  struct adapter *adapter = calloc(1, sizeof *adapter);
  assert_non_null(adapter);
  *adapter = (struct adapter){.rank = 8, .bytes = strcmp(name, "d") == 0 ? 5 * BYTES : BYTES};
  atomic_fetch_add(&n_live, 1);
  return adapter;
}

static void fake_release(struct adapter *adapter) {
  atomic_fetch_sub(&n_live, 1);
  free(adapter);
}

static bool fake_place(struct program *program, int slot, const struct adapter *adapter, struct error *error) {
  (void)program;
  assert_non_null(adapter);
  return slot == 0 || error_set(error, ERROR_DEVICE, "Slot %d is broken.", slot);
}

/* --- the folder --------------------------------------------------------------------------------------------------- */

static void entry_make(const char *name, bool is_file) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  if (!is_file) {
    assert_int_equal(mkdir(path, 0700), 0);
    return;
  }
  int file = open(path, O_CREAT | O_WRONLY, 0600);
  assert_true(file >= 0);
  close(file);
}

static void store_make_bounded(int max_held, uint64_t max_bytes) {
  struct error error;
  struct adapter_store_options options = {.folder = folder,
                                          .n_slot = SLOTS,
                                          .max_rank = 64,
                                          .max_held = max_held,
                                          .max_bytes = max_bytes,
                                          .read = fake_read,
                                          .release = fake_release,
                                          .place = fake_place};
  store = adapter_store_new(&options, &error);
  if (!store) fail_msg("%s", error.text);
}

static void store_make(int max_held) { store_make_bounded(max_held, UINT64_MAX); }

static int folder_make(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/tmp/spate-adapters-XXXXXX");
  assert_non_null(mkdtemp(folder));
  static const char *const names[] = {"a", "b", "c", "d", "bad", "slow1", "slow2", "wide", ".hidden", "new\nline"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) entry_make(names[i], false);
  entry_make("style.gguf", true);
  entry_make("notes.txt", true);
  atomic_store(&n_read, 0);
  atomic_store(&gate_shut, false);
  atomic_store(&all_bad, false);
  renamed = NULL;
  return 0;
}

static int folder_remove(void **state) {
  (void)state;
  char command[128];
  adapter_store_free(store);
  store = NULL;
  clock_release();
  snprintf(command, sizeof command, "rm -rf %s", folder);
  assert_int_equal(atomic_load(&n_live), 0);
  return system(command);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static struct stored_adapter *take(const char *name) {
  struct error error;
  struct stored_adapter *stored = adapter_store_take(store, slice_text(name), false, &error);
  if (!stored) fail_msg("%s", error.text);
  return stored;
}

static enum adapter_state settled(const struct stored_adapter *stored) {
  for (int i = 0; i < 10 * WAIT_MS && atomic_load(&stored->state) == ADAPTER_COMING; i++) usleep(100);
  return atomic_load(&stored->state);
}

/* It is coming still, and stays so for as long as nothing else happens. */
static void coming_check(const struct stored_adapter *stored) {
  pause_ms(STILL_MS);
  assert_int_equal(atomic_load(&stored->state), ADAPTER_COMING);
}

/* Held and ready, then no longer held. */
static uint64_t use(const char *name) {
  struct stored_adapter *stored = take(name);
  assert_int_equal(settled(stored), ADAPTER_READY);
  uint64_t id = stored->id;
  adapter_store_drop(store, stored);
  return id;
}

static struct adapter_store_stats stats_of(void) {
  struct adapter_store_stats stats;
  adapter_store_stats(store, &stats);
  return stats;
}

static void held_await(int count) {
  for (int ms = 0; ms < WAIT_MS && stats_of().held != count; ms++) pause_ms(1);
  assert_int_equal(stats_of().held, count);
}

static void refused(struct slice name, enum error_code code, const char *sentence) {
  struct error error = {0};
  assert_null(adapter_store_take(store, name, false, &error));
  assert_int_equal(error.code, code);
  assert_string_equal(error.text, sentence);
}

static void text_add(void *user, const char *name) {
  strcat(user, name);
  strcat(user, " ");
}

static const char *listed(size_t most) {
  static char text[512];
  text[0] = '\0';
  adapter_store_list(store, most, text_add, text);
  return text;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_names(void **state) {
  (void)state;
  static const char odd[] = "An adapter's name was given that begins with a dot, has a / or a control character, or is "
                            "no UTF-8: no adapter is called so.";
  store_make(4);
  assert_string_equal(listed(100), "a b bad c d slow1 slow2 style.gguf wide ");
  assert_string_equal(listed(2), "a b ");
  assert_true(adapter_store_has(store, slice_text("style.gguf")));
  static const char *const none[] = {"..", ".hidden", "../etc/passwd", "a/../b", "/etc", "new\nline", "\xff", "a/"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    assert_false(adapter_store_has(store, slice_text(none[i])));
    refused(slice_text(none[i]), ERROR_INVALID, odd);
  }
  refused(slice_make("a\0b", 3), ERROR_INVALID, odd);
  refused(slice_make("", 0), ERROR_INVALID, "An adapter's name of 0 bytes was given, expected 1 to 255.");
  static char longer[LIMIT_ADAPTER_NAME_BYTES + 2];
  memset(longer, 'x', sizeof longer - 1);
  refused(slice_text(longer), ERROR_INVALID, "An adapter's name of 256 bytes was given, expected 1 to 255.");
  refused(
      slice_text("notes.txt"), ERROR_NOT_FOUND,
      "There is no adapter \"notes.txt\": the folder of --lora-dir has none of that name, nor was it loaded by that "
      "name.");
  assert_int_equal(atomic_load(&n_read), 0);
}

static void test_read_once(void **state) {
  (void)state;
  store_make(4);
  uint64_t a = use("a");
  assert_int_equal(use("a"), a);
  assert_int_not_equal(use("b"), a);
  assert_int_equal(atomic_load(&n_read), 2);
  assert_int_equal(stats_of().loads, 2);
  assert_int_equal(stats_of().held_bytes, 200);
}

/* What was used longest ago goes; who comes back unchanged is the same. */
static void test_least_recent_goes(void **state) {
  (void)state;
  store_make(2);
  uint64_t a = use("a");
  use("b");
  use("a");
  use("c");
  held_await(2);
  assert_int_equal(stats_of().evictions, 1);
  use("a"); /* still there */
  assert_int_equal(atomic_load(&n_read), 3);
  use("b");
  use("c");
  assert_int_equal(use("a"), a);
  assert_int_equal(atomic_load(&n_read), 6);
}

/* Other bytes of the same size in the same file, whose time was set back. */
static void test_other_content(void **state) {
  (void)state;
  char path[128];
  struct stat about;
  store_make(1);
  clock_advance(SETTLED_MS);
  uint64_t id = use("style.gguf");
  use("a");
  assert_int_equal(use("style.gguf"), id);
  use("a");
  snprintf(path, sizeof path, "%s/style.gguf", folder);
  assert_int_equal(stat(path, &about), 0);
  pause_ms(20); /* more than a tick of the file system's clock */
  assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[2]){about.st_atim, about.st_mtim}, 0), 0);
  assert_int_not_equal(use("style.gguf"), id);
}

/* Another file under the name, after it was looked at and before it is opened: what was read is not the first's. */
static void test_renamed_while_read(void **state) {
  (void)state;
  char path[128];
  entry_make("other", true);
  clock_advance(SETTLED_MS);
  snprintf(path, sizeof path, "%s/other", folder);
  store_make(1);
  uint64_t id = use("style.gguf");
  use("a");
  assert_int_equal(use("style.gguf"), id);
  use("a");
  renamed = path;
  uint64_t other = use("style.gguf");
  renamed = NULL;
  assert_int_not_equal(other, id);
  use("a");
  assert_int_not_equal(use("style.gguf"), other); /* nor is it known to be that one's */
}

/* What was written just now may be written again at the same time. */
static void test_just_written(void **state) {
  (void)state;
  char path[128];
  store_make(1);
  snprintf(path, sizeof path, "%s/style.gguf", folder);
  clock_hold();
  assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
  uint64_t id = use("style.gguf");
  use("a");
  assert_int_not_equal(use("style.gguf"), id);
}

static void test_held_stays(void **state) {
  (void)state;
  store_make(2);
  clock_hold();
  struct stored_adapter *a = take("a"), *b = take("b");
  assert_int_equal(settled(a), ADAPTER_READY);
  assert_int_equal(settled(b), ADAPTER_READY);
  struct stored_adapter *c = take("c");
  coming_check(c); /* no room, and nothing to drop */
  adapter_store_drop(store, a);
  assert_int_equal(settled(c), ADAPTER_READY);
  assert_non_null(b->adapter);
  adapter_store_drop(store, b);
  adapter_store_drop(store, c);
}

/* What others hold on and on shuts nobody out: whoever has waited for a second is read, one after the other. */
static void test_late(void **state) {
  (void)state;
  store_make(2);
  clock_hold();
  struct stored_adapter *held[] = {take("a"), take("b"), NULL, NULL};
  assert_int_equal(settled(held[0]), ADAPTER_READY);
  assert_int_equal(settled(held[1]), ADAPTER_READY);
  held[2] = take("c");
  held[3] = take("d");
  time_pass(LATE_MS - 1);
  coming_check(held[2]);
  for (int i = 2; i < 4; i++) {
    time_pass(i == 2 ? 1 : LATE_MS);
    assert_int_equal(settled(held[i]), ADAPTER_READY);
    if (i == 2) coming_check(held[3]);
  }
  assert_int_equal(stats_of().held, 4);
  for (int i = 0; i < 4; i++) adapter_store_drop(store, held[i]);
  held_await(2);
}

/* A request of several adapters does not wait for itself. */
static void test_urgent(void **state) {
  (void)state;
  struct error error;
  store_make(1);
  struct stored_adapter *a = adapter_store_take(store, slice_text("a"), true, &error);
  struct stored_adapter *b = adapter_store_take(store, slice_text("b"), true, &error);
  assert_int_equal(settled(a), ADAPTER_READY);
  assert_int_equal(settled(b), ADAPTER_READY);
  adapter_store_drop(store, a);
  adapter_store_drop(store, b);
  held_await(1);
}

/* Memory bounds what requests of several adapters hold, too. */
static void test_bytes(void **state) {
  (void)state;
  struct error error;
  store_make_bounded(8, 2 * BYTES);
  use("a");
  use("b");
  use("c");
  held_await(2);
  clock_hold();
  struct stored_adapter *held[4];
  for (int i = 0; i < 2; i++) {
    held[i] = adapter_store_take(store, slice_text(i == 0 ? "a" : "b"), true, &error);
    assert_int_equal(settled(held[i]), ADAPTER_READY);
  }
  held[2] = adapter_store_take(store, slice_text("c"), true, &error);
  time_pass(LATE_MS); /* as long as one waits whom the count alone keeps out */
  coming_check(held[2]);
  adapter_store_drop(store, held[0]);
  assert_int_equal(settled(held[2]), ADAPTER_READY);
  assert_int_equal(stats_of().held_bytes, 2 * BYTES);
  held[3] = take("a"); /* and nobody drops anything */
  time_pass(FULL_MS - 1);
  coming_check(held[3]);
  time_pass(1);
  assert_int_equal(settled(held[3]), ADAPTER_FAILED);
  assert_int_equal(held[3]->error.code, ERROR_BUSY);
  assert_string_equal(held[3]->error.text,
                      "There is no memory for the adapter \"a\": those that requests hold take 1 MiB of the 1 MiB of "
                      "--lora-memory. Try again later.");
  for (int i = 1; i < 4; i++) adapter_store_drop(store, held[i]);
  use("a"); /* was not failed for the next two seconds */
  struct stored_adapter *large = take("d");
  assert_int_equal(settled(large), ADAPTER_FAILED);
  assert_string_equal(large->error.text, "The adapter \"d\" takes 1 MiB, more than --lora-memory allows all: 1 MiB.");
  adapter_store_drop(store, large);
}

/* What one takes that was never read is known when it is there: it waits, too, where others hold too much. */
static void test_bytes_of_unknown(void **state) {
  (void)state;
  store_make_bounded(8, 2 * BYTES + BYTES / 2);
  clock_hold();
  struct stored_adapter *a = take("a"), *b = take("b");
  assert_int_equal(settled(a), ADAPTER_READY);
  assert_int_equal(settled(b), ADAPTER_READY);
  struct stored_adapter *c = take("c");
  while (atomic_load(&n_read) < 3 || atomic_load(&n_live) > 2) pause_ms(1);
  assert_int_equal(atomic_load(&c->state), ADAPTER_COMING);
  assert_int_equal(stats_of().held_bytes, 2 * BYTES);
  adapter_store_drop(store, a);
  assert_int_equal(settled(c), ADAPTER_READY);
  assert_int_equal(stats_of().held_bytes, 2 * BYTES);
  assert_int_equal(atomic_load(&n_read), 4);
  adapter_store_drop(store, b);
  use("style.gguf");
  assert_int_equal(stats_of().held_bytes, 2 * BYTES); /* what nobody holds made room for what was read */
  assert_int_equal(atomic_load(&n_read), 5);
  adapter_store_drop(store, c);
}

static void test_failures(void **state) {
  (void)state;
  store_make(4);
  clock_hold();
  struct stored_adapter *bad = take("bad"), *wide = take("wide");
  assert_int_equal(settled(bad), ADAPTER_FAILED);
  assert_string_equal(bad->error.text, "bad has no lora_B.");
  assert_int_equal(settled(wide), ADAPTER_FAILED);
  assert_string_equal(wide->error.text, "wide has more than rank 64.");
  int reads = atomic_load(&n_read);
  refused(slice_text("bad"), ERROR_FORMAT, "bad has no lora_B."); /* not read again at once */
  assert_int_equal(atomic_load(&n_read), reads);
  adapter_store_drop(store, bad);
  adapter_store_drop(store, wide);
  time_pass(ADAPTER_RETRY_US / 1000);
  bad = take("bad");
  assert_int_equal(settled(bad), ADAPTER_FAILED);
  assert_int_equal(atomic_load(&n_read), reads + 1);
  adapter_store_drop(store, bad);
  use("a");
}

/* Whoever gave up is not read for, and one that takes long keeps nobody from asking. */
static void test_given_up(void **state) {
  (void)state;
  store_make(4);
  atomic_store(&gate_shut, true);
  struct stored_adapter *slow = take("slow1"), *slower = take("slow2"), *never = take("b");
  for (int ms = 0; ms < WAIT_MS && atomic_load(&n_read) < ADAPTER_READERS; ms++) pause_ms(1);
  adapter_store_drop(store, never);
  adapter_store_drop(store, slow);
  adapter_store_drop(store, slower);
  assert_true(adapter_store_has(store, slice_text("a")));
  atomic_store(&gate_shut, false);
  use("a");
  assert_int_equal(atomic_load(&n_read), ADAPTER_READERS + 1);
}

/* One that takes long to be read keeps none from being read, nor from being loaded. */
static void test_read_meanwhile(void **state) {
  (void)state;
  struct error error;
  store_make(4);
  atomic_store(&gate_shut, true);
  struct stored_adapter *slow = take("slow1");
  while (atomic_load(&n_read) < 1) pause_ms(1);
  use("a");
  assert_true(adapter_store_load(store, slice_text("x"), slice_text("b"), &error));
  assert_int_equal(atomic_load(&slow->state), ADAPTER_COMING);
  atomic_store(&gate_shut, false);
  assert_int_equal(settled(slow), ADAPTER_READY);
  adapter_store_drop(store, slow);
}

static void test_placements(void **state) {
  (void)state;
  struct error error = {0};
  store_make(4);
  struct stored_adapter *a = take("a");
  assert_int_equal(settled(a), ADAPTER_READY);
  assert_int_equal(adapter_store_placed(store, 0, &error), PLACE_NONE);
  for (int slot = 0; slot < SLOTS; slot++) {
    enum adapter_placing placing = PLACE_COMING;
    adapter_store_place(store, slot, a);
    for (int ms = 0; ms < WAIT_MS && placing == PLACE_COMING; ms++, pause_ms(1))
      placing = adapter_store_placed(store, slot, &error);
    assert_int_equal(placing, slot == 0 ? PLACE_DONE : PLACE_FAILED);
    assert_int_equal(adapter_store_placed(store, slot, &error), PLACE_NONE);
  }
  assert_string_equal(error.text, "Slot 1 is broken.");
  adapter_store_drop(store, a);
}

static void placed_await(int slot, struct stored_adapter *stored) {
  struct error error = {0};
  enum adapter_placing placing = PLACE_COMING;
  adapter_store_place(store, slot, stored);
  for (int ms = 0; ms < WAIT_MS && placing == PLACE_COMING; ms++, pause_ms(1))
    placing = adapter_store_placed(store, slot, &error);
  assert_int_equal(placing, PLACE_DONE);
}

/* One that takes long to be read keeps none from its slot. */
static void test_placed_meanwhile(void **state) {
  (void)state;
  store_make(4);
  struct stored_adapter *a = take("a");
  assert_int_equal(settled(a), ADAPTER_READY);
  atomic_store(&gate_shut, true);
  struct stored_adapter *slow = take("slow1");
  while (atomic_load(&n_read) < 2) pause_ms(1);
  placed_await(0, a);
  assert_int_equal(atomic_load(&slow->state), ADAPTER_COMING);
  atomic_store(&gate_shut, false);
  adapter_store_drop(store, slow);
  adapter_store_drop(store, a);
}

static void *slow_load(void *done) {
  struct error error;
  atomic_store((atomic_int *)done, adapter_store_load(store, slice_text("x"), slice_text("slow1"), &error) ? 1 : -1);
  return NULL;
}

/* What a read finds that began before is not what a load wants: there is another. */
static void test_load_while_reading(void **state) {
  (void)state;
  pthread_t thread;
  atomic_int done = 0;
  store_make(4);
  atomic_store(&gate_shut, true);
  struct stored_adapter *before = take("slow1");
  while (atomic_load(&n_read) < 1) pause_ms(1);
  assert_int_equal(pthread_create(&thread, NULL, slow_load, &done), 0);
  while (atomic_load(&n_read) < 2) pause_ms(1);
  atomic_store(&gate_shut, false);
  pthread_join(thread, NULL);
  assert_int_equal(atomic_load(&done), 1);
  assert_int_equal(atomic_load(&n_read), 2);
  adapter_store_drop(store, before);
}

static void load_refused(const char *name, const char *path, const char *sentence) {
  struct error error = {0};
  assert_false(adapter_store_load(store, slice_text(name), slice_text(path), &error));
  assert_string_equal(error.text, sentence);
}

static void test_load_and_unload(void **state) {
  (void)state;
  static const char outside[] = "lora_path must be the name of an adapter in the folder of --lora-dir, or the folder's "
                                "path, a / and that name.";
  struct error error = {0};
  char path[128];
  store_make(4);
  load_refused("x", "/etc", outside);
  load_refused("x", "../a", outside);
  load_refused(
      "x", "notes.txt",
      "There is no adapter \"notes.txt\" in the folder of --lora-dir: lora_path is a name in it, or its path and "
      "that.");
  load_refused("x", "bad", "bad has no lora_B.");
  assert_false(adapter_store_has(store, slice_text("x")));
  snprintf(path, sizeof path, "%s/a", folder);
  if (!adapter_store_load(store, slice_text("x"), slice_text(path), &error)) fail_msg("%s", error.text);
  assert_int_equal(use("x"), use("a"));
  entry_make("late", false); /* seen at once when it is asked for */
  if (!adapter_store_load(store, slice_text("late"), slice_text("late"), &error)) fail_msg("%s", error.text);
  assert_string_equal(listed(100), "x a b bad c d late slow1 slow2 style.gguf wide ");
  struct stored_adapter *held = take("x");
  assert_true(adapter_store_unload(store, slice_text("x"), &error));
  assert_true(adapter_store_unload(store, slice_text("b"), &error));
  assert_false(adapter_store_unload(store, slice_text("b"), &error));
  assert_string_equal(listed(100), "a bad c d late slow1 slow2 style.gguf wide ");
  assert_non_null(held->adapter); /* whoever runs with it goes on */
  adapter_store_drop(store, held);
  assert_true(adapter_store_load(store, slice_text("b"), slice_text("b"), &error));
  assert_true(adapter_store_has(store, slice_text("b")));
}

/* One that cannot be read takes nothing away from those who use the one before. */
static void test_failed_load(void **state) {
  (void)state;
  store_make(4);
  uint64_t id = use("a");
  atomic_store(&all_bad, true);
  load_refused("a", "a", "a has no lora_B.");
  load_refused("x", "b", "b has no lora_B.");
  assert_int_equal(use("a"), id);
  atomic_store(&all_bad, false);
  assert_int_equal(atomic_load(&n_read), 3);
  struct error error;
  assert_true(adapter_store_load(store, slice_text("a"), slice_text("a"), &error));
  assert_int_equal(atomic_load(&n_read), 4);
  held_await(1);
}

/* The folder's path is what it was given as, too. */
static void test_linked_folder(void **state) {
  (void)state;
  char real[64], path[128];
  struct error error;
  memcpy(real, folder, sizeof real);
  strcat(folder, ".link");
  assert_int_equal(symlink(real, folder), 0);
  store_make(4);
  snprintf(path, sizeof path, "%s/a", folder);
  assert_true(adapter_store_load(store, slice_text("x"), slice_text(path), &error));
  snprintf(path, sizeof path, "%s/b", real);
  assert_true(adapter_store_load(store, slice_text("y"), slice_text(path), &error));
  snprintf(path, sizeof path, "%s/../a", folder);
  load_refused("z", path,
               "lora_path must be the name of an adapter in the folder of --lora-dir, or the folder's path, a / and "
               "that name.");
  unlink(folder);
  memcpy(folder, real, sizeof real);
}

static void test_folder_changes(void **state) {
  (void)state;
  char path[128];
  store_make(4);
  entry_make("z", false);
  for (int ms = 0; ms < WAIT_MS && !adapter_store_has(store, slice_text("z")); ms++) pause_ms(1);
  use("z");
  snprintf(path, sizeof path, "%s/z", folder);
  assert_int_equal(rmdir(path), 0);
  for (int ms = 0; ms < WAIT_MS && adapter_store_has(store, slice_text("z")); ms++) pause_ms(1);
  assert_false(adapter_store_has(store, slice_text("z")));
}

/* The thread is woken all the time, and looks nonetheless. */
static void test_folder_changes_under_load(void **state) {
  (void)state;
  store_make(4);
  pause_ms(20); /* until it has looked first */
  entry_make("z", false);
  for (int ms = 0; ms < WAIT_MS / 4 && !adapter_store_has(store, slice_text("z")); ms++) {
    use("a");
    pause_ms(1);
  }
  assert_true(adapter_store_has(store, slice_text("z")));
}

static int files_known(void) {
  int count = 0;
  pthread_mutex_lock(&store->lock);
  for (const struct stored_file *file = store->first_file; file; file = file->next) count++;
  pthread_mutex_unlock(&store->lock);
  return count;
}

/* Of names whose files have gone nothing is kept, unless somebody holds one or another name stands for it. */
static void test_forgotten(void **state) {
  (void)state;
  enum { GONE = 700 }; /* more than are looked at in one go */
  struct error error = {0};
  char name[32], path[128];
  for (int i = 0; i < GONE; i++) {
    snprintf(name, sizeof name, "n%d.gguf", i);
    entry_make(name, true);
  }
  store_make(4);
  for (int i = 0; i < GONE; i++) {
    snprintf(name, sizeof name, "n%d.gguf", i);
    use(name);
  }
  use("a");
  assert_true(adapter_store_load(store, slice_text("x"), slice_text("n1.gguf"), &error));
  struct stored_adapter *held = take("n2.gguf");
  assert_int_equal(files_known(), GONE + 1);
  for (int i = 0; i < GONE; i++) {
    snprintf(path, sizeof path, "%s/n%d.gguf", folder, i);
    assert_int_equal(unlink(path), 0);
  }
  for (int ms = 0; ms < WAIT_MS && files_known() > 3; ms++) pause_ms(1);
  assert_int_equal(files_known(), 3);
  assert_int_equal(settled(held), ADAPTER_READY);
  adapter_store_drop(store, held);
  use("x"); /* is in memory */
  assert_true(adapter_store_unload(store, slice_text("x"), &error));
  for (int ms = 0; ms < WAIT_MS && files_known() > 1; ms++) pause_ms(1);
  assert_int_equal(files_known(), 1);
}

static void given_add(void *user, const char *name, const char *file) {
  char *text = user;
  sprintf(text + strlen(text), "%s=%s ", name, file ? file : "-");
}

/* Names that were given or taken away in one store are so in the next. */
static void test_given(void **state) {
  (void)state;
  struct error error = {0};
  char text[128] = "";
  store_make(4);
  assert_true(adapter_store_give(store, slice_text("x"), slice_text("a"), &error));
  assert_true(adapter_store_give(store, slice_text("z"), slice_text("not.gguf"), &error));
  assert_true(adapter_store_give(store, slice_text("b"), slice_make(NULL, 0), &error));
  assert_false(adapter_store_give(store, slice_text(".."), slice_text("a"), &error));
  assert_false(adapter_store_give(store, slice_text("y"), slice_text("../a"), &error));
  assert_int_equal(atomic_load(&n_read), 0);
  assert_int_equal(use("x"), use("a"));
  assert_false(adapter_store_has(store, slice_text("b")));
  adapter_store_given(store, given_add, text);
  assert_string_equal(text, "b=- x=a z=not.gguf ");
}

/* Names in plenty, of which each is asked for once. */
static void test_many(void **state) {
  (void)state;
  char name[32];
  for (int i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "m%d", i);
    entry_make(name, true); /* no adapter */
    snprintf(name, sizeof name, "n%d.gguf", i);
    entry_make(name, true);
  }
  store_make(8);
  for (int i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "n%d.gguf", i);
    use(name);
    snprintf(name, sizeof name, "m%d", i);
    assert_false(adapter_store_has(store, slice_text(name)));
  }
  held_await(8);
  assert_int_equal(stats_of().loads, MANY);
}

static void *churn(void *argument) {
  unsigned seed = *(unsigned *)argument;
  static const char *const names[] = {"a", "b", "c", "d", "bad", "wide", "x", "style.gguf", "nobody"};
  for (int i = 0; i < 3000; i++) {
    struct error error;
    struct slice name = slice_text(names[rand_r(&seed) % 9]);
    int what = rand_r(&seed) % 16;
    if (what == 0) adapter_store_unload(store, name, &error);
    if (what == 1) adapter_store_load(store, name, slice_text("a"), &error);
    struct stored_adapter *stored = adapter_store_take(store, name, what == 2, &error);
    if (!stored) continue;
    if (what > 3) settled(stored);
    adapter_store_drop(store, stored);
  }
  return NULL;
}

static void test_churn(void **state) {
  (void)state;
  pthread_t thread[4];
  unsigned seed[4] = {1, 2, 3, 4};
  store_make(2);
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, churn, &seed[i]), 0);
  for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
  for (int ms = 0; ms < WAIT_MS && stats_of().held > 2; ms++) pause_ms(1);
  assert_in_range(stats_of().held, 0, 2);
}

static void test_no_folder(void **state) {
  (void)state;
  struct error error;
  struct adapter_store_options options = {.folder = "/nowhere/at/all", .n_slot = 1};
  assert_null(adapter_store_new(&options, &error));
  assert_string_equal(error.text,
                      "The folder of adapters /nowhere/at/all cannot be opened: No such file or directory.");
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_FOLDER(test_names),
      IN_FOLDER(test_read_once),
      IN_FOLDER(test_least_recent_goes),
      IN_FOLDER(test_other_content),
      IN_FOLDER(test_renamed_while_read),
      IN_FOLDER(test_just_written),
      IN_FOLDER(test_held_stays),
      IN_FOLDER(test_late),
      IN_FOLDER(test_urgent),
      IN_FOLDER(test_bytes),
      IN_FOLDER(test_bytes_of_unknown),
      IN_FOLDER(test_failures),
      IN_FOLDER(test_given_up),
      IN_FOLDER(test_read_meanwhile),
      IN_FOLDER(test_placements),
      IN_FOLDER(test_placed_meanwhile),
      IN_FOLDER(test_load_while_reading),
      IN_FOLDER(test_load_and_unload),
      IN_FOLDER(test_failed_load),
      IN_FOLDER(test_linked_folder),
      IN_FOLDER(test_folder_changes),
      IN_FOLDER(test_folder_changes_under_load),
      IN_FOLDER(test_forgotten),
      IN_FOLDER(test_given),
      IN_FOLDER(test_many),
      IN_FOLDER(test_churn),
      cmocka_unit_test(test_no_folder),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
