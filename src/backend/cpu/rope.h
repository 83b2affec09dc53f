/* Rotary position embedding: angles once per position and step, rotation per head. */
#ifndef SPATE_BACKEND_ROPE_H
#define SPATE_BACKEND_ROPE_H

#include <stdint.h>

/* cos and sin of place[k] × each of the count[k] inverse frequencies of axis k, dim/2 together, computed in double,
 * times scale: dim/2 cosines, then dim/2 sines. */
void rope_angles(const float *frequency, int dim, float scale, const int32_t count[3], const int32_t place[3],
                 float *angles);

/* Rotates the leading dim numbers of a head in place. style: enum rope_style, not ROPE_NONE. */
void rope_rotate(int style, const float *angles, int dim, float *head);

#endif
