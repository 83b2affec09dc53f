/* The process in which untrusted images are decoded: the program itself, started anew (decode_pool.h). */
#ifndef SPATE_IMAGE_DECODE_HELPER_H
#define SPATE_IMAGE_DECODE_HELPER_H

/* The first argument of a program that is to be a helper. */
#define DECODE_HELPER_ARGUMENT "decode-images"

/* main() calls it before anything else: in a helper it does all there is to do and never comes back. */
void decode_helper_main(int argc, char **argv);

#endif
