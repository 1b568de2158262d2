// Arithmetic on LLVM values: instructions, polynomials, and calls of libmvec.
#include "backend/emit/Math.h"
#include "llvm/IR/Intrinsics.h"
#include "llvm/IR/Module.h"
#include <limits>

using namespace hw::backend;
using llvm::ArrayRef;
using llvm::Type;
using llvm::Value;
using llvm::Intrinsic::ID;

static Type *scalarType(llvm::LLVMContext &context, DType type, bool inMemory) {
  switch (type) {
  case DType::F32:
    return Type::getFloatTy(context);
  case DType::F64:
    return Type::getDoubleTy(context);
  case DType::I1:
    return inMemory ? Type::getInt8Ty(context) : Type::getInt1Ty(context);
  default:
    return Type::getIntNTy(context, bytesOf(type) * 8);
  }
}

static Type *widen(Type *type, unsigned lanes) { return lanes == 1 ? type : llvm::FixedVectorType::get(type, lanes); }

Type *hw::backend::registerType(llvm::LLVMContext &context, DType type, unsigned lanes) {
  return widen(scalarType(context, type, false), lanes);
}
Type *hw::backend::memoryType(llvm::LLVMContext &context, DType type, unsigned lanes) {
  return widen(scalarType(context, type, true), lanes);
}

namespace {

unsigned lanesOf(Value *value) {
  auto *vector = llvm::dyn_cast<llvm::FixedVectorType>(value->getType());
  return vector ? vector->getNumElements() : 1;
}

/// The arithmetic of one op on values of one type.
struct Math {
  Builder &b;
  const Target &target;

  Value *constant(Value *like, double value) { return llvm::ConstantFP::get(like->getType(), value); }
  Value *call(ID id, ArrayRef<Value *> operands) { return b.CreateIntrinsic(operands[0]->getType(), id, operands); }
  /// x y + z, fused where the machine can.
  Value *fma(Value *x, Value *y, Value *z) {
    return b.CreateIntrinsic(x->getType(), llvm::Intrinsic::fmuladd, {x, y, z});
  }
  Value *isNaN(Value *x) { return b.CreateFCmpUNO(x, x); }
  /// A constant, the same in each lane, that is not NaN.
  static bool isNumber(Value *x) {
    auto *constant = llvm::dyn_cast<llvm::Constant>(x);
    if (constant && x->getType()->isVectorTy())
      constant = constant->getSplatValue();
    auto *number = llvm::dyn_cast_or_null<llvm::ConstantFP>(constant);
    return number && !number->isNaN();
  }
  Value *integers(Value *like, Value *value) { return b.CreateBitCast(value, widen(b.getInt32Ty(), lanesOf(like))); }
  Value *integer(Value *like, int64_t value) {
    return llvm::ConstantInt::getSigned(widen(b.getInt32Ty(), lanesOf(like)), value);
  }

  /// c[0] x^(n-1) + ... + c[n-1]
  Value *polynomial(Value *x, ArrayRef<double> coefficients) {
    Value *sum = constant(x, coefficients[0]);
    for (double c : coefficients.drop_front())
      sum = fma(sum, x, constant(x, c));
    return sum;
  }

  /// e^x for f32: x = n ln 2 + r with |r| <= ln(2)/2; coefficients of e^r from Cephes' expf (Moshier), 2^n in two
  /// factors so that results near the ends of the range, denormals too, are right.
  Value *expF32(Value *x) {
    Value *low = constant(x, -104), *high = constant(x, 89); // 0 and infinity there; NaN passes the comparisons
    Value *clamped = b.CreateSelect(b.CreateFCmpOLT(x, low), low, x);
    clamped = b.CreateSelect(b.CreateFCmpOGT(clamped, high), high, clamped);
    Value *magic = constant(x, 12582912.0); // 1.5 * 2^23: adding it rounds to an integer in the low bits
    Value *shifted = fma(clamped, constant(x, 1.44269504088896341), magic);
    Value *n = b.CreateFSub(shifted, magic);
    Value *r = fma(n, constant(x, -0.693359375), clamped);
    r = fma(n, constant(x, 2.12194440e-4), r);
    Value *p = polynomial(
        r, {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1});
    p = fma(p, b.CreateFMul(r, r), r);
    p = b.CreateFAdd(p, constant(x, 1));
    Value *exponent = b.CreateSub(integers(x, shifted), integers(x, magic));
    Value *half = b.CreateAShr(exponent, integer(x, 1));
    auto power = [&](Value *e) {
      return b.CreateBitCast(b.CreateShl(b.CreateAdd(e, integer(x, 127)), integer(x, 23)), x->getType());
    };
    return b.CreateFMul(b.CreateFMul(p, power(half)), power(b.CreateSub(exponent, half)));
  }

