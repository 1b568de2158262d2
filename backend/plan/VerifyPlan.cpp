// The plan walked beside its module, with an account of what lies where.
#include "backend/plan/VerifyPlan.h"
#include "backend/plan/Plan.h"
#include "backend/steps/Kernel.h"
#include "ir/Location.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include <map>

using namespace mlir;
using namespace hw;
namespace json = llvm::json;

namespace {

/// What lies in memory: by place, which slot was written there last, and the values that it is equal to. What has been
/// overwritten, in part too, is not there any more.
class Memory {
public:
  struct Place {
    int64_t end;
    int slot;
    SmallVector<Value, 2> values;
    bool operator==(const Place &) const = default;
  };
  std::map<int64_t, Place> places;

  void write(int slot, int64_t from, int64_t end, SmallVector<Value, 2> values) {
    auto at = places.lower_bound(from);
    if (at != places.begin() && std::prev(at)->second.end > from)
      --at;
    while (at != places.end() && at->first < end)
      at = places.erase(at);
    places[from] = {end, slot, std::move(values)};
  }
  ArrayRef<Value> valuesOf(int slot, int64_t from) const {
    auto at = places.find(from);
    return at != places.end() && at->second.slot == slot ? ArrayRef<Value>(at->second.values) : ArrayRef<Value>();
  }
  /// Only what is in both.
  void meet(const Memory &other) {
    for (auto at = places.begin(); at != places.end();) {
      ArrayRef<Value> there = other.valuesOf(at->second.slot, at->first);
      llvm::erase_if(at->second.values, [&](Value value) { return !llvm::is_contained(there, value); });
      at = at->second.values.empty() ? places.erase(at) : std::next(at);
    }
  }
  /// Where `from[i]` lies, there lies `to[i]` from now on too; what was defined inside of `op` means nothing any more.
  void rename(ValueRange from, ValueRange to, Operation *op) {
    llvm::DenseMap<Value, SmallVector<Value, 1>> names;
    for (auto [before, after] : llvm::zip_equal(from, to))
      names[before].push_back(after);
    for (auto at = places.begin(); at != places.end();) {
      SmallVector<Value, 2> values;
      for (Value value : at->second.values)
        if (!op->isProperAncestor(value.getParentRegion()->getParentOp()) &&
            value.getParentRegion()->getParentOp() != op)
          values.push_back(value);
      for (Value before : at->second.values)
        for (Value after : names.lookup(before))
          if (!llvm::is_contained(values, after))
            values.push_back(after);
      at->second.values = std::move(values);
      at = at->second.values.empty() ? places.erase(at) : std::next(at);
    }
  }
  bool operator==(const Memory &) const = default;
};

class Verifier {
public:
  Verifier(ModuleOp module, const json::Object &plan) : symbols(module), plan(plan) {}

  std::optional<std::string> run() {
    for (const json::Value &slot : *plan.getArray("slots")) {
      const json::Object &object = *slot.getAsObject();
      int64_t bytes = backend::bytesOf(typeNamed(*object.getString("type")));
      for (const json::Value &size : *object.getArray("shape"))
        bytes *= *size.getAsInteger();
      int64_t offset = *object.getInteger("offset");
      slots.push_back({offset, offset + std::max<int64_t>(bytes, 1)});
    }
    auto study = symbols.lookup<func::FuncOp>("study");
    if (!study)
      return std::nullopt;
    study.walk([&](study::SettingOp op) { settings[op.getName()].push_back(op.getResult()); });
    for (const json::Value &value : *plan.getArray("settings"))
      if (int slot = slotIn(*value.getAsObject(), "slot"); slot >= 0)
        write(slot, settings[*value.getAsObject()->getString("name")]);
    body(study.front(), *plan.getArray("body"));
    if (error.empty())
      return std::nullopt;
    return error;
  }

private:
  static backend::DType typeNamed(StringRef name) {
    for (int type = 0; type <= int(backend::DType::UI64); ++type)
      if (name == backend::nameOf(backend::DType(type)))
        return backend::DType(type);
    return backend::DType::UI64;
  }
  template <class... Parts> void wrong(Operation *op, const char *format, Parts &&...parts) {
    if (error.empty())
      error = "the node of " + op->getName().getStringRef().str() + " at " + locationText(op->getLoc()) + " " +
              llvm::formatv(format, std::forward<Parts>(parts)...).str();
  }

