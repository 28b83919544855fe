# Precompiled headers of the standard library, fmt and GoogleTest: parsing them is most of the time
# a file of this project takes to compile. A source includes what it uses all the same: clang-tidy and
# the check of headers do without.
set(snapstore_common_headers
  <algorithm> <array> <atomic> <chrono> <condition_variable> <cstdint> <filesystem> <functional>
  <map> <memory> <mutex> <optional> <set> <span> <string> <string_view> <thread> <utility> <vector>
  <fmt/format.h>)
# And what the commands of the programs need.
set(snapstore_command_headers ${snapstore_common_headers} <CLI/CLI.hpp> <nlohmann/json.hpp>)

# snapstore_precompiled(name headers… LIBRARIES libraries…): a target that others take headers from
function(snapstore_precompiled name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "LIBRARIES")
  set(source ${PROJECT_BINARY_DIR}/${name}.cc)
  if(NOT EXISTS ${source})
    file(WRITE ${source} "")
  endif()
  add_library(${name} OBJECT ${source})
  target_link_libraries(${name} PUBLIC snapstore_compiler fmt::fmt ${ARG_LIBRARIES})
  target_precompile_headers(${name} PRIVATE ${ARG_UNPARSED_ARGUMENTS})
endfunction()
snapstore_precompiled(snapstore_precompiled_common ${snapstore_common_headers})
snapstore_precompiled(snapstore_precompiled_tests ${snapstore_common_headers} <gmock/gmock.h>
                      LIBRARIES GTest::gmock)
# As executables are compiled: headers are of use only to what has the same flags.
set_target_properties(snapstore_precompiled_tests PROPERTIES POSITION_INDEPENDENT_CODE OFF)
target_compile_options(snapstore_precompiled_tests PRIVATE -fPIE)

# snapstore_use_precompiled(target common|tests): tests for executables and what is linked only into
# such, common for other libraries
function(snapstore_use_precompiled target kind)
  # The headers were read with fmt's flags and have to be used with them.
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:fmt::fmt>)
  if(kind STREQUAL tests)
    get_target_property(type ${target} TYPE)
    if(NOT type STREQUAL EXECUTABLE)
      set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(${target} PRIVATE -fPIE)
    endif()
    # GCC 12 sees string copies that overlap or end too late where there are none, and says so once
    # the strings' header is precompiled. Tests have many strings; elsewhere these stay.
    target_compile_options(${target} PRIVATE
      "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-array-bounds;-Wno-stringop-overflow>")
  endif()
  target_precompile_headers(${target} REUSE_FROM snapstore_precompiled_${kind})
endfunction()