  /// log x for f32: x = 2^e m with m in [sqrt(1/2), sqrt(2)); coefficients of log(1 + r) from Cephes' logf (Moshier).
  Value *logF32(Value *x) {
    Value *isTiny = b.CreateFCmpOLT(x, constant(x, 1.17549435e-38));
    Value *scaled = b.CreateSelect(isTiny, b.CreateFMul(x, constant(x, 8388608.0)), x);
    Value *bits = integers(x, scaled);
    // Subtracting sqrt(1/2)'s bits makes the exponent field that of a mantissa in [sqrt(1/2), sqrt(2)).
    Value *shifted = b.CreateSub(bits, integer(x, 0x3f3504f3));
    Value *e = b.CreateAShr(shifted, integer(x, 23));
    Value *m =
        b.CreateBitCast(b.CreateAdd(b.CreateAnd(shifted, integer(x, 0x7fffff)), integer(x, 0x3f3504f3)), x->getType());
    e = b.CreateSub(e, b.CreateSelect(isTiny, integer(x, 23), integer(x, 0)));
    Value *n = b.CreateSIToFP(e, x->getType());
    Value *r = b.CreateFSub(m, constant(x, 1));
    Value *square = b.CreateFMul(r, r);
    Value *p = polynomial(r, {7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
                              -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1});
    p = b.CreateFMul(p, b.CreateFMul(r, square));
    p = fma(n, constant(x, -2.12194440e-4), p);
    p = fma(square, constant(x, -0.5), p);
    Value *result = fma(n, constant(x, 0.693359375), b.CreateFAdd(r, p));
    double infinity = std::numeric_limits<double>::infinity();
    result = b.CreateSelect(b.CreateFCmpOEQ(x, constant(x, 0)), constant(x, -infinity), result);
    result = b.CreateSelect(b.CreateFCmpOEQ(x, constant(x, infinity)), x, result);
    return b.CreateSelect(b.CreateFCmpULT(x, constant(x, 0)), constant(x, std::numeric_limits<double>::quiet_NaN()),
                          result);
  }

  /// tanh for f32: the rational approximation of Eigen and XLA up to where it becomes 1, which depends on fused
  /// multiply-adds. Beyond, it stays there: the derivative 1 - z^2 of a saturated unit is 0.
  Value *tanhF32(Value *x) {
    double bound = target.vectorBytes > 16 ? 7.99881172180175781 : 7.90531110763549805;
    Value *limit = constant(x, bound), *minus = constant(x, -bound);
    Value *clamped = b.CreateSelect(b.CreateFCmpOGT(x, limit), limit, x);
    clamped = b.CreateSelect(b.CreateFCmpOLT(clamped, minus), minus, clamped);
    Value *square = b.CreateFMul(clamped, clamped);
    Value *p =
        polynomial(square, {-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
                            1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03});
    Value *q =
        polynomial(square, {1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03});
    Value *result = b.CreateFDiv(b.CreateFMul(clamped, p), q);
    Value *size = call(llvm::Intrinsic::fabs, {x});
    return b.CreateSelect(b.CreateFCmpOLT(size, constant(x, 0.0004)), x, result);
  }

