# snapstore_module(NAME name SOURCES … [DEPENDS modules…] [LIBRARIES outside libraries…]):
# the static library snapstore_<name> of one folder. DEPENDS mirrors the layering in docs/design.md.
function(snapstore_module)
  cmake_parse_arguments(ARG "" "NAME" "SOURCES;DEPENDS;LIBRARIES" ${ARGN})
  add_library(snapstore_${ARG_NAME} STATIC ${ARG_SOURCES})
  # Warnings are this project's affair, not that of whoever links an installed library.
  target_link_libraries(snapstore_${ARG_NAME} PUBLIC $<BUILD_INTERFACE:snapstore_compiler>
                        Threads::Threads)
  foreach(module IN LISTS ARG_DEPENDS)
    target_link_libraries(snapstore_${ARG_NAME} PUBLIC snapstore_${module})
  endforeach()
  target_link_libraries(snapstore_${ARG_NAME} PRIVATE ${ARG_LIBRARIES})
  snapstore_use_precompiled(snapstore_${ARG_NAME} common)
endfunction()

# snapstore_generated_files(files…): has the target snapstore_generated make them, for checks
# that read the sources without building them.
add_custom_target(snapstore_generated)
function(snapstore_generated_files)
  get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  add_custom_target(snapstore_generated_${folder} DEPENDS ${ARGN})
  add_dependencies(snapstore_generated snapstore_generated_${folder})
endfunction()

# snapstore_test(NAME name SOURCES … [LIBRARIES …] [LABELS …] [TIMEOUT s]
# [PROPERTIES …]): one GoogleTest binary,
# registered with CTest as one test a case. The target snapstore_unit_tests builds those with the
# label unit, which is the default.
include(GoogleTest)
add_custom_target(snapstore_unit_tests)
function(snapstore_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT" "SOURCES;LIBRARIES;LABELS;PROPERTIES" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  add_executable(${ARG_NAME} ${ARG_SOURCES})
  target_link_libraries(${ARG_NAME} PRIVATE snapstore_compiler ${ARG_LIBRARIES} GTest::gmock
                        GTest::gtest_main)
  # The modules are what is looked at for undefined behaviour: with it GoogleTest's macros take twice
  # as long to compile.
  target_compile_options(${ARG_NAME} PRIVATE -fno-sanitize=undefined)
  snapstore_use_precompiled(${ARG_NAME} tests)
  if("unit" IN_LIST ARG_LABELS)
    add_dependencies(snapstore_unit_tests ${ARG_NAME})
  endif()
  gtest_discover_tests(${ARG_NAME} DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT} ${ARG_PROPERTIES})
endfunction()
