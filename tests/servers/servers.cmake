# Real servers as CTest fixtures. A test that names a fixture in FIXTURES_REQUIRED runs between the
# server's start and its end, and finds it by the environment variable below.
find_package(Python3 3.9 COMPONENTS Interpreter REQUIRED)

# snapstore_server(NAME SCRIPT): fixture NAME_server, and NAME_server_environment for its tests.
function(snapstore_server name script)
  set(file ${PROJECT_BINARY_DIR}/servers/${name})
  set(${name}_server_environment SNAPSTORE_TEST_S3=${file} PARENT_SCOPE)
  foreach(command IN ITEMS start stop)
    add_test(NAME server.${name}.${command}
      COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/servers/${script} ${command} ${file})
    set_tests_properties(server.${name}.${command} PROPERTIES LABELS server TIMEOUT 120)
  endforeach()
  set_tests_properties(server.${name}.start PROPERTIES FIXTURES_SETUP ${name}_server)
  set_tests_properties(server.${name}.stop PROPERTIES FIXTURES_CLEANUP ${name}_server)
endfunction()

snapstore_server(s3 rgw.py)
snapstore_server(swift swift_s3.py)
