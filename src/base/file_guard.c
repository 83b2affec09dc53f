/* The SIGBUS handler and the table of mappings that it knows. The handler runs on the thread that touched the page and
 * uses atomics and system calls alone. */
#include "base/file_guard.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARDS_MAX = 256 };

static struct guard {
  _Atomic uintptr_t start, end; /* end is set last and cleared first; 0: free */
  atomic_bool tripped;
  atomic_flag taken;
} guards[GUARDS_MAX];

static struct sigaction previous;
static uintptr_t page_size;

static struct guard *guard_of(uintptr_t address) {
  for (int i = 0; i < GUARDS_MAX; i++)
    if (address < atomic_load(&guards[i].end) && address >= atomic_load(&guards[i].start)) return &guards[i];
  return NULL;
}

/* The faulting instruction runs again when the handler returns. All pages behind the first that is gone are gone too.
 */
static void on_bus_error(int number, siginfo_t *info, void *context) {
  uintptr_t page = (uintptr_t)info->si_addr & ~(page_size - 1);
  struct guard *guard = guard_of((uintptr_t)info->si_addr);
  if (guard) atomic_store(&guard->tripped, true);
  int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (guard && mmap((void *)page, atomic_load(&guard->end) - page, PROT_READ, flags, -1, 0) != MAP_FAILED) return;
  if (previous.sa_flags & SA_SIGINFO)
    previous.sa_sigaction(number, info, context);
  else
    sigaction(SIGBUS, &previous, NULL); /* the second fault ends as it would have */
}

static void handler_install(void) {
  struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
  page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
  sigaction(SIGBUS, &action, &previous);
}

bool file_guard_add(const struct file *file) {
  static pthread_once_t installed = PTHREAD_ONCE_INIT;
  pthread_once(&installed, handler_install);
  if (!file->data) return true;
  for (int i = 0; i < GUARDS_MAX; i++) {
    if (atomic_flag_test_and_set(&guards[i].taken)) continue;
    atomic_store(&guards[i].tripped, false);
    atomic_store(&guards[i].start, (uintptr_t)file->data);
    atomic_store(&guards[i].end, (uintptr_t)file->data + file->size);
    return true;
  }
  return false;
}

void file_guard_remove(const struct file *file) {
  struct guard *guard = file->data ? guard_of((uintptr_t)file->data) : NULL;
  if (!guard) return;
  atomic_store(&guard->end, 0);
  atomic_flag_clear(&guard->taken);
}

bool file_guard_tripped(const struct file *file) {
  const struct guard *guard = file->data ? guard_of((uintptr_t)file->data) : NULL;
  return guard && atomic_load(&guard->tripped);
}
