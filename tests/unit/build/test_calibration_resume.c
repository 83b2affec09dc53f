/* A calibrated build that is killed at each of its calls that change the disk, and begun again: it goes on after the
 * last layer that it kept, ends with the bytes of a build that nobody killed, and leaves nothing beside them. And what
 * it makes of a journal that is damaged, foreign, or does not fit on the disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/backends.h"
#include "build/build.h"
#include "build/calibration_journal.h"
#include "build/journal_file.h"
#include "engine/engine_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *model = FIXTURES "/build/tiny.gguf";

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { LAYERS = 2, OP_OF_LAYER = 8 /* behind the first */, LOG_BYTES = 4096, SENTENCE = 512 };

/* --- what the system does to a build ------------------------------------------------------------------------------ */

static int calls_left;     /* of those that change the disk, until the process is killed; 0: it is not */
static long fsync_seconds; /* that each flush seems to take */
static int full_from;      /* writes of the journal from the nth on find no room; 0: all do */
static int journal_writes; /* that were tried */

static void call_count(void) {
  if (calls_left > 0 && --calls_left == 0) raise(SIGKILL);
}

/* A clock that goes on by a microsecond with each look at it, and by what flushes seem to take: so writes are cheap, or
 * cost what they should, however busy the machine is. */
static long seconds;
static atomic_long looks;

int clock_gettime(clockid_t clock, struct timespec *now) {
  (void)clock;
  long us = atomic_fetch_add(&looks, 1);
  *now = (struct timespec){.tv_sec = 1000 + seconds + us / 1000000, .tv_nsec = us % 1000000 * 1000};
  return 0;
}

int fsync(int file) {
  call_count();
  seconds += fsync_seconds;
  return (int)syscall(SYS_fsync, file);
}

int linkat(int from, const char *old, int to, const char *new, int flags) {
  call_count();
  return (int)syscall(SYS_linkat, from, old, to, new, flags);
}

int rename(const char *old, const char *new) {
  call_count();
  return (int)syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, 0);
}

int unlinkat(int folder, const char *name, int flags) {
  call_count();
  return (int)syscall(SYS_unlinkat, folder, name, flags);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
  char self[64], name[256] = {0};
  snprintf(self, sizeof self, "/proc/self/fd/%d", file);
  if (readlink(self, name, sizeof name - 1) > 0 && strstr(name, ".calibration/") && full_from > 0 &&
      ++journal_writes >= full_from) {
    errno = ENOSPC;
    return -1;
  }
  return syscall(SYS_pwrite64, file, data, size, at);
}

/* --- builds ------------------------------------------------------------------------------------------------------- */

static const char *const journal_files[] = {"values", "layer-0", "layer-1"};
enum { JOURNAL_FILES = LAYERS + 1, METHODS = 3 };

struct place {
  char folder[64], path[96], journal[128], text[96];
  struct slice kept[METHODS]
                   [JOURNAL_FILES]; /* journals that whole builds left here: a test that spoils many makes one */
};

/* Some windows of the tiny model. */
static void text_write(const char *path) {
  FILE *stream = fopen(path, "wb");
  assert_non_null(stream);
  for (int i = 0; i < 12; i++) fprintf(stream, "%d bottles of %x on the wall.\n", 99 - i, i * i * 7919);
  assert_int_equal(fclose(stream), 0);
}

static int setup(void **state) {
  struct place *place = calloc(1, sizeof *place);
  snprintf(place->folder, sizeof place->folder, "/tmp/spate-test-XXXXXX");
  assert_non_null(mkdtemp(place->folder));
  snprintf(place->path, sizeof place->path, "%s/tiny.spate", place->folder);
  snprintf(place->journal, sizeof place->journal, "%s.calibration", place->path);
  snprintf(place->text, sizeof place->text, "%s/text", place->folder);
  text_write(place->text);
  *state = place;
  return 0;
}

static int teardown(void **state) {
  struct place *place = *state;
  unlink(place->path), unlink(place->text);
  assert_int_equal(rmdir(place->folder), 0); /* nothing else was left there */
  for (int i = 0; i < METHODS; i++)
    for (int k = 0; k < JOURNAL_FILES; k++) free((void *)(uintptr_t)place->kept[i][k].data);
  free(place);
  return 0;
}

