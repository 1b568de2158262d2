// The operations of the hw dialect: the reference manual of the IR. docs/hw-dialect.md is generated from here.
#ifndef HW_OPS
#define HW_OPS

include "HwBase.td"
include "HwInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Hw_Op<string mnemonic, list<Trait> traits = []> : Op<Hw_Dialect, mnemonic, !listconcat([Pure], traits)>;

//===--------------------------------------------------------------------------------------------------------------===//
// Elementwise
//===--------------------------------------------------------------------------------------------------------------===//

class Hw_Unary<string mnemonic, TypeConstraint type = Hw_FloatTensor>
    : Hw_Op<mnemonic, [Elementwise, SameOperandsAndResultType]> {
  let arguments = (ins type:$operand);
  let results = (outs type:$result);
  let assemblyFormat = "$operand attr-dict `:` type($result)";
  let hasFolder = 1;
}

class Hw_Binary<string mnemonic, TypeConstraint type = Hw_NumberTensor, list<Trait> traits = []>
    : Hw_Op<mnemonic, !listconcat([Elementwise, SameOperandsAndResultType], traits)> {
  let arguments = (ins type:$lhs, type:$rhs);
  let results = (outs type:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($result)";
  let hasFolder = 1;
}

def NegOp : Hw_Unary<"neg", Hw_NumberTensor> { let summary = "-x"; let hasCanonicalizer = 1; }
def ExpOp : Hw_Unary<"exp"> { let summary = "e^x"; }
def Expm1Op : Hw_Unary<"expm1"> { let summary = "e^x - 1, accurate near 0"; }
def LogOp : Hw_Unary<"log"> { let summary = "natural logarithm"; }
def Log1pOp : Hw_Unary<"log1p"> { let summary = "log(1 + x), accurate near 0"; }
def SqrtOp : Hw_Unary<"sqrt"> { let summary = "square root"; }
def SinOp : Hw_Unary<"sin"> { let summary = "sine of radians"; }
def CosOp : Hw_Unary<"cos"> { let summary = "cosine of radians"; }
def TanhOp : Hw_Unary<"tanh"> { let summary = "hyperbolic tangent"; }
def LogisticOp : Hw_Unary<"logistic"> { let summary = "1 / (1 + e^-x)"; }
def ErfOp : Hw_Unary<"erf"> { let summary = "error function"; }
def AsinhOp : Hw_Unary<"asinh"> { let summary = "inverse hyperbolic sine"; }
def AbsOp : Hw_Unary<"abs", Hw_NumberTensor> { let summary = "|x|; derivative sign(x), 0 at 0"; }
def SignOp : Hw_Unary<"sign"> { let summary = "-1, 0 or 1; NaN stays NaN; derivative zero"; }
def FloorOp : Hw_Unary<"floor"> { let summary = "largest integer not above x; derivative zero"; }

def AddOp : Hw_Binary<"add", Hw_NumberTensor, [Commutative]> { let summary = "x + y"; let hasCanonicalizer = 1; }
def SubOp : Hw_Binary<"sub"> { let summary = "x - y"; let hasCanonicalizer = 1; }
def MulOp : Hw_Binary<"mul", Hw_NumberTensor, [Commutative]> { let summary = "x * y"; let hasCanonicalizer = 1; }
def DivOp : Hw_Binary<"div"> { let summary = "x / y"; let hasCanonicalizer = 1; }
def PowOp : Hw_Binary<"pow", Hw_FloatTensor> {
  let summary = "x^y";
  let description = [{ `pow(x, 0) = 1` for every x. The derivative in y is `x^y log x` where x > 0, and 0 where x = 0. }];
  let hasCanonicalizer = 1;
}
def MinOp : Hw_Binary<"min"> { let summary = "the smaller; NaN if either is; at a tie the derivative goes to y"; }
def MaxOp : Hw_Binary<"max"> {
  let summary = "the larger; NaN if either is; at a tie the derivative goes to y";
  let description = [{ So `max(x, 0)` is relu with PyTorch's relu'(0) = 0. }];
}

def CompareOp : Hw_Op<"compare", [Elementwise, SameOperandsAndResultShape, SameTypeOperands]> {
  let summary = "elementwise comparison: eq, ne, lt, le, gt or ge";
  let description = [{ Comparisons with NaN are false, but for `ne`. }];
  let arguments = (ins Hw_Tensor:$lhs, Hw_Tensor:$rhs, StrAttr:$predicate);
  let results = (outs Hw_MaskTensor:$result);
  let assemblyFormat = "$predicate $lhs `,` $rhs attr-dict `:` type($lhs) `->` type($result)";
  let builders = [OpBuilder<(ins "::llvm::StringRef":$predicate, "::mlir::Value":$lhs, "::mlir::Value":$rhs)>];
  let extraClassDeclaration = "static ::mlir::Type resultType(::mlir::Type operand);";
  let hasVerifier = 1;
  let hasFolder = 1;
}
def AndOp : Hw_Binary<"and", Hw_MaskTensor, [Commutative]> { let summary = "both"; }
def OrOp : Hw_Binary<"or", Hw_MaskTensor, [Commutative]> { let summary = "either"; }
def NotOp : Hw_Unary<"not", Hw_MaskTensor> { let summary = "the other"; }
def SelectOp : Hw_Op<"select", [Elementwise, AllTypesMatch<["onTrue", "onFalse", "result"]>]> {
  let summary = "onTrue where the mask is true, else onFalse";
  let arguments = (ins Hw_MaskTensor:$mask, Hw_Tensor:$onTrue, Hw_Tensor:$onFalse);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$mask `,` $onTrue `,` $onFalse attr-dict `:` type($mask) `,` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}
def CastOp : Hw_Op<"cast", [Elementwise, SameOperandsAndResultShape]> {
  let summary = "conversion of element type";
  let description = [{
    Float to integer truncates towards zero and saturates, NaN becomes 0; anything to `i1` is `x != 0`; `i1` to a number is 0 or 1;
    integer to integer keeps the low bits.
    Between floats it is differentiable, else its derivative is zero.
  }];
  let arguments = (ins Hw_Tensor:$operand);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand attr-dict `:` type($operand) `->` type($result)";
  let hasFolder = 1;
}
def StopGradientOp : Hw_Unary<"stop_gradient", Hw_Tensor> { let summary = "x, with derivative zero"; }

//===--------------------------------------------------------------------------------------------------------------===//
// Linear: movement and contraction
//===--------------------------------------------------------------------------------------------------------------===//

def BroadcastOp : Hw_Op<"broadcast"> {
  let summary = "repeats a tensor along new dimensions";
  let description = [{
    Operand dimension i becomes result dimension `dims[i]`; `dims` is strictly increasing and the sizes are equal (a size of 1 is not
    stretched: reshape it away first). The other result dimensions repeat the operand. Its transpose is `reduce_sum`.
  }];
  let arguments = (ins Hw_Tensor:$operand, DenseI64ArrayAttr:$dims);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand `dims` $dims attr-dict `:` type($operand) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}
def ReduceSumOp : Hw_Op<"reduce_sum"> {
  let summary = "sums over the given dimensions, which disappear";
  let arguments = (ins Hw_NumberTensor:$operand, DenseI64ArrayAttr:$dims);
  let results = (outs Hw_NumberTensor:$result);
  let assemblyFormat = "$operand `dims` $dims attr-dict `:` type($operand) `->` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "::llvm::ArrayRef<int64_t>":$dims)>];
  let hasVerifier = 1;
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}
def ReshapeOp : Hw_Op<"reshape"> {
  let summary = "the same elements in row-major order under another shape";
  let arguments = (ins Hw_Tensor:$operand);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand attr-dict `:` type($operand) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}
def TransposeOp : Hw_Op<"transpose"> {
  let summary = "permutes dimensions: result dimension i is operand dimension permutation[i]";
  let arguments = (ins Hw_Tensor:$operand, DenseI64ArrayAttr:$permutation);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand `permutation` $permutation attr-dict `:` type($operand) `->` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "::llvm::ArrayRef<int64_t>":$permutation)>];
  let hasVerifier = 1;
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}
def ReverseOp : Hw_Op<"reverse", [SameOperandsAndResultType]> {
  let summary = "reverses the order along the given dimensions";
  let arguments = (ins Hw_Tensor:$operand, DenseI64ArrayAttr:$dims);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand `dims` $dims attr-dict `:` type($result)";
  let hasVerifier = 1;
}
def SliceOp : Hw_Op<"slice"> {
  let summary = "start, start + stride, ... below limit, in every dimension";
  let arguments = (ins Hw_Tensor:$operand, DenseI64ArrayAttr:$start, DenseI64ArrayAttr:$limit, DenseI64ArrayAttr:$stride);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand $start $limit $stride attr-dict `:` type($operand) `->` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "::llvm::ArrayRef<int64_t>":$start,
                             "::llvm::ArrayRef<int64_t>":$limit, "::llvm::ArrayRef<int64_t>":$stride)>];
  let hasVerifier = 1;
  let hasFolder = 1;
}
def PadOp : Hw_Op<"pad"> {
  let summary = "surrounds with zeros: low before, high after, interior between neighbours, in every dimension";
  let description = [{ Result size = low + (size - 1) * interior + size + high (an empty dimension has no interior). The transpose is `slice`. }];
  let arguments = (ins Hw_NumberTensor:$operand, DenseI64ArrayAttr:$low, DenseI64ArrayAttr:$high, DenseI64ArrayAttr:$interior);
  let results = (outs Hw_NumberTensor:$result);
  let assemblyFormat = "$operand $low $high $interior attr-dict `:` type($operand) `->` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "::llvm::ArrayRef<int64_t>":$low,
                             "::llvm::ArrayRef<int64_t>":$high, "::llvm::ArrayRef<int64_t>":$interior)>];
  let hasVerifier = 1;
  let hasFolder = 1;
}
def ConcatOp : Hw_Op<"concat"> {
  let summary = "joins tensors along one dimension";
  let arguments = (ins Variadic<Hw_Tensor>:$operands, I64Attr:$dim);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operands `dim` $dim attr-dict `:` functional-type($operands, $result)";
  let builders = [OpBuilder<(ins "::mlir::ValueRange":$operands, "int64_t":$dim)>];
  let hasVerifier = 1;
  let hasFolder = 1;
}
def DotGeneralOp : Hw_Op<"dot_general"> {
  let summary = "contraction with batch dimensions";
  let description = [{
    The result's dimensions are the batch dimensions in `lhs_batch` order, then lhs's free dimensions, then rhs's. Floats only; the accumulation
    is in the element type. Linear in either operand; each one's transpose is again a `dot_general`.
  }];
  let arguments = (ins Hw_FloatTensor:$lhs, Hw_FloatTensor:$rhs, DenseI64ArrayAttr:$lhs_batch, DenseI64ArrayAttr:$rhs_batch,
                       DenseI64ArrayAttr:$lhs_contract, DenseI64ArrayAttr:$rhs_contract);
  let results = (outs Hw_FloatTensor:$result);
  let assemblyFormat = [{ $lhs `,` $rhs `batch` $lhs_batch `x` $rhs_batch `contract` $lhs_contract `x` $rhs_contract attr-dict
                          `:` functional-type(operands, $result) }];
  let builders = [OpBuilder<(ins "::mlir::Value":$lhs, "::mlir::Value":$rhs, "::llvm::ArrayRef<int64_t>":$lhsBatch,
                             "::llvm::ArrayRef<int64_t>":$rhsBatch, "::llvm::ArrayRef<int64_t>":$lhsContract,
                             "::llvm::ArrayRef<int64_t>":$rhsContract)>];
  let extraClassDeclaration = [{
    /// Dimensions that are neither batch nor contracted, in order.
    ::llvm::SmallVector<int64_t> lhsFree();
    ::llvm::SmallVector<int64_t> rhsFree();
  }];
  let hasVerifier = 1;
}

