# The generic test of every hw op: compiled through the passes and the backend, run through the JIT.
if(HW_TESTS)
  find_package(doctest REQUIRED)
  # Objects apart from the program: without the runtime's OpenMP flags, and position independent, they can use the
  # compiler's precompiled header.
  add_library(ops_test_objects OBJECT ${CMAKE_CURRENT_LIST_DIR}/ops_test.cpp ${CMAKE_CURRENT_LIST_DIR}/ops_cases.cpp)
  target_link_libraries(ops_test_objects PRIVATE hw_passes hw_backend hw_reference hw_ir doctest::doctest)
  target_precompile_headers(ops_test_objects REUSE_FROM hw_ir)
  add_executable(ops_test $<TARGET_OBJECTS:ops_test_objects>)
  target_link_libraries(ops_test PRIVATE hw_passes hw_backend hw_reference hw_runtime hw_ir)

  # Mistakes, by machine, through the front half.
  add_library(mistakes_test_objects OBJECT ${CMAKE_CURRENT_LIST_DIR}/mistakes_test.cpp)
  target_link_libraries(mistakes_test_objects PRIVATE hw_frontend hw_passes hw_ir doctest::doctest)
  target_compile_definitions(mistakes_test_objects PRIVATE HW_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_precompile_headers(mistakes_test_objects REUSE_FROM hw_ir)
  add_executable(mistakes_test $<TARGET_OBJECTS:mistakes_test_objects>)
  target_link_libraries(mistakes_test PRIVATE hw_frontend hw_passes hw_ir)
endif()