static const enum quant_method methods[METHODS] = {QUANT_AWQ, QUANT_GPTQ, QUANT_SMOOTH};

static struct build_options options_make(const struct place *place, enum quant_method method) {
  return (struct build_options){.model = model,
                                .output = place->path,
                                .backend = &backend_cpu,
                                .calib_data = place->text,
                                .n_thread = 1,
                                .config = {.quant_mode = method == QUANT_SMOOTH ? QUANT_W8A8 : QUANT_INT4_WEIGHT,
                                           .quant_method = (uint8_t)method}};
}

/* Builds in a process of its own, which may be killed at the nth call that changes the disk; its log into `log`. */
static bool build_apart(const struct build_options *options, int kill_at, int full, char log[LOG_BYTES]) {
  int ends[2], status;
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]), close(ends[1]);
    calls_left = kill_at;
    full_from = full;
    struct error error;
    bool done = build_engine(options, &error);
    if (!done) dprintf(STDERR_FILENO, "%s\n", error.text);
    _exit(done ? 0 : 1);
  }
  close(ends[1]);
  size_t size = 0;
  for (ssize_t got; (got = read(ends[0], log + size, LOG_BYTES - 1 - size)) > 0;) size += (size_t)got;
  log[size] = '\0';
  close(ends[0]);
  assert_int_equal(waitpid(child, &status, 0), child);
  if (WIFEXITED(status)) {
    if (WEXITSTATUS(status) != 0) fail_msg("%s", log);
    return true;
  }
  assert_int_equal(WTERMSIG(status), SIGKILL);
  return false;
}

/* All of an engine but the time at which it was built and what is made of that. */
struct content {
  struct hash128 plan, tokenizer, table;
};

static struct content content_of(const char *path) {
  struct engine_file file;
  struct engine_verify verify = {0};
  struct error error = {0};
  if (!engine_file_open(&file, path, &error) || !engine_file_verify(&file, &verify, &error))
    fail_msg("%s: %s", path, error.text);
  struct content content = {file.header->section[SECTION_PLAN].hash, file.header->section[SECTION_TOKENIZER].hash,
                            file.header->section[SECTION_WEIGHT_TABLE].hash}; /* which has each weight's hash */
  engine_file_close(&file);
  return content;
}

static struct content content_alone(const struct build_options *options) {
  char log[LOG_BYTES];
  assert_true(build_apart(options, 0, 0, log));
  assert_null(strstr(log, "calibration"));
  struct content content = content_of(options->output);
  unlink(options->output);
  return content;
}

/* Of the tiny model by a method, wherever it lies. */
static const struct content *content_expected(const struct place *place, int method) {
  static struct content content[METHODS];
  static bool known[METHODS];
  const struct build_options options = options_make(place, methods[method]);
  if (!known[method]) content[method] = content_alone(&options);
  known[method] = true;
  return &content[method];
}

static void content_check(const struct build_options *options, const struct content *expected) {
  struct content content = content_of(options->output);
  assert_memory_equal(&content, expected, sizeof content);
  unlink(options->output);
}

static bool journal_there(const struct place *place, const char *name) {
  char path[SENTENCE];
  snprintf(path, sizeof path, "%s/%s", place->journal, name);
  return access(path, F_OK) == 0;
}

/* --- kills -------------------------------------------------------------------------------------------------------- */

/* How many layers the next build is going to find. */
static int layers_kept(const struct place *place) {
  char path[SENTENCE];
  struct journal_header header = {0};
  snprintf(path, sizeof path, "%s/values", place->journal);
  int file = open(path, O_RDONLY);
  if (file < 0) return 0;
  assert_int_equal(read(file, &header, sizeof header), sizeof header);
  close(file);
  int layers = 0;
  for (int i = 0; i < LAYERS; i++) {
    char name[24];
    snprintf(name, sizeof name, "layer-%d", i);
    layers += journal_there(place, name);
  }
  return layers;
}

