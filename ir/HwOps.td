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

// Operands and result have one type; the element is computed from the operands' elements at the same index.
class Hw_Unary<string mnemonic, string meaning, TypeConstraint type = Hw_FloatTensor, string element = "f32", string more = "">
    : Hw_Op<mnemonic, [Elementwise, SameOperandsAndResultType]> {
  let summary = "elementwise " # meaning;
  let description = "\n    `result[i] = " # meaning # "`. " # more # [{

    Constraints:
    1. `operand` and `result` have the same type.

    Example:
    ```mlir
    // %x: tensor<2x3x}] # element # [{>
    %z = hw.}] # mnemonic # " %x : tensor<2x3x" # element # [{>
    ```
  }];
  let arguments = (ins type:$operand);
  let results = (outs type:$result);
  let assemblyFormat = "$operand attr-dict `:` type($result)";
  let hasFolder = 1;
}

class Hw_Binary<string mnemonic, string meaning, TypeConstraint type = Hw_NumberTensor, list<Trait> traits = [], string element = "f32",
                string more = ""> : Hw_Op<mnemonic, !listconcat([Elementwise, SameOperandsAndResultType], traits)> {
  let summary = "elementwise " # meaning;
  let description = "\n    `result[i] = " # meaning # "`. " # more # [{

    Constraints:
    1. `lhs`, `rhs` and `result` have the same type: nothing is broadcast silently.

    Example:
    ```mlir
    // %x: tensor<2x3x}] # element # [{>, %y: tensor<2x3x}] # element # [{>
    %z = hw.}] # mnemonic # " %x, %y : tensor<2x3x" # element # [{>
    ```
  }];
  let arguments = (ins type:$lhs, type:$rhs);
  let results = (outs type:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($result)";
  let hasFolder = 1;
}

def NegOp : Hw_Unary<"neg", "-x", Hw_NumberTensor> { let hasCanonicalizer = 1; }
def ExpOp : Hw_Unary<"exp", "e^x">;
def Expm1Op : Hw_Unary<"expm1", "e^x - 1", Hw_FloatTensor, "f32", "Accurate near 0.">;
def LogOp : Hw_Unary<"log", "log x", Hw_FloatTensor, "f32", "The natural logarithm: -inf at 0, NaN below.">;
def Log1pOp : Hw_Unary<"log1p", "log(1 + x)", Hw_FloatTensor, "f32", "Accurate near 0.">;
def Log2Op : Hw_Unary<"log2", "log2 x", Hw_FloatTensor, "f32", "The logarithm to base 2.">;
def Log10Op : Hw_Unary<"log10", "log10 x", Hw_FloatTensor, "f32", "The logarithm to base 10.">;
def SqrtOp : Hw_Unary<"sqrt", "x^(1/2)", Hw_FloatTensor, "f32", "NaN below 0. The derivative at 0 is infinite, as PyTorch's.">;
def SinOp : Hw_Unary<"sin", "sin x", Hw_FloatTensor, "f32", "Of radians.">;
def CosOp : Hw_Unary<"cos", "cos x", Hw_FloatTensor, "f32", "Of radians.">;
def TanhOp : Hw_Unary<"tanh", "tanh x">;
def SinhOp : Hw_Unary<"sinh", "sinh x">;
def CoshOp : Hw_Unary<"cosh", "cosh x">;
def LogisticOp : Hw_Unary<"logistic", "1 / (1 + e^-x)">;
def ErfOp : Hw_Unary<"erf", "erf x">;
def AsinhOp : Hw_Unary<"asinh", "asinh x">;
def AbsOp : Hw_Unary<"abs", "|x|", Hw_NumberTensor, "f32", "The derivative is sign(x): 0 at 0.">;
def SignOp : Hw_Unary<"sign", "sign x", Hw_FloatTensor, "f32", "-1, 0 or 1; NaN stays NaN. The derivative is zero.">;
def FloorOp : Hw_Unary<"floor", "floor x", Hw_FloatTensor, "f32", "The largest integer not above x. The derivative is zero.">;

def AddOp : Hw_Binary<"add", "x + y", Hw_NumberTensor, [Commutative]> { let hasCanonicalizer = 1; }
def SubOp : Hw_Binary<"sub", "x - y"> { let hasCanonicalizer = 1; }
def MulOp : Hw_Binary<"mul", "x * y", Hw_NumberTensor, [Commutative]> { let hasCanonicalizer = 1; }
def ScaleOp : Hw_Binary<"scale", "x * y, and 0 where x = 0", Hw_FloatTensor, [], "f32",
    "What the chain rule multiplies by: x is a tangent or a cotangent, y a local derivative. Where nothing comes in nothing goes out, also where y is infinite or NaN. Gone once derivatives are expanded.">;