  //===-- Slots ---------------------------------------------------------------------------------------------------===//

  static int slotIn(const json::Object &node, StringRef key) { return int(node.getInteger(key).value_or(-1)); }
  static SmallVector<int> slotsIn(const json::Object &node, StringRef key) {
    SmallVector<int> list;
    if (const json::Array *array = node.getArray(key))
      for (const json::Value &value : *array)
        list.push_back(int(value.getAsInteger().value_or(-1)));
    return list;
  }

  void write(int slot, SmallVector<Value, 2> values) {
    written.insert(slot);
    memory.write(slot, slots[size_t(slot)].first, slots[size_t(slot)].second, std::move(values));
  }
  void write(int slot, Value value) {
    if (slot >= 0)
      write(slot, SmallVector<Value, 2>{value});
  }

  /// That the slot holds what the op means.
  void read(Operation *op, int slot, Value value) {
    // What a `bench` is given is a name for what lies outside.
    if (auto argument = dyn_cast<BlockArgument>(value))
      if (auto bench = dyn_cast<study::BenchOp>(argument.getOwner()->getParentOp()))
        return read(op, slot, bench.getInputs()[argument.getArgNumber()]);
    if (slot < 0 || size_t(slot) >= slots.size())
      return wrong(op, "has no slot for something that it reads");
    if (!llvm::is_contained(memory.valuesOf(slot, slots[size_t(slot)].first), value))
      wrong(op, "reads slot {0}, in which something else lies than what it means", slot);
  }
  void readAll(Operation *op, ArrayRef<int> from, ValueRange values) {
    if (from.size() != values.size())
      return wrong(op, "reads {0} slots in place of {1}", from.size(), values.size());
    for (auto [slot, value] : llvm::zip_equal(from, values))
      read(op, slot, value);
  }
  bool overlap(int a, int b) const {
    return slots[size_t(a)].first < slots[size_t(b)].second && slots[size_t(b)].first < slots[size_t(a)].second;
  }

  //===-- Nodes ---------------------------------------------------------------------------------------------------===//

  void body(Block &block, const json::Array &nodes) {
    size_t at = 0;
    auto copies = [&] {
      for (; at < nodes.size() && nodes[at].getAsObject()->getString("op") == "copy"; ++at) {
        int from = slotIn(*nodes[at].getAsObject(), "from"), to = slotIn(*nodes[at].getAsObject(), "to");
        if (from != to && overlap(from, to))
          wrong(block.getParentOp(), "copies slot {0} to slot {1}, which lie over each other", from, to);
        ArrayRef<Value> values = memory.valuesOf(from, slots[size_t(from)].first);
        write(to, SmallVector<Value, 2>(values));
      }
    };
    for (Operation &op : block) {
      if (op.hasTrait<OpTrait::IsTerminator>() || !error.empty())
        break;
      if (isa<study::SettingOp>(op))
        continue;
      copies();
      if (auto bench = dyn_cast<study::BenchOp>(op)) {
        for (auto inner : bench.getBody().front().getOps<func::CallOp>())
          if (at < nodes.size())
            call(inner, *nodes[at++].getAsObject());
        continue;
      }
      if (at == nodes.size())
        return wrong(&op, "is missing");
      const json::Object &object = *nodes[at++].getAsObject();
      StringRef kind = isa<func::CallOp>(op) ? "call" : op.getName().stripDialect();
      if (object.getString("op") != kind)
        return wrong(&op, "is a {0}", object.getString("op").value_or("nothing"));
      node(&op, object);
    }
    copies();
    if (at < nodes.size())
      wrong(block.getParentOp(), "has more nodes than ops");
  }