/* At every call, or at each of `step`. */
static void method_kill(const struct place *place, int method, const struct content *expected, int step) {
  struct build_options options = options_make(place, methods[method]);
  char log[LOG_BYTES], sentence[SENTENCE];
  int resumed[LAYERS + 1] = {0}, kills = 0;
  for (int at = 1; !build_apart(&options, at, 0, log); at += step, kills++) {
    if (access(place->path, F_OK) == 0) unlink(place->path); /* after its name was given */
    int most = layers_kept(place);
    options.n_thread = 1 + at % 2; /* which changes nothing */
    assert_true(build_apart(&options, 0, 0, log));
    int layers = 0;
    for (int i = 1; i <= LAYERS; i++) {
      snprintf(sentence, sizeof sentence, " info The calibration goes on after layer %d of %d, as %s has it.", i,
               LAYERS, place->journal);
      if (strstr(log, sentence)) layers = i;
    }
    if (layers > most || layers < most - 1 || strstr(log, "warning"))
      fail_msg("killed at call %d: %d layers were kept, and %d gone on after: %s", at, most, layers, log);
    resumed[layers]++;
    content_check(&options, expected);
    assert_int_equal(access(place->journal, F_OK), -1);
  }
  content_check(&options, expected);
  for (int i = 0; i <= LAYERS; i++) assert_true(resumed[i] > 0);
  assert_true(kills >= 6 * LAYERS / step); /* three calls for each of two files */
}

static void test_killed(void **state) {
  for (int i = 0; i < METHODS; i++)
    method_kill(*state, i, content_expected(*state, i), methods[i] == QUANT_GPTQ ? 1 : 3);
}

/* By one method under a sanitizer, which makes a build five times as long and has seen all of them above. */
static void others_kill(const struct place *place, const char *other, int step) {
  const char *plain = model;
  model = other;
  for (int i = 0; i < METHODS; i++) {
    if (SANITIZED && methods[i] != QUANT_GPTQ) continue;
    const struct build_options options = options_make(place, methods[i]);
    const struct content expected = content_alone(&options);
    method_kill(place, i, &expected, step);
  }
  model = plain;
}

/* With layers of experts, which are in the engine when their layer ends. */
static void test_killed_mixture(void **state) { others_kill(*state, FIXTURES "/model/olmoe", 2); }

/* With latent attention, of which a site has linears that run later, and heads' matrices. */
static void test_killed_latent(void **state) { others_kill(*state, FIXTURES "/model/deepseek_dense", 3); }

/* Killed again and again, each build a little further. */
static void test_killed_often(void **state) {
  const struct place *place = *state;
  for (int i = 0; i < METHODS; i++) {
    struct build_options options = options_make(place, methods[i]);
    const struct content *expected = content_expected(place, i);
    char log[LOG_BYTES];
    int builds = 1;
    for (int at = 4; !build_apart(&options, at, 0, log); at += 3) builds++;
    assert_true(builds > 2);
    content_check(&options, expected);
  }
}

/* --- journals that are not what they should be -------------------------------------------------------------------- */

static bool progress_die(void *user, const char *stage, uint64_t done, uint64_t total) {
  (void)user, (void)done, (void)total;
  if (strcmp(stage, "pack") == 0) raise(SIGKILL);
  return true;
}

/* Leaves a whole journal and no engine. */
static void journal_make(const struct place *place, const struct build_options *options) {
  struct build_options dying = *options;
  char log[LOG_BYTES];
  dying.progress = progress_die;
  assert_false(build_apart(&dying, 0, 0, log));
  assert_true(journal_there(place, "values") && journal_there(place, "layer-0") && journal_there(place, "layer-1"));
}

