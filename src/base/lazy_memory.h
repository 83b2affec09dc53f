/* Zeroed memory whose pages come when they are first written: what it may still take of the machine's is known, so that
 * nobody else is promised that. From any thread. */
#ifndef SPATE_BASE_LAZY_MEMORY_H
#define SPATE_BASE_LAZY_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* NULL, with errno, when it cannot be mapped. */
void *lazy_memory_map(size_t bytes);
void lazy_memory_unmap(void *memory); /* NULL is allowed; waits for those that count its pages */

/* Its pages go back to the system; it is zero again. By its owner, on a step thread perhaps: waits for nobody. */
void lazy_memory_forget(void *memory);

/* Bytes of all that is mapped for which there is no page yet. */
uint64_t lazy_memory_promised(void);

#endif
