/* A helper: one thread, one descriptor, one image after the other until its other end is closed. */
#include "image/decode_helper.h"

#include "base/limits.h"
#include "image/decode.h"
#include "image/decode_sandbox.h"
#include "image/decode_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

static bool error_write(const struct error *error) {
  struct wire_reply reply = {WIRE_REPLY, error->code, 0, 0, (uint32_t)strlen(error->text)};
  return bytes_write(&reply, sizeof reply) && bytes_write(error->text, reply.text_size);
}

static bool image_write(const struct image *image) {
  struct wire_reply reply = {WIRE_REPLY, ERROR_NONE, (uint32_t)image->width, (uint32_t)image->height, 0};
  return bytes_write(&reply, sizeof reply) && bytes_write(image->pixels, image_bytes(image->width, image->height));
}

static bool file_decode(struct slice file) {
  struct image image;
  struct error error;
  if (!image_decode(file, &image, &error)) return error_write(&error);
  bool written = image_write(&image);
  image_release(&image);
  return written;
}

static bool order_serve(const struct wire_order *order) {
  if (order->magic != WIRE_ORDER || order->size == 0 || order->size > LIMIT_IMAGE_BYTES) return false;
  uint8_t *file = malloc(order->size);
  bool served = file && bytes_read(file, order->size) && file_decode(slice_make(file, order->size));
  free(file);
  return served;
}

void decode_helper_main(int argc, char **argv) {
  if (argc < 2 || strcmp(argv[1], DECODE_HELPER_ARGUMENT) != 0) return;
  int type;
  if (getsockopt(HELPER_DESCRIPTOR, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type}) != 0) {
    fputs("spate: " DECODE_HELPER_ARGUMENT " is what spate starts by itself to decode images in.\n", stderr);
    _exit(2);
  }
  struct error error;
  struct wire_order order;
  void *volatile first =
      malloc(1); /* for which the C library asks for random bytes, which there are none of in there */
  free(first);
  if (!sandbox_enter(&error)) {
    error_write(&error);
    _exit(1);
  }
  bool goes_on = bytes_write(&(struct wire_reply){.magic = WIRE_REPLY}, sizeof(struct wire_reply));
  while (goes_on && bytes_read(&order, sizeof order)) goes_on = order_serve(&order);
  _exit(goes_on ? 0 : 1);
}