/* Once more, by the files of the first. */
static void journal_again(struct place *place, int method) {
  const struct build_options options = options_make(place, methods[method]);
  bool first = !place->kept[method][0].data;
  if (first) journal_make(place, &options);
  assert_int_equal(first ? 0 : mkdir(place->journal, 0700), 0);
  for (int i = 0; i < JOURNAL_FILES; i++) {
    char path[SENTENCE];
    struct slice *kept = &place->kept[method][i];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", place->journal, journal_files[i]);
    int file = open(path, first ? O_RDONLY : O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(file >= 0 && fstat(file, &status) == 0);
    if (first) *kept = slice_make(malloc((size_t)status.st_size), (size_t)status.st_size);
    ssize_t moved =
        first ? pread(file, (void *)(uintptr_t)kept->data, kept->size, 0) : pwrite(file, kept->data, kept->size, 0);
    assert_int_equal(moved, kept->size);
    close(file);
  }
}

static void file_change(const char *path, off_t at, uint8_t mask) {
  uint8_t byte;
  int file = open(path, O_RDWR);
  assert_true(file >= 0 && pread(file, &byte, 1, at) == 1);
  byte ^= mask;
  assert_int_equal(pwrite(file, &byte, 1, at), 1);
  close(file);
}

/* With a seal that is right again. */
static void header_change(const char *path, void (*change)(struct journal_header *header)) {
  struct journal_header header;
  int file = open(path, O_RDWR);
  assert_true(file >= 0 && pread(file, &header, sizeof header, 0) == sizeof header);
  change(&header);
  header.seal = hash_bytes(slice_make(&header, offsetof(struct journal_header, seal)), 0);
  assert_int_equal(pwrite(file, &header, sizeof header, 0), sizeof header);
  close(file);
}

/* Other content with hashes that are right. */
static void content_change(const char *path, size_t at, uint32_t word, long more) {
  struct stat status;
  assert_int_equal(stat(path, &status), 0);
  size_t size = (size_t)status.st_size;
  uint8_t *bytes = calloc(1, size + 64);
  int file = open(path, O_RDWR);
  assert_int_equal(pread(file, bytes, size, 0), size);
  struct journal_header *header = (void *)bytes;
  if (at) memcpy(bytes + sizeof *header + at - 1, &word, sizeof word);
  size = (size_t)((long)size + more);
  header->bytes = size - sizeof *header;
  header->content = hash_bytes(slice_make(bytes + sizeof *header, size - sizeof *header), 0);
  header->seal = hash_bytes(slice_make(header, offsetof(struct journal_header, seal)), 0);
  assert_true(pwrite(file, bytes, size, 0) == (ssize_t)size && ftruncate(file, (off_t)size) == 0);
  close(file);
  free(bytes);
}

static void version_change(struct journal_header *header) { header->version = 7; }
static void kind_change(struct journal_header *header) { header->kind = 9; }
static void identity_change(struct journal_header *header) { header->identity.low++; }
static void op_change(struct journal_header *header) { header->op--; }
static void op_one(struct journal_header *header) { header->op = OP_OF_LAYER; }
static void op_far(struct journal_header *header) { header->op = UINT32_MAX; }
static void bytes_change(struct journal_header *header) { header->bytes = UINT64_MAX; }

static void magic_spoil(const char *path) { file_change(path, 0, 1); }
static void version_spoil(const char *path) { header_change(path, version_change); }
static void seal_spoil(const char *path) { file_change(path, 12, 4); }
static void kind_spoil(const char *path) { header_change(path, kind_change); }
static void identity_spoil(const char *path) { header_change(path, identity_change); }
static void op_spoil(const char *path) { header_change(path, op_change); }
static void op_first(const char *path) { header_change(path, op_one); }
static void world_spoil(const char *path) { assert_int_equal(chmod(path, 0602), 0); }
static void group_spoil(const char *path) { assert_int_equal(chmod(path, 0620), 0); }
static void op_far_spoil(const char *path) { header_change(path, op_far); }
static void bytes_spoil(const char *path) { header_change(path, bytes_change); }
static void content_spoil(const char *path) { file_change(path, 200, 1); }
static void short_spoil(const char *path) { assert_int_equal(truncate(path, 1000), 0); }
static void stub_spoil(const char *path) { assert_int_equal(truncate(path, 10), 0); }
static void empty_spoil(const char *path) { assert_int_equal(truncate(path, 0), 0); }
static void less_spoil(const char *path) { content_change(path, 0, 0, -4); }
static void more_spoil(const char *path) { content_change(path, 0, 0, 4); }
static void mark_spoil(const char *path) { content_change(path, 1, 2, 0); }
static void nan_spoil(const char *path) { content_change(path, 1 + 64, 0x7fc00000, 0); }
static void absent_spoil(const char *path) { unlink(path); }
static void pipe_spoil(const char *path) { assert_true(unlink(path) == 0 && mkfifo(path, 0600) == 0); }
static void link_spoil(const char *path) { assert_true(unlink(path) == 0 && symlink(path, path) == 0); }

static const struct {
  void (*spoil)(const char *path);
  const char *file, *sentence; /* after the file's name, where %s stands for it */
} bad[] = {
    {magic_spoil, "values", "%s is no file of a calibration."},
    {version_spoil, "values", "%s has version 7 and this program reads version 3."},
    {seal_spoil, "values", "The header of %s is damaged: its hash does not match."},
    {kind_spoil, "values", "%s is of kind 9 where 2 is expected."},
    {kind_spoil, "layer-1", "%s is of kind 9 where 1 is expected."},
    {identity_spoil, "layer-0",
     "%s is of another build: its model, options, text, device, kernel set or version of Spate differ."},
    {op_spoil, "values", "%s is of op 12, at which no layer ends."},
    {op_far_spoil, "values", "%s is of op 4294967295, at which no layer ends."},
    {op_spoil, "layer-1", "%s is of op 12, at which no layer ends."},
    {op_first, "layer-1", "%s ends at op 8, which is not behind op 8 and up to op 13."},
    {world_spoil, "values", "%s can be written by others than its owner (mode 602), so what it holds is not believed."},
    {group_spoil, "layer-0",
     "%s can be written by others than its owner (mode 620), so what it holds is not believed."},
    {bytes_spoil, "values", "%s has 327680 bytes after its header and should have 18446744073709551615."},
    {content_spoil, "values", "%s is damaged: the hash of its content does not match."},
    {content_spoil, "layer-0", "%s is damaged: the hash of its content does not match."},
    {short_spoil, "values", "%s has 920 bytes after its header and should have 327680."},
    {stub_spoil, "values", "%s has 10 bytes; the header of a calibration's file has 80."},
    {empty_spoil, "layer-1", "%s has 0 bytes; the header of a calibration's file has 80."},
    {less_spoil, "values", "%s ends 4 bytes too early for this network."},
    {more_spoil, "values", "%s holds 4 bytes more than this network has."},
    {less_spoil, "layer-1", "%s ends 4 bytes too early for this network."},
    {more_spoil, "layer-0", "%s holds 4 bytes more than this network has."},
    {mark_spoil, "layer-0", "%s has findings that no calibration makes of op 1."},
    {nan_spoil, "values", "%s holds a number that is not finite."},
    {absent_spoil, "layer-1", "%s cannot be opened: No such file or directory."},
    {pipe_spoil, "values", "%s is not a regular file."},
    {link_spoil, "layer-0", "%s cannot be opened: Too many levels of symbolic links."},
};

/* The build says what is wrong, begins anew, and is right. */
static void begun_anew(const struct place *place, const struct build_options *options, const char *sentence,
                       const struct content *expected) {
  char log[LOG_BYTES];
  assert_true(build_apart(options, 0, 0, log));
  if (!strstr(log, sentence)) fail_msg("%s\nis not in: %s", sentence, log);
  assert_null(strstr(log, "goes on after"));
  content_check(options, expected);
  assert_int_equal(access(place->journal, F_OK), -1);
}

static void test_bad(void **state) {
  struct place *place = *state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct build_options options = options_make(place, methods[i % 2]);
    char path[SENTENCE], sentence[2 * SENTENCE];
    const struct content *expected = content_expected(place, i % 2);
    journal_again(place, i % 2);
    snprintf(path, sizeof path, "%s/%s", place->journal, bad[i].file);
    bad[i].spoil(path);
    const char *hole = strstr(bad[i].sentence, "%s");
    snprintf(sentence, sizeof sentence, " warning The calibration begins anew. %.*s%s%s", (int)(hole - bad[i].sentence),
             bad[i].sentence, path, hole + 2);
    begun_anew(place, &options, sentence, expected);
  }
}