def UnscaleOp : Hw_Binary<"unscale", "x / y, and 0 where x = 0", Hw_FloatTensor, [], "f32",
    "As `scale`, by the reciprocal of y, which may not fit a number where the quotient does.">;
def DivOp : Hw_Binary<"div", "x / y", Hw_NumberTensor, [], "f32", "Of integers, truncated towards zero."> { let hasCanonicalizer = 1; }
def PowOp : Hw_Binary<"pow", "x^y", Hw_FloatTensor, [], "f32",
    "`pow(x, 0) = 1` for every x. The derivative in x is `y x^(y-1)`, 0 where x = y = 0; in y it is `x^y log x` where x > 0, and 0 where x = 0."> {
  let hasCanonicalizer = 1;
}
def MinOp : Hw_Binary<"min", "min(x, y)", Hw_NumberTensor, [], "f32", "NaN if either is. At a tie the derivative goes to y.">;
def MaxOp : Hw_Binary<"max", "max(x, y)", Hw_NumberTensor, [], "f32",
    "NaN if either is. At a tie the derivative goes to y, so that `max(x, 0)` is relu with PyTorch's relu'(0) = 0.">;

def CompareOp : Hw_Op<"compare", [Elementwise, SameOperandsAndResultShape, SameTypeOperands]> {
  let summary = "elementwise comparison: eq, ne, lt, le, gt or ge";
  let description = [{
    `result[i]` is whether `lhs[i] predicate rhs[i]` holds. Comparisons with NaN are false, but for `ne`. The derivative is zero.

    Constraints:
    1. `predicate` is one of `eq`, `ne`, `lt`, `le`, `gt`, `ge`.
    2. `lhs` and `rhs` have the same type, `result` its shape.

    Example:
    ```mlir
    // %x: tensor<2x3xf32>, %y: tensor<2x3xf32>
    %z = hw.compare "gt" %x, %y : tensor<2x3xf32> -> tensor<2x3xi1>
    ```
  }];
  let arguments = (ins Hw_Tensor:$lhs, Hw_Tensor:$rhs, StrAttr:$predicate);
  let results = (outs Hw_MaskTensor:$result);
  let assemblyFormat = "$predicate $lhs `,` $rhs attr-dict `:` type($lhs) `->` type($result)";
  let builders = [OpBuilder<(ins "::llvm::StringRef":$predicate, "::mlir::Value":$lhs, "::mlir::Value":$rhs)>];
  let extraClassDeclaration = "static ::mlir::Type resultType(::mlir::Type operand);";
  let hasVerifier = 1;
  let hasFolder = 1;
}
def AndOp : Hw_Binary<"and", "x and y", Hw_MaskTensor, [Commutative], "i1">;
def OrOp : Hw_Binary<"or", "x or y", Hw_MaskTensor, [Commutative], "i1">;
def NotOp : Hw_Unary<"not", "not x", Hw_MaskTensor, "i1">;
def SelectOp : Hw_Op<"select", [Elementwise, AllTypesMatch<["onTrue", "onFalse", "result"]>]> {
  let summary = "onTrue where the mask is true, else onFalse";
  let description = [{
    `result[i]` is `onTrue[i]` where `mask[i]`, else `onFalse[i]`. What is not chosen does not matter, NaN or not; its derivative is zero.

    Constraints:
    1. `onTrue`, `onFalse` and `result` have the same type.
    2. `mask` has its shape.

    Example:
    ```mlir
    // %m: tensor<2x3xi1>, %x: tensor<2x3xf32>, %y: tensor<2x3xf32>
    %z = hw.select %m, %x, %y : tensor<2x3xi1>, tensor<2x3xf32>
    ```
  }];
  let arguments = (ins Hw_MaskTensor:$mask, Hw_Tensor:$onTrue, Hw_Tensor:$onFalse);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$mask `,` $onTrue `,` $onFalse attr-dict `:` type($mask) `,` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}
def CastOp : Hw_Op<"cast", [Elementwise, SameOperandsAndResultShape]> {
  let summary = "conversion of element type";
  let description = [{
    Float to integer truncates towards zero and saturates, NaN becomes 0; integer to integer keeps the low bits; anything to `i1` is `x != 0`;
    `i1` to a number is 0 or 1. Between floats it is differentiable, else its derivative is zero.

    Constraints:
    1. `operand` and `result` have the same shape.

    Example:
    ```mlir
    // %x: tensor<4xui8>
    %z = hw.cast %x : tensor<4xui8> -> tensor<4xf32>
    ```
  }];
  let arguments = (ins Hw_Tensor:$operand);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand attr-dict `:` type($operand) `->` type($result)";
  let hasFolder = 1;
}
def StopGradientOp : Hw_Unary<"stop_gradient", "x", Hw_Tensor, "f32", "With derivative zero. Gone once derivatives are expanded.">;

