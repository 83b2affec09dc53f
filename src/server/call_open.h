/* Whether a mark that was seen is part of an argument. */
#ifndef SPATE_SERVER_CALL_OPEN_H
#define SPATE_SERVER_CALL_OPEN_H

#include "base/json.h"

/* The text, which begins as a call, ends within a string of JSON's or Python's, or a value between tags. */
bool call_open(struct slice text);

#endif
