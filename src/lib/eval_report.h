/* Evaluations as JSON. */
#ifndef SPATE_LIB_EVAL_REPORT_H
#define SPATE_LIB_EVAL_REPORT_H

#include "lib/eval_text.h"

/* `"text":{…}`, and with another engine `,"against":{…}`. */
void text_loss_write(struct buffer *out, const struct text_eval *eval, const struct text_loss *loss);

/* `"model":…,"quant_mode":…,"device":…,"weight_bytes":…` */
void engine_write(struct buffer *out, const struct loaded_engine *engine);

/* `,"name":…,"name_stderr":…`: the share of n that is right, and the standard error of that mean (null for n = 1). */
void share_write(struct buffer *out, const char *name, size_t right, size_t n);

/* `,"samples":[…]` */
void samples_write(struct buffer *out, const struct buffer *samples);

#endif
