/* A library to preload that lets calls fail: SPATE_FAULT=malloc:7,write:2+ makes the seventh allocation fail, and the
 * second write with all after it. What counts are calls from main on, of the program and of the libraries that it uses.
 * engine-stall:N holds the step thread at its Nth write for as long as the file SPATE_FAULT_STALL exists.
 * SPATE_FAULT_MEMINFO names a file that is read in place of /proc/meminfo. SPATE_FAULT_REPORT names a file that gets,
 * at exit or at the fault, how often each was called. No such hook is in the program itself. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MALLOC, OPEN, READ, WRITE, MMAP, THREAD, SOCKET, POLL, STAT, RENAME, STALL, N_FAULTS };
static const char *const names[N_FAULTS] = {"malloc", "open", "read", "write",  "mmap",        "thread",
                                            "socket", "poll", "stat", "rename", "engine-stall"};
static const int errors[N_FAULTS] = {ENOMEM, EMFILE, EIO, ENOSPC, ENOMEM, EAGAIN, EMFILE, ENOMEM, EIO, EIO, 0};
static atomic_long calls[N_FAULTS];
static long at[N_FAULTS];
static bool from_then_on[N_FAULTS];
static atomic_bool running;
static const char *report_path;

static void report(void) {
  if (!report_path) return;
  char text[512];
  int size = 0;
  for (int i = 0; i < N_FAULTS; ++i)
    size += snprintf(text + size, sizeof text - (size_t)size, "%s %ld\n", names[i], (long)calls[i]);
  int file = (int)syscall(SYS_openat, AT_FDCWD, report_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0) return;
  syscall(SYS_write, file, text, (size_t)size);
  syscall(SYS_close, file);
}

/* Whether this call fails, with errno set. */
static bool fails(int fault) {
  if (!running) return false;
  long n = ++calls[fault];
  if (!at[fault] || (from_then_on[fault] ? n < at[fault] : n != at[fault])) return false;
  if (n == at[fault]) report();
  errno = errors[fault];
  return true;
}

static void read_faults(const char *text) {
  while (text && *text) {
    const char *colon = strchr(text, ':');
    if (!colon) break;
    for (int i = 0; i < N_FAULTS; ++i)
      if (strlen(names[i]) == (size_t)(colon - text) && !strncmp(text, names[i], (size_t)(colon - text))) {
        char *end;
        at[i] = strtol(colon + 1, &end, 10);
        from_then_on[i] = *end == '+';
      }
    text = strchr(colon, ',');
    if (text) ++text;
  }
}

/* The next definition of a symbol, in a variable of the caller's. */
#define REAL(result, name, ...)                                                                                        \
  static result (*real)(__VA_ARGS__);                                                                                  \
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

static int (*program)(int, char **, char **);

/* What it starts is left alone: the sandbox of a helper that decodes images has none of the calls that are made here.
 */
static int program_run(int argc, char **argv, char **environment) {
  unsetenv("LD_PRELOAD");
  report_path = getenv("SPATE_FAULT_REPORT");
  read_faults(getenv("SPATE_FAULT"));
  running = true;
  int code = program(argc, argv, environment);
  report();
  return code; /* what happens at exit counts too */
}

int __libc_start_main(int (*start)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void *stack_end) {
  typedef int (*start_type)(int, char **, char **);
  REAL(int, "__libc_start_main", start_type, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
  program = start;
  return real(program_run, argc, argv, init, fini, rtld_fini, stack_end);
}

/* ---- memory: glibc's own names behind, as dlsym itself allocates */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) { return fails(MALLOC) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails(MALLOC) ? NULL : __libc_calloc(count, size); }