//===--------------------------------------------------------------------------------------------------------------===//
// Linear: movement and contraction
//===--------------------------------------------------------------------------------------------------------------===//

def BroadcastOp : Hw_Op<"broadcast"> {
  let summary = "repeats a tensor along new dimensions";
  let description = [{
    Operand dimension i becomes result dimension `dims[i]`. The other result dimensions repeat the operand. The transpose is `reduce_sum`.

    Constraints:
    1. `dims` has an entry for each dimension of `operand`, strictly increasing, within the rank of `result`.
    2. Operand dimension i and result dimension `dims[i]` have the same size: a size of 1 is not stretched (reshape it away first).
    3. The element types are equal.

    Example:
    ```mlir
    // %x: tensor<3xf32>
    %z = hw.broadcast %x dims [1] : tensor<3xf32> -> tensor<2x3xf32>
    ```
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
  let description = [{
    The transpose is `broadcast`. The order of summation is fixed by the sizes, not by the number of threads.

    Constraints:
    1. `dims` are strictly increasing and within the rank of `operand`.
    2. `result` has the other dimensions, in order, and the same element type.

    Example:
    ```mlir
    // %x: tensor<2x3xf32>
    %z = hw.reduce_sum %x dims [0] : tensor<2x3xf32> -> tensor<3xf32>
    ```
  }];
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
  let description = [{
    The transpose is a reshape back.

    Constraints:
    1. `operand` and `result` have as many elements, of the same type.

    Example:
    ```mlir
    // %x: tensor<2x3xf32>
    %z = hw.reshape %x : tensor<2x3xf32> -> tensor<6x1xf32>
    ```
  }];
  let arguments = (ins Hw_Tensor:$operand);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand attr-dict `:` type($operand) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}
def TransposeOp : Hw_Op<"transpose"> {
  let summary = "permutes dimensions: result dimension i is operand dimension permutation[i]";
  let description = [{
    The transpose, in the sense of linear maps, is the inverse permutation.

    Constraints:
    1. `permutation` names each dimension of `operand` once.
    2. Result dimension i has the size of operand dimension `permutation[i]`.

    Example:
    ```mlir
    // %x: tensor<2x3xf32>
    %z = hw.transpose %x permutation [1, 0] : tensor<2x3xf32> -> tensor<3x2xf32>
    ```
  }];
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
  let description = [{
    It is its own transpose.

    Constraints:
    1. `dims` are strictly increasing and within the rank.

    Example:
    ```mlir
    // %x: tensor<2x3xf32>
    %z = hw.reverse %x dims [1] : tensor<2x3xf32>
    ```
  }];
  let arguments = (ins Hw_Tensor:$operand, DenseI64ArrayAttr:$dims);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand `dims` $dims attr-dict `:` type($result)";
  let hasVerifier = 1;
}
def SliceOp : Hw_Op<"slice"> {
  let summary = "start, start + stride, ... below limit, in every dimension";
  let description = [{
    In dimension d the elements at `start[d]`, `start[d] + stride[d]`, ... below `limit[d]`. The transpose is `pad`.

    Constraints:
    1. `start`, `limit` and `stride` have an entry for each dimension.
    2. 0 <= start <= limit <= size, and stride >= 1.
    3. `result` has ceil((limit - start) / stride) elements in each dimension.

    Example:
    ```mlir
    // %x: tensor<7x3xf32>
    %z = hw.slice %x [1, 0] [6, 3] [2, 1] : tensor<7x3xf32> -> tensor<3x3xf32>
    ```
  }];
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
  let description = [{
    The transpose is `slice`.

    Constraints:
    1. `low`, `high` and `interior` have an entry for each dimension, none negative.
    2. Result size = low + size + (size - 1) * interior + high (an empty dimension has no interior).

    Example:
    ```mlir
    // %x: tensor<3x2xf32>
    %z = hw.pad %x [1, 0] [0, 2] [1, 0] : tensor<3x2xf32> -> tensor<6x4xf32>
    ```
  }];
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
  let description = [{
    In operand order. The transpose is a `slice` an operand.

    Constraints:
    1. There is at least one operand, and `dim` is within the rank.
    2. Operands have the same element type and, but for `dim`, the same sizes.
    3. The size of `dim` in `result` is the sum of the operands'.

    Example:
    ```mlir
    // %x: tensor<3x2xf32>, %y: tensor<3x4xf32>
    %z = hw.concat %x, %y dim 1 : (tensor<3x2xf32>, tensor<3x4xf32>) -> tensor<3x6xf32>
    ```
  }];
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
    Sums the products over the contracted dimensions; pairs the batch dimensions. The result's dimensions are the batch dimensions in `lhs_batch` order, then lhs's
    free dimensions in order, then rhs's. The accumulation is in the element type. Linear in either operand; each one's transpose is again a `dot_general`.

    Constraints:
    1. `lhs_batch` and `rhs_batch` are as long as each other, so are `lhs_contract` and `rhs_contract`.
    2. On either side, batch and contracted dimensions are distinct and within the rank.
    3. Paired dimensions have the same size.
    4. Both operands and the result have the same float element type.

    Example:
    ```mlir
    // %x: tensor<8x3x4xf32>, %y: tensor<8x4x5xf32>
    %z = hw.dot_general %x, %y batch [0] x [0] contract [2] x [1] : (tensor<8x3x4xf32>, tensor<8x4x5xf32>) -> tensor<8x3x5xf32>
    ```
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
// Convolution: one trilinear form, and the three ops that are its gradients
//===--------------------------------------------------------------------------------------------------------------===//

// With y = conv(x, w), the form sum(y * c) is linear in each of x, w and c; `conv`, `conv_backward_data` and
// `conv_backward_weights` are its gradients in c, x and w. So the transposes of each are the other two.
class Hw_Convolution<string mnemonic, string meaning, string first, string second, string made, string formula, string example>
    : Hw_Op<mnemonic> {
  let summary = meaning;
  let description = "\n    " # formula # [{

    x: [N, C, S...], w: [O, C / groups, K...], y: [N, O, R...], with any number of spatial dimensions; what the sum reads outside of x is zero. Of x and y, group g
    has the g-th of `groups` equal parts of the channels, of w the g-th part of O. It is the cross-correlation that PyTorch calls a convolution:
    `y[n, o, r] = sum over c, k of x[n, c, r * stride + k * dilation - low] * w[o, c, k]`.

    Constraints:
    1. `stride`, `low`, `high` and `dilation` have an entry for each spatial dimension; `stride`, `dilation` and `groups` are at least 1, padding is not negative.
    2. `groups` divides C and O.
    3. R = floor((low + S + high - (K - 1) * dilation - 1) / stride) + 1 in each spatial dimension, and the kernel fits: R is at least 1.
    4. The element types are equal.

    Example:
    ```mlir
    }] # example # [{
    ```
  }];
  let arguments = !con(!dag(ins, [Hw_FloatTensor, Hw_FloatTensor], [first, second]),
                       (ins DenseI64ArrayAttr:$stride, DenseI64ArrayAttr:$low, DenseI64ArrayAttr:$high,
                            DenseI64ArrayAttr:$dilation, I64Attr:$groups));
  let results = !dag(outs, [Hw_FloatTensor], [made]);
  let assemblyFormat = "$" # first # " `,` $" # second # [{ `stride` $stride `pad` $low $high `dilation` $dilation `groups` $groups attr-dict
                          `:` functional-type(operands, results) }];
  let hasVerifier = 1;
}
def ConvOp : Hw_Convolution<"conv", "convolution", "input", "weights", "output", "`output` is y of x = `input` and w = `weights`.",
    [{// %x: tensor<8x3x32x32xf32>, %w: tensor<16x3x5x5xf32>
    %y = hw.conv %x, %w stride [1, 1] pad [2, 2] [2, 2] dilation [1, 1] groups 1 : (tensor<8x3x32x32xf32>, tensor<16x3x5x5xf32>) -> tensor<8x16x32x32xf32>}]> {
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::mlir::Value":$weights, "::llvm::ArrayRef<int64_t>":$stride,
                             "::llvm::ArrayRef<int64_t>":$low, "::llvm::ArrayRef<int64_t>":$high,
                             "::llvm::ArrayRef<int64_t>":$dilation, "int64_t":$groups)>];
}
def ConvBackwardDataOp : Hw_Convolution<"conv_backward_data", "convolution's transpose in its input", "output", "weights", "input",
    "`input` is the gradient of sum(y * `output`) in x, for w = `weights`. Its size is the result type's, since several inputs may give one size of y.",
    [{// %c: tensor<8x16x16x16xf32>, %w: tensor<16x3x5x5xf32>
    %x = hw.conv_backward_data %c, %w stride [2, 2] pad [2, 2] [2, 2] dilation [1, 1] groups 1 : (tensor<8x16x16x16xf32>, tensor<16x3x5x5xf32>) -> tensor<8x3x32x32xf32>}]>;