/* A journal of other options or another model is passed over, whatever it holds. */
static void test_foreign(void **state) {
  struct place *place = *state;
  char sentence[SENTENCE];
  snprintf(
      sentence, sizeof sentence,
      " warning The calibration begins anew. %s/values is of another build: its model, options, text, device, kernel "
      "set or version of Spate differ.",
      place->journal);
  for (int i = 0; i < 5; i++) {
    struct build_options first = options_make(place, QUANT_AWQ), second = first;
    if (i == 0) second.config.quant_method = QUANT_GPTQ;
    if (i == 1) second.overrides = "down.1=INT8_WEIGHT";
    if (i == 2) second.calib_data = FIXTURES "/../../LICENSE";
    if (i == 3) second.model = FIXTURES "/model/llama2";
    struct content expected = content_alone(&second);
    if (i == 4) {
      setenv("SPATE_ISA", "scalar", 1);
      journal_make(place, &first);
      unsetenv("SPATE_ISA");
    } else {
      journal_again(place, 0);
    }
    begun_anew(place, &second, sentence, &expected);
  }
}

/* A journal in which others than the build's user may have written is not believed. */
static void test_others(void **state) {
  struct place *place = *state;
  struct build_options options = options_make(place, QUANT_AWQ);
  const struct content *expected = content_expected(place, 0);
  char sentence[2 * SENTENCE];
  static const mode_t modes[] = {0777, 0720, 0702};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    journal_again(place, 0);
    assert_int_equal(chmod(place->journal, modes[i]), 0);
    snprintf(sentence, sizeof sentence,
             " warning The calibration begins anew. %s can be written by others than its owner (mode %03o), so what it "
             "holds is not believed.",
             place->journal, modes[i]);
    begun_anew(place, &options, sentence, expected);
  }
  if (geteuid() != 0) {
    printf("SKIPPED: a journal of another user, which only root can make\n");
    return;
  }
  for (int i = 0; i < 2; i++) {
    char path[SENTENCE];
    journal_again(place, 0);
    snprintf(path, sizeof path, i ? "%s/values" : "%s", place->journal);
    assert_int_equal(chown(path, 12345, 12345), 0);
    snprintf(sentence, sizeof sentence,
             " warning The calibration begins anew. %s belongs to user 12345 and this process to user 0, so what it "
             "holds is not believed.",
             path);
    begun_anew(place, &options, sentence, expected);
  }
}

