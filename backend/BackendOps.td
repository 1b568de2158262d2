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

#endif
