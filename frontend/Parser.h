// Source text to syntax tree. Grammar: docs/language.md.
#pragma once

#include "frontend/Ast.h"
#include "frontend/Diagnostics.h"

namespace hw {

// Parses a whole file. Errors go to `diagnostics`, several a run; a tree is returned in any case, and is complete if
// and only if nothing was reported. The tree points into `source`, which must outlive it.
ast::Module parseModule(const Source &source, Diagnostics &diagnostics);

// Parses a single expression (a value given to `--set`). Null after an error.
ast::ExprPtr parseExpression(const Source &source, Diagnostics &diagnostics);

// Deeper nesting of brackets, blocks and operators is an error, not a stack overflow. The tree's height is bounded too:
// 1 + 1 + 1 + … nests as deeply as it is long.
inline constexpr unsigned maxNesting = 200;
inline constexpr unsigned maxHeight = 1000;

} // namespace hw