/* libuv calls abort where its table of watchers cannot grow, which nobody outside of it can prevent. */
static bool is_of_libuv(void *caller) {
  Dl_info info;
  return running && dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "libuv");
}
void *realloc(void *old, size_t size) {
  bool spared = is_of_libuv(__builtin_return_address(0));
  return !spared && fails(MALLOC) ? NULL : __libc_realloc(old, size);
}
void *memalign(size_t alignment, size_t size) { return fails(MALLOC) ? NULL : __libc_memalign(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **to, size_t alignment, size_t size) {
  void *memory = memalign(alignment, size);
  if (!memory) return ENOMEM;
  *to = memory;
  return 0;
}

void *mmap(void *place, size_t size, int protection, int flags, int file, off_t offset) {
  if (fails(MMAP)) return MAP_FAILED;
  return (void *)syscall(SYS_mmap, place, size, protection, flags, file, offset);
}
void *mmap64(void *place, size_t size, int protection, int flags, int file, off_t offset) {
  return mmap(place, size, protection, flags, file, offset);
}

/* ---- files */

/* Pipes and event descriptors, by which threads wake each other, do not fail: libuv ends the process where they seem
 * to. */
static bool may_fail(int file) {
  struct stat status;
  return running && syscall(SYS_fstat, file, &status) == 0 && (S_ISREG(status.st_mode) || S_ISSOCK(status.st_mode));
}

static int open_mode(int directory, const char *path, int flags, mode_t mode) {
  if (fails(OPEN)) return -1;
  return (int)syscall(SYS_openat, directory, path, flags, mode);
}

#define OPEN_CALL(name)                                                                                                \
  int name(const char *path, int flags, ...) {                                                                         \
    va_list more;                                                                                                      \
    va_start(more, flags);                                                                                             \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                            \
    va_end(more);                                                                                                      \
    return open_mode(AT_FDCWD, path, flags, mode);                                                                     \
  }
OPEN_CALL(open)
OPEN_CALL(open64)

FILE *fopen(const char *path, const char *mode) {
  REAL(FILE *, "fopen", const char *, const char *);
  const char *memory = strcmp(path, "/proc/meminfo") ? NULL : getenv("SPATE_FAULT_MEMINFO");
  return fails(OPEN) ? NULL : real(memory ? memory : path, mode);
}

ssize_t read(int file, void *to, size_t size) {
  return may_fail(file) && fails(READ) ? -1 : syscall(SYS_read, file, to, size);
}
ssize_t pread(int file, void *to, size_t size, off_t from) {
  return may_fail(file) && fails(READ) ? -1 : syscall(SYS_pread64, file, to, size, from);
}
ssize_t pread64(int file, void *to, size_t size, off_t from) { return pread(file, to, size, from); }

static void stall(void) {
  char name[16] = "";
  pthread_getname_np(pthread_self(), name, sizeof name);
  if (!running || !strstr(name, "step") || ++calls[STALL] != at[STALL]) return;
  report();
  const struct timespec moment = {0, 10000000};
  const char *path = getenv("SPATE_FAULT_STALL");
  while (path && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0) nanosleep(&moment, NULL);
}

ssize_t write(int file, const void *bytes, size_t size) {
  stall();
  return may_fail(file) && fails(WRITE) ? -1 : syscall(SYS_write, file, bytes, size);
}
ssize_t pwrite(int file, const void *bytes, size_t size, off_t to) {
  return may_fail(file) && fails(WRITE) ? -1 : syscall(SYS_pwrite64, file, bytes, size, to);
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off_t to) { return pwrite(file, bytes, size, to); }
ssize_t writev(int file, const struct iovec *pieces, int count) {
  return may_fail(file) && fails(WRITE) ? -1 : syscall(SYS_writev, file, pieces, count);
}
ssize_t sendmsg(int file, const struct msghdr *message, int flags) {
  return may_fail(file) && fails(WRITE) ? -1 : syscall(SYS_sendmsg, file, message, flags);
}
int ftruncate(int file, off_t size) {
  return may_fail(file) && fails(WRITE) ? -1 : (int)syscall(SYS_ftruncate, file, size);
}
int ftruncate64(int file, off_t size) { return ftruncate(file, size); }
int fallocate(int file, int mode, off_t from, off_t size) {
  return may_fail(file) && fails(WRITE) ? -1 : (int)syscall(SYS_fallocate, file, mode, from, size);
}
int fsync(int file) { return may_fail(file) && fails(WRITE) ? -1 : (int)syscall(SYS_fsync, file); }

int fstat(int file, struct stat *to) {
  REAL(int, "fstat", int, struct stat *);
  return fails(STAT) ? -1 : real(file, to);
}
int stat(const char *path, struct stat *to) {
  REAL(int, "stat", const char *, struct stat *);
  return fails(STAT) ? -1 : real(path, to);
}
int lstat(const char *path, struct stat *to) {
  REAL(int, "lstat", const char *, struct stat *);
  return fails(STAT) ? -1 : real(path, to);
}

/* Always the same, as engine files have the time in them and are compared. */
time_t time(time_t *to) {
  time_t now = 1000000000;
  if (to) *to = now;
  return now;
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *);
  return fails(RENAME) ? -1 : real(from, to);
}
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
  REAL(int, "linkat", int, const char *, int, const char *, int);
  return fails(RENAME) ? -1 : real(from_folder, from, to_folder, to, flags);
}
int mkdir(const char *path, mode_t mode) {
  REAL(int, "mkdir", const char *, mode_t);
  return fails(RENAME) ? -1 : real(path, mode);
}

/* ---- threads, sockets, and what waits for them */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
  typedef void *(*run_type)(void *);
  REAL(int, "pthread_create", pthread_t *, const pthread_attr_t *, run_type, void *);
  return fails(THREAD) ? EAGAIN : real(thread, attributes, run, argument);
}

int socket(int family, int type, int protocol) {
  return fails(SOCKET) ? -1 : (int)syscall(SYS_socket, family, type, protocol);
}
int bind(int file, const struct sockaddr *address, socklen_t size) {
  return fails(SOCKET) ? -1 : (int)syscall(SYS_bind, file, address, size);
}
int listen(int file, int waiting) { return fails(SOCKET) ? -1 : (int)syscall(SYS_listen, file, waiting); }
ssize_t recv(int file, void *to, size_t size, int flags) {
  return may_fail(file) && fails(READ) ? -1 : syscall(SYS_recvfrom, file, to, size, flags, NULL, NULL);
}
/* Never more than once: libuv has a descriptor in reserve, with which it then accepts and closes. */
int accept4(int file, struct sockaddr *address, socklen_t *size, int flags) {
  return fails(SOCKET) && calls[SOCKET] == at[SOCKET] ? -1 : (int)syscall(SYS_accept4, file, address, size, flags);
}
int setsockopt(int file, int level, int name, const void *value, socklen_t size) {
  return fails(SOCKET) ? -1 : (int)syscall(SYS_setsockopt, file, level, name, value, size);
}
int getsockname(int file, struct sockaddr *address, socklen_t *size) {
  return fails(SOCKET) ? -1 : (int)syscall(SYS_getsockname, file, address, size);
}
int getpeername(int file, struct sockaddr *address, socklen_t *size) {
  return fails(SOCKET) ? -1 : (int)syscall(SYS_getpeername, file, address, size);
}
int shutdown(int file, int how) { return fails(SOCKET) ? -1 : (int)syscall(SYS_shutdown, file, how); }

int eventfd(unsigned value, int flags) { return fails(POLL) ? -1 : (int)syscall(SYS_eventfd2, value, flags); }
int epoll_create1(int flags) { return fails(POLL) ? -1 : (int)syscall(SYS_epoll_create1, flags); }
