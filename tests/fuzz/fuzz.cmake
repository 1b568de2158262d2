# libFuzzer targets for the readers of files: build/fuzz/<name>_fuzz, run by tests/fuzz/run.py. The fuzzer and its sanitisers
# are clang's, so these few files are compiled by clang++-22 whatever builds the rest; without it the suite is skipped.
find_program(HW_FUZZ_COMPILER NAMES clang++-22 PATHS /usr/lib/llvm-22/bin)
set(HW_FUZZ_FLAGS -std=c++20 -O1 -g1 -fno-omit-frame-pointer -Wno-deprecated-declarations -DFMT_HEADER_ONLY=1
  -fsanitize=address,undefined -fno-sanitize-recover=undefined)
set(HW_FUZZ_DIR ${CMAKE_BINARY_DIR}/fuzz)

# clang may be there without its run-time libraries, which are another package (libclang-rt-22-dev).
if(HW_FUZZ_COMPILER AND NOT DEFINED HW_FUZZ_WORKS)
  file(WRITE ${HW_FUZZ_DIR}/probe.cpp "extern \"C\" int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long) { return 0; }\n")
  execute_process(COMMAND ${HW_FUZZ_COMPILER} ${HW_FUZZ_FLAGS} -fsanitize=fuzzer probe.cpp -o probe
    WORKING_DIRECTORY ${HW_FUZZ_DIR} RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(failed EQUAL 0)
    set(HW_FUZZ_WORKS ON CACHE INTERNAL "clang can link a fuzz target")
  endif()
endif()
if(NOT HW_FUZZ_WORKS)
  message(STATUS "No fuzz targets: clang++-22 with libclang-rt-22-dev is not here")
  return()
endif()

# Compiles `source` of `folder`; `object` receives the path.
function(hw_fuzz_object folder source object)
  get_filename_component(name ${source} NAME_WE)
  set(out ${HW_FUZZ_DIR}/${name}.o)
  add_custom_command(OUTPUT ${out}
    COMMAND ${HW_FUZZ_COMPILER} ${HW_FUZZ_FLAGS} -fsanitize=fuzzer-no-link -I ${PROJECT_SOURCE_DIR}
      -MD -MF ${out}.d -c ${folder}/${source} -o ${out}
    DEPENDS ${folder}/${source} DEPFILE ${out}.d COMMENT "Building ${name}.o for the fuzzer" VERBATIM)
  set(${object} ${out} PARENT_SCOPE)
endfunction()

get_target_property(formats hw_formats SOURCES)
set(objects)
foreach(source ${formats})
  hw_fuzz_object(${PROJECT_SOURCE_DIR}/runtime/formats ${source} object)
  list(APPEND objects ${object})
endforeach()

hw_fuzz_object(${PROJECT_SOURCE_DIR}/runtime Checkpoint.cpp object)
list(APPEND objects ${object})

set(programs)
foreach(reader cifar10 checkpoint csv gzip idx npy safetensors)
  hw_fuzz_object(${CMAKE_CURRENT_LIST_DIR} ${reader}_fuzz.cpp object)
  add_custom_command(OUTPUT ${HW_FUZZ_DIR}/${reader}_fuzz
    COMMAND ${HW_FUZZ_COMPILER} ${HW_FUZZ_FLAGS} -fsanitize=fuzzer ${object} ${objects} -lz -o ${HW_FUZZ_DIR}/${reader}_fuzz
    DEPENDS ${object} ${objects} COMMENT "Linking fuzz/${reader}_fuzz" VERBATIM)
  list(APPEND programs ${HW_FUZZ_DIR}/${reader}_fuzz)
endforeach()
add_custom_target(fuzz ALL DEPENDS ${programs})
