// What a convolutional network passes from layer to layer exceeds the caches if a layer is done for the whole batch
// before the next one begins, and threads wait for each other at every layer. Images are independent, though: a thread
// can take a group of them through the chain, forward and backward, with everything in its second-level cache. Only
// what is summed over images (weights' gradients, the loss) is kept: a task adds it up over its groups, and what the
// tasks have is added behind.
//
//   before:  %y = conv %x, %w   %p = max_pool %y ...   %dw = conv_backward_weights %x, %c
//   after:   %sums = hwb.map %x, %w { the same on a group; yields its part of %dw }   %dw = reduce_sum %sums dims [0]
//
// An op's *stage* says how often all images had to be waited for before it. Where a network needs sums over the batch
// on the way (batch normalisation), there is a map for each stage.
#include "backend/graph/Map.h"
#include "backend/Cost.h"
#include "backend/dialect/Dialect.h"
#include "backend/graph/Layouts.h"
#include "backend/graph/Rewrite.h"
#include "backend/graph/View.h"
#include "backend/steps/Elementwise.h"
#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/IR/IRMapping.h"
#include "runtime/Abi.h"
#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace hw;
using namespace hw::backend;

namespace {

int64_t sizeOf(Value value) { return typeOf(value).getNumElements() * bytesOf(dtypeOf(elementOf(value))); }

bool isConvolution(Operation *op) { return isa<ConvOp, ConvBackwardDataOp, ConvBackwardWeightsOp, ConvolutionOp>(op); }

/// Shows a value, or makes it out of nothing: is cloned into the body of a map that reads it.
bool isShown(Operation *op) {
  return op && isInlinable(op) && !elementwiseOp(op) && !isa<GatherOp, RandomBitsOp>(op) && !op->hasAttr("hw.pack") &&
         !op->hasAttr("hw.keep") && !(op->getNumResults() && isDenseConstant(op->getResult(0)));
}

class Mapper {
public:
  Mapper(Block &block, int64_t images, const Target &target)
      : block(block), images(images), target(target), builder(block.getParentOp()->getContext()) {}

  void run() {
    int64_t most = 0;
    for (Operation &op : block)
      if (isConvolution(&op) && roleOf(&op).kind != Role::Outside)
        most = std::max(most, bytesOfImage(&op));
    size = chooseGroup(images, most);
    if (size == images)
      return;
    auto found = chainsOfConvolutions();
    if (found.empty())
      return;
    builder.getContext()->getOrLoadDialect<HwbDialect>();
    for (const auto &chain : found)
      build(chain);
    eraseDead(block); // what is in the maps now
    sortTopologically(&block);
  }

private:
  using Chain = SmallVector<Operation *>;

  //===-- Ops -----------------------------------------------------------------------------------------------------===//

  /// How an op takes part: not at all; as something that is made anew wherever it is read; image by image; image by
  /// image with a sum over all as its result.
  struct Role {
    enum Kind { Outside, Shown, Mapped, Summed } kind = Outside;
    SmallVector<bool, 4> perImage; // of each operand: it is read image by image, else whole
    int stage = 0;
  };

  /// Whether dimension 0 may be that of the images.
  bool leads(Value value) const {
    auto shape = shapeOf(value);
    return !shape.empty() && shape[0] == images;
  }
  bool lead(ValueRange values) const {
    return llvm::all_of(values, [&](Value value) { return leads(value); });
  }

  static Role mapped(Operation *op, Role::Kind kind = Role::Mapped) {
    return {kind, SmallVector<bool, 4>(op->getNumOperands(), true)};
  }
  /// But for one operand, which is read whole.
  static Role mappedBut(Operation *op, unsigned whole) {
    Role role = mapped(op);
    role.perImage[whole] = false;
    return role;
  }

