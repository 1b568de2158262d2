// A backward analysis of the plan's tree, by the textbook (Aho, Lam, Sethi, Ullman, section 9.2.5): live before a node
// is what it reads, and what is live after it unless the node writes it. Where it cannot tell, a slot counts as live.
#include "runtime/Liveness.h"

#include <algorithm>

namespace hw::runtime {
namespace {

/// A set of slots.
class Set {
public:
  explicit Set(const std::vector<Slot> &slots) : slots(&slots), words((slots.size() + 63) / 64, 0) {}

  void add(const Slot *slot) {
    if (slot)
      words[number(slot) / 64] |= uint64_t{1} << number(slot) % 64;
  }
  void remove(const Slot *slot) {
    if (slot)
      words[number(slot) / 64] &= ~(uint64_t{1} << number(slot) % 64);
  }
  void join(const Set &other) {
    for (size_t i = 0; i < words.size(); ++i)
      words[i] |= other.words[i];
  }
  bool has(const Slot &slot) const { return words[number(&slot) / 64] >> number(&slot) % 64 & 1; }
  bool operator==(const Set &) const = default;

private:
  size_t number(const Slot *slot) const { return static_cast<size_t>(slot - slots->data()); }

  const std::vector<Slot> *slots;
  std::vector<uint64_t> words;
};

class Liveness {
public:
  Liveness(const Plan &plan, const std::vector<FrameState> &frames, const std::string &place)
      : plan(plan), frames(frames), place(place) {}

  PlaceInPlan atFrames() {
    Set live(plan.slots);
    within(plan.body, 0, live);
    for (const Slot &slot : plan.slots)
      if (live.has(slot))
        result.live.push_back(&slot);
    return std::move(result);
  }

private:
  const Plan &plan;
  const std::vector<FrameState> &frames;
  const std::string &place;
  PlaceInPlan result;

  //---- what is live before a node, from what is live after it

  void before(const Body &body, Set &live, size_t from = 0) {
    for (size_t i = body.size(); i > from; --i)
      before(*body[i - 1], live);
  }

  void before(const Node &node, Set &live) {
    switch (node.kind) {
    case NodeKind::call: {
      const auto &call = static_cast<const CallNode &>(node);
      if (!call.bench.empty()) // a run skips it
        return;
      for (const Slot *slot : call.writes)
        live.remove(slot);
      for (const Slot *slot : call.reads)
        live.add(slot);
      return;
    }
    case NodeKind::copy: {
      const auto &copy = static_cast<const CopyNode &>(node);
      live.remove(copy.to);
      return live.add(copy.from);
    }
    case NodeKind::dataset:
      return live.remove(static_cast<const DatasetNode &>(node).slot);
    case NodeKind::loop:
      live = betweenTurns(static_cast<const ForNode &>(node), live);
      return;
    case NodeKind::together:
      live = betweenTurns(static_cast<const TogetherNode &>(node), 0, live);
      return;
    case NodeKind::train:
      live = betweenTurns(static_cast<const TrainNode &>(node), live);
      return;
    case NodeKind::batches: {
      const auto &batches = static_cast<const BatchesNode &>(node);
      live = betweenTurns(batches, live);
      for (const auto &result : batches.results)
        live.remove(result.slot);
      return;
    }
    case NodeKind::eigh: {
      const auto &eigh = static_cast<const EighNode &>(node);
      live.remove(eigh.values);
      live.remove(eigh.vectors);
      return live.add(eigh.matrix);
    }
    case NodeKind::gradcheck: {
      const auto &check = static_cast<const GradcheckNode &>(node);
      for (const Region *region : {&check.loss, &check.gradient, &check.product}) {
        Set inside = live;
        for (const Slot *slot : region->results)
          inside.add(slot);
        before(region->body, inside);
        for (const Slot *slot : region->arguments)
          inside.remove(slot);
        live.join(inside);
      }
      for (const Slot *slot : check.weights)
        live.add(slot);
      return;
    }
    case NodeKind::record:
      for (const auto &item : static_cast<const RecordNode &>(node).items)
        live.add(item.slot);
      return;
    case NodeKind::reduce:
      return live.remove(static_cast<const ReduceNode &>(node).slot);
    case NodeKind::save: {
      const auto &save = static_cast<const SaveNode &>(node);
      for (const Slot *slot : save.slots)
        live.add(slot);
      return addLoops(live, save.loops);
    }
    case NodeKind::plot:
      return addLoops(live, static_cast<const PlotNode &>(node).loops);
    case NodeKind::stop:
      return live.add(static_cast<const StopNode &>(node).slot);
    case NodeKind::clear:
    case NodeKind::checkpoint:
      return;
    }
  }

  void addLoops(Set &live, const std::vector<LoopValue> &loops) {
    for (const LoopValue &loop : loops)
      live.add(loop.slot);
  }

  //---- what is live between two turns of a loop: after the last turn, or before another

  /// The least solution of: between = after, or live before a turn that `between` follows.
  template <class Turn> static Set fixpoint(const Set &after, Turn turn) {
    for (Set between = after;;) {
      Set next = after;
      next.join(turn(between));
      if (next == between)
        return next;
      between = std::move(next);
    }
  }

