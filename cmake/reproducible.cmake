# The same commit gives the same bytes, wherever and whenever it is built: no path of this machine gets into a file, no
# file knows the time but the commit's (scripts/reproducible.sh shows it).
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" OR CMAKE_C_COMPILER_ID STREQUAL "Clang")
  add_compile_options("$<$<COMPILE_LANGUAGE:C>:-ffile-prefix-map=${CMAKE_SOURCE_DIR}=.;-ffile-prefix-map=${CMAKE_BINARY_DIR}=build;-Wdate-time>")
endif()
add_link_options(-Wl,--build-id=sha1)

set(SPATE_EPOCH $ENV{SOURCE_DATE_EPOCH})
if(NOT SPATE_EPOCH)
  execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} log -1 --format=%ct OUTPUT_VARIABLE SPATE_EPOCH
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} rev-parse --path-format=absolute --git-path logs/HEAD
                  OUTPUT_VARIABLE commits OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(EXISTS "${commits}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${commits})
  endif()
endif()
if(SPATE_EPOCH) # otherwise, as in a tree without git, the time is now
  set(ENV{SOURCE_DATE_EPOCH} ${SPATE_EPOCH})
endif()
