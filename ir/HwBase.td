// The hw dialect's definition and the types its ops accept.
#ifndef HW_BASE
#define HW_BASE

include "mlir/IR/OpBase.td"

def Hw_Dialect : Dialect {
  let name = "hw";
  let cppNamespace = "::hw";
  let summary = "Pure, statically shaped tensor arithmetic that every transform of hwc is complete over.";
  let description = [{
    A small set of pure operations on statically shaped ranked tensors. Layers, losses and optimisers are compositions of
    them, so that differentiation, batching and code generation need one rule an operation. Element types are `f32`
    and `f64`; `i1` for masks; `ui8` for pixels; `i8`, `i32` for labels and indices; `ui32`, `ui64` for random bits.
  }];
  let hasConstantMaterializer = 1;
  let useDefaultAttributePrinterParser = 0;
}

def Hw_Float : AnyTypeOf<[F32, F64], "f32 or f64">;
def Hw_Int : AnyTypeOf<[I8, UI8, I32, UI32, UI64], "i8, ui8, i32, ui32 or ui64">;
def Hw_Element : AnyTypeOf<[F32, F64, I1, I8, UI8, I32, UI32, UI64], "f32, f64, i1, i8, ui8, i32, ui32 or ui64">;

def Hw_Tensor : StaticShapeTensorOf<[Hw_Element]>;
def Hw_FloatTensor : StaticShapeTensorOf<[Hw_Float]>;
def Hw_NumberTensor : StaticShapeTensorOf<[AnyTypeOf<[Hw_Float, Hw_Int]>]>;
def Hw_MaskTensor : StaticShapeTensorOf<[I1]>;
def Hw_IndexTensor : StaticShapeTensorOf<[I32]>;

#endif