def ConvBackwardWeightsOp : Hw_Convolution<"conv_backward_weights", "convolution's transpose in its weights", "input", "output", "weights",
    "`weights` is the gradient of sum(y * `output`) in w, for x = `input`. Its size is the result type's.",
    [{// %x: tensor<8x3x32x32xf32>, %c: tensor<8x16x32x32xf32>
    %w = hw.conv_backward_weights %x, %c stride [1, 1] pad [2, 2] [2, 2] dilation [1, 1] groups 1 : (tensor<8x3x32x32xf32>, tensor<8x16x32x32xf32>) -> tensor<16x3x5x5xf32>}]>;

//===--------------------------------------------------------------------------------------------------------------===//
// Pooling
//===--------------------------------------------------------------------------------------------------------------===//

// x: [B..., S...], pooled: [B..., R...]; the windows lie in the last dimensions, as many as `window` has entries.
class Hw_Pooling<string mnemonic, dag operands, dag made, string meaning, string text, string example, list<Trait> traits = []>
    : Hw_Op<mnemonic, traits> {
  let summary = meaning;
  let description = "\n    " # text # [{

    x: [B..., S...]; pooled: [B..., R...], S and R being the last dimensions, as many as `window` has entries. Window r of a dimension is x's `window` elements from
    `r * stride - low` on; those outside of x are no elements.

    Constraints:
    1. `window`, `stride`, `low` and `high` have an entry for each of the last dimensions; `window` and `stride` are at least 1, padding is not negative.
    2. The leading dimensions B are equal, and so are the element types.
    3. R = floor((low + S + high - window) / stride) + 1 in each of the last dimensions, and every window has an element: low < window and (R - 1) * stride - low < S.

    Example:
    ```mlir
    }] # example # [{
    ```
  }];
  let arguments = !con(operands, (ins DenseI64ArrayAttr:$window, DenseI64ArrayAttr:$stride, DenseI64ArrayAttr:$low, DenseI64ArrayAttr:$high));
  let results = made;
  let hasVerifier = 1;
}
def MaxPoolOp : Hw_Pooling<"max_pool", (ins Hw_FloatTensor:$operand), (outs Hw_FloatTensor:$value, Hw_IndexTensor:$index),
    "the largest of each window, and where in it the first that is",
    "`value` is the largest element of each window, `index` the first one's row-major position in the window. NaN wins over every number. The derivative goes to the element at `index`.",
    [{// %x: tensor<8x3x28x28xf32>
    %z, %i = hw.max_pool %x window [2, 2] stride [2, 2] pad [0, 0] [0, 0] : tensor<8x3x28x28xf32> -> tensor<8x3x14x14xf32>, tensor<8x3x14x14xi32>}]> {
  let assemblyFormat = "$operand `window` $window `stride` $stride `pad` $low $high attr-dict `:` type($operand) `->` type($value) `,` type($index)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "::llvm::ArrayRef<int64_t>":$window, "::llvm::ArrayRef<int64_t>":$stride,
                             "::llvm::ArrayRef<int64_t>":$low, "::llvm::ArrayRef<int64_t>":$high)>];
}
def PoolGatherOp : Hw_Pooling<"pool_gather", (ins Hw_FloatTensor:$operand, Hw_IndexTensor:$index), (outs Hw_FloatTensor:$result),
    "of each window the element at an index",
    "operand: x. `result` is the element at row-major position `index` of each window, 0 if the position is none of an element. The transpose in `operand` is `pool_scatter`.",
    [{// %x: tensor<8x3x28x28xf32>, %i: tensor<8x3x14x14xi32>
    %z = hw.pool_gather %x at %i window [2, 2] stride [2, 2] pad [0, 0] [0, 0] : (tensor<8x3x28x28xf32>, tensor<8x3x14x14xi32>) -> tensor<8x3x14x14xf32>}]> {
  let assemblyFormat = "$operand `at` $index `window` $window `stride` $stride `pad` $low $high attr-dict `:` functional-type(operands, $result)";
}
def PoolScatterOp : Hw_Pooling<"pool_scatter", (ins Hw_FloatTensor:$updates, Hw_IndexTensor:$index), (outs Hw_FloatTensor:$result),
    "adds to each window's element at an index",
    "updates: pooled, result: x. Zeros to which each element of `updates` is added at row-major position `index` of its window, if that is the position of an element: the transpose of `pool_gather`.",
    [{// %c: tensor<8x3x14x14xf32>, %i: tensor<8x3x14x14xi32>
    %x = hw.pool_scatter %c at %i window [2, 2] stride [2, 2] pad [0, 0] [0, 0] : (tensor<8x3x14x14xf32>, tensor<8x3x14x14xi32>) -> tensor<8x3x28x28xf32>}]> {
  let assemblyFormat = "$updates `at` $index `window` $window `stride` $stride `pad` $low $high attr-dict `:` functional-type(operands, $result)";
}
def WindowSumOp : Hw_Pooling<"window_sum", (ins Hw_FloatTensor:$operand), (outs Hw_FloatTensor:$result),
    "the sum of each window", "operand: x. The transpose is `window_spread`.",
    [{// %x: tensor<8x3x28x28xf32>
    %z = hw.window_sum %x window [2, 2] stride [2, 2] pad [0, 0] [0, 0] : tensor<8x3x28x28xf32> -> tensor<8x3x14x14xf32>}]> {
  let assemblyFormat = "$operand `window` $window `stride` $stride `pad` $low $high attr-dict `:` type($operand) `->` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "::llvm::ArrayRef<int64_t>":$window, "::llvm::ArrayRef<int64_t>":$stride,
                             "::llvm::ArrayRef<int64_t>":$low, "::llvm::ArrayRef<int64_t>":$high)>];
  let hasFolder = 1;
}
def WindowSpreadOp : Hw_Pooling<"window_spread", (ins Hw_FloatTensor:$operand), (outs Hw_FloatTensor:$result),
    "adds each element to its whole window", "operand: pooled, result: x. The transpose is `window_sum`.",
    [{// %c: tensor<8x3x14x14xf32>
    %x = hw.window_spread %c window [2, 2] stride [2, 2] pad [0, 0] [0, 0] : tensor<8x3x14x14xf32> -> tensor<8x3x28x28xf32>}]> {
  let assemblyFormat = "$operand `window` $window `stride` $stride `pad` $low $high attr-dict `:` type($operand) `->` type($result)";
  let hasFolder = 1;
}

