/* The system's clock in the test's hand: it stands still while a test holds it, and goes on by what the test says, so
 * that no deadline is past or to come because the machine was slow. Included by the one file of a program, which it
 * gives its own clock_gettime. Sleeps and timed waits of the system are as long as ever: what waits for a time to come
 * has to be woken. Behind cmocka.h. */
#ifndef SPATE_TESTS_HELD_CLOCK_H
#define SPATE_TESTS_HELD_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct {
  atomic_bool held;
  int64_t stood_ns[2]; /* CLOCK_REALTIME and CLOCK_MONOTONIC while it is */
  atomic_llong ahead_ns;
} held_clock;

static inline int64_t held_clock_system_ns(clockid_t clock) {
  struct timespec now;
  syscall(SYS_clock_gettime, clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  bool ours = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
  int64_t ns = ours && atomic_load(&held_clock.held) ? held_clock.stood_ns[clock] : held_clock_system_ns(clock);
  if (ours) ns += atomic_load(&held_clock.ahead_ns);
  *now = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
  return 0;
}

/* Not while it is held: it would jump to the time of the system. */
static inline void clock_hold(void) {
  assert_false(atomic_load(&held_clock.held));
  held_clock.stood_ns[CLOCK_REALTIME] = held_clock_system_ns(CLOCK_REALTIME);
  held_clock.stood_ns[CLOCK_MONOTONIC] = held_clock_system_ns(CLOCK_MONOTONIC);
  atomic_store(&held_clock.held, true);
}

static inline void clock_advance(int ms) { atomic_fetch_add(&held_clock.ahead_ns, (long long)ms * 1000000); }

/* The system's again, for the next test. */
static inline void clock_release(void) {
  atomic_store(&held_clock.held, false);
  atomic_store(&held_clock.ahead_ns, 0);
}

#endif
