/* What stands before each message of gpt-oss's: whom it is to, and in which channel. */
#ifndef SPATE_SERVER_ANSWER_CHANNEL_H
#define SPATE_SERVER_ANSWER_CHANNEL_H

#include "base/slice.h"

#include <stdbool.h>

struct channel_header {
  struct slice to;  /* without "functions."; empty: the user */
  bool to_function; /* it was there */
  bool thinks;      /* the channel is that of thoughts */
};

/* header: all before <|message|>. */
struct channel_header channel_header_read(struct slice header);

#endif