  Set betweenTurns(const ForNode &loop, const Set &after) {
    Set held = after;
    held.add(loop.from);
    held.add(loop.to);
    return fixpoint(held, [&](Set live) {
      before(loop.body, live);
      live.remove(loop.index);
      return live;
    });
  }

  /// Before the branch number `from`. Those from there on may have begun: what they leave counts as live.
  Set betweenTurns(const TogetherNode &together, size_t from, const Set &after) {
    Set live = after;
    for (size_t i = together.branches.size(); i > from; --i)
      before(together.branches[i - 1], live);
    live.join(after);
    return live;
  }

  /// After `every` block number k - 1 of a turn, or after the step if k is 0.
  Set afterEvery(const TrainNode &train, size_t k, Set live) {
    for (size_t i = train.every.size(); i > k; --i) {
      const Every &every = train.every[i - 1];
      Set inside = live;
      before(every.body, inside);
      inside.remove(every.epoch);
      inside.remove(every.step);
      live.join(inside); // it may not be due
    }
    return live;
  }

  Set betweenTurns(const TrainNode &train, const Set &after) {
    Set held = after;
    held.add(train.count);
    held.add(train.seed);
    // Snapshots read them all, whatever the step does.
    for (const Carried &carried : train.carried)
      held.add(carried.slot);
    return fixpoint(held, [&](const Set &between) {
      Set step = afterEvery(train, 0, between), tail = step;
      step.add(train.loss);
      before(train.body, step);
      if (train.hasTail()) {
        tail.add(train.tailLoss);
        before(train.tail, tail);
        step.join(tail);
      }
      for (const Slot *slot : {train.epoch, train.step, train.rowIndices, train.tailIndices})
        step.remove(slot);
      return step;
    });
  }

  Set betweenTurns(const BatchesNode &batches, const Set &after) {
    Set held = after;
    for (const auto &result : batches.results) // filled batch by batch
      held.add(result.slot);
    return fixpoint(held, [&](const Set &between) {
      Set body = between, tail = between;
      for (const auto &result : batches.results) {
        body.add(result.from);
        tail.add(result.tailFrom);
      }
      before(batches.body, body);
      before(batches.tail, tail);
      body.join(tail);
      body.remove(batches.rowIndices);
      body.remove(batches.tailIndices);
      return body;
    });
  }

  //---- at a place

  const FrameState &frame(size_t depth, uint64_t end) const {
    const FrameState &frame = frames[depth];
    if (frame.at < 0 || static_cast<uint64_t>(frame.at) > end)
      doesNotFit(place);
    return frame;
  }
  /// `live`: from what is live after `body` to what is live at the place in it.
  void within(const Body &body, size_t depth, Set &live) {
    const auto at = static_cast<size_t>(frame(depth, body.size()).at);
    const bool deeper = depth + 1 < frames.size();
    if (deeper && at == body.size())
      doesNotFit(place);
    before(body, live, deeper ? at + 1 : at);
    result.innermost = nullptr;
    if (deeper)
      within(*body[at], depth + 1, live);
  }

  void within(const Node &node, size_t depth, Set &live) {
    const FrameState &state = frame(depth, INT64_MAX);
    const bool deeper = depth + 1 < frames.size();
    result.innermost = &node;
    switch (node.kind) {
    case NodeKind::loop: {
      const auto &loop = static_cast<const ForNode &>(node);
      live = betweenTurns(loop, live);
      if (deeper)
        within(loop.body, depth + 1, live);
      return;
    }
    case NodeKind::together: {
      const auto &together = static_cast<const TogetherNode &>(node);
      const auto branch = static_cast<size_t>(frame(depth, together.branches.size()).at);
      if (deeper && branch == together.branches.size())
        doesNotFit(place);
      live = betweenTurns(together, deeper ? branch + 1 : branch, live);
      if (deeper)
        within(together.branches[branch], depth + 1, live);
      return;
    }
    case NodeKind::train: {
      const auto &train = static_cast<const TrainNode &>(node);
      const Set between = betweenTurns(train, live);
      live = between;
      if (state.part < 0 || static_cast<uint64_t>(state.part) > train.every.size() || deeper != (state.part > 0) ||
          state.numbers.size() != 3)
        doesNotFit(place);
      if (deeper) {
        const auto k = static_cast<size_t>(state.part);
        live = afterEvery(train, k, between);
        within(train.every[k - 1].body, depth + 1, live);
      }
      result.trainings.push_back(&train);
      return;
    }
    case NodeKind::batches: {
      const auto &batches = static_cast<const BatchesNode &>(node);
      size_t sums = 0;
      for (const auto &result : batches.results)
        sums += result.sum.size();
      if (deeper || state.numbers.size() != sums)
        doesNotFit(place);
      live = betweenTurns(batches, live);
      return;
    }
    default:
      doesNotFit(place);
    }
  }
};

} // namespace

PlaceInPlan placeInPlan(const Plan &plan, const std::vector<FrameState> &frames, const std::string &place) {
  return Liveness(plan, frames, place).atFrames();
}

} // namespace hw::runtime
