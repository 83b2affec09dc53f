/* The files that hold a vocabulary: what opens a model and what fetches one read the same list. */
#ifndef SPATE_BASE_VOCABULARY_NAMES_H
#define SPATE_BASE_VOCABULARY_NAMES_H

/* The first that is there is taken; a NULL ends the list. */
extern const char *const vocabulary_names[];

/* Without any of those: what older libraries had, all that are there; vocab.txt, vocab.json, merges.txt, and a
 * SentencePiece model by one of two names; a NULL. */
extern const char *const classic_vocabulary_names[];

#endif
