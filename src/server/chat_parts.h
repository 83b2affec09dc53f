/* The events of a chat, taken apart into what is told: content to the choice's text, thoughts and calls beside it. */
#ifndef SPATE_SERVER_CHAT_PARTS_H
#define SPATE_SERVER_CHAT_PARTS_H

#include "server/answer_form.h"

/* An event's text; false when more waits than may, or memory is short. */
bool chat_parts_keep(struct choice *choice, const spate_event *event);

void chat_parts_free(struct choice *choice);

#endif
