/* Pure. */
#include "server/answer_seam.h"

#include "base/json.h"

void answer_seam_cut(struct answer_seam *seam) { seam->told[0].cut = seam->told[1].cut = true; }

void answer_seam_spaces(struct answer_seam *seam, struct slice spaces, bool last) {
  size_t room = sizeof seam->spaces - seam->n_space, size = spaces.size < room ? spaces.size : room;
  if (!seam->closed && size > 0) {
    memcpy(seam->spaces + seam->n_space, spaces.data, size);
    seam->n_space += size;
  }
  seam->closed = seam->closed || (last && seam->n_space > 0);
}

struct slice answer_seam_join(struct answer_seam *seam, bool thought, struct slice text) {
  struct slice joint = slice_make("", 0);
  if (text.size == 0) return joint;
  bool joins = seam->told[thought].cut && seam->told[thought].any && !seam->told[thought].space;
  if (joins && seam->n_space > 0)
    joint = slice_make(seam->spaces, seam->n_space);
  else if (joins && !json_is_space(text.data[0]))
    joint = slice_make("\n", 1);
  seam->n_space = 0;
  seam->closed = false;
  seam->told[thought].any = true;
  seam->told[thought].cut = false;
  seam->told[thought].space = json_is_space(text.data[text.size - 1]);
  return joint;
}
