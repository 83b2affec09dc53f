/* What was sent of a request's images, until they are encoded. */
#include "base/limits.h"
#include "runtime/request_images.h"

#include <stdlib.h>
#include <strings.h>

/* Room at the end of a list; NULL: there is none. */
static struct image_source *room_find(struct image_source **list, int32_t n) {
  if (!*list) *list = calloc(LIMIT_REQUEST_IMAGES, sizeof **list);
  return *list && n < LIMIT_REQUEST_IMAGES ? &(*list)[n] : NULL;
}

static bool source_add(struct image_source **list, int32_t *n, const struct image_source *from, struct error *error) {
  struct image_source *source = room_find(list, *n);
  uint8_t *bytes = source ? malloc(from->data.size + from->mime.size + 1) : NULL;
  if (!bytes) return error_set(error, ERROR_MEMORY, "Out of memory for an image of %zu bytes.", from->data.size);
  if (from->data.size) memcpy(bytes, from->data.data, from->data.size);
  if (from->mime.size) memcpy(bytes + from->data.size, from->mime.data, from->mime.size);
  *source = (struct image_source){.data = slice_make(bytes, from->data.size),
                                  .mime = slice_make(bytes + from->data.size, from->mime.size),
                                  .text = from->text};
  (*n)++;
  return true;
}

bool request_images_add(struct request_images *images, const struct image_source *source, struct error *error) {
  return source_add(&images->source, &images->n, source, error);
}

bool request_images_add_fetched(struct request_images *images, const struct image_source *source, struct error *error) {
  return source_add(&images->fetched, &images->n_fetched, source, error);
}

bool image_source_is_address(struct slice text) {
  return (text.size >= 7 && strncasecmp((const char *)text.data, "http://", 7) == 0) ||
         (text.size >= 8 && strncasecmp((const char *)text.data, "https://", 8) == 0);
}

bool request_images_place(struct request_images *images, struct slice text) {
  if (images->n_placed == images->n_fetched || !image_source_is_address(text)) return false;
  struct image_source *source = room_find(&images->source, images->n);
  if (!source) return false;
  *source = images->fetched[images->n_placed++];
  images->n++;
  return true;
}

static void list_free(struct image_source **list, int32_t from, int32_t to) {
  for (int32_t i = from; *list && i < to; i++) free((void *)(uintptr_t)(*list)[i].data.data);
  free(*list);
  *list = NULL;
}

void request_images_forget(struct request_images *images) {
  list_free(&images->source, 0, images->n);
  list_free(&images->fetched, images->n_placed, images->n_fetched);
}
