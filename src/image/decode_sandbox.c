/* Limits, and a filter of system calls: a small program that the kernel runs before each call. */
#include "image/decode_sandbox.h"

#include "base/limits.h"
#include "image/decode_wire.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define MACHINE AUDIT_ARCH_AARCH64
#else
#error "Say which AUDIT_ARCH of linux/audit.h this machine has."
#endif

/* The sanitizers reserve terabytes, and look at more than a program by itself. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

static bool limit_set(int what, rlim_t most, struct error *error) {
  struct rlimit limit = {most, most};
  if (setrlimit(what, &limit) == 0) return true;
  return error_set(error, ERROR_IO, "A limit (%d, to %llu) of an image decoder cannot be set: %s.", what,
                   (unsigned long long)most, strerror(errno));
}

static bool limits_set(struct error *error) {
  if (!IS_SANITIZED && !limit_set(RLIMIT_AS, (rlim_t)LIMIT_HELPER_MEBIBYTES << 20, error)) return false;
  return limit_set(RLIMIT_CPU, LIMIT_HELPER_SECONDS, error) && limit_set(RLIMIT_NOFILE, 0, error) &&
         limit_set(RLIMIT_FSIZE, 0, error) && limit_set(RLIMIT_NPROC, 0, error) && limit_set(RLIMIT_CORE, 0, error);
}

/* --- the filter ------------------------------------------------------------------------------------------------- */

#define LOAD(field)    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, action)
/* Goes on after `yes` or `no` more lines. */
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), yes, no)
#define IF_BITS(value, yes, no)  BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(value), yes, no)
#define ALLOW(number)            IF_EQUAL(number, 0, 1), ANSWER(SECCOMP_RET_ALLOW)

enum { LOW = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 4 }; /* where in 8 bytes the lower 4 are */
#define LOAD_LOW(argument)                                                                                             \
  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, args[argument]) + LOW)

/* Descriptors are 32 bits to the kernel, and so are the flags and protections that it knows. The calls with arguments
 * that matter come last: what they load replaces the call's number. */
static struct sock_filter filter[] = {
    LOAD(arch),
    IF_EQUAL(MACHINE, 1, 0),
    ANSWER(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    ALLOW(__NR_munmap),
    ALLOW(__NR_mremap),
    ALLOW(__NR_brk),
    ALLOW(__NR_madvise),
    ALLOW(__NR_exit_group),
    ALLOW(__NR_rt_sigreturn),
    ALLOW(IS_SANITIZED ? __NR_futex : __NR_exit_group),
    ALLOW(IS_SANITIZED ? __NR_sched_yield : __NR_exit_group),
    ALLOW(IS_SANITIZED ? __NR_sigaltstack : __NR_exit_group),
    /* read, write: the one descriptor */
    IF_EQUAL(__NR_read, 1, 0),
    IF_EQUAL(__NR_write, 0, 3),
    LOAD_LOW(0),
    IF_EQUAL(HELPER_DESCRIPTOR, 0, 7),
    ANSWER(SECCOMP_RET_ALLOW),
    /* mmap: memory that is no file's; mmap, mprotect: none that holds code */
    IF_EQUAL(__NR_mmap, 0, 2),
    LOAD_LOW(3),
    IF_BITS(MAP_ANONYMOUS, 1, 3),
    IF_EQUAL(__NR_mprotect, 0, 2),
    LOAD_LOW(2),
    IF_BITS(PROT_EXEC, 0, 1),
    ANSWER(SECCOMP_RET_KILL_PROCESS),
    ANSWER(SECCOMP_RET_ALLOW),
};
static bool filter_set(struct error *error) {
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0) return true;
  return error_set(
      error, ERROR_UNSUPPORTED,
      "This kernel lets no image decoder give up its system calls (seccomp: %s): images cannot be taken here.",
      strerror(errno));
}

bool sandbox_enter(struct error *error) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    return error_set(error, ERROR_UNSUPPORTED, "This kernel lets no image decoder give up its privileges: %s.",
                     strerror(errno));
  return limits_set(error) && filter_set(error);
}
