# lit's configuration for every test with RUN lines under tests/: .mlir for the dialects and passes, .hw for the compiler's stages.
# Run them all with `tests/run lit`, or some with:  HW_BUILD=build lit-22 -v tests/passes
import os

import lit.formats

config.name = "hwc"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".hw", ".test"]
config.excludes = ["unit", "oracle", "e2e", "examples", "Inputs"]
config.test_source_root = os.path.dirname(os.path.abspath(__file__))
build = os.path.abspath(os.environ.get("HW_BUILD", os.path.join(config.test_source_root, os.pardir, "build")))
config.test_exec_root = os.path.join(build, "lit")
for tool in ("hwc", "hw-opt"):
    config.substitutions.append(("(?<![-/.\\w])" + tool + "(?![-/.\\w])", os.path.join(build, "bin", tool)))
config.environment["PATH"] = os.pathsep.join([os.path.join(build, "bin"), "/usr/lib/llvm-22/bin", os.environ.get("PATH", "")])
config.environment["FILECHECK_OPTS"] = "--enable-var-scope --dump-input=fail"