//===--------------------------------------------------------------------------------------------------------------===//
// Index
//===--------------------------------------------------------------------------------------------------------------===//

def GatherOp : Hw_Op<"gather"> {
  let summary = "rows of a tensor by index";
  let description = [{
    operand: [N, R...], indices: i32 of any shape I. result: [I..., R...]. An index outside 0..N-1 is clamped to it. The transpose is `scatter_add`.
  }];
  let arguments = (ins Hw_Tensor:$operand, Hw_IndexTensor:$indices);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand `at` $indices attr-dict `:` functional-type(operands, $result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "::mlir::Value":$indices)>];
  let hasVerifier = 1;
}
def ScatterAddOp : Hw_Op<"scatter_add"> {
  let summary = "adds rows into zeros at the given indices";
  let description = [{ updates: [I..., R...], indices: i32 of shape I. result: [N, R...], in index order where indices repeat. }];
  let arguments = (ins Hw_FloatTensor:$updates, Hw_IndexTensor:$indices);
  let results = (outs Hw_FloatTensor:$result);
  let assemblyFormat = "$updates `at` $indices attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}
def ReduceMaxOp : Hw_Op<"reduce_max"> {
  let summary = "the largest along one dimension, and the index of the first that is";
  let description = [{ NaN wins over every number. The derivative goes to the element at `index`. An argmax is this op with `value` unused. }];
  let arguments = (ins Hw_NumberTensor:$operand, I64Attr:$dim);
  let results = (outs Hw_NumberTensor:$value, Hw_IndexTensor:$index);
  let assemblyFormat = "$operand `dim` $dim attr-dict `:` type($operand) `->` type($value) `,` type($index)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "int64_t":$dim)>];
  let hasVerifier = 1;
}

//===--------------------------------------------------------------------------------------------------------------===//
// Dense linear algebra
//===--------------------------------------------------------------------------------------------------------------===//

def CholeskyOp : Hw_Op<"cholesky", [SameOperandsAndResultType]> {
  let summary = "lower L with L L^T = A for symmetric positive definite A [..., n, n]";
  let description = [{ Only the lower triangle of A is read; the result's upper triangle is zero; NaN where A is not positive definite. }];
  let arguments = (ins Hw_FloatTensor:$operand);
  let results = (outs Hw_FloatTensor:$result);
  let assemblyFormat = "$operand attr-dict `:` type($result)";
  let hasVerifier = 1;
}
def TriangularSolveOp : Hw_Op<"triangular_solve", [AllTypesMatch<["b", "result"]>]> {
  let summary = "X with T X = B or T^T X = B, T lower triangular";
  let description = [{ t: [..., n, n], of which the lower triangle is read; b: [..., n, k]. Linear in b. }];
  let arguments = (ins Hw_FloatTensor:$t, Hw_FloatTensor:$b, BoolAttr:$transposed);
  let results = (outs Hw_FloatTensor:$result);
  let assemblyFormat = "$t `,` $b `transposed` $transposed attr-dict `:` type($t) `,` type($b)";
  let hasVerifier = 1;
}
def LuSolveOp : Hw_Op<"lu_solve", [AllTypesMatch<["b", "result"]>]> {
  let summary = "X with A X = B, by LU with partial pivoting";
  let description = [{ a: [..., n, n]; b: [..., n, k]. Linear in b. Infinite or NaN where A is singular. }];
  let arguments = (ins Hw_FloatTensor:$a, Hw_FloatTensor:$b);
  let results = (outs Hw_FloatTensor:$result);
  let assemblyFormat = "$a `,` $b attr-dict `:` type($a) `,` type($b)";
  let hasVerifier = 1;
}

//===--------------------------------------------------------------------------------------------------------------===//
// Sources
//===--------------------------------------------------------------------------------------------------------------===//

def ConstantOp : Hw_Op<"constant", [ConstantLike, AllTypesMatch<["value", "result"]>]> {
  let summary = "a tensor known at compile time";
  let arguments = (ins ElementsAttr:$value);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "attr-dict $value";
  let extraClassDeclaration = [{
    /// A splat of `value` (cast to the element type) in `type`.
    static ConstantOp splat(::mlir::OpBuilder &builder, ::mlir::Location loc, ::mlir::Type type, double value);
  }];
  let hasFolder = 1;
}
def IotaOp : Hw_Op<"iota"> {
  let summary = "0, 1, 2, ... along one dimension";
  let arguments = (ins I64Attr:$dim);
  let results = (outs Hw_NumberTensor:$result);
  let assemblyFormat = "`dim` $dim attr-dict `:` type($result)";
  let hasVerifier = 1;
}
def RandomBitsOp : Hw_Op<"random_bits"> {
  let summary = "uniform random bits, a function of (key, site, step, index)";
  let description = [{
    Philox 4x32-10 (Salmon et al., SC 2011) with key (`key`, `site`) and counter (index, 0, `step`, 0), index being the row-major
    position in the result. A `ui32` is the first output word; a `ui64` the first (low) and second (high).
  }];
  let arguments = (ins StaticShapeTensorOf<[UI32]>:$key, StaticShapeTensorOf<[UI32]>:$step, I32Attr:$site);
  let results = (outs StaticShapeTensorOf<[UI32, UI64]>:$result);
  let assemblyFormat = "$key `,` $step `site` $site attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

//===--------------------------------------------------------------------------------------------------------------===//
// Derivatives of the graph that computed a value; expanded by --hw-expand-derivatives
//===--------------------------------------------------------------------------------------------------------------===//

def GradOp : Hw_Op<"grad"> {
  let summary = "gradient of a scalar with respect to values it was computed from";
  let description = [{
    Differentiates `of` (rank 0) along the data flow from `wrt` to it, in the enclosing graph. Results have the types of `wrt`.
    A `wrt` that does not reach `of` has gradient zero.
  }];
  let arguments = (ins Hw_FloatTensor:$of, Variadic<Hw_FloatTensor>:$wrt);
  let results = (outs Variadic<Hw_FloatTensor>:$results);
  let assemblyFormat = "$of `wrt` $wrt attr-dict `:` functional-type(operands, $results)";
  let hasVerifier = 1;
}
def VjpOp : Hw_Op<"vjp", [AttrSizedOperandSegments]> {
  let summary = "vector-Jacobian product: cotangents of `of` pulled back to `wrt`";
  let arguments = (ins Variadic<Hw_FloatTensor>:$of, Variadic<Hw_FloatTensor>:$wrt, Variadic<Hw_FloatTensor>:$cotangents);
  let results = (outs Variadic<Hw_FloatTensor>:$results);
  let assemblyFormat = "$of `wrt` $wrt `cotangents` $cotangents attr-dict `:` functional-type(operands, $results)";
  let hasVerifier = 1;
}
def JvpOp : Hw_Op<"jvp", [AttrSizedOperandSegments]> {
  let summary = "Jacobian-vector product: tangents of `wrt` pushed forward to `of`";
  let arguments = (ins Variadic<Hw_FloatTensor>:$of, Variadic<Hw_FloatTensor>:$wrt, Variadic<Hw_FloatTensor>:$tangents);
  let results = (outs Variadic<Hw_FloatTensor>:$results);
  let assemblyFormat = "$of `wrt` $wrt `tangents` $tangents attr-dict `:` functional-type(operands, $results)";
  let hasVerifier = 1;
}

#endif