  /// libmvec's `name` by the vector ABI: _ZGV<isa>N<lanes>v_<name>[f]. Its lane count is the machine's: wider values
  /// are split, narrower ones padded (with copies of lane 0, which cannot raise anything new).
  Value *libmvec(llvm::StringRef name, ArrayRef<Value *> operands) {
    Type *element = operands[0]->getType()->getScalarType();
    bool isF32 = element->isFloatTy();
    unsigned native = target.vectorBytes / (isF32 ? 4 : 8), lanes = lanesOf(operands[0]);
    auto *vector = llvm::FixedVectorType::get(element, native);
    std::string symbol = std::string("_ZGV") +
                         (target.vectorBytes == 64   ? "e"
                          : target.vectorBytes == 32 ? "d"
                                                     : "b") +
                         "N" + std::to_string(native) + std::string(operands.size(), 'v') + "_" + name.str() +
                         (isF32 ? "f" : "");
    llvm::Module &module = *b.GetInsertBlock()->getModule();
    llvm::SmallVector<Type *> types(operands.size(), vector);
    auto callee = module.getOrInsertFunction(symbol, llvm::FunctionType::get(vector, types, false));
    auto *function = llvm::cast<llvm::Function>(callee.getCallee());
    function->setDoesNotThrow();
    function->setDoesNotAccessMemory();
    auto piece = [&](Value *value, unsigned first) -> Value * {
      if (lanes == 1)
        return b.CreateVectorSplat(native, value);
      if (lanes == native)
        return value;
      llvm::SmallVector<int> indices;
      for (unsigned i = 0; i < native; ++i)
        indices.push_back(first + i < lanes ? int(first + i) : 0);
      return b.CreateShuffleVector(value, indices);
    };
    llvm::SmallVector<Value *> results;
    for (unsigned first = 0; first < lanes; first += native) {
      llvm::SmallVector<Value *> pieces;
      for (Value *operand : operands)
        pieces.push_back(piece(operand, first));
      results.push_back(b.CreateCall(callee, pieces));
    }
    if (lanes == 1)
      return b.CreateExtractElement(results[0], uint64_t(0));
    if (lanes == native)
      return results[0];
    while (results.size() > 1) {
      llvm::SmallVector<Value *> joined;
      for (size_t i = 0; i + 1 < results.size(); i += 2) {
        llvm::SmallVector<int> all;
        for (unsigned lane = 0; lane < 2 * lanesOf(results[i]); ++lane)
          all.push_back(int(lane));
        joined.push_back(b.CreateShuffleVector(results[i], results[i + 1], all));
      }
      results = joined;
    }
    if (lanesOf(results[0]) == lanes)
      return results[0];
    llvm::SmallVector<int> first;
    for (unsigned lane = 0; lane < lanes; ++lane)
      first.push_back(int(lane));
    return b.CreateShuffleVector(results[0], first);
  }