static bool hash_cancel(void *user, const char *stage, uint64_t done, uint64_t total) {
  uint64_t *hashed = user;
  if (strcmp(stage, "hash") != 0) return true;
  assert_true(done <= total);
  *hashed = done;
  return false;
}

/* While it hashes the model a build tells how far it is, and can be broken off. */
static void test_hash(void **state) {
  struct build_options options = options_make(*state, QUANT_AWQ);
  struct error error = {0};
  uint64_t hashed = 0;
  options.progress = hash_cancel;
  options.user = &hashed;
  assert_false(build_engine(&options, &error));
  assert_int_equal(error.code, ERROR_CANCELLED);
  assert_string_equal(error.text, "Cancelled by the caller in the stage \"hash\".");
  assert_true(hashed > 0);
}

/* An uncalibrated build of the same output removes what a calibrated one has left. */
static void test_left(void **state) {
  const struct place *place = *state;
  struct build_options options = options_make(place, QUANT_AWQ);
  char log[LOG_BYTES];
  journal_make(place, &options);
  options.config.quant_method = QUANT_ROUND;
  assert_true(build_apart(&options, 0, 0, log));
  assert_int_equal(access(place->journal, F_OK), -1);
}

/* --- no room ------------------------------------------------------------------------------------------------------ */

/* Whichever write of the journal finds the disk full, the build says so and ends as it should. */
static void test_full(void **state) {
  const struct place *place = *state;
  char log[LOG_BYTES], sentence[SENTENCE];
  static const char *const files[] = {"layer-0", "values", "layer-1"};
  int seen[3] = {0};
  for (int i = 0; i < 2; i++) { /* factors, and packed matrices */
    struct build_options options = options_make(place, methods[i]);
    const struct content *expected = content_expected(place, i);
    for (int from = 1;; from += i == 0 ? 2 : 5) { /* the values are two writes */
      assert_true(build_apart(&options, 0, from, log));
      content_check(&options, expected);
      assert_int_equal(access(place->journal, F_OK), -1);
      if (!strstr(log, "warning")) break;
      bool told = false;
      for (int k = 0; k < 3; k++) {
        snprintf(sentence, sizeof sentence,
                 " warning The calibration goes on, but could not be taken up again after a kill: %s/%s cannot be "
                 "written: No space left on device.",
                 place->journal, files[k]);
        bool here = strstr(log, sentence) != NULL;
        seen[k] += here;
        told = told || here;
      }
      if (!told) fail_msg("%s", log);
    }
  }
  assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
}

