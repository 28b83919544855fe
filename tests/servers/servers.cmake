# Real servers as CTest fixtures. A test that names a fixture in FIXTURES_REQUIRED runs between the
# server's start and its end, and finds it by the environment variable below.
find_package(Python3 3.9 COMPONENTS Interpreter REQUIRED)
set(s3_server_file ${PROJECT_BINARY_DIR}/servers/s3)
set(s3_server_environment SNAPSTORE_TEST_S3=${s3_server_file})
foreach(command IN ITEMS start stop)
  add_test(NAME server.s3.${command}
    COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_LIST_DIR}/rgw.py ${command} ${s3_server_file})
  set_tests_properties(server.s3.${command} PROPERTIES LABELS server TIMEOUT 120)
endforeach()
set_tests_properties(server.s3.start PROPERTIES FIXTURES_SETUP s3_server)
set_tests_properties(server.s3.stop PROPERTIES FIXTURES_CLEANUP s3_server)
