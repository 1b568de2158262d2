// Elaboration: the checked meaning of a file. Runs the file symbolically: what is static (strings, lists, functions,
// shapes, literal numbers, `if`) is evaluated now; what exists at run time becomes SSA values of one function,
// `func.func @study()`, of hw and study operations. See docs/design.md.
#pragma once

#include "frontend/Ast.h"
#include "frontend/Diagnostics.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace hw {

struct ElaborateOptions {
  bool quick = false;                     // top-level scalars take their `quick` values
  bool f64 = false;                       // the program's float type: f64 instead of f32
  std::map<std::string, double> settings; // --set NAME=VALUE
  bool lint = false;   // refuses what `roundTrips` finds; so does HW_LINT in the environment, as tests set it
  std::string dataDir; // paths in the file are relative to it; empty: the working directory
  enum Mode {
    Run,
    Bench,     // besides, one function a train and kind (forward, gradient, hvp), marked `hw.bench`
    Gradcheck, // in f64; each train becomes a study.gradcheck of what it minimises
  } mode = Run;
};

// A top-level scalar of the file.
struct Setting {
  std::string name;
  double value = 0;        // in this build
  bool fixed = false;      // a shape, an `if` or an unrolled loop used it: an executable cannot change it
  bool boolean = false;    // written True or False
  std::string fixedReason; // "a shape at fit.hw:3:7"
  SourceRange range;
};

// What one `init` made.
struct NetSummary {
  struct Parameter {
    std::string name; // within its layer: "weight"
    std::vector<int64_t> shape;
    bool trainable = true; // false: a `state`
    int64_t size() const;
  };
  struct Layer {
    std::string path;     // "linear2"; empty for the net itself
    std::string function; // "linear"
    std::vector<int64_t> output;
    std::vector<Parameter> parameters;
  };
  std::string name;    // the name it was bound to: "net"
  std::string loops;   // "target = sinc, widths = 30 60 60"
  std::string element; // "f32" or "f64"
  SourceRange range;
  std::vector<Layer> layers;
  int64_t parameters() const; // trainable ones
};

struct Elaborated {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::vector<Setting> settings; // in the file's order
  std::vector<NetSummary> nets;  // in the order of their `init`
};

// Elaborates a file. Errors go to `diagnostics`, several a run; the result is empty exactly if there was one. The
// module has been verified. `file` and the source that it points into must outlive the call only.
std::optional<Elaborated> elaborate(const ast::Module &file, Diagnostics &diagnostics, mlir::MLIRContext &context,
                                    const ElaborateOptions &options = {});

// The prelude as users read it.
const Source &preludeSource();

// One line a builtin, "name(parameters): what it does", for the reference and the tool's help.
std::vector<std::string> builtinReference();

} // namespace hw
