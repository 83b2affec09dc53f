/* The tokens that a calibrated build watches its network with: windows of a text, the same for every build. */
#ifndef SPATE_BUILD_CALIBRATION_DATA_H
#define SPATE_BUILD_CALIBRATION_DATA_H

#include "text/tokenizer.h"

enum { CALIBRATION_WINDOW = 512, CALIBRATION_WINDOWS = 128, CALIBRATION_TOKENS_LEAST = 64 };

struct calibration_data {
  int32_t *token; /* [n_window][length] owned */
  int n_window, length;
};

/* From the text file at `path`, or from the text that Spate brings along (NULL). Of a long text CALIBRATION_WINDOWS
 * windows are taken at equal distances; `longest` is the most tokens of a sequence that the network was made for. */
bool calibration_data_read(struct calibration_data *data, const char *path, const struct tokenizer *tokenizer,
                           int longest, struct error *error);
void calibration_data_release(struct calibration_data *data);

#endif
