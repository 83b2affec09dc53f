/* The process that has untrusted images decoded: the program itself, started anew (decode_pool.h). It sees none of
 * their bytes: for each image it forks a child, which gives up everything first and ends after that image, so that no
 * image can do anything to another. */
#ifndef SPATE_IMAGE_DECODE_HELPER_H
#define SPATE_IMAGE_DECODE_HELPER_H

/* The first argument of a program that is to be a helper. */
#define DECODE_HELPER_ARGUMENT "decode-images"

/* How much what prepares images gives way to the threads that compute tokens: to a quarter of what both want. */
enum { IMAGE_NICE = 5 };

/* main() calls it before anything else: in a helper it does all there is to do and never comes back. */
void decode_helper_main(int argc, char **argv);

/* For each socket that comes over HELPER_DESCRIPTOR: ends the child before, and forks one that has that socket in its
 * place, and nothing else. Never comes back. For processes of one thread. */
_Noreturn void decode_helper_serve(void (*child)(void));

#endif
