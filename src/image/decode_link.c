/* Starting a helper (posix_spawn: the memory and the threads of this process are not copied), talking with it within a
 * time, and ending it. */
#include "image/decode_link.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "image/decode_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* --- starting and ending ---------------------------------------------------------------------------------------- */

/* Only what the loader and the sanitizers look at: a helper needs no secrets. */
static void environment_fill(char *kept[], size_t max) {
  static const char *const prefixes[] = {
      "LD_LIBRARY_PATH=", "LD_PRELOAD=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS="};
  size_t n = 0;
  for (char **variable = environ; *variable && n + 1 < max; variable++)
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
      if (strncmp(*variable, prefixes[i], strlen(prefixes[i])) == 0 && n + 1 < max) kept[n++] = *variable;
  kept[n] = NULL;
}

static int spawn_with(posix_spawn_file_actions_t *files, posix_spawnattr_t *attributes, int socket,
                      char *const *command, pid_t *pid) {
  char *environment[16];
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  environment_fill(environment, sizeof environment / sizeof *environment);
  posix_spawnattr_setsigmask(attributes, &none);
  posix_spawnattr_setsigdefault(attributes, &all);
  posix_spawnattr_setpgroup(attributes, 0); /* a terminal's interrupt is not for helpers */
  posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  int failed = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDWR, 0);
  if (!failed) failed = posix_spawn_file_actions_adddup2(files, 0, 1);
  if (!failed) failed = posix_spawn_file_actions_adddup2(files, 0, 2);
  if (!failed) failed = posix_spawn_file_actions_adddup2(files, socket, HELPER_DESCRIPTOR);
  if (!failed) failed = posix_spawn_file_actions_addclosefrom_np(files, HELPER_DESCRIPTOR + 1);
  return failed ? failed : posix_spawn(pid, command[0], files, attributes, command, environment);
}

static int process_spawn(int socket, char *const *command, pid_t *pid) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  int failed = posix_spawn_file_actions_init(&files);
  if (failed) return failed;
  failed = posix_spawnattr_init(&attributes);
  if (!failed) {
    failed = spawn_with(&files, &attributes, socket, command, pid);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_destroy(&files);
  return failed;
}

/* Its other end must not have the number that the helper's end gets: dup2 to itself would leave close-on-exec set. */
static int socket_lift(int socket) {
  if (socket > HELPER_DESCRIPTOR) return socket;
  int lifted = fcntl(socket, F_DUPFD_CLOEXEC, HELPER_DESCRIPTOR + 1), why = errno;
  close(socket);
  errno = why;
  return lifted;
}

