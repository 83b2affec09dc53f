/* The team: a barrier on one counter and one phase word. Waiting for the start of a run, for its end and for a barrier
 * inside are all the same wait. Every field is atomic or written only between runs. */
#include "backend/cpu/team.h"

#include "base/cpu_share.h"
#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  TEAM_MAX = 256,
  CACHE_LINE = 64,
  SPIN_NS = 60000,     /* longer than the gap between two steps of one sequence, short against an idle second */
  SPINS_PER_LOOK = 64, /* pauses between two looks at the clock */
};

struct member {
  struct team *team;
  int worker;
  pthread_t thread;
};

struct team {
  alignas(CACHE_LINE) _Atomic uint32_t arrived;
  alignas(CACHE_LINE) _Atomic uint32_t phase; /* futex: grows by one when all have arrived */
  _Atomic uint32_t sleepers;                  /* threads asleep on phase, or about to be */
  alignas(CACHE_LINE) _Atomic int claimed;    /* items claimed since the last barrier */
  alignas(CACHE_LINE) _Atomic int n;
  int started; /* threads that exist, the caller not counted */
  int spin_ns;
  int lead_cpu; /* what is left for the caller when each other CPU has its member; −1: nobody is pinned */
  bool stop;
  void (*work)(void *context, int worker);
  void *context;
  struct member member[TEAM_MAX];
};

int team_size(const struct team *team) { return atomic_load_explicit(&team->n, memory_order_relaxed); }

static inline void cpu_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void phase_sleep(struct team *team, uint32_t phase) {
  atomic_fetch_add(&team->sleepers, 1);
  while (atomic_load(&team->phase) == phase) /* the kernel compares again before it sleeps */
    syscall(SYS_futex, &team->phase, FUTEX_WAIT_PRIVATE, phase, NULL, NULL, 0);
  atomic_fetch_sub(&team->sleepers, 1);
}

static void phase_wait(struct team *team, uint32_t phase) {
  uint64_t until = 0;
  for (;;) {
    for (int i = 0; i < SPINS_PER_LOOK; i++) {
      if (atomic_load_explicit(&team->phase, memory_order_acquire) != phase) return;
      cpu_pause();
    }
    uint64_t now = clock_ns();
    if (!until) until = now + (uint64_t)team->spin_ns;
    if (now >= until) break;
  }
  phase_sleep(team, phase);
}

void team_barrier(struct team *team) {
  uint32_t phase = atomic_load_explicit(&team->phase, memory_order_relaxed);
  uint32_t arrived = atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) + 1;
  if (arrived < (uint32_t)team_size(team)) {
    phase_wait(team, phase);
    return;
  }
  atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
  atomic_store_explicit(&team->claimed, 0, memory_order_relaxed);
  /* Sequentially consistent with phase_sleep: either we see the sleeper, or it sees the new phase. */
  atomic_store(&team->phase, phase + 1);
  if (atomic_load(&team->sleepers)) syscall(SYS_futex, &team->phase, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

bool team_claim(struct team *team, int total, int chunk, struct range *range) {
  int first = atomic_fetch_add_explicit(&team->claimed, chunk, memory_order_relaxed);
  if (first >= total) return false;
  *range = (struct range){first, total - first < chunk ? total - first : chunk};
  return true;
}

struct range team_share(const struct team *team, int total, int worker) {
  int n = team_size(team);
  int first = (int)((int64_t)total * worker / n), end = (int)((int64_t)total * (worker + 1) / n);
  return (struct range){first, end - first};
}

/* A leader on the CPU of a member would halve the team until the scheduler notices. It is moved, not held: the thread
 * is the caller's. */
static void leader_place(const struct team *team) {
  cpu_set_t before, lead;
  if (team->lead_cpu < 0 || sched_getcpu() == team->lead_cpu) return;
  if (sched_getaffinity(0, sizeof before, &before) != 0 || !CPU_ISSET(team->lead_cpu, &before)) return;
  CPU_ZERO(&lead);
  CPU_SET(team->lead_cpu, &lead);
  if (sched_setaffinity(0, sizeof lead, &lead) == 0) sched_setaffinity(0, sizeof before, &before);
}

void team_run(struct team *team, void (*work)(void *context, int worker), void *context) {
  leader_place(team);
  team->work = work;
  team->context = context;
  team_barrier(team);
  work(context, 0);
  team_barrier(team);
}

static void *member_main(void *argument) {
  struct member *member = argument;
  struct team *team = member->team;
  for (;;) {
    team_barrier(team);
    if (team->stop) return NULL;
    team->work(team->context, member->worker);
    team_barrier(team);
  }
}

/* CPU number `index` (from 0) of those allowed, which are more than that. */
static int cpu_at(const cpu_set_t *allowed, int index) {
  int cpu = 0;
  while (!CPU_ISSET(cpu, allowed) || index-- > 0) cpu++;
  return cpu;
}

static void member_pin(const struct member *member, const cpu_set_t *allowed) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu_at(allowed, member->worker), &one);
  pthread_setaffinity_np(member->thread, sizeof one, &one); /* a wish: without it the scheduler decides */
}

/* All signals stay with the threads that asked for them. */
static int member_start(struct member *member) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int code = pthread_create(&member->thread, NULL, member_main, member);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (code == 0) pthread_setname_np(member->thread, "spate-team");
  return code;
}

static bool members_start(struct team *team, struct error *error) {
  cpu_set_t allowed;
  bool known = sched_getaffinity(0, sizeof allowed, &allowed) == 0;
  int n = team_size(team);
  bool pin = known && n > 1 && n == CPU_COUNT(&allowed);
  team->lead_cpu = pin ? cpu_at(&allowed, 0) : -1;
  for (int i = 1; i < n; i++) {
    struct member *member = &team->member[i];
    *member = (struct member){.team = team, .worker = i};
    int code = member_start(member);
    if (code)
      return error_set(error, ERROR_DEVICE, "Thread %d of the team of %d did not start (%s): ask for fewer threads.", i,
                       n, strerror(code));
    team->started++;
    if (pin) member_pin(member, &allowed);
  }
  return true;
}

struct team *team_open(int n_thread, struct error *error) {
  int n_cpu = cpu_share_count();
  if (n_thread == 0) n_thread = n_cpu < TEAM_MAX ? n_cpu : TEAM_MAX;
  if (n_thread < 1 || n_thread > TEAM_MAX) {
    error_set(error, ERROR_INVALID, "A team of %d threads was asked for, expected 1 to %d.", n_thread, TEAM_MAX);
    return NULL;
  }
  struct team *team = aligned_alloc(CACHE_LINE, sizeof *team);
  if (!team) {
    error_set(error, ERROR_MEMORY, "There is no memory for a team of %d threads.", n_thread);
    return NULL;
  }
  memset(team, 0, sizeof *team);
  atomic_init(&team->n, n_thread);
  team->spin_ns = n_thread <= n_cpu ? SPIN_NS : 0; /* more threads than CPUs: a spinner keeps out who is waited for */
  if (!members_start(team, error)) {
    team_close(team);
    return NULL;
  }
  return team;
}

void team_close(struct team *team) {
  if (!team) return;
  team->stop = true;
  atomic_store(&team->n, team->started + 1); /* fewer than planned when a start failed */
  if (team->started) team_barrier(team);
  for (int i = 1; i <= team->started; i++) pthread_join(team->member[i].thread, NULL);
  free(team);
}
