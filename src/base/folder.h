/* Folders on the way to a file. */
#ifndef SPATE_BASE_FOLDER_H
#define SPATE_BASE_FOLDER_H

#include <stdbool.h>

/* Makes the folder and those above it that are not there. False: errno says why. */
bool folder_make(const char *path);

/* The same for the folder that a file is in. */
bool folder_make_above(const char *path);

#endif
