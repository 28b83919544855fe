# Language level, warnings, sanitizers, ccache: one place for all targets.
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

set(SNAPSTORE_SANITIZE "" CACHE STRING "Sanitizers to build with: address,undefined or thread")
option(SNAPSTORE_FUZZ "Build the libFuzzer targets" OFF)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without this ccache keeps nothing that was compiled with precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE_PROGRAM})
endif()

add_library(snapstore_compiler INTERFACE)
target_compile_options(snapstore_compiler INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wunused -Wformat=2 -Werror
  # GCC 12 sees uninitialised std::optional contents where there are none.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
target_include_directories(snapstore_compiler INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)

if(SNAPSTORE_SANITIZE)
  set(flags -fsanitize=${SNAPSTORE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_compile_options(${flags})
  add_link_options(${flags})
  if(SNAPSTORE_SANITIZE MATCHES undefined)
    # Most of what these find the address sanitizer finds too; they cost a tenth of the time to
    # compile.
    add_compile_options(-fno-sanitize=null,vptr,object-size)
  endif()
endif()
if(SNAPSTORE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