  Role roleOf(Operation *op) const {
    Role outside;
    if (op->getNumResults() == 0)
      return outside;
    Value result = op->getResult(0);
    if (elementwiseOp(op) || isa<StopGradientOp>(op))
      return leads(result) && lead(op->getOperands()) ? mapped(op) : outside;
    auto when = [&](bool condition, Role role) { return condition ? role : outside; };
    return llvm::TypeSwitch<Operation *, Role>(op)
        .Case([&](ConstantOp) { return when(leads(result) && !isDenseConstant(result), {Role::Shown, {}}); })
        .Case([&](IotaOp iota) { return when(leads(result) && iota.getDim() != 0, {Role::Shown, {}}); })
        .Case([&](BroadcastOp broadcast) {
          bool keeps = llvm::is_contained(broadcast.getDims(), 0);
          return when(leads(result), keeps ? mapped(op) : Role{Role::Shown, {false}});
        })
        .Case([&](ReduceSumOp sum) {
          bool overImages = llvm::is_contained(sum.getDims(), 0);
          return when(leads(sum.getOperand()), mapped(op, overImages ? Role::Summed : Role::Mapped));
        })
        .Case([&](ReduceMaxOp max) { return when(leads(max.getOperand()) && max.getDim() != 0, mapped(op)); })
        .Case([&](ReshapeOp reshape) { return when(leads(result) && leads(reshape.getOperand()), mapped(op)); })
        .Case([&](TransposeOp transpose) {
          return when(leads(result) && transpose.getPermutation()[0] == 0, mapped(op));
        })
        .Case([&](ReverseOp reverse) {
          return when(leads(result) && !llvm::is_contained(reverse.getDims(), 0), mapped(op));
        })
        .Case([&](SliceOp slice) {
          bool isAll = leads(result) && leads(slice.getOperand()) && slice.getStride()[0] == 1;
          return when(isAll, mapped(op));
        })
        .Case([&](PadOp pad) {
          bool isAll = leads(result) && leads(pad.getOperand()) && pad.getLow()[0] == 0 && pad.getHigh()[0] == 0 &&
                       pad.getInterior()[0] == 0;
          return when(isAll, mapped(op));
        })
        .Case([&](ConcatOp concat) {
          return when(leads(result) && concat.getDim() != 0 && lead(op->getOperands()), mapped(op));
        })
        .Case([&](DotGeneralOp dot) { return roleOf(dot); })
        .Case([&](GatherOp gather) {
          return when(leads(gather.getIndices()) && isInMemory(gather.getOperand()), mappedBut(op, 0));
        })
        .Case<MaxPoolOp, PoolGatherOp, PoolScatterOp, WindowSumOp, WindowSpreadOp>([&](Operation *) {
          size_t windowed = op->getAttrOfType<DenseI64ArrayAttr>("window").size();
          return when(lead(op->getOperands()) && shapeOf(result).size() > windowed, mapped(op));
        })
        .Case<ConvOp, ConvBackwardDataOp>(
            [&](Operation *) { return when(leads(op->getOperand(0)) && isSmall(op->getOperand(1)), mappedBut(op, 1)); })
        .Case([&](ConvBackwardWeightsOp conv) {
          int64_t positions = ShapedType::getNumElements(shapeOf(conv.getOutput()).drop_front(2));
          return when(isSummed(op, positions), mapped(op, Role::Summed));
        })
        .Case([&](ConvolutionOp convolution) {
          if (convolution.getKind() == HW_BACKWARD_WEIGHTS) {
            int64_t positions = ShapedType::getNumElements(shapeOf(convolution.getSecond()).drop_front().drop_back());
            return when(isSummed(op, positions), mapped(op, Role::Summed));
          }
          unsigned weights = convolution.getKind() == HW_FORWARD ? 1 : 0;
          Role role = mappedBut(op, weights);
          if (convolution.getBias())
            role.perImage[2] = false;
          return when(leads(op->getOperand(1 - weights)) && isSmall(op->getOperand(weights)), role);
        })
        .Default(outside);
  }

  /// Without being put there for a map to read it whole.
  static bool isInMemory(Value value) {
    Operation *op = value.getDefiningOp();
    if (isShown(op) && !isReadAsItLies(value))
      return llvm::all_of(op->getOperands(), isInMemory);
    return !op || !isInlinable(op) || isDenseConstant(value);
  }

