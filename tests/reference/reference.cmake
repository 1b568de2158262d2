# The reference: hw's ops as plain loops, an interpreter of the study over them, and random programs that are compiled and
# compared with it.
if(HW_TESTS)
  find_package(doctest REQUIRED)
  set(reference ${CMAKE_CURRENT_LIST_DIR})
  add_library(hw_reference STATIC ${reference}/Ops.cpp ${reference}/Interpreter.cpp)
  target_link_libraries(hw_reference PUBLIC hw_ir)
  target_precompile_headers(hw_reference REUSE_FROM hw_ir)

  add_library(hw_random STATIC ${reference}/Generate.cpp ${reference}/Shrink.cpp)

  # Objects apart from the program: without the runtime's flags.
  add_library(random_programs_objects OBJECT ${reference}/random_programs.cpp)
  target_link_libraries(random_programs_objects PRIVATE hw_driver hw_reference CLI11::CLI11)
  add_executable(random_programs $<TARGET_OBJECTS:random_programs_objects>)
  target_link_libraries(random_programs PRIVATE hw_driver hw_reference hw_random CLI11::CLI11)
  # Compiled code that is loaded finds the runtime's functions in it.
  set_target_properties(random_programs PROPERTIES ENABLE_EXPORTS ON)

  add_executable(reference_test ${CMAKE_CURRENT_LIST_DIR}/../unit/reference_test.cpp)
  target_link_libraries(reference_test PRIVATE hw_frontend hw_passes hw_reference hw_random hw_formats doctest::doctest)
endif()