/* One byte, and the descriptor with it. */
static bool descriptor_send(int socket, int descriptor) {
  char room[CMSG_SPACE(sizeof descriptor)] = {0};
  struct iovec part = {(char[]){0}, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof descriptor), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
  return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

static void child_forget(struct decode_link *link) {
  if (link->child >= 0) close(link->child);
  link->child = -1;
  link->greeted = false;
}

bool decode_link_renew(struct decode_link *link, struct error *error) {
  int ends[2];
  child_forget(link);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return error_set(error, ERROR_IO, "There is no socket for an image decoder: %s.", strerror(errno));
  bool sent = descriptor_send(link->control, ends[1]);
  int why = errno;
  close(ends[1]);
  link->child = ends[0];
  if (sent) return true;
  child_forget(link);
  return error_set(error, ERROR_IO, "An image decoder is gone: %s.", strerror(why));
}

bool decode_link_start(struct decode_link *link, char *const *command, struct error *error) {
  int ends[2];
  *link = (struct decode_link){.child = -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return error_set(error, ERROR_IO, "There is no socket for an image decoder: %s.", strerror(errno));
  ends[1] = socket_lift(ends[1]);
  int failed = ends[1] < 0 ? errno : process_spawn(ends[1], command, &link->pid);
  if (ends[1] >= 0) close(ends[1]);
  link->control = ends[0];
  if (failed) {
    close(ends[0]);
    link->pid = 0;
    return failed == ENOMEM ? error_set(error, ERROR_MEMORY, "There is no memory to start an image decoder.")
                            : error_set(error, ERROR_IO, "An image decoder (%s) cannot be started: %s.", command[0],
                                        strerror(failed));
  }
  return decode_link_renew(link, NULL) || true; /* that it has ended already is told by greeting it */
}

/* The helper leads a group, in which its child is too. */
void decode_link_end(struct decode_link *link) {
  if (link->pid == 0) return;
  kill(-link->pid, SIGKILL);
  child_forget(link);
  close(link->control);
  while (waitpid(link->pid, NULL, 0) < 0 && errno == EINTR) continue;
  *link = (struct decode_link){.child = -1};
}

/* --- talking ---------------------------------------------------------------------------------------------------- */

enum talk { TALK_DONE, TALK_LATE, TALK_CLOSED };

static enum talk socket_wait(int socket, short events, uint64_t until_us) {
  for (;;) {
    uint64_t now = clock_us();
    if (now >= until_us) return TALK_LATE;
    struct pollfd poll_one = {socket, events, 0};
    int n = poll(&poll_one, 1, (int)((until_us - now + 999) / 1000));
    if (n > 0) return TALK_DONE;
    if (n < 0 && errno != EINTR) return TALK_CLOSED;
  }
}

/* Sends, or receives, all of it. */
static enum talk socket_move(int socket, bool sends, void *bytes, size_t size, uint64_t until_us) {
  for (char *at = bytes; size > 0;) {
    ssize_t n = sends ? send(socket, at, size, MSG_NOSIGNAL | MSG_DONTWAIT) : recv(socket, at, size, MSG_DONTWAIT);
    if (n > 0) {
      at += n;
      size -= (size_t)n;
      continue;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) return TALK_CLOSED;
    enum talk waited = socket_wait(socket, sends ? POLLOUT : POLLIN, until_us);
    if (waited != TALK_DONE) return waited;
  }
  return TALK_DONE;
}

static bool loss_tell(enum talk how, int timeout_ms, struct error *error) {
  if (how == TALK_LATE)
    return error_set(error, ERROR_INVALID,
                     "The image was not decoded within %d ms and was given up: send a smaller one.", timeout_ms);
  return error_set(error, ERROR_INVALID, "The image ended its decoder: it is malformed, send another.");
}

static bool nonsense_tell(struct error *error) {
  return error_set(error, ERROR_INVALID,
                   "The image made its decoder answer what no decoder does: it is malformed, send another.");
}

/* The sentence is the child's: it must be UTF-8, and its control characters are not passed on. */
static bool sentence_take(struct decode_link *link, const struct wire_reply *reply, int timeout_ms, uint64_t until_us,
                          bool *lost, struct error *error) {
  char text[ERROR_TEXT_MAX] = "";
  static const enum error_code codes[] = {ERROR_INVALID, ERROR_UNSUPPORTED, ERROR_LIMIT, ERROR_MEMORY, ERROR_IO};
  bool known = false;
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) known |= reply->code == codes[i];
  if (!known || reply->text_size >= sizeof text || reply->width || reply->height) return nonsense_tell(error);
  enum talk how = socket_move(link->child, false, text, reply->text_size, until_us);
  if (how != TALK_DONE) return loss_tell(how, timeout_ms, error);
  if (!utf8_valid(slice_make(text, reply->text_size))) return nonsense_tell(error);
  for (char *c = text; c < text + reply->text_size; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
  *lost = false;
  return error_set(error, (enum error_code)reply->code, "%s", text);
}

static bool pixels_take(struct decode_link *link, const struct wire_reply *reply, int timeout_ms, uint64_t until_us,
                        struct image *image, bool *lost, struct error *error) {
  if (reply->text_size || !image_size_check(reply->width, reply->height, NULL)) return nonsense_tell(error);
  if (!image_init(image, (int)reply->width, (int)reply->height, error)) return false;
  enum talk how = socket_move(link->child, false, image->pixels, image_bytes(image->width, image->height), until_us);
  *lost = how != TALK_DONE;
  if (!*lost) return true;
  image_release(image);
  return loss_tell(how, timeout_ms, error);
}

bool decode_link_waits(const struct decode_link *link) {
  char byte;
  if (link->child < 0 || !link->greeted) return link->child >= 0;
  return recv(link->child, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

bool decode_link_greet(struct decode_link *link, int timeout_ms, struct error *error) {
  struct wire_reply reply;
  bool lost;
  uint64_t until_us = clock_us() + (uint64_t)timeout_ms * 1000;
  if (link->greeted) return true;
  enum talk how = link->child < 0 ? TALK_CLOSED : socket_move(link->child, false, &reply, sizeof reply, until_us);
  if (how != TALK_DONE)
    return error_set(error, ERROR_IO, "An image decoder %s before it was ready: look at the system's log.",
                     how == TALK_LATE ? "took too long" : "ended");
  if (reply.magic != WIRE_REPLY || reply.width || reply.height) return nonsense_tell(error);
  if (reply.code != ERROR_NONE) return sentence_take(link, &reply, timeout_ms, until_us, &lost, error);
  link->greeted = true;
  if (decode_link_waits(link)) return true; /* what greeted may have been killed since */
  return error_set(error, ERROR_IO, "An image decoder ended before it had an image: look at the system's log.");
}

static bool image_ask(struct decode_link *link, struct slice file, int timeout_ms, struct image *image, bool *lost,
                      struct error *error) {
  struct wire_order order = {WIRE_ORDER, (uint32_t)file.size};
  struct wire_reply reply;
  uint64_t until_us = clock_us() + (uint64_t)timeout_ms * 1000;
  enum talk how = socket_move(link->child, true, &order, sizeof order, until_us);
  if (how == TALK_DONE) how = socket_move(link->child, true, (void *)(uintptr_t)file.data, file.size, until_us);
  if (how == TALK_DONE) how = socket_move(link->child, false, &reply, sizeof reply, until_us);
  if (how != TALK_DONE) return loss_tell(how, timeout_ms, error);
  if (reply.magic != WIRE_REPLY) return nonsense_tell(error);
  return reply.code != ERROR_NONE ? sentence_take(link, &reply, timeout_ms, until_us, lost, error)
                                  : pixels_take(link, &reply, timeout_ms, until_us, image, lost, error);
}

bool decode_link_run(struct decode_link *link, struct slice file, int timeout_ms, struct image *image, bool *lost,
                     struct error *error) {
  *lost = true;
  bool done = image_ask(link, file, timeout_ms, image, lost, error);
  child_forget(link);
  return done;
}