  Value *floating(Opcode op, ArrayRef<Value *> x) {
    bool isF32 = x[0]->getType()->getScalarType()->isFloatTy();
    auto one = [&] { return constant(x[0], 1); };
    switch (op) {
    case Opcode::Neg:
      return b.CreateFNeg(x[0]);
    case Opcode::Add:
      return b.CreateFAdd(x[0], x[1]);
    case Opcode::Sub:
      return b.CreateFSub(x[0], x[1]);
    case Opcode::Mul:
      return b.CreateFMul(x[0], x[1]);
    case Opcode::Div:
      return b.CreateFDiv(x[0], x[1]);
    case Opcode::Sqrt:
      return call(llvm::Intrinsic::sqrt, {x[0]});
    case Opcode::Abs:
      return call(llvm::Intrinsic::fabs, {x[0]});
    case Opcode::Floor:
      return floorOf(x[0]);
    // Comparing against a constant needs one instruction (vmaxps gives its second operand where one is NaN); in
    // general, x where it is larger or NaN, else y, which may be NaN itself.
    case Opcode::Max:
      if (isNumber(x[1]))
        return b.CreateSelect(b.CreateFCmpOGT(x[1], x[0]), x[1], x[0]);
      return b.CreateSelect(b.CreateOr(b.CreateFCmpOGT(x[0], x[1]), isNaN(x[0])), x[0], x[1]);
    case Opcode::Min:
      if (isNumber(x[1]))
        return b.CreateSelect(b.CreateFCmpOLT(x[1], x[0]), x[1], x[0]);
      return b.CreateSelect(b.CreateOr(b.CreateFCmpOLT(x[0], x[1]), isNaN(x[0])), x[0], x[1]);
    case Opcode::Sign: {
      Value *zero = constant(x[0], 0);
      Value *sign = b.CreateSelect(b.CreateFCmpOGT(x[0], zero), one(),
                                   b.CreateSelect(b.CreateFCmpOLT(x[0], zero), constant(x[0], -1), zero));
      return b.CreateSelect(isNaN(x[0]), x[0], sign);
    }
    case Opcode::Exp:
      return isF32 ? expF32(x[0]) : libmvec("exp", x);
    case Opcode::Log:
      return isF32 ? logF32(x[0]) : libmvec("log", x);
    case Opcode::Tanh:
      return isF32 ? tanhF32(x[0]) : libmvec("tanh", x);
    case Opcode::Logistic: {
      // e^-|x| cannot overflow: for x < 0 the result is e^x / (1 + e^x), denormals too.
      Value *e = floating(Opcode::Exp, {b.CreateFNeg(call(llvm::Intrinsic::fabs, {x[0]}))});
      Value *isNegative = b.CreateFCmpOLT(x[0], constant(x[0], 0));
      return b.CreateFDiv(b.CreateSelect(isNegative, e, one()), b.CreateFAdd(one(), e));
    }
    case Opcode::Expm1:
      return libmvec("expm1", x);
    case Opcode::Log1p:
      return libmvec("log1p", x);
    case Opcode::Log2:
      return libmvec("log2", x);
    case Opcode::Log10:
      return libmvec("log10", x);
    case Opcode::Sinh:
      return libmvec("sinh", x);
    case Opcode::Cosh:
      return libmvec("cosh", x);
    case Opcode::Sin:
      return libmvec("sin", x);
    case Opcode::Cos:
      return libmvec("cos", x);
    case Opcode::Erf:
      return libmvec("erf", x);
    case Opcode::Asinh:
      return libmvec("asinh", x);
    case Opcode::Pow:
      return libmvec("pow", x);
    default:
      llvm_unreachable("not an operation on floats");
    }
  }

  /// floor is an instruction from SSE 4.1 on; before, LLVM would call libm lane by lane.
  Value *floorOf(Value *x) {
    if (target.vectorBytes > 16)
      return call(llvm::Intrinsic::floor, {x});
    // Values of 2^23 (2^52) and more are whole already; others survive a round trip through an integer.
    bool isF32 = x->getType()->getScalarType()->isFloatTy();
    Type *integerType = widen(isF32 ? b.getInt32Ty() : b.getInt64Ty(), lanesOf(x));
    Value *isLarge =
        b.CreateFCmpUGE(call(llvm::Intrinsic::fabs, {x}), constant(x, isF32 ? 8388608.0 : 4503599627370496.0));
    Value *small = b.CreateSelect(isLarge, constant(x, 0), x);
    Value *whole = b.CreateSIToFP(b.CreateFPToSI(small, integerType), x->getType());
    whole = b.CreateFSub(whole, b.CreateSelect(b.CreateFCmpOGT(whole, small), constant(x, 1), constant(x, 0)));
    return b.CreateSelect(isLarge, x, whole);
  }