  void node(Operation *op, const json::Object &object) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](func::CallOp op) { call(op, object); })
        .Case([&](study::ForOp op) { loop(op, object); })
        .Case([&](study::TrainOp op) { train(op, object); })
        .Case([&](study::TogetherOp op) { together(op, object); })
        .Case([&](study::BatchesOp op) { batches(op, object); })
        .Case([&](study::GradcheckOp op) { gradcheck(op, object); })
        .Case([&](study::RecordOp op) {
          llvm::StringMap<int> columns;
          for (const json::Value &column : *object.getArray("columns"))
            columns[*column.getAsObject()->getString("name")] = slotIn(*column.getAsObject(), "slot");
          for (auto [name, value] : llvm::zip_equal(op.getColumns().getAsRange<StringAttr>(), op.getOperands()))
            read(op, columns.contains(name.getValue()) ? columns[name.getValue()] : -1, value);
        })
        .Case([&](study::SaveOp op) {
          size_t names = op.getLoopNames().size();
          readAll(op, slotsIn(object, "slots"), op.getOperands().drop_back(names));
          loops(op, object, op.getOperands().take_back(names));
        })
        .Case([&](study::PlotOp op) { loops(op, object, op.getLoopValues()); })
        .Default([&](Operation *op) {
          // The slots of the operands, then of the results.
          static const std::map<StringRef, std::pair<SmallVector<StringRef>, SmallVector<StringRef>>> known{
              {"dataset", {{}, {"slot"}}}, {"eigh", {{"matrix"}, {"values", "vectors"}}},
              {"reduce", {{}, {"slot"}}},  {"stop", {{"slot"}, {}}},
              {"clear", {{}, {}}},         {"checkpoint", {{}, {}}}};
          auto fields = known.find(op->getName().stripDialect());
          if (fields == known.end() || fields->second.first.size() != op->getNumOperands() ||
              fields->second.second.size() != op->getNumResults())
            return wrong(op, "is not known to the check of plans");
          auto &[operands, results] = fields->second;
          for (auto [field, value] : llvm::zip_equal(operands, op->getOperands()))
            read(op, slotIn(object, field), value);
          for (auto [field, value] : llvm::zip_equal(results, op->getResults())) {
            int to = slotIn(object, field);
            for (StringRef operand : operands)
              if (to >= 0 && overlap(slotIn(object, operand), to))
                wrong(op, "writes over slot {0}, which it reads", slotIn(object, operand));
            write(to, value);
          }
        });
  }

  void loops(Operation *op, const json::Object &object, ValueRange values) {
    SmallVector<int> from;
    for (const json::Value &each : *object.getArray("loops"))
      from.push_back(slotIn(*each.getAsObject(), "slot"));
    readAll(op, from, values);
  }

  void call(func::CallOp op, const json::Object &object) {
    auto function = symbols.lookup<func::FuncOp>(op.getCallee());
    SmallVector<int> from = slotsIn(object, "args"), to = slotsIn(object, "results");
    readAll(op, from, op.getOperands());
    if (to.size() != op.getNumResults())
      return wrong(op, "writes {0} slots in place of {1}", to.size(), op.getNumResults());
    for (auto [i, result] : llvm::enumerate(to)) {
      for (auto [j, argument] : llvm::enumerate(from)) {
        auto donated = function.getArgAttrOfType<IntegerAttr>(unsigned(j), "hw.donate");
        bool takesOver = donated && donated.getInt() == int64_t(i);
        if (takesOver ? result != argument : overlap(result, argument))
          wrong(op, "has result {0} in slot {1} and argument {2} in slot {3}: {4}", i, result, j, argument,
                takesOver ? "the one takes over the other's" : "the one lies over the other");
      }
      write(result, op.getResult(unsigned(i)));
    }
  }

  //===-- Regions -------------------------------------------------------------------------------------------------===//

  /// Any number of turns: from what is there before the first one or after one of them.
  template <class Turn> void repeat(Turn turn) {
    for (;;) {
      Memory before = memory, both = memory;
      turn();
      both.meet(memory);
      memory = std::move(both);
      if (memory == before || !error.empty())
        return;
    }
  }

  /// A region of `op` that takes `carried`, as they lie when it begins, and yields their next values, which take their
  /// names when it has ended.
  template <class Inside>
  void carrying(Operation *op, Region &region, ValueRange carried, const json::Array &nodes, Inside inside) {
    Block &block = region.front();
    ValueRange arguments = block.getArguments().take_back(carried.size());
    if (!carried.empty() && carried[0] != arguments[0]) {
      llvm::DenseMap<Value, SmallVector<Value, 1>> names;
      for (auto [outer, inner] : llvm::zip_equal(carried, arguments))
        names[outer].push_back(inner);
      for (auto &[from, place] : memory.places)
        for (Value outer : SmallVector<Value, 2>(place.values))
          llvm::append_range(place.values, names.lookup(outer));
    }
    body(block, nodes);
    inside();
    memory.rename(block.getTerminator()->getOperands().take_front(carried.size()), carried, op);
  }

  void loop(study::ForOp op, const json::Object &object) {
    read(op, slotIn(object, "from"), op.getFrom());
    read(op, slotIn(object, "to"), op.getTo());
    auto outside = std::exchange(written, {});
    Block &block = op.getBody().front();
    ValueRange carried = ValueRange(block.getArguments()).drop_front();
    memory.rename(op.getInits(), carried, op);
    repeat([&] {
      read(op, slotIn(object, "from"), op.getFrom()); // before each turn
      write(slotIn(object, "index"), block.getArgument(0));
      carrying(op, op.getBody(), carried, *object.getArray("body"), [] {});
    });
    checkOwn(op, object, {});
    memory.rename(carried, op.getResults(), op);
    written.insert(outside.begin(), outside.end());
  }

  /// Turns that may run at the same time write nothing but what is theirs, and `results`.
  void checkOwn(Operation *op, const json::Object &object, ArrayRef<int> results) {
    SmallVector<int> own = slotsIn(object, "own");
    if (own.empty())
      return;
    for (int slot : written)
      if ((slot < own[0] || slot >= own[1]) && !llvm::is_contained(results, slot))
        wrong(op, "has turns that write slot {0}, which is not their own", slot);
  }

  void together(study::TogetherOp op, const json::Object &object) {
    auto outside = std::exchange(written, {});
    const json::Array &branches = *object.getArray("branches");
    ValueRange left = op.getResults();
    for (auto [region, nodes] : llvm::zip_equal(op.getBranches(), branches)) {
      ValueRange yielded = region.front().getTerminator()->getOperands();
      body(region.front(), *nodes.getAsArray());
      memory.rename(yielded, left.take_front(yielded.size()), op);
      left = left.drop_front(yielded.size());
    }
    SmallVector<int> results;
    for (auto &[from, place] : memory.places)
      if (llvm::any_of(place.values, [&](Value value) { return value.getDefiningOp() == op; }))
        results.push_back(place.slot);
    checkOwn(op, object, results);
    written.insert(outside.begin(), outside.end());
  }

  void train(study::TrainOp op, const json::Object &object) {
    read(op, slotIn(object, "count"), op.getCount());
    read(op, slotIn(object, "seed"), op.getSeed());
    Block &step = op.getStep().front();
    ValueRange carried = ValueRange(step.getArguments()).drop_front(op.firstCarried(op.getStep()));
    memory.rename(op.getInits(), carried, op);
    auto watched = [&] { // snapshots
      for (auto [each, value] : llvm::zip_equal(*object.getArray("carried"), carried))
        read(op, slotIn(*each.getAsObject(), "slot"), value);
    };
    auto turn = [&](Region &region, const char *bodyKey, const char *indicesKey, const char *lossKey,
                    const char *diagnoseKey) {
      Block &block = region.front();
      write(slotIn(object, "epoch"), block.getArgument(0));
      write(slotIn(object, "step"), block.getArgument(1));
      if (op.getBatch())
        write(slotIn(object, indicesKey), block.getArgument(2));
      if (const json::Object *diagnosis = object.getObject(diagnoseKey))
        this->diagnosis(op, region, carried, *diagnosis);
      Value loss = block.getTerminator()->getOperands().back();
      carrying(op, region, carried, *object.getArray(bodyKey), [&] { read(op, slotIn(object, lossKey), loss); });
      watched();
    };
    repeat([&] {
      watched();
      Memory before = memory;
      turn(op.getStep(), "body", "row_indices", "loss", "diagnose");
      if (!op.getTail().empty()) {
        std::swap(before, memory);
        turn(op.getTail(), "tail", "tail_indices", "loss_tail", "diagnose_tail");
        memory.meet(before);
      }
      for (auto [region, every] : llvm::zip_equal(op.getEvery(), *object.getArray("every"))) {
        Memory notDue = memory;
        write(slotIn(*every.getAsObject(), "epoch"), region.getArgument(0));
        write(slotIn(*every.getAsObject(), "step"), region.getArgument(1));
        carrying(op, region, carried, *every.getAsObject()->getArray("body"), [] {});
        memory.meet(notDue);
        watched();
      }
    });
    memory.rename(carried, op.getResults(), op);
  }

  /// What the search for a NaN is given lies there before the step, where it does not come from the step itself.
  void diagnosis(study::TrainOp op, Region &region, ValueRange carried, const json::Object &object) {
    auto call = region.front().getTerminator()->getOperands().back().getDefiningOp<func::CallOp>();
    if (!call)
      return;
    for (auto [slot, value] : llvm::zip_equal(slotsIn(object, "args"), call.getOperands())) {
      auto argument = dyn_cast<BlockArgument>(value);
      bool isInside = argument && argument.getOwner() == &region.front();
      if (isInside && argument.getArgNumber() >= op.firstCarried(region))
        read(op, slot, carried[argument.getArgNumber() - op.firstCarried(region)]);
      else if (isInside || !region.isAncestor(value.getParentRegion()))
        read(op, slot, value);
    }
  }

  void batches(study::BatchesOp op, const json::Object &object) {
    const json::Array &list = *object.getArray("results");
    if (list.size() != op.getNumResults())
      return wrong(op, "has {0} results in place of {1}", list.size(), op.getNumResults());
    // Results are there from the first batch on, and filled one by one.
    for (auto [each, value] : llvm::zip_equal(list, op.getResults()))
      write(slotIn(*each.getAsObject(), "slot"), value);
    auto batch = [&](Region &region, const char *bodyKey, const char *indicesKey, const char *fromKey) {
      Block &block = region.front();
      write(slotIn(object, indicesKey), block.getArgument(0));
      body(block, *object.getArray(bodyKey));
      for (auto [each, value, yielded] : llvm::zip_equal(list, op.getResults(), block.getTerminator()->getOperands())) {
        read(op, slotIn(*each.getAsObject(), fromKey), yielded);
        read(op, slotIn(*each.getAsObject(), "slot"), value);
      }
      memory.rename({}, {}, op);
    };
    repeat([&] { batch(op.getBody(), "body", "row_indices", "from"); });
    if (!op.getTail().empty())
      batch(op.getTail(), "tail", "tail_indices", "tail_from");
  }

  void gradcheck(study::GradcheckOp op, const json::Object &object) {
    SmallVector<int> weights = slotsIn(object, "weights");
    readAll(op, weights, op.getWeights());
    repeat([&] {
      for (auto [key, region] :
           {std::pair{"loss", &op.getLoss()}, {"gradient", &op.getGradient()}, {"product", &op.getProduct()}}) {
        Memory before = memory; // any of the three comes next
        const json::Object &function = *object.getObject(key);
        for (auto [slot, argument] : llvm::zip_equal(slotsIn(function, "args"), region->getArguments()))
          write(slot, argument);
        body(region->front(), *function.getArray("body"));
        readAll(op, slotsIn(function, "results"), region->front().getTerminator()->getOperands());
        memory.rename({}, {}, op);
        memory.meet(before);
      }
    });
    // They are read at first, and written back in the end.
    for (auto [slot, value] : llvm::zip_equal(weights, op.getWeights()))
      write(slot, value);
  }

  SymbolTable symbols;
  const json::Object &plan;
  std::vector<std::pair<int64_t, int64_t>> slots; // first byte, end
  llvm::StringMap<SmallVector<Value, 2>> settings;
  Memory memory;
  std::set<int> written; // in the innermost region whose turns may run at the same time
  std::string error;
};

} // namespace

std::optional<std::string> hw::backend::verifyPlan(ModuleOp module, StringRef plan) {
  auto parsed = json::parse(plan);
  if (!parsed || !parsed->getAsObject()) {
    llvm::consumeError(parsed.takeError());
    return "the plan is not JSON";
  }
  return Verifier(module, *parsed->getAsObject()).run();
}
