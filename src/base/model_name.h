/* What a model is called by where it lies: for people, and for names of files. */
#ifndef SPATE_BASE_MODEL_NAME_H
#define SPATE_BASE_MODEL_NAME_H

#include <stddef.h>

/* ORG/NAME of what lies in a Hugging Face cache, whose own folders and files have digests for names; else the last part
 * of the path, without .gguf. Cut off where it does not fit. */
void model_name_of_path(const char *path, char *name, size_t room);

#endif
