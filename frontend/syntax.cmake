# Source text to syntax tree, and back (`hwc fmt`). Knows nothing of MLIR.
add_library(hw_syntax STATIC
  ${CMAKE_CURRENT_LIST_DIR}/Ast.cpp
  ${CMAKE_CURRENT_LIST_DIR}/Diagnostics.cpp
  ${CMAKE_CURRENT_LIST_DIR}/Format.cpp
  ${CMAKE_CURRENT_LIST_DIR}/Lexer.cpp
  ${CMAKE_CURRENT_LIST_DIR}/Parser.cpp
  ${CMAKE_CURRENT_LIST_DIR}/ParseExpression.cpp
  ${CMAKE_CURRENT_LIST_DIR}/ParseStatement.cpp
  ${CMAKE_CURRENT_LIST_DIR}/Source.cpp)
target_link_libraries(hw_syntax PUBLIC hw_formats fmt::fmt)

if(HW_TESTS)
  add_executable(syntax_test ${CMAKE_SOURCE_DIR}/tests/unit/syntax_test.cpp)
  target_link_libraries(syntax_test PRIVATE hw_syntax)
  target_compile_definitions(syntax_test PRIVATE HW_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME syntax COMMAND syntax_test)
endif()
