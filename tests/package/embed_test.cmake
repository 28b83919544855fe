# Installs the library below a fresh prefix, builds the example against it and runs it.
set(folder ${BUILD}/tests/package/work)
file(REMOVE_RECURSE ${folder})
foreach(command IN ITEMS
    "${CMAKE_COMMAND};--install;${BUILD};--component;library;--prefix;${folder}/prefix"
    "${CMAKE_COMMAND};-G;Ninja;-S;${SOURCE};-B;${folder}/build;-DCMAKE_PREFIX_PATH=${folder}/prefix"
    "${CMAKE_COMMAND};--build;${folder}/build"
    "${folder}/build/embed;${folder}/repo")
  execute_process(COMMAND ${command} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(REMOVE_RECURSE ${folder})