//===--------------------------------------------------------------------------------------------------------------===//
// Index
//===--------------------------------------------------------------------------------------------------------------===//

def WholeOp : Hw_Op<"whole", [SameOperandsAndResultShape]> {
  let summary = "whole numbers 0 to count - 1, or the end of the run";
  let description = [{
    `result[i] = operand[i]`, where that is a whole number from 0 to `count` - 1; with `from_end` also where it is from -`count` to -1, to which `count` is added. With `cut` a fraction is
    cut off first. Anywhere else it is 0, and the run ends behind the entry with an error that says `what` the number is and what it is `outside` of. What indexes, labels and seeds pass through, unless it is within
    these bounds by how it is computed: then canonicalisation makes a `cast` of it.

    Constraints:
    1. `operand` and `result` have the same shape.
    2. `count` is at least 1, and the largest number fits the result's element type.

    Example:
    ```mlir
    // %x: tensor<4xf32>
    %i = hw.whole %x below 10 from_end cut what "index" outside "axis 0, of size 10" : tensor<4xf32> -> tensor<4xi32>
    ```
  }];
  let arguments = (ins Hw_NumberTensor:$operand, I64Attr:$count, UnitAttr:$from_end, UnitAttr:$cut, StrAttr:$what,
                       StrAttr:$outside);
  let results = (outs StaticShapeTensorOf<[AnyTypeOf<[I32, UI32]>]>:$result);
  let assemblyFormat = [{
    $operand `below` $count (`from_end` $from_end^)? (`cut` $cut^)? `what` $what `outside` $outside attr-dict `:` type($operand) `->` type($result) }];
  let hasFolder = 1;
  let hasCanonicalizer = 1;
  let hasVerifier = 1;
}
def GatherOp : Hw_Op<"gather"> {
  let summary = "rows of a tensor by index";
  let description = [{
    operand: [N, R...], indices: I. result: [I..., R...], `result[i..., r...] = operand[indices[i...], r...]`. An index outside 0..N-1 is clamped to it, so that no memory but the
    operand's is read; that there is none is the business of `whole`.
    The transpose in `operand` is `scatter_add`.

    Constraints:
    1. `operand` has a dimension 0, of at least one element.
    2. `result` has the shape [I..., R...] and the operand's element type.

    Example:
    ```mlir
    // %x: tensor<10x3xf32>, %i: tensor<4xi32>
    %z = hw.gather %x at %i : (tensor<10x3xf32>, tensor<4xi32>) -> tensor<4x3xf32>
    ```
  }];
  let arguments = (ins Hw_Tensor:$operand, Hw_IndexTensor:$indices);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand `at` $indices attr-dict `:` functional-type(operands, $result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "::mlir::Value":$indices)>];
  let hasVerifier = 1;
}
def ScatterAddOp : Hw_Op<"scatter_add"> {
  let summary = "adds rows into zeros at the given indices";
  let description = [{
    updates: [I..., R...], indices: I. result: [N, R...], zeros to which `result[indices[i...], r...] += updates[i..., r...]`, in index order where
    indices repeat. An index outside 0..N-1 is clamped to it, as `gather` does, whose transpose this is.

    Constraints:
    1. `updates` has the shape of `indices` followed by that of a row of `result`.
    2. The element types are equal.

    Example:
    ```mlir
    // %x: tensor<4x3xf32>, %i: tensor<4xi32>
    %z = hw.scatter_add %x at %i : (tensor<4x3xf32>, tensor<4xi32>) -> tensor<10x3xf32>
    ```
  }];
  let arguments = (ins Hw_FloatTensor:$updates, Hw_IndexTensor:$indices);
  let results = (outs Hw_FloatTensor:$result);
  let assemblyFormat = "$updates `at` $indices attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}
def ReduceMaxOp : Hw_Op<"reduce_max"> {
  let summary = "the largest along one dimension, and the index of the first that is";
  let description = [{
    NaN wins over every number. The derivative goes to the element at `index`. An argmax is this op with `value` unused.

    Constraints:
    1. `dim` is within the rank, and not empty.
    2. `value` and `index` have the other dimensions, in order.

    Example:
    ```mlir
    // %x: tensor<4x10xf32>
    %z, %i = hw.reduce_max %x dim 1 : tensor<4x10xf32> -> tensor<4xf32>, tensor<4xi32>
    ```
  }];
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
  let description = [{
    Only the lower triangle of A is read; the result's upper triangle is zero; NaN where A is not positive definite. Leading dimensions are a batch.

    Constraints:
    1. The two last dimensions have the same size.

    Example:
    ```mlir
    // %a: tensor<3x3xf64>
    %l = hw.cholesky %a : tensor<3x3xf64>
    ```
  }];
  let arguments = (ins Hw_FloatTensor:$operand);
  let results = (outs Hw_FloatTensor:$result);
  let assemblyFormat = "$operand attr-dict `:` type($result)";
  let hasVerifier = 1;
}
def TriangularSolveOp : Hw_Op<"triangular_solve", [AllTypesMatch<["b", "result"]>]> {
  let summary = "X with T X = B or T^T X = B, T lower triangular";
  let description = [{
    Only the lower triangle of `t` is read. Linear in `b`. Leading dimensions are a batch.

    Constraints:
    1. t: [..., n, n], b and the result: [..., n, k], with the same leading dimensions and element type.

    Example:
    ```mlir
    // %t: tensor<3x3xf64>, %b: tensor<3x2xf64>
    %x = hw.triangular_solve %t, %b transposed false : tensor<3x3xf64>, tensor<3x2xf64>
    ```
  }];
  let arguments = (ins Hw_FloatTensor:$t, Hw_FloatTensor:$b, BoolAttr:$transposed);
  let results = (outs Hw_FloatTensor:$result);
  let assemblyFormat = "$t `,` $b `transposed` $transposed attr-dict `:` type($t) `,` type($b)";
  let hasVerifier = 1;
}
def LuSolveOp : Hw_Op<"lu_solve", [AllTypesMatch<["b", "result"]>]> {
  let summary = "X with A X = B, by LU with partial pivoting";
  let description = [{
    Linear in `b`. Infinite or NaN where A is singular. Leading dimensions are a batch.

    Constraints:
    1. a: [..., n, n], b and the result: [..., n, k], with the same leading dimensions and element type.

    Example:
    ```mlir
    // %a: tensor<3x3xf64>, %b: tensor<3x2xf64>
    %x = hw.lu_solve %a, %b : tensor<3x3xf64>, tensor<3x2xf64>
    ```
  }];
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
  let description = [{
    `value` in row-major order.

    Constraints:
    1. `result` has the type of `value`.

    Example:
    ```mlir
    %c = hw.constant dense<[1.0, 2.0]> : tensor<2xf32>
    ```
  }];
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
  let description = [{
    `result[..., i, ...] = i`, i being the index in dimension `dim`.

    Constraints:
    1. `dim` is within the rank.

    Example:
    ```mlir
    %i = hw.iota dim 1 : tensor<2x3xi32>
    ```
  }];
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

    Constraints:
    1. `key` and `step` have rank 0.

    Example:
    ```mlir
    // %key: tensor<ui32>, %step: tensor<ui32>
    %b = hw.random_bits %key, %step site 7 : (tensor<ui32>, tensor<ui32>) -> tensor<4xui32>
    ```
  }];
  let arguments = (ins StaticShapeTensorOf<[UI32]>:$key, StaticShapeTensorOf<[UI32]>:$step, I32Attr:$site);
  let results = (outs StaticShapeTensorOf<[UI32, UI64]>:$result);
  let assemblyFormat = "$key `,` $step `site` $site attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

