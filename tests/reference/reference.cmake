# The reference: hw's ops as plain loops, an interpreter of the study over them, and random programs that are compiled and
# compared with it.
if(HW_TESTS)
  set(reference ${CMAKE_CURRENT_LIST_DIR})
  add_library(hw_reference STATIC ${reference}/Ops.cpp ${reference}/Interpreter.cpp)
  target_link_libraries(hw_reference PUBLIC hw_ir)
  target_precompile_headers(hw_reference REUSE_FROM hw_ir)
endif()