  Value *integral(Opcode op, DType type, ArrayRef<Value *> x) {
    bool is1 = type == DType::I1, isU = isUnsigned(type) || is1;
    Value *zero = llvm::Constant::getNullValue(x[0]->getType());
    switch (op) {
    case Opcode::Neg:
      return b.CreateNeg(x[0]);
    case Opcode::Add:
      return b.CreateAdd(x[0], x[1]);
    case Opcode::Sub:
      return b.CreateSub(x[0], x[1]);
    case Opcode::Mul:
      return b.CreateMul(x[0], x[1]);
    case Opcode::Div: {
      // Division traps at 0 and at the least number by -1: both are steered around (0 gives 0, the latter wraps).
      Value *isZero = b.CreateICmpEQ(x[1], zero), *one = llvm::ConstantInt::get(x[0]->getType(), 1);
      Value *divisor = b.CreateSelect(isZero, one, x[1]);
      if (isU)
        return b.CreateSelect(isZero, zero, b.CreateUDiv(x[0], divisor));
      Value *isMinusOne = b.CreateICmpEQ(divisor, llvm::Constant::getAllOnesValue(x[0]->getType()));
      Value *quotient = b.CreateSDiv(x[0], b.CreateSelect(isMinusOne, one, divisor));
      quotient = b.CreateSelect(isMinusOne, b.CreateNeg(x[0]), quotient);
      return b.CreateSelect(isZero, zero, quotient);
    }
    case Opcode::Abs:
      return isU ? x[0] : b.CreateSelect(b.CreateICmpSLT(x[0], zero), b.CreateNeg(x[0]), x[0]);
    case Opcode::Sign: {
      Value *one = llvm::ConstantInt::get(x[0]->getType(), 1);
      Value *positive = b.CreateSelect(b.CreateICmpEQ(x[0], zero), zero, one);
      return isU ? positive
                 : b.CreateSelect(b.CreateICmpSLT(x[0], zero), llvm::Constant::getAllOnesValue(x[0]->getType()),
                                  positive);
    }
    case Opcode::Floor:
      return x[0];
    case Opcode::Max:
      return b.CreateSelect(isU ? b.CreateICmpUGT(x[0], x[1]) : b.CreateICmpSGT(x[0], x[1]), x[0], x[1]);
    case Opcode::Min:
      return b.CreateSelect(isU ? b.CreateICmpULT(x[0], x[1]) : b.CreateICmpSLT(x[0], x[1]), x[0], x[1]);
    case Opcode::And:
      return b.CreateAnd(x[0], x[1]);
    case Opcode::Or:
      return b.CreateOr(x[0], x[1]);
    case Opcode::Not:
      return b.CreateNot(x[0]);
    default:
      llvm_unreachable("not an operation on integers");
    }
  }

  Value *compare(Opcode op, DType type, Value *x, Value *y) {
    using P = llvm::CmpInst;
    if (isFloat(type)) {
      P::Predicate predicate = op == Opcode::Eq   ? P::FCMP_OEQ
                               : op == Opcode::Ne ? P::FCMP_UNE
                               : op == Opcode::Lt ? P::FCMP_OLT
                               : op == Opcode::Le ? P::FCMP_OLE
                               : op == Opcode::Gt ? P::FCMP_OGT
                                                  : P::FCMP_OGE;
      return b.CreateFCmp(predicate, x, y);
    }
    bool isU = isUnsigned(type) || type == DType::I1;
    P::Predicate predicate = op == Opcode::Eq   ? P::ICMP_EQ
                             : op == Opcode::Ne ? P::ICMP_NE
                             : op == Opcode::Lt ? (isU ? P::ICMP_ULT : P::ICMP_SLT)
                             : op == Opcode::Le ? (isU ? P::ICMP_ULE : P::ICMP_SLE)
                             : op == Opcode::Gt ? (isU ? P::ICMP_UGT : P::ICMP_SGT)
                                                : (isU ? P::ICMP_UGE : P::ICMP_SGE);
    return b.CreateICmp(predicate, x, y);
  }

