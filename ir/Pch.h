// Precompiled once, shared by every library that uses MLIR: an MLIR translation unit otherwise spends 5 s on headers.
#pragma once
#include "ir/Dialects.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>