/* Where a layer takes no time, and writing what is known after it two seconds, the second layer is not kept: its work
 * is worth less than the write. What was kept serves. */
static void test_slow_disk(void **state) {
  const struct place *place = *state;
  struct build_options options = options_make(place, QUANT_GPTQ), dying = options;
  const struct content *expected = content_expected(place, 1);
  char log[LOG_BYTES], sentence[SENTENCE];
  dying.progress = progress_die;
  fsync_seconds = 1;
  assert_false(build_apart(&dying, 0, 0, log));
  fsync_seconds = 0;
  assert_true(journal_there(place, "values") && journal_there(place, "layer-0") && !journal_there(place, "layer-1"));
  assert_true(build_apart(&options, 0, 0, log));
  snprintf(sentence, sizeof sentence, "The calibration goes on after layer 1 of %d, ", LAYERS);
  if (!strstr(log, sentence)) fail_msg("%s", log);
  content_check(&options, expected);
}

/* Two minutes pass in the last of three layers. */
static bool progress_late(void *user, const char *stage, uint64_t done, uint64_t total) {
  if (strcmp(stage, "calibrate") == 0 && done == total) seconds += 120;
  return progress_die(user, stage, done, total);
}

/* Of three layers the second is not kept alone, and the third brings it along. */
static void test_layers_together(void **state) {
  const struct place *place = *state;
  struct build_options options = options_make(place, QUANT_AWQ), dying = options;
  options.model = dying.model = FIXTURES "/model/llama2";
  struct content expected = content_alone(&options);
  char log[LOG_BYTES];
  dying.progress = progress_late;
  fsync_seconds = 1;
  assert_false(build_apart(&dying, 0, 0, log));
  fsync_seconds = 0;
  assert_true(journal_there(place, "values") && journal_there(place, "layer-1") && !journal_there(place, "layer-2"));
  assert_true(build_apart(&options, 0, 0, log));
  if (!strstr(log, "The calibration goes on after layer 3 of 3, ")) fail_msg("%s", log);
  content_check(&options, &expected);
}

static void test_pays(void **state) {
  (void)state;
  assert_true(journal_pays(0, 0));
  assert_true(journal_pays(JOURNAL_CHEAP_US - 1, 0));
  assert_false(journal_pays(JOURNAL_CHEAP_US, 0));
  assert_false(journal_pays(1000000, 19999999));
  assert_true(journal_pays(1000000, 20000000));
  assert_false(journal_pays(UINT64_MAX, UINT64_MAX));
}

/* Where something else stands under the journal's name it is left alone. */
static void test_in_the_way(void **state) {
  const struct place *place = *state;
  struct build_options options = options_make(place, QUANT_AWQ);
  const struct content *expected = content_expected(place, 0);
  char log[LOG_BYTES], sentence[SENTENCE];
  FILE *stream = fopen(place->journal, "wb");
  assert_true(stream && fclose(stream) == 0);
  assert_true(build_apart(&options, 0, 0, log));
  snprintf(sentence, sizeof sentence,
           " warning The calibration goes on, but could not be taken up again after a kill: %s cannot be opened as a "
           "folder: Not a directory.",
           place->journal);
  if (!strstr(log, sentence)) fail_msg("%s", log);
  content_check(&options, expected);
  assert_int_equal(unlink(place->journal), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
      cmocka_unit_test_setup_teardown(test_killed_mixture, setup, teardown),
      cmocka_unit_test_setup_teardown(test_killed_latent, setup, teardown),
      cmocka_unit_test_setup_teardown(test_killed_often, setup, teardown),
      cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
      cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
      cmocka_unit_test_setup_teardown(test_others, setup, teardown),
      cmocka_unit_test_setup_teardown(test_hash, setup, teardown),
      cmocka_unit_test_setup_teardown(test_left, setup, teardown),
      cmocka_unit_test_setup_teardown(test_full, setup, teardown),
      cmocka_unit_test_setup_teardown(test_slow_disk, setup, teardown),
      cmocka_unit_test_setup_teardown(test_layers_together, setup, teardown),
      cmocka_unit_test(test_pays),
      cmocka_unit_test_setup_teardown(test_in_the_way, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