//===--------------------------------------------------------------------------------------------------------------===//
// Derivatives of the graph that computed a value; expanded by --hw-expand-derivatives
//===--------------------------------------------------------------------------------------------------------------===//

class Hw_DerivativeOp<string mnemonic> : Hw_Op<mnemonic, [AttrSizedOperandSegments, DerivativeOpInterface]>;

def GradOp : Hw_DerivativeOp<"grad"> {
  let summary = "gradient of a scalar with respect to values it was computed from";
  let description = [{
    Differentiates `of` along the data flow from `wrt` to it, in the enclosing graph: the total derivative, also through another `wrt` on the way.
    A `wrt` that does not reach `of` has gradient zero.

    What is `held` counts as constant, whatever it was computed from: the flow stops there, unless it is a `wrt` itself, which then starts from
    nothing but its own tangent. So a derivative inside a function that was called with `held` as its argument is the function's own, and follows
    nothing that the caller did to make the argument.

    Constraints:
    1. `of` has rank 0.
    2. The results have the types of `wrt`.

    Example:
    ```mlir
    // %w: tensor<3xf32>
    %y = hw.mul %w, %w : tensor<3xf32>
    %loss = hw.reduce_sum %y dims [0] : tensor<3xf32> -> tensor<f32>
    %g = hw.grad %loss wrt %w : (tensor<f32>, tensor<3xf32>) -> tensor<3xf32>
    ```
  }];
  let arguments = (ins Hw_FloatTensor:$of, Variadic<Hw_FloatTensor>:$wrt, Variadic<Hw_FloatTensor>:$held);
  let results = (outs Variadic<Hw_FloatTensor>:$results);
  let assemblyFormat = "$of `wrt` $wrt (`held` $held^)? attr-dict `:` functional-type(operands, $results)";
  let builders = [OpBuilder<(ins "::mlir::TypeRange":$results, "::mlir::Value":$of, "::mlir::ValueRange":$wrt),
    [{ build($_builder, $_state, results, of, wrt, ::mlir::ValueRange()); }]>];
  let hasVerifier = 1;
}
def VjpOp : Hw_DerivativeOp<"vjp"> {
  let summary = "vector-Jacobian product: cotangents of `of` pulled back to `wrt`";
  let description = [{
    As `grad`, of tensors, weighted with cotangents; `held` as there.

    Constraints:
    1. `cotangents` have the types of `of`.
    2. The results have the types of `wrt`.

    Example:
    ```mlir
    // %w: tensor<3xf32>, %c: tensor<3xf32>
    %y = hw.exp %w : tensor<3xf32>
    %g = hw.vjp %y wrt %w cotangents %c : (tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
    ```
  }];
  let arguments = (ins Variadic<Hw_FloatTensor>:$of, Variadic<Hw_FloatTensor>:$wrt, Variadic<Hw_FloatTensor>:$cotangents,
                       Variadic<Hw_FloatTensor>:$held);
  let results = (outs Variadic<Hw_FloatTensor>:$results);
  let assemblyFormat = "$of `wrt` $wrt `cotangents` $cotangents (`held` $held^)? attr-dict `:` functional-type(operands, $results)";
  let builders = [OpBuilder<(ins "::mlir::TypeRange":$results, "::mlir::ValueRange":$of, "::mlir::ValueRange":$wrt,
                                 "::mlir::ValueRange":$cotangents),
    [{ build($_builder, $_state, results, of, wrt, cotangents, ::mlir::ValueRange()); }]>];
  let hasVerifier = 1;
}
def JvpOp : Hw_DerivativeOp<"jvp"> {
  let summary = "Jacobian-vector product: tangents of `wrt` pushed forward to `of`";
  let description = [{
    The derivative of `of` in the direction `tangents`. Where one `wrt` is computed from another, its tangent is the sum of both. `held` as in `grad`.

    Constraints:
    1. `tangents` have the types of `wrt`.
    2. The results have the types of `of`.

    Example:
    ```mlir
    // %w: tensor<3xf32>, %v: tensor<3xf32>
    %y = hw.exp %w : tensor<3xf32>
    %d = hw.jvp %y wrt %w tangents %v : (tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
    ```
  }];
  let arguments = (ins Variadic<Hw_FloatTensor>:$of, Variadic<Hw_FloatTensor>:$wrt, Variadic<Hw_FloatTensor>:$tangents,
                       Variadic<Hw_FloatTensor>:$held);
  let results = (outs Variadic<Hw_FloatTensor>:$results);
  let assemblyFormat = "$of `wrt` $wrt `tangents` $tangents (`held` $held^)? attr-dict `:` functional-type(operands, $results)";
  let builders = [OpBuilder<(ins "::mlir::TypeRange":$results, "::mlir::ValueRange":$of, "::mlir::ValueRange":$wrt,
                                 "::mlir::ValueRange":$tangents),
    [{ build($_builder, $_state, results, of, wrt, tangents, ::mlir::ValueRange()); }]>];
  let hasVerifier = 1;
}

#endif
