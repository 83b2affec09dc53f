/* From bytes to rows: what a request's images do to its prompt. */
#include "runtime/request_images.h"

#include "base/clock.h"
#include "base/limits.h"
#include "image/data_url.h"
#include "runtime/runtime_state.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- life --------------------------------------------------------------------------------------------------------- */

static void request_ready_for_step(void *runtime, void *request);

bool images_start(struct runtime *rt, const struct runtime_options *options, struct error *error) {
  struct image_store_options store = {.form = options->image_form,
                                      .preprocessor = rt->engine->file.images,
                                      .key = rt->key,
                                      .engine = rt->engine,
                                      .pool = options->decoders,
                                      .threads = options->image_threads,
                                      .waiting_most = options->image_bytes,
                                      .request_most = options->image_request_bytes,
                                      .prepare = request_ready_for_step,
                                      .user = rt};
  rt->images_most = options->images_most;
  rt->images_problem = options->images_problem;
  if (!options->image_form) return true;
  rt->images = image_store_new(&store, error);
  return rt->images != NULL;
}

bool images_count_check(const struct runtime *rt, int64_t count, struct error *error) {
  if (!rt->images) return error_set(error, rt->images_problem->code, "%s", rt->images_problem->text);
  if (count <= rt->images_most) return true;
  return error_set(error, ERROR_LIMIT,
                   "%lld images were sent, and a prompt may have %d (--limit-mm-per-prompt): send fewer.",
                   (long long)count, rt->images_most);
}

void request_images_release(struct request_images *images) {
  request_images_drop(images);
  request_images_forget(images);
  chat_text_release(&images->text);
  free(images->entry);
  free(images->row);
  image_layout_release(&images->layout);
}

/* --- a thread of the store: from bytes to a prompt's tokens ------------------------------------------------------- */

/* Which image a sentence is about, where there are several. */
static bool image_blame(int32_t index, int32_t n, struct error *error) {
  return n > 1 ? error_prefix(error, "Image %d of %d: ", index + 1, n) : false;
}

static struct stored_image *source_take(struct request *r, const struct image_source *source, struct image_room *room,
                                        struct error *error) {
  struct image_store *store = r->images.store;
  struct hash128 salt = r->generation[0].sequence.salt;
  struct buffer file;
  struct slice mime;
  if (!source->text) return image_store_take(store, source->data, source->mime, salt, r->deadline_us, room, error);
  if (image_source_is_address(source->data)) {
    error_set(error, ERROR_UNSUPPORTED,
              "The image is an address, and this server fetches none (--allow-media-url-prefix): send its bytes as "
              "data:image/png;base64,...");
    return NULL;
  }
  buffer_init(&file, LIMIT_IMAGE_BYTES + 1);
  struct stored_image *image =
      data_url_decode(source->data, &mime, &file, error)
          ? image_store_take(store, buffer_slice(&file), mime, salt, r->deadline_us, room, error)
          : NULL;
  buffer_release(&file);
  return image;
}

static bool sizes_check(const struct request_images *images, struct error *error) {
  int64_t rows = 0, most = image_store_rows(images->store);
  for (int32_t i = 0; i < images->claim.n_entry; i++) {
    const struct stored_image *image = (const struct stored_image *)(const void *)images->claim.entry[i];
    rows += (int64_t)embed_pages(image->entry.n_row) * EMBED_PAGE;
  }
  if (rows <= most) return true;
  return error_set(error, ERROR_LIMIT,
                   "The images become %lld rows together and there is room for %lld: send fewer or smaller ones, or "
                   "give the engine more (--image-cache-memory).",
                   (long long)rows, (long long)most);
}

/* Nobody waits for the rest of its images. */
static bool take_ends(const struct request *r, struct error *error) {
  if (atomic_load(&r->cancelled)) return !error_set(error, ERROR_CANCELLED, "The request was cancelled.");
  return clock_us() >= r->deadline_us &&
         !error_set(error, ERROR_TIMEOUT,
                    "The request has taken the %.3g seconds of its timeout_s before its images were prepared.",
                    (double)(r->deadline_us - r->submitted_us) * 1e-6);
}

