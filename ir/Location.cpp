#include "ir/Location.h"
#include "llvm/ADT/Twine.h"

using namespace mlir;

std::string hw::locationText(Location location) {
  if (auto file = dyn_cast<FileLineColLoc>(location))
    return (file.getFilename().getValue() + ":" + llvm::Twine(file.getLine()) + ":" + llvm::Twine(file.getColumn()))
        .str();
  if (auto name = dyn_cast<NameLoc>(location))
    return locationText(name.getChildLoc());
  if (auto call = dyn_cast<CallSiteLoc>(location)) {
    std::string inner = locationText(call.getCallee());
    return inner.empty() ? locationText(call.getCaller()) : inner;
  }
  if (auto fused = dyn_cast<FusedLoc>(location))
    for (Location part : fused.getLocations())
      if (std::string text = locationText(part); !text.empty())
        return text;
  return {};
}
