# Compiler flags shared by every target: the language, the warnings, the hardening, the sanitizers.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # _GNU_SOURCE: mmap flags, sched_getaffinity, pthread names
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1") # asserts stay on: they guard programming errors only

add_compile_definitions(_GNU_SOURCE SPATE_VERSION="${PROJECT_VERSION}")
add_compile_options("$<$<COMPILE_LANGUAGE:C>:-Wall;-Wextra;-Wshadow;-Wvla;-Wconversion;-Wno-sign-conversion;-Wstrict-prototypes;-Wmissing-prototypes;-fno-strict-aliasing;-fvisibility=hidden;-ffp-contract=off;-fno-math-errno>")
if(SPATE_WERROR)
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()

add_compile_options($<$<COMPILE_LANGUAGE:C>:-fstack-protector-strong>)
add_link_options(-Wl,-z,relro,-z,now)
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT SPATE_SANITIZE)
  add_compile_definitions(_FORTIFY_SOURCE=2)
endif()

if(SPATE_SANITIZE)
  add_compile_options(-fsanitize=${SPATE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SPATE_SANITIZE})
endif()
if(SPATE_COVERAGE) # threads may lose counts, not that a line ran; without loss tests take ten times as long
  add_compile_options(-fprofile-arcs -ftest-coverage -fprofile-update=single)
  add_link_options(--coverage)
endif()
if(SPATE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
