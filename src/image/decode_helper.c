/* A helper, which forks, and its children, which decode. */
#include "image/decode_helper.h"

#include "base/limits.h"
#include "image/decode.h"
#include "image/decode_sandbox.h"
#include "image/decode_wire.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- a child ---------------------------------------------------------------------------------------------------- */

/* read() until all is there; false when the other end is gone. */
static bool bytes_read(void *to, size_t size) {
  for (char *at = to; size > 0;) {
    ssize_t n = read(HELPER_DESCRIPTOR, at, size);
    if (n <= 0) return false;
    at += n;
    size -= (size_t)n;
  }
  return true;
}

static bool bytes_write(const void *from, size_t size) {
  for (const char *at = from; size > 0;) {
    ssize_t n = write(HELPER_DESCRIPTOR, at, size);
    if (n <= 0) return false;
    at += n;
    size -= (size_t)n;
  }
  return true;
}

static void error_write(const struct error *error) {
  struct wire_reply reply = {WIRE_REPLY, error->code, 0, 0, (uint32_t)strlen(error->text)};
  if (bytes_write(&reply, sizeof reply)) bytes_write(error->text, reply.text_size);
}

static void file_decode(struct slice file) {
  struct image image;
  struct error error;
  if (!image_decode(file, &image, &error)) {
    error_write(&error);
    return;
  }
  struct wire_reply reply = {WIRE_REPLY, ERROR_NONE, (uint32_t)image.width, (uint32_t)image.height, 0};
  if (bytes_write(&reply, sizeof reply)) bytes_write(image.pixels, image_bytes(image.width, image.height));
}

/* Its memory goes with it. */
static void child_run(void) {
  struct error error;
  struct wire_order order;
  if (!sandbox_enter(&error)) {
    error_write(&error);
    return;
  }
  if (!bytes_write(&(struct wire_reply){.magic = WIRE_REPLY}, sizeof(struct wire_reply))) return;
  if (!bytes_read(&order, sizeof order) || order.magic != WIRE_ORDER || order.size > LIMIT_IMAGE_BYTES) return;
  uint8_t *file = malloc(order.size);
  if (file && bytes_read(file, order.size)) file_decode(slice_make(file, order.size));
}

/* --- the helper ------------------------------------------------------------------------------------------------- */

/* A descriptor that the other end sends; -1 when that is gone. */
static int descriptor_receive(void) {
  char byte, room[CMSG_SPACE(sizeof(int))];
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  if (recvmsg(HELPER_DESCRIPTOR, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  int descriptor = -1;
  if (head && head->cmsg_type == SCM_RIGHTS) memcpy(&descriptor, CMSG_DATA(head), sizeof descriptor);
  return descriptor;
}

void decode_helper_serve(void (*child)(void)) {
  for (pid_t pid = 0;;) {
    int socket = descriptor_receive();
    if (pid > 0) { /* done, or given up */
      kill(pid, SIGKILL);
      waitpid(pid, NULL, 0);
    }
    if (socket < 0) _exit(0);
    pid = fork();
    if (pid == 0) {
      if (dup2(socket, HELPER_DESCRIPTOR) < 0) _exit(1);
      close(socket);
      child();
      _exit(0);
    }
    close(socket);
  }
}

void decode_helper_main(int argc, char **argv) {
  if (argc < 2 || strcmp(argv[1], DECODE_HELPER_ARGUMENT) != 0) return;
  int type;
  if (getsockopt(HELPER_DESCRIPTOR, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type}) != 0) {
    fputs("spate: " DECODE_HELPER_ARGUMENT " is what spate starts by itself to decode images in.\n", stderr);
    _exit(2);
  }
  setpriority(PRIO_PROCESS, 0, IMAGE_NICE);
  void *volatile first = malloc(1); /* for which the C library asks for random bytes, which a child may not */
  free(first);
  decode_helper_serve(child_run);
}
