# The CUDA compiler and its flags. Host warnings are for C; what a file is compiled for, src/backend/CMakeLists.txt says.
find_program(CMAKE_CUDA_COMPILER nvcc HINTS /usr/local/cuda/bin REQUIRED)
set(CMAKE_CUDA_ARCHITECTURES OFF)
set(CMAKE_CUDA_FLAGS "--compress-mode=size") # a fifth of the bytes
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
if(SPATE_STATIC) # nvcc's host code guards static variables by the C++ library's functions
  list(TRANSFORM CMAKE_CUDA_IMPLICIT_LINK_LIBRARIES REPLACE "^stdc\\+\\+$" "-l:libstdc++.a")
  list(REMOVE_ITEM CMAKE_CUDA_IMPLICIT_LINK_LIBRARIES gcc_s)
  add_link_options(-static-libgcc -static-libstdc++)
endif()