  Role roleOf(DotGeneralOp dot) const {
    Role outside;
    auto isFirst = [](ArrayRef<int64_t> dims) { return !dims.empty() && dims[0] == 0; };
    bool isBatch = isFirst(dot.getLhsBatch()) && isFirst(dot.getRhsBatch());
    if (isBatch)
      return leads(dot.getLhs()) && leads(dot.getRhs()) ? mapped(dot) : outside;
    bool isRows = dot.getLhsBatch().empty() && isFirst(dot.lhsFree());
    if (isRows)
      return leads(dot.getLhs()) && isSmall(dot.getRhs()) ? mappedBut(dot, 1) : outside;
    bool isSum = llvm::any_of(llvm::zip_equal(dot.getLhsContract(), dot.getRhsContract()),
                              [](auto pair) { return std::get<0>(pair) == 0 && std::get<1>(pair) == 0; });
    int64_t terms = 1; // beside the images
    for (int64_t dim : dot.getLhsContract())
      terms *= dim == 0 ? 1 : shapeOf(dot.getLhs())[dim];
    return isSum && isSummed(dot, terms) ? mapped(dot, Role::Summed) : outside;
  }

  /// Weights that every group reads stay in the cache.
  static bool isSmall(Value weights) { return sizeOf(weights) <= kSecondLevel; }

  /// `terms`: products that an image has for each element of the op's result.
  bool isSummed(Operation *op, int64_t terms) const {
    return lead(op->getOperands()) && (!size || prefersGroupSums(sizeOf(op->getResult(0)), size * terms));
  }

  /// What a convolution or product reads and writes for an image; copies of windows where no library does it.
  int64_t bytesOfImage(Operation *op) const {
    int64_t bytes = 0;
    for (Value value : llvm::concat<Value>(llvm::to_vector(op->getOperands()), llvm::to_vector(op->getResults())))
      if (leads(value))
        bytes += sizeOf(value) / images;
    auto windows = [&](Value output, Value weights) {
      int64_t positions = ShapedType::getNumElements(shapeOf(output).drop_front(2)),
              terms = ShapedType::getNumElements(shapeOf(weights).drop_front());
      return positions * terms * bytesOf(dtypeOf(elementOf(output)));
    };
    return bytes + llvm::TypeSwitch<Operation *, int64_t>(op)
                       .Case<ConvOp, ConvBackwardDataOp, ConvBackwardWeightsOp>(
                           [&](auto conv) { return windows(conv.getOutput(), conv.getWeights()); })
                       .Default(int64_t(0));
  }

  //===-- Stages --------------------------------------------------------------------------------------------------===//

  /// The stage from which on the whole value is there.
  int wholeFrom(Value value) const {
    auto at = roles.find(value.getDefiningOp());
    if (at == roles.end())
      return 0;
    const Role &role = at->second;
    return role.stage + (role.kind == Role::Mapped || role.kind == Role::Summed ? 1 : 0);
  }

  /// Whether the operand is passed on within a map, group by group.
  bool isPassed(Operation *op, unsigned operand) const {
    const Role &role = roles.at(op);
    auto at = roles.find(op->getOperand(operand).getDefiningOp());
    return (role.kind == Role::Mapped || role.kind == Role::Summed) && role.perImage[operand] && at != roles.end() &&
           at->second.kind == Role::Mapped;
  }

  void analyse() {
    roles.clear();
    for (Operation &op : block) {
      Role role = roleOf(&op);
      if (refused.contains(&op))
        role = {};
      roles[&op] = role;
      int stage = 0;
      for (unsigned i = 0; i < op.getNumOperands(); ++i)
        stage = std::max(stage, isPassed(&op, i) ? roles.at(op.getOperand(i).getDefiningOp()).stage
                                                 : wholeFrom(op.getOperand(i)));
      roles[&op].stage = stage;
    }
  }

  /// What hangs together with no convolution is done as a whole, so that others need not wait for it in vain.
  SmallVector<Chain> chainsOfConvolutions() {
    for (;;) {
      analyse();
      SmallVector<Chain> found = chains();
      size_t before = refused.size();
      for (const Chain &chain : found)
        if (llvm::none_of(chain, isConvolution))
          refused.insert(chain.begin(), chain.end());
      if (refused.size() == before)
        return found;
    }
  }

