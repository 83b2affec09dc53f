/* What the kinds of encoders in files of their own share (mmproj.c), and the kinds of mmproj_rotary.c and
 * mmproj_clip.c. */
#ifndef SPATE_MODEL_MMPROJ_KINDS_H
#define SPATE_MODEL_MMPROJ_KINDS_H

#include "model/mmproj.h"
#include "model/vision_tower.h"

struct mmproj {
  const struct gguf *file;
  const struct checkpoint *checkpoint;
  const struct plan *decoder;
};

/* A size under "clip.vision.", of 1 to max. */
bool mmproj_size(const struct mmproj *m, const char *key, enum gguf_need need, int max, int *value,
                 struct error *error);
bool mmproj_eps(const struct mmproj *m, double *eps, struct error *error);
/* Both, of an encoder whose pictures have one size. */
bool mmproj_sizes(const struct mmproj *m, struct vision_tower *tower, struct error *error);
/* The id of the decoder's token with this text. */
bool mmproj_mark(const struct mmproj *m, const char *text, int *mark, struct error *error);

bool mmproj_clip(const struct mmproj *m, struct plan_builder *builder, struct error *error);
bool mmproj_pixtral(const struct mmproj *m, struct plan_builder *builder, struct error *error);
bool mmproj_qwen2(const struct mmproj *m, struct plan_builder *builder, struct error *error);
bool mmproj_qwen25(const struct mmproj *m, struct plan_builder *builder, struct error *error);

#endif
