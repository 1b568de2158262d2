// Ops that only the backend makes, between hw and kernels. Derivatives are formed before, so they need no rules.
#ifndef HW_BACKEND_OPS
#define HW_BACKEND_OPS

include "ir/HwBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Hwb_Dialect : Dialect {
  let name = "hwb";
  let cppNamespace = "::hw::backend";
  let summary = "What lies between hw ops and kernels.";
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

def BlockOp : Op<Hwb_Dialect, "block", [Pure]> {
  let summary = "a convolution's weights in blocks of channels, as oneDNN reads them";
  let description = [{
    operand: [O, I, K...]; B is `size`, and the last block of a dimension is filled up with zeros. result:
    1. for I <= 3 and no `turned`: [O / B, K..., I, B of O];
    2. else [O / B, I / B, K..., B of I, B of O], or with `turned` [O / B, I / B, K..., B of O, B of I].
    A convolution and the gradient in its weights share the layout without `turned`; the gradient in its input wants the other.
  }];
  let arguments = (ins Hw_Tensor:$operand, I64Attr:$size, UnitAttr:$turned);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand `by` $size (`turned` $turned^)? attr-dict `:` type($operand) `->` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$operand, "int64_t":$size, "bool":$turned)>];
  let hasVerifier = 1;
}

def UnblockOp : Op<Hwb_Dialect, "unblock", [Pure]> {
  let summary = "the inverse of `block` without `turned`: leaves the zeros out";
  let arguments = (ins Hw_Tensor:$operand, I64Attr:$size);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$operand `by` $size attr-dict `:` type($operand) `->` type($result)";
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
    Of x [N, S..., I], w (blocked, see `block`) and y [N, R..., O], two are given, in this order, and one is the result:
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
