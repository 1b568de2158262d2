// `hwc gradcheck` and `hwc bench`.
#include "frontend/elaborate/Elaborator.h"

using namespace mlir;

namespace hw::lang {

Val Elaborator::gradcheck(Args &args) { fail("`gradcheck` is not there yet"); }

void Elaborator::gradcheckTrain(const ast::Train &stmt, const Step &trial,
                                const std::vector<std::shared_ptr<const Net>> &nets, const Data &data, int64_t batch) {
  fail(stmt.range, "`hwc gradcheck` is not there yet");
}

void Elaborator::benchTrain(study::TrainOp op) {}

} // namespace hw::lang
