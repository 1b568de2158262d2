// main() of an executable that `hwc build` writes: linked with the program's object, which exports the descriptor.
#include "runtime/Main.h"

extern "C" const hw_program hw_program_descriptor;

int main(int argc, char **argv) { return hw::runExecutable(hw_program_descriptor, argc, argv); }
