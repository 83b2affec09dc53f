/* The labels of a classifier: how many, what they are called, and what becomes of their numbers. */
#ifndef SPATE_MODEL_ENCODER_LABELS_H
#define SPATE_MODEL_ENCODER_LABELS_H

#include "base/buffer.h"
#include "model/checkpoint.h"
#include "model/text_tail.h"
#include "plan/plan.h"

/* As id2label or num_labels say; 2 where neither does. */
bool encoder_label_count(const struct checkpoint *checkpoint, int *count, struct error *error);

/* A decoder's end: pooling as text_tail_read reads it, of the last token where the files do not say, or a head of
 * labels ("score"), which takes the last token. */
bool encoder_last_read(struct text_tail *tail, const struct checkpoint *checkpoint, int hidden, struct error *error);

/* Appends the names, each with a zero byte. */
bool encoder_label_names(const struct checkpoint *checkpoint, int count, struct buffer *names, struct error *error);

/* What sentence-transformers' CrossEncoder does by itself: the files' activation, else a sigmoid of one number; and of
 * several, which are alternatives, softmax, or sigmoid where the config says that they are not. */
bool encoder_label_act(const struct checkpoint *checkpoint, int count, enum label_act *act, struct error *error);

#endif
