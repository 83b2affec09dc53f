/* Helpers, before there is traffic. */
#include "lib/images_open.h"

#include "base/limits.h"
#include "base/log.h"
#include "image/decode_helper.h"

#include <stdatomic.h>
#include <string.h>

enum { DEFAULT_IMAGE_CACHE = 256 << 20, DEFAULT_DECODERS = 2, DECODE_MS = 20000, DECODER_WAIT_MS = 60000 };

/* This program has said that it can be a helper. */
static atomic_bool helps;

void spate_image_helper(int argc, char **argv) {
  decode_helper_main(argc, argv);
  atomic_store(&helps, true);
}

bool spate_sees_images(const spate_engine *engine, int count, spate_error *error) {
  struct error problem;
  return images_count_check(engine->runtime, count, &problem) || error_export(&problem, error);
}

int image_decoders_of(const spate_open_options *options) {
  return options->image_decoders ? options->image_decoders : DEFAULT_DECODERS;
}

bool image_options_read(const spate_open_options *options, struct engine_options *to, struct error *error) {
  to->images = ENGINE_IMAGES_AUTO;
  to->pool_bytes = options->image_cache_memory ? options->image_cache_memory : DEFAULT_IMAGE_CACHE;
  if (options->image_decoders < 0 || options->image_decoders > LIMIT_IMAGE_HELPERS)
    return error_set(error, ERROR_INVALID, "image_decoders is %d, expected 0 to %d.", options->image_decoders,
                     LIMIT_IMAGE_HELPERS);
  return (options->max_images >= 0 && options->max_images <= LIMIT_REQUEST_IMAGES) ||
         error_set(error, ERROR_INVALID, "max_images is %d, expected 0 to %d.", options->max_images,
                   LIMIT_REQUEST_IMAGES);
}

static bool decoders_start(spate_engine *engine, const spate_open_options *options, struct error *error) {
  static char argument[] = DECODE_HELPER_ARGUMENT;
  struct decode_pool_options pool = {.command = options->image_helper ? engine->decode_command : NULL,
                                     .helpers = image_decoders_of(options),
                                     .timeout_ms = DECODE_MS,
                                     .wait_ms = DECODER_WAIT_MS};
  if (!options->image_helper && !atomic_load(&helps))
    return error_set(error, ERROR_UNSUPPORTED,
                     "This program cannot decode images: it is to call spate_image_helper at the start of its main, or "
                     "to name one that does in image_helper (the spate command).");
  if (options->image_helper && !(engine->image_helper = strdup(options->image_helper)))
    return error_set(error, ERROR_MEMORY, "Out of memory for the path of image_helper.");
  engine->decode_command[0] = engine->image_helper;
  engine->decode_command[1] = argument;
  engine->decoders = decode_pool_open(&pool, error);
  return engine->decoders != NULL;
}

bool images_open(spate_engine *engine, const spate_open_options *options, struct error *error) {
  const struct engine_file *file = &engine->loaded->file;
  struct error *problem = &engine->images_problem;
  if (!file->vision) {
    error_set(problem, ERROR_UNSUPPORTED, "The model %s sees no images: send text alone.", file->facts->name);
    return true;
  }
  if (!engine->loaded->vision)
    error_set(problem, ERROR_UNSUPPORTED, "Images are not encoded on the backend %s so far: send text alone.",
              engine->loaded->backend->name);
  else if (image_form_init(&engine->image_form, file->images, file->vision, engine->tokenizer, problem) &&
           decoders_start(engine, options, problem))
    return true;
  if (problem->code == ERROR_MEMORY) return error_set(error, ERROR_MEMORY, "%s", problem->text);
  log_warning("%s is served with text alone. %s", file->facts->name, problem->text);
  return true;
}
