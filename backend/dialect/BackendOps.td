// Ops that only the backend makes, between hw and kernels. Derivatives are formed before, so they need no rules.
#ifndef HW_BACKEND_OPS
#define HW_BACKEND_OPS

include "ir/HwBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Hwb_Dialect : Dialect {
  let name = "hwb";
  let cppNamespace = "::hw::backend";
  let summary = "What lies between hw ops and kernels.";
  let useDefaultAttributePrinterParser = 1;
}

def LayoutAttr : AttrDef<Hwb_Dialect, "Layout"> {
  let mnemonic = "layout";
  let summary = "in which order the elements of a tensor lie in memory";
  let description = [{
    The tensor is filled up with zeros, at the end of its dimensions, to the shape `padded`; this is reshaped to `split`,
    whose dimensions are parts of those of `padded`; and dimension i of what is stored is dimension `order[i]` of that.
    For example blocks of 16 of the 20 columns of a tensor of 5 rows, the rows within a block: `<[5, 32] to [5, 2, 16] order [1, 0, 2]>`.
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$padded, ArrayRefParameter<"int64_t">:$split,
                        ArrayRefParameter<"int64_t">:$order);
  let assemblyFormat = "`<` `[` $padded `]` `to` `[` $split `]` `order` `[` $order `]` `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The shape of what is stored.
    llvm::SmallVector<int64_t> shape() const;
    /// Of each dimension of the tensor, its parts among the dimensions of `split`; those of size 1 may be no one's.
    llvm::SmallVector<llvm::SmallVector<int64_t>> parts() const;
  }];
}

def WindowsOp : Op<Hwb_Dialect, "windows", [Pure]> {
  let summary = "every window of the last dimensions, as a view";
  let description = [{
    operand: [B..., S...], result: [B..., R..., K...], R and K with an entry for each of the last dimensions S:
    `result[b, r, k] = operand[b, r * stride + k * dilation]`. It costs no memory: a kernel computes the address.

    Constraints:
    1. `stride` and `dilation` have an entry for each of the dimensions S.
    2. (R - 1) * stride + (K - 1) * dilation < S in each of them.
  }];
  let arguments = (ins Hw_Tensor:$operand, DenseI64ArrayAttr:$stride, DenseI64ArrayAttr:$dilation);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand `stride` $stride `dilation` $dilation attr-dict `:` type($operand) `->` type($result)";
  let hasVerifier = 1;
}

def ToLayoutOp : Op<Hwb_Dialect, "to_layout", [Pure]> {
  let summary = "the tensor as it is stored in a layout";
  let description = [{
    operand: the tensor, no larger than the layout's `padded`; result: of the layout's shape. See `layout`.
  }];
  let arguments = (ins Hw_Tensor:$operand, LayoutAttr:$layout);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand $layout attr-dict `:` type($operand) `->` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "LayoutAttr":$layout)>];
  let hasVerifier = 1;
}

def FromLayoutOp : Op<Hwb_Dialect, "from_layout", [Pure]> {
  let summary = "the inverse of `to_layout`: leaves out what was filled up";
  let arguments = (ins Hw_Tensor:$operand, LayoutAttr:$layout);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand $layout attr-dict `:` type($operand) `->` type($result)";
  let hasVerifier = 1;
}

def MapOp : Op<Hwb_Dialect, "map", [IsolatedFromAbove, RecursiveMemoryEffects, SingleBlock]> {
  let summary = "groups of a batch, each on a thread of its own from the first op to the last";
  let description = [{
    The operands that `mapped` says are cut along dimension 0 into `groups` equal parts; for each the body gets its part of these, and the whole of the others.
    A result is what the body yields for all of them: put together along dimension 0; or, where `summed` says so, [parts, ...], element p being the sum of what it
    yields for groups p * k, ..., p * k + k - 1, with k = groups / parts rounded up.
  }];
  let arguments = (ins Variadic<Hw_Tensor>:$operands, I64Attr:$groups, I64Attr:$parts, DenseBoolArrayAttr:$mapped, DenseBoolArrayAttr:$summed);
  let results = (outs Variadic<Hw_Tensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let hasVerifier = 1;
}

def YieldOp : Op<Hwb_Dialect, "yield", [Pure, Terminator, HasParent<"MapOp">]> {
  let summary = "the results of a map's body";
  let arguments = (ins Variadic<Hw_Tensor>:$operands);
  let assemblyFormat = "$operands attr-dict `:` type($operands)";
}

def ConvolutionOp : Op<Hwb_Dialect, "convolution", [Pure]> {
  let summary = "a convolution by oneDNN, or one of its gradients";
  let description = [{
    Of x [N, S..., I], w (in blocks of `size` channels, see Layouts.h) and y [N, R..., O], two are given, in this order,
    and one is the result:
    1. kind 0: y = activation(x * w + bias),
    2. kind 1: the gradient of sum(y * c) in x, from w (`turned`) and c,
    3. kind 2: the gradient of sum(y * c) in w, from x and c.
    `kind` and `activation` are numbered as in runtime/Abi.h. `kernel` is K.
  }];
  let arguments = (ins Hw_Tensor:$first, Hw_Tensor:$second, Optional<Hw_Tensor>:$bias, I32Attr:$kind,
                       DenseI64ArrayAttr:$kernel, DenseI64ArrayAttr:$stride, DenseI64ArrayAttr:$low,
                       DenseI64ArrayAttr:$high, DenseI64ArrayAttr:$dilation, I64Attr:$size, I32Attr:$activation);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = [{
    $kind `(` $first `,` $second (`,` $bias^)? `)` `kernel` $kernel `stride` $stride `pad` $low $high `dilation` $dilation `by` $size
    `activation` $activation attr-dict `:` functional-type(operands, $result) }];
}

#endif