  /// Ops of one stage that pass images on to each other, in the block's order.
  SmallVector<Chain> chains() const {
    llvm::EquivalenceClasses<Operation *> together;
    for (Operation &op : block) {
      const Role &role = roles.at(&op);
      if (role.kind != Role::Mapped && role.kind != Role::Summed)
        continue;
      together.insert(&op);
      for (unsigned i = 0; i < op.getNumOperands(); ++i)
        if (Operation *producer = op.getOperand(i).getDefiningOp();
            isPassed(&op, i) && roles.at(producer).stage == role.stage)
          together.unionSets(&op, producer);
    }
    llvm::MapVector<Operation *, Chain> chains;
    for (Operation &op : block)
      if (together.contains(&op))
        chains[together.getLeaderValue(&op)].push_back(&op);
    return llvm::to_vector(llvm::make_second_range(chains));
  }

  //===-- Maps ----------------------------------------------------------------------------------------------------===//

  /// The body of a map, and what it is to be given.
  struct Body {
    Block *block = new Block;
    SmallVector<Value> operands;
    SmallVector<bool> mapped;
    IRMapping groups, wholes; // of values outside

    Value argument(Value value, Type type, bool isMapped) {
      operands.push_back(value);
      mapped.push_back(isMapped);
      return block->addArgument(type, value.getLoc());
    }
  };

  Type groupType(Value value) const {
    SmallVector<int64_t> shape(shapeOf(value));
    shape[0] = size;
    return typeOf(value).clone(shape);
  }

  /// The whole value, in the body.
  Value whole(Body &body, Value value) {
    if (Value known = body.wholes.lookupOrNull(value))
      return known;
    Operation *op = value.getDefiningOp();
    if (!isShown(op) || isReadAsItLies(value)) {
      body.wholes.map(value, body.argument(value, value.getType(), false));
      return body.wholes.lookup(value);
    }
    for (Value operand : op->getOperands())
      whole(body, operand);
    return builder.clone(*op, body.wholes)->getResult(0); // which notes it among the wholes
  }

  /// Whether showing the value in a body would have it copied there, for each group.
  static bool isReadAsItLies(Value value) {
    auto reshape = value.getDefiningOp<ReshapeOp>();
    return (reshape && !differInUnits(shapeOf(reshape.getOperand()), shapeOf(value))) ||
           llvm::any_of(value.getUsers(), [](Operation *user) { return isa<ConvolutionOp>(user); });
  }

  /// A group of the value, in the body.
  Value group(Body &body, Value value) {
    if (Value known = body.groups.lookupOrNull(value))
      return known;
    auto at = roles.find(value.getDefiningOp());
    if (at == roles.end() || at->second.kind != Role::Shown)
      body.groups.map(value, body.argument(value, groupType(value), true));
    else
      clone(body, value.getDefiningOp(), at->second);
    return body.groups.lookup(value);
  }

  void clone(Body &body, Operation *op, const Role &role) {
    SmallVector<Value> operands;
    for (auto [operand, perImage] : llvm::zip_equal(op->getOperands(), role.perImage))
      operands.push_back(perImage ? group(body, operand) : whole(body, operand));
    Operation *copy = builder.clone(*op);
    copy->setOperands(operands);
    for (auto [result, made] : llvm::zip_equal(op->getResults(), copy->getResults())) {
      if (role.kind != Role::Summed)
        made.setType(cast<RankedTensorType>(groupType(result)));
      body.groups.map(result, made);
    }
    if (auto slice = dyn_cast<SliceOp>(copy)) {
      SmallVector<int64_t> limit(slice.getLimit());
      limit[0] = size;
      slice.setLimit(limit);
    }
  }

