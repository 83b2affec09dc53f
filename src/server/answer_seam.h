/* Where something was taken out of the midst of a text: words that stood apart stay apart. The spaces that stood there
 * first stay, where there were none a line end does, and none do where it began or ended the text. */
#ifndef SPATE_SERVER_ANSWER_SEAM_H
#define SPATE_SERVER_ANSWER_SEAM_H

#include "base/slice.h"

enum { ANSWER_SPACES = 64 }; /* more of them together are text, whatever follows */

struct answer_seam {
  struct {
    bool any;   /* something was told */
    bool space; /* and ended with one */
    bool cut;   /* something has been taken out since */
  } told[2];    /* content, thought */
  uint8_t spaces[ANSWER_SPACES];
  size_t n_space;
  bool closed; /* others are not added */
};

/* Something is taken out here, of both. */
void answer_seam_cut(struct answer_seam *seam);

/* These spaces were there; last: something else follows them. */
void answer_seam_spaces(struct answer_seam *seam, struct slice spaces, bool last);

/* What is to be told before this text; borrowed from the seam, until its next call. */
struct slice answer_seam_join(struct answer_seam *seam, bool thought, struct slice text);

#endif