static bool images_take(struct request *r, int32_t most, struct image_room *room, struct error *error) {
  int64_t rows = 0;
  struct request_images *images = &r->images;
  if (!images->entry) images->entry = calloc((size_t)images->n, sizeof(struct embed_entry *));
  if (!images->entry) return error_set(error, ERROR_MEMORY, "Out of memory for %d images.", images->n);
  images->claim.entry = images->entry;
  images->n_skipped = 0;
  for (int32_t i = 0; i < images->n; i++) {
    if (take_ends(r, error)) return false;
    struct stored_image *image = source_take(r, &images->source[i], room, error);
    if (!image) return error->code == ERROR_TIMEOUT && take_ends(r, error) ? false : image_blame(i, images->n, error);
    images->claim.entry[images->claim.n_entry++] = &image->entry;
    rows += image->shape.marks;
    if (!sizes_check(images, error)) return false;
    if (rows > most) /* before the others are decoded in vain */
      return error_set(error, ERROR_LIMIT,
                       "The prompt with its images has more than max_input_len %d tokens: send fewer or smaller ones.",
                       most);
  }
  return true;
}

static bool request_wanted(const struct request *r) {
  return !atomic_load(&r->cancelled) && atomic_load(&r->place) != REQUEST_SHED;
}

/* Nobody waits for it. */
static bool request_over(const void *request) {
  const struct request *r = request;
  return !request_wanted(r) || clock_us() >= r->deadline_us;
}

/* All of its images. Where there is no room for the next, it begins again with room for as many. False: it is not to
 * go on, or error says why. */
static bool request_prepare(struct runtime *rt, struct request *r, struct error *error) {
  struct image_room room = {0};
  bool taken = false;
  do {
    *error = (struct error){0};
    request_images_drop(&r->images);
    if (!image_store_wait(rt->images, &room, request_over, r))
      return error_set(error, ERROR_CANCELLED, "The engine is being closed.");
    r->images.prepare_us = clock_us();
    if (request_wanted(r)) taken = images_take(r, rt->engine->file.facts->config.max_input_len, &room, error);
    image_store_leave_room(rt->images, &room);
  } while (room.full);
  return taken;
}

/* Its images, and the tokens that they become. */
static void images_prepare(struct runtime *rt, struct request *r) {
  struct error error = {0};
  if (!(request_prepare(rt, r, &error) && (r->images.layout.embed || request_images_expand(rt, r, &error)))) {
    r->unfit = error.code == ERROR_LIMIT || error.code == ERROR_INVALID || error.code == ERROR_UNSUPPORTED;
    r->error = error;
  }
  if (!r->images.layout.embed) request_images_forget(&r->images); /* or later: it may be prepared once more */
  chat_text_release(&r->images.text);
  r->images.prepare_us = clock_us() - r->images.prepare_us; /* since there was room */
}

static void request_ready_for_step(void *runtime, void *request) {
  struct runtime *rt = runtime;
  struct request *r = request;
  if ((!r->prompt || request_tokenize(rt, r)) && r->images.n > 0) images_prepare(rt, r);
  mailbox_put(&rt->to_step, &r->letter);
}

struct image_turn request_image_turn(const struct request *r) {
  const struct sequence *q = &r->generation[0].sequence;
  return (struct image_turn){q->priority, q->tenant};
}

/* A request that is over before its turn has come. */
static void request_leave(void *runtime, void *request) {
  struct runtime *rt = runtime;
  struct request *r = request;
  if (request_wanted(r)) take_ends(r, &r->error);
  request_images_forget(&r->images);
  chat_text_release(&r->images.text);
  mailbox_put(&rt->to_step, &r->letter);
}

void images_review(struct runtime *rt) {
  if (rt->images) image_store_review(rt->images, request_over, request_leave);
}
