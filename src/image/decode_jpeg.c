/* JPEG through libjpeg-turbo's libjpeg interface, with its defaults: the accurate transform and smooth upsampling. The
 * library leaves by longjmp when something is wrong. */
#include "base/limits.h"
#include "image/decode_formats.h"

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h> /* which wants stdio.h before it */

#include <jerror.h>

struct jpeg_reader {
  struct jpeg_decompress_struct jpeg;
  struct jpeg_error_mgr errors;
  struct jpeg_source_mgr source;
  struct jpeg_progress_mgr progress;
  jmp_buf out;
  struct image *image;
  struct error *error;
};

static struct jpeg_reader *reader_of(j_common_ptr jpeg) { return jpeg->client_data; }

static void on_error(j_common_ptr jpeg) {
  struct jpeg_reader *reader = reader_of(jpeg);
  char text[JMSG_LENGTH_MAX];
  jpeg->err->format_message(jpeg, text);
  if (jpeg->err->msg_code == JERR_OUT_OF_MEMORY)
    error_set(reader->error, ERROR_MEMORY, "There is no memory to decode the JPEG image: send a smaller one.");
  else
    error_set(reader->error, ERROR_INVALID, "The JPEG image is malformed (%s): send another.", text);
  longjmp(reader->out, 1);
}

static void on_message(j_common_ptr jpeg, int level) { /* warnings are let pass, as PIL lets them */
  (void)jpeg;
  (void)level;
}

_Noreturn static void leave(struct jpeg_reader *reader) { longjmp(reader->out, 1); }

/* --- the source: all bytes are there ---------------------------------------------------------------------------- */

static void source_nothing(j_decompress_ptr jpeg) { (void)jpeg; }

static boolean source_end(j_decompress_ptr jpeg) {
  struct jpeg_reader *reader = jpeg->client_data;
  error_set(reader->error, ERROR_INVALID, "The JPEG image ends before its end marker: it was cut off, send it whole.");
  leave(reader);
}

static void source_skip(j_decompress_ptr jpeg, long bytes) {
  if (bytes <= 0) return;
  if ((size_t)bytes > jpeg->src->bytes_in_buffer) source_end(jpeg);
  jpeg->src->next_input_byte += bytes;
  jpeg->src->bytes_in_buffer -= (size_t)bytes;
}

/* Each scan of a progressive image may cost as much as a whole image, and takes a few bytes. */
static void on_progress(j_common_ptr jpeg) {
  struct jpeg_reader *reader = reader_of(jpeg);
  if (reader->jpeg.input_scan_number <= LIMIT_IMAGE_SCANS) return;
  error_set(reader->error, ERROR_LIMIT, "The JPEG image has more than %d scans: save it anew.", LIMIT_IMAGE_SCANS);
  leave(reader);
}

/* --- what it decodes to ----------------------------------------------------------------------------------------- */

static int marker_orientation(const struct jpeg_decompress_struct *jpeg) {
  for (const struct jpeg_marker_struct *m = jpeg->marker_list; m; m = m->next)
    if (m->data_length > 6 && memcmp(m->data, "Exif\0\0", 6) == 0)
      return exif_orientation(slice_make(m->data, m->data_length));
  return 1;
}

/* round(a × b / 255) */
static uint8_t times(int a, int b) {
  int product = a * b + 128;
  return (uint8_t)((product + (product >> 8)) >> 8);
}

/* Four bytes a pixel, which Adobe's programs store inverted (255: no ink), to three, in another place. */
static void inks_to_colours(const uint8_t *inks, int width, uint8_t *colours) {
  for (int x = 0; x < width; x++)
    for (int c = 0; c < 3; c++) {
      int light = inks[4 * x + 3];
      colours[3 * x + c] = (uint8_t)(light - times(255 - inks[4 * x + c], light));
    }
}

static void rows_read(struct jpeg_reader *reader) {
  struct jpeg_decompress_struct *jpeg = &reader->jpeg;
  size_t stride = image_bytes((int)jpeg->output_width, 1);
  bool inks = jpeg->out_color_space == JCS_CMYK;
  JSAMPARRAY row = jpeg->mem->alloc_sarray((j_common_ptr)jpeg, JPOOL_IMAGE, jpeg->output_width * 4, 1);
  while (jpeg->output_scanline < jpeg->output_height) {
    uint8_t *to = reader->image->pixels + stride * jpeg->output_scanline;
    JSAMPROW direct = to;
    jpeg_read_scanlines(jpeg, inks ? row : &direct, 1);
    if (inks) inks_to_colours(row[0], (int)jpeg->output_width, to);
  }
}

static void header_read(struct jpeg_reader *reader) {
  struct jpeg_decompress_struct *jpeg = &reader->jpeg;
  jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(jpeg, TRUE);
  if (!image_size_check(jpeg->image_width, jpeg->image_height, reader->error)) leave(reader);
  if (jpeg->num_components != 1 && jpeg->num_components != 3 && jpeg->num_components != 4) {
    error_set(reader->error, ERROR_UNSUPPORTED, "The JPEG image has %d components, expected 1, 3 or 4: convert it.",
              jpeg->num_components);
    leave(reader);
  }
  jpeg->out_color_space = jpeg->num_components == 4 ? JCS_CMYK : JCS_RGB;
}

static void reader_begin(struct jpeg_reader *reader, struct slice file) {
  jpeg_create_decompress(&reader->jpeg);
  reader->source = (struct jpeg_source_mgr){
      .next_input_byte = file.data,
      .bytes_in_buffer = file.size,
      .init_source = source_nothing,
      .fill_input_buffer = source_end,
      .skip_input_data = source_skip,
      .resync_to_restart = jpeg_resync_to_restart,
      .term_source = source_nothing,
  };
  reader->jpeg.src = &reader->source;
  reader->progress.progress_monitor = on_progress;
  reader->jpeg.progress = &reader->progress;
}

bool jpeg_decode(struct slice file, struct image *image, int *orientation, struct error *error) {
  struct jpeg_reader reader = {.image = image, .error = error};
  *image = (struct image){0};
  reader.jpeg.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = on_error;
  reader.errors.emit_message = on_message;
  reader.jpeg.client_data = &reader;
  bool done = false;
  if (setjmp(reader.out) == 0) {
    reader_begin(&reader, file);
    header_read(&reader);
    if (!image_init(image, (int)reader.jpeg.image_width, (int)reader.jpeg.image_height, error)) leave(&reader);
    *orientation = marker_orientation(&reader.jpeg);
    jpeg_start_decompress(&reader.jpeg);
    rows_read(&reader);
    jpeg_finish_decompress(&reader.jpeg); /* which wants the end marker */
    done = true;
  }
  jpeg_destroy_decompress(&reader.jpeg);
  if (!done) image_release(image);
  return done;
}
