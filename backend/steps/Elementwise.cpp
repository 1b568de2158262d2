#include "backend/steps/Elementwise.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

std::optional<Opcode> hw::backend::elementwiseOp(Operation *op) {
  return llvm::TypeSwitch<Operation *, std::optional<Opcode>>(op)
      .Case<NegOp>([](auto) { return Opcode::Neg; })
      .Case<ExpOp>([](auto) { return Opcode::Exp; })
      .Case<Expm1Op>([](auto) { return Opcode::Expm1; })
      .Case<LogOp>([](auto) { return Opcode::Log; })
      .Case<Log1pOp>([](auto) { return Opcode::Log1p; })
      .Case<Log2Op>([](auto) { return Opcode::Log2; })
      .Case<Log10Op>([](auto) { return Opcode::Log10; })
      .Case<SqrtOp>([](auto) { return Opcode::Sqrt; })
      .Case<SinOp>([](auto) { return Opcode::Sin; })
      .Case<CosOp>([](auto) { return Opcode::Cos; })
      .Case<TanhOp>([](auto) { return Opcode::Tanh; })
      .Case<SinhOp>([](auto) { return Opcode::Sinh; })
      .Case<CoshOp>([](auto) { return Opcode::Cosh; })
      .Case<LogisticOp>([](auto) { return Opcode::Logistic; })
      .Case<ErfOp>([](auto) { return Opcode::Erf; })
      .Case<AsinhOp>([](auto) { return Opcode::Asinh; })
      .Case<AbsOp>([](auto) { return Opcode::Abs; })
      .Case<SignOp>([](auto) { return Opcode::Sign; })
      .Case<FloorOp>([](auto) { return Opcode::Floor; })
      .Case<NotOp>([](auto) { return Opcode::Not; })
      .Case<AddOp>([](auto) { return Opcode::Add; })
      .Case<SubOp>([](auto) { return Opcode::Sub; })
      .Case<MulOp>([](auto) { return Opcode::Mul; })
      .Case<DivOp>([](auto) { return Opcode::Div; })
      .Case<PowOp>([](auto) { return Opcode::Pow; })
      .Case<MinOp>([](auto) { return Opcode::Min; })
      .Case<MaxOp>([](auto) { return Opcode::Max; })
      .Case<AndOp>([](auto) { return Opcode::And; })
      .Case<OrOp>([](auto) { return Opcode::Or; })
      .Case<SelectOp>([](auto) { return Opcode::Select; })
      .Case<CastOp>([](auto) { return Opcode::Cast; })
      .Case<CompareOp>([](CompareOp compare) -> std::optional<Opcode> {
        return llvm::StringSwitch<std::optional<Opcode>>(compare.getPredicate())
            .Case("eq", Opcode::Eq)
            .Case("ne", Opcode::Ne)
            .Case("lt", Opcode::Lt)
            .Case("le", Opcode::Le)
            .Case("gt", Opcode::Gt)
            .Case("ge", Opcode::Ge)
            .Default(std::nullopt);
      })
      .Default([](auto) { return std::nullopt; });
}
