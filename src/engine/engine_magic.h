/* The first eight bytes of every engine file. The first is no text, and the line ends catch transfers that change them.
 */
#ifndef SPATE_ENGINE_ENGINE_MAGIC_H
#define SPATE_ENGINE_ENGINE_MAGIC_H

#include <stdint.h>

static const uint8_t engine_magic[8] = {0x93, 'S', 'P', 'A', 'T', 'E', '\r', '\n'};

#endif
