/* Spate: images of requests, for models that see them. Included by spate.h. docs/images.md tells which are taken.
 *
 * Images are decoded in processes of their own, which an engine starts when it opens. A program says first of all in
 * its main that it can be one: spate_image_helper(argc, argv); or names one that does, such as the spate command, in
 * spate_open_options.image_helper. Without either a model that sees images answers texts alone. */
#ifndef SPATE_H
#include "spate.h" /* which includes this */
#elif !defined SPATE_IMAGE_H
#define SPATE_IMAGE_H

#ifdef __cplusplus
extern "C" {
#endif

/* Of a request whose prompt is a text: <image> marks in it say where, one for each; without any they go in front.
 * Within a conversation they are parts of type image_url. Nothing is fetched: where the URL of a part begins with
 * http:// or https:// the request has the image's bytes, the first for the first such part. */
typedef struct spate_image {
  const char *data; /* the bytes of a JPEG, PNG or WebP file; copied */
  size_t size;
  const char *mime_type; /* that it is said to be, "image/png"; NULL: nothing is said */
  bool is_text;          /* data is a data: URL, or base64 alone; mime_type is ignored */
} spate_image;

/* Does all there is to do, and does not come back, where the program was started as a helper. Before any thread. */
SPATE_API void spate_image_helper(int argc, char **argv);

/* May a request of this engine have so many images? Otherwise *error, if it is not NULL, is what it is answered with.
 */
SPATE_API bool spate_sees_images(const spate_engine *engine, int count, spate_error *error);

#ifdef __cplusplus
}
#endif

#endif
