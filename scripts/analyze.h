/* Included before each file that scripts/analyze.py has analysed: functions that say false always, which an analyser of
 * one file at a time cannot know. */
#include "base/error.h"

#define error_set(...)    (error_set(__VA_ARGS__), false)
#define error_prefix(...) (error_prefix(__VA_ARGS__), false)

#ifdef ANALYZES_JINJA
#include "text/jinja_rendering.h"
#define rendering_fail(...) (rendering_fail(__VA_ARGS__), false)
#endif