  Value *cast(DType from, DType to, Value *x) {
    if (from == to)
      return x;
    Type *result = registerType(b.getContext(), to, lanesOf(x));
    if (to == DType::I1)
      return isFloat(from) ? b.CreateFCmpUNE(x, constant(x, 0))
                           : b.CreateICmpNE(x, llvm::Constant::getNullValue(x->getType()));
    bool fromUnsigned = isUnsigned(from) || from == DType::I1;
    if (isFloat(from) && isFloat(to))
      return to == DType::F64 ? b.CreateFPExt(x, result) : b.CreateFPTrunc(x, result);
    if (isFloat(from))
      return b.CreateIntrinsic(isUnsigned(to) ? llvm::Intrinsic::fptoui_sat : llvm::Intrinsic::fptosi_sat,
                               {result, x->getType()}, {x});
    if (isFloat(to))
      return fromUnsigned ? b.CreateUIToFP(x, result) : b.CreateSIToFP(x, result);
    return b.CreateIntCast(x, result, !fromUnsigned);
  }
};

} // namespace

Value *hw::backend::emitOp(Builder &b, const Target &target, Opcode op, DType from, DType type,
                           ArrayRef<Value *> operands, uint64_t bits) {
  Math math{b, target};
  switch (op) {
  case Opcode::Eq:
  case Opcode::Ne:
  case Opcode::Lt:
  case Opcode::Le:
  case Opcode::Gt:
  case Opcode::Ge:
    return math.compare(op, from, operands[0], operands[1]);
  case Opcode::Select:
    return b.CreateSelect(operands[0], operands[1], operands[2]);
  case Opcode::Cast:
    return math.cast(from, type, operands[0]);
  case Opcode::Clamp: {
    Value *zero = llvm::Constant::getNullValue(operands[0]->getType()),
          *limit = llvm::ConstantInt::get(operands[0]->getType(), bits);
    Value *low = b.CreateSelect(b.CreateICmpSLT(operands[0], zero), zero, operands[0]);
    return b.CreateSelect(b.CreateICmpSGT(low, limit), limit, low);
  }
  default:
    return isFloat(type) ? math.floating(op, operands) : math.integral(op, type, operands);
  }
}

Value *hw::backend::emitAdd(Builder &b, Value *x, Value *y) {
  return x->getType()->isFPOrFPVectorTy() ? b.CreateFAdd(x, y) : b.CreateAdd(x, y);
}

Value *hw::backend::emitRandom(Builder &b, DType type, Value *key, uint32_t site, Value *step, Value *counter) {
  unsigned lanes = lanesOf(counter);
  Type *wide = counter->getType(), *word = widen(b.getInt32Ty(), lanes);
  auto splat = [&](Value *value) { return lanes == 1 ? value : b.CreateVectorSplat(lanes, value); };
  auto word32 = [&](uint32_t value) { return llvm::ConstantInt::get(word, value); };
  Value *c[4] = {b.CreateTrunc(counter, word), word32(0), splat(step), word32(0)};
  Value *k[2] = {splat(key), word32(site)};
  auto multiply = [&](uint32_t factor, Value *x, Value *&high, Value *&low) {
    Value *product = b.CreateMul(b.CreateZExt(x, wide), llvm::ConstantInt::get(wide, factor));
    low = b.CreateTrunc(product, word);
    high = b.CreateTrunc(b.CreateLShr(product, llvm::ConstantInt::get(wide, 32)), word);
  };
  for (int round = 0; round < 10; ++round) {
    if (round) {
      k[0] = b.CreateAdd(k[0], word32(0x9E3779B9));
      k[1] = b.CreateAdd(k[1], word32(0xBB67AE85));
    }
    Value *high0, *low0, *high1, *low1;
    multiply(0xD2511F53, c[0], high0, low0);
    multiply(0xCD9E8D57, c[2], high1, low1);
    Value *next[4] = {b.CreateXor(b.CreateXor(high1, c[1]), k[0]), low1, b.CreateXor(b.CreateXor(high0, c[3]), k[1]),
                      low0};
    std::copy(next, next + 4, c);
  }
  if (type == DType::UI32)
    return c[0];
  return b.CreateOr(b.CreateZExt(c[0], wide), b.CreateShl(b.CreateZExt(c[1], wide), llvm::ConstantInt::get(wide, 32)));
}
