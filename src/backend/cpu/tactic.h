/* Tactics: how a linear's tiles are handed to the team at the batch size that the engine is meant for, chosen by timing
 * and remembered per device in a small text file. A tactic changes speed, never a result. */
#ifndef SPATE_BACKEND_TACTIC_H
#define SPATE_BACKEND_TACTIC_H

#include "backend/cpu/cpu_program.h"

/* Settles `chunk` of every linear call. A missing, unreadable or corrupt cache only costs the timing. */
void tactics_choose(struct program *program);

#endif
