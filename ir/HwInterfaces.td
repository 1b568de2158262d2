// What a transform asks of an operation. Declared here; the rules are attached as external models in passes/.
#ifndef HW_INTERFACES
#define HW_INTERFACES

include "mlir/IR/OpBase.td"

def LinearizeOpInterface : OpInterface<"LinearizeOpInterface"> {
  let cppNamespace = "::hw";
  let description = [{
    The op's linearisation (jvp) at its operands. It may use only ops that are linear in the tangents and that have
    `TransposeOpInterface`, so that vjp = transpose of linearise.
  }];
  let methods = [InterfaceMethod<[{
      Builds the tangents of the results. `tangents[i]` is the tangent of operand i, or null where it is zero. The i-th entry
      of `results` is left null where the tangent is zero.
    }], "::llvm::LogicalResult", "linearize",
    (ins "::mlir::OpBuilder &":$builder, "::llvm::ArrayRef<::mlir::Value>":$tangents,
         "::llvm::SmallVectorImpl<::mlir::Value> &":$results)>];
}

def TransposeOpInterface : OpInterface<"TransposeOpInterface"> {
  let cppNamespace = "::hw";
  let description = [{ The transpose of an op that is linear in some of its operands. }];
  let methods = [InterfaceMethod<[{
      `linear[i]` says whether the op is to be read as a linear function of operand i (the others are held fixed).
      `cotangents[j]` is the cotangent of result j, or null for zero. Appends, for each operand, the cotangent or null.
    }], "::llvm::LogicalResult", "transposeLinear",
    (ins "::mlir::OpBuilder &":$builder, "::llvm::ArrayRef<::mlir::Value>":$cotangents,
         "::llvm::ArrayRef<bool>":$linear, "::llvm::SmallVectorImpl<::mlir::Value> &":$results)>];
}

def DerivativeOpInterface : OpInterface<"DerivativeOpInterface"> {
  let cppNamespace = "::hw";
  let description = [{ A derivative of the graph, which `hw-expand-derivatives` expands. }];
  let methods = [
    InterfaceMethod<[{ The values that are differentiated. }], "::mlir::OperandRange", "getDifferentiated", (ins), [{}],
      [{ return $_op.getODSOperands(0); }]>,
    InterfaceMethod<[{ The values that they are differentiated by. }], "::mlir::OperandRange", "getWrt">,
    InterfaceMethod<[{ The values that the derivative takes for constant. }], "::mlir::OperandRange", "getHeld">,
    InterfaceMethod<[{ These, to be added to. }], "::mlir::MutableOperandRange", "getHeldMutable">];
}

#endif
