# The engine as an installed library: find_package(snapstore) gives the target snapstore::engine.
# Only the headers in include/snapstore are installed; examples/embed shows the use.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/snapstore)
set(package_targets engine uploader index chunker base)
foreach(target IN LISTS package_targets)
  set_target_properties(snapstore_${target} PROPERTIES EXPORT_NAME ${target})
  install(TARGETS snapstore_${target} EXPORT snapstoreTargets COMPONENT library)
endforeach()
target_include_directories(snapstore_engine INTERFACE
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(DIRECTORY include/snapstore TYPE INCLUDE COMPONENT library)
install(EXPORT snapstoreTargets NAMESPACE snapstore:: DESTINATION ${package_folder}
        COMPONENT library)
configure_package_config_file(cmake/snapstoreConfig.cmake.in
  ${PROJECT_BINARY_DIR}/snapstoreConfig.cmake INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/snapstoreConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/snapstoreConfig.cmake
              ${PROJECT_BINARY_DIR}/snapstoreConfigVersion.cmake
        DESTINATION ${package_folder} COMPONENT library)