  void build(ArrayRef<Operation *> chain) {
    Body body;
    builder.setInsertionPointToEnd(body.block);
    for (Operation *op : chain)
      clone(body, op, roles.at(op));
    SmallVector<Value> results = readOutside(chain), parts;
    for (Value result : results)
      parts.push_back(body.groups.lookup(result));
    YieldOp::create(builder, chain.back()->getLoc(), parts);

    int64_t groups = images / size, perTask = llvm::divideCeil(groups, target.mostTasks),
            tasks = llvm::divideCeil(groups, perTask);
    SmallVector<Type> types;
    SmallVector<bool> summed;
    for (auto [result, part] : llvm::zip_equal(results, parts)) {
      summed.push_back(roles.at(result.getDefiningOp()).kind == Role::Summed);
      types.push_back(summed.back() ? partsOf(part.getType(), tasks) : result.getType());
    }
    Location loc = (*llvm::find_if(chain, isConvolution))->getLoc();
    builder.setInsertionPoint(block.getTerminator());
    auto map = MapOp::create(builder, loc, types, body.operands, groups, tasks, body.mapped, summed);
    map.getBody().push_back(body.block);
    for (auto [i, result] : llvm::enumerate(results)) {
      Value made = map.getResult(unsigned(i));
      result.replaceAllUsesWith(summed[i] ? ReduceSumOp::create(builder, loc, made, ArrayRef<int64_t>{0}).getResult()
                                          : made);
    }
  }

  /// The results of the chain that others read. What only shows one of them stays outside too, and reads that.
  SmallVector<Value> readOutside(ArrayRef<Operation *> chain) {
    llvm::SmallPtrSet<Operation *, 32> inside(chain.begin(), chain.end());
    SmallVector<Value> results;
    for (Operation *op : llvm::reverse(chain)) {
      auto isRead = [&](Value value) {
        return llvm::any_of(value.getUsers(), [&](Operation *user) { return !inside.contains(user); });
      };
      auto read = llvm::make_filter_range(op->getResults(), isRead);
      if (read.empty())
        continue;
      if (isShown(op))
        inside.erase(op);
      else
        llvm::append_range(results, read);
    }
    return results;
  }

  Block &block;
  const int64_t images;
  const Target &target;
  OpBuilder builder;
  int64_t size = 0; // of a group
  llvm::DenseMap<Operation *, Role> roles;
  llvm::SmallPtrSet<Operation *, 32> refused;
};

/// Those that the convolution's input or output has; 0 where it is none.
int64_t imagesOf(Operation *op) {
  if (!isConvolution(op))
    return 0;
  auto call = dyn_cast<ConvolutionOp>(op);
  return shapeOf(op->getOperand(call && call.getKind() == HW_BACKWARD_DATA ? 1 : 0))[0];
}

} // namespace

void hw::backend::mapGroups(Block &block, const Target &target) {
  llvm::SmallSetVector<int64_t, 2> counts;
  for (Operation &op : block)
    if (int64_t images = imagesOf(&op))
      counts.insert(images);
  for (int64_t images : counts)
    Mapper(block, images, target).run();
}

void hw::backend::hoistCopies(MapOp map) {
  Block &body = map.getBody().front();
  OpBuilder builder(map);
  IRMapping outside;
  SmallVector<bool> mapped(map.getMapped());
  for (BlockArgument argument : body.getArguments())
    if (!mapped[argument.getArgNumber()])
      outside.map(argument, map->getOperand(argument.getArgNumber()));
  for (Operation &op : llvm::make_early_inc_range(body)) {
    auto isOutside = [&](Value operand) { return outside.contains(operand); };
    bool isCopy = op.hasAttr("hw.pack");
    if ((!isShown(&op) && !isCopy) || op.getNumOperands() == 0 || !llvm::all_of(op.getOperands(), isOutside))
      continue;
    Value made = builder.clone(op, outside)->getResult(0);
    if (!isCopy)
      continue;
    Value argument = body.addArgument(made.getType(), made.getLoc());
    outside.map(argument, made);
    op.getResult(0).replaceAllUsesWith(argument);
    map.getOperandsMutable().append(made);
    mapped.push_back(false);
    op.erase();
  }
  map.setMapped(mapped);
  eraseDead(body);
}
