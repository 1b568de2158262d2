// The plan: each op of the study becomes a node, each value a slot. A slot's lifetime is counted in nodes; what a loop
// uses of its surroundings lives to the loop's end, and what the runtime reads or writes between two runs of a region
// lives as long as the region's op.
#include "backend/plan/Plan.h"
#include "backend/steps/Arena.h"
#include "backend/steps/Kernel.h"
#include "ir/Location.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/JSON.h"
#include <cmath>

using namespace mlir;
using namespace hw;
using namespace hw::backend;
namespace json = llvm::json;

namespace {

class Planner {
public:
  Planner(ModuleOp module, const PlanInput &input) : module(module), symbols(module), input(input) {}

  std::optional<Plan> run() {
    json::Array nodes;
    if (auto study = symbols.lookup<func::FuncOp>("study")) {
      study.walk([&](study::SettingOp setting) { defineSetting(setting); });
      nodes = body(study.front());
      if (failed)
        return std::nullopt;
    }
    int64_t arena = place();
    json::Array slotList;
    for (const Slot &slot : slots)
      slotList.push_back(json::Object{{"type", nameOf(dtypeOf(slot.type.getElementType()))},
                                      {"shape", json::Array(slot.type.getShape())},
                                      {"offset", slot.offset}});
    json::Object plan{{"version", 1},
                      {"name", input.name},
                      {"precision", precision()},
                      {"quick", input.quick},
                      {"arena", arena},
                      {"scratch", input.scratch},
                      {"slots", std::move(slotList)},
                      {"settings", settingList()},
                      {"body", std::move(nodes)}};
    if (auto identity = module->getAttrOfType<StringAttr>("hw.identity"))
      plan["identity"] = identity.getValue();
    if (auto nets = module->getAttrOfType<StringAttr>("hw.nets")) {
      auto parsed = json::parse(nets.getValue());
      if (parsed)
        plan["nets"] = std::move(*parsed);
      else
        llvm::consumeError(parsed.takeError());
    }
    std::string text;
    llvm::raw_string_ostream(text) << json::Value(std::move(plan));
    return Plan{std::move(text), arena};
  }

private:
  /// The types of what is trained, recorded and saved. Numbers by themselves are f64, and say nothing.
  std::string precision() {
    bool f32 = false, f64 = false;
    module.walk([&](Operation *op) {
      if (!llvm::isa<study::TrainOp, study::RecordOp, study::SaveOp>(op))
        return;
      for (Type type : op->getOperandTypes()) {
        auto tensor = llvm::dyn_cast<RankedTensorType>(type);
        f32 |= tensor && tensor.getElementType().isF32();
        f64 |= tensor && tensor.getElementType().isF64() && tensor.getRank() > 0;
      }
    });
    if (f32 && f64)
      return "f32 and f64";
    return f64 ? "f64" : f32 ? "f32" : input.precision;
  }

  struct Slot {
    RankedTensorType type;
    int first, last;
    int64_t offset = 0;
  };

  //===-- Slots ---------------------------------------------------------------------------------------------------===//

  int newSlot(Type type) {
    slots.push_back({cast<RankedTensorType>(type), now, now});
    return int(slots.size()) - 1;
  }
  int define(Value value) { return slotOf[value] = newSlot(value.getType()); }
  int use(Value value) {
    auto at = slotOf.find(value);
    if (at == slotOf.end()) {
      emitError(value.getLoc(), "internal error: the plan uses a value before anything computes it");
      failed = true;
      return -1;
    }
    slots[at->second].last = std::max(slots[at->second].last, now);
    touched.push_back(at->second);
    return at->second;
  }
  /// Its slot is written before anything runs, and read at any time.
  void defineSetting(study::SettingOp setting) {
    auto [at, isNew] = settingSlots.try_emplace(setting.getName(), 0);
    if (isNew) {
      at->second = newSlot(setting.getType());
      slots.back().first = 0, slots.back().last = INT32_MAX;
    }
    slotOf[setting.getResult()] = at->second;
  }
  json::Array useAll(ValueRange values) {
    json::Array list;
    for (Value value : values)
      list.push_back(use(value));
    return list;
  }

  /// Runs `visit` as the inside of a node with regions; then what it touched of the surroundings, and `held`, lives to
  /// its end.
  template <class Visit> void around(SmallVectorImpl<int> &held, Visit visit) {
    int start = ++now;
    const size_t before = touched.size();
    visit();
    ++now;
    for (int slot : ArrayRef(touched).drop_front(before))
      if (slots[slot].first < start)
        slots[slot].last = std::max(slots[slot].last, now);
    for (int slot : held)
      if (slot >= 0) {
        slots[slot].first = std::min(slots[slot].first, start);
        slots[slot].last = now;
      }
    ++now;
  }

  int64_t place() {
    std::vector<Interval> intervals;
    for (const Slot &slot : slots)
      intervals.push_back(
          {slot.type.getNumElements() * int64_t(bytesOf(dtypeOf(slot.type.getElementType()))), slot.first, slot.last});
    int64_t total = placeIntervals(intervals);
    for (auto [slot, interval] : llvm::zip_equal(slots, intervals))
      slot.offset = interval.offset;
    return total;
  }

  static json::Value number(double value) {
    if (std::isfinite(value))
      return value;
    return std::isnan(value) ? json::Value(nullptr) : json::Value(value > 0 ? "inf" : "-inf");
  }

  json::Array settingList() {
    json::Array list;
    llvm::StringMap<bool> seen;
    auto add = [&](StringRef name, double value, bool fixed, StringRef reason) {
      if (!seen.try_emplace(name, true).second)
        return;
      auto at = settingSlots.find(name);
      json::Object entry{{"name", name},
                         {"value", number(value)},
                         {"slot", at == settingSlots.end() ? -1 : at->second},
                         {"fixed", fixed}};
      if (!reason.empty())
        entry["reason"] = reason;
      list.push_back(std::move(entry));
    };
    if (auto all = module->getAttrOfType<ArrayAttr>("hw.settings"))
      for (auto setting : all.getAsRange<DictionaryAttr>()) {
        auto reason = setting.getAs<StringAttr>("reason");
        add(setting.getAs<StringAttr>("name").getValue(), setting.getAs<FloatAttr>("value").getValueAsDouble(),
            setting.getAs<BoolAttr>("fixed").getValue(), reason ? reason.getValue() : "");
      }
    module.walk([&](study::SettingOp op) { add(op.getName(), op.getValue().convertToDouble(), false, ""); });
    return list;
  }

  //===-- Nodes ---------------------------------------------------------------------------------------------------===//

  json::Array body(Block &block) {
    json::Array nodes;
    for (Operation &op : block) {
      if (failed || isa<study::YieldOp, func::ReturnOp>(op))
        break;
      ++now;
      node(&op, nodes);
    }
    ++now;
    return nodes;
  }

  void push(json::Array &nodes, Operation *op, json::Object object) {
    if (std::string location = locationText(op->getLoc()); !location.empty())
      object["loc"] = location;
    nodes.push_back(std::move(object));
  }

  void node(Operation *op, json::Array &nodes) {
    llvm::TypeSwitch<Operation *>(op)
        .Case<func::CallOp>([&](func::CallOp call) { push(nodes, op, callNode(call)); })
        .Case<study::SettingOp>([&](study::SettingOp) {})
        .Case<study::DatasetOp>([&](study::DatasetOp data) {
          push(nodes, op,
               json::Object{{"op", "dataset"},
                            {"slot", define(data.getResult())},
                            {"kind", data.getKind()},
                            {"path", data.getPath()},
                            {"part", data.getPart()},
                            {"classes", int64_t(data.getLabelClasses())}});
        })
        .Case<study::ForOp>([&](study::ForOp loop) { forNode(loop, nodes); })
        .Case<study::TogetherOp>([&](study::TogetherOp together) { togetherNode(together, nodes); })
        .Case<study::TrainOp>([&](study::TrainOp train) { trainNode(train, nodes); })
        .Case<study::BatchesOp>([&](study::BatchesOp batches) { batchesNode(batches, nodes); })
        .Case<study::EighOp>([&](study::EighOp eigh) {
          int matrix = use(eigh.getMatrix());
          push(nodes, op,
               json::Object{{"op", "eigh"},
                            {"matrix", matrix},
                            {"values", define(eigh.getValues())},
                            {"vectors", eigh.getVectors().use_empty() ? -1 : define(eigh.getVectors())}});
        })
        .Case<study::GradcheckOp>([&](study::GradcheckOp check) {
          json::Object object{{"op", "gradcheck"},
                              {"table", check.getTable()},
                              {"names", strings(check.getNames())},
                              {"weights", useAll(check.getWeights())},
                              {"keys", keyList(check)}};
          SmallVector<int> held;
          around(held, [&] {
            for (auto [name, region] : {std::pair{"loss", &check.getLoss()},
                                        {"gradient", &check.getGradient()},
                                        {"product", &check.getProduct()}})
              object[name] = regionObject(*region, held);
          });
          push(nodes, op, std::move(object));
        })
        .Case<study::BenchOp>([&](study::BenchOp bench) {
          Block &block = bench.getBody().front();
          for (auto [argument, input] : llvm::zip_equal(block.getArguments(), bench.getInputs()))
            slotOf[argument] = use(input);
          for (auto call : block.getOps<func::CallOp>()) {
            ++now;
            json::Object object = callNode(call);
            if (auto entry = symbols.lookup(call.getCallee())->getAttrOfType<StringAttr>("hw.entry"))
              object["bench"] = entry.getValue();
            push(nodes, call, std::move(object));
          }
          ++now;
        })
        .Case<study::RecordOp>([&](study::RecordOp record) { push(nodes, op, recordNode(record)); })
        .Case<study::ReduceOp>([&](study::ReduceOp reduce) {
          push(nodes, op,
               json::Object{{"op", "reduce"},
                            {"kind", reduce.getKind()},
                            {"table", reduce.getTable()},
                            {"column", reduce.getColumn()},
                            {"slot", define(reduce.getResult())}});
        })
        .Case<study::ClearOp>(
            [&](study::ClearOp clear) { push(nodes, op, json::Object{{"op", "clear"}, {"table", clear.getTable()}}); })
        .Case<study::SaveOp>([&](study::SaveOp save) {
          size_t loops = save.getLoopNames().size();
          push(nodes, op,
               json::Object{{"op", "save"},
                            {"name", save.getName()},
                            {"format", save.getFormat()},
                            {"slots", useAll(save.getOperands().drop_back(loops))},
                            {"names", strings(save.getNames())},
                            {"loops", loopValues(save.getLoopNames(), save.getOperands().take_back(loops))},
                            {"table", save.getTable()},
                            {"column", save.getColumn()}});
        })
        .Case<study::PlotOp>([&](study::PlotOp plot) {
          json::Object object{{"op", "plot"}, {"loops", loopValues(plot.getLoopNames(), plot.getLoopValues())}};
          auto spec = json::parse(plot.getSpec());
          if (!spec) {
            op->emitOpError("has a figure that is not JSON: ") << llvm::toString(spec.takeError());
            failed = true;
            return;
          }
          object["spec"] = std::move(*spec);
          push(nodes, op, std::move(object));
        })
        .Case<study::StopOp>([&](study::StopOp stop) {
          push(nodes, op, json::Object{{"op", "stop"}, {"slot", use(stop.getCondition())}});
        })
        .Case<study::CheckpointOp>([&](study::CheckpointOp) { push(nodes, op, json::Object{{"op", "checkpoint"}}); })
        .Default([&](Operation *) {
          op->emitError("internal error: arithmetic is left in the plan (study-outline moves it into functions)");
          failed = true;
        });
  }

  static json::Array keyList(study::GradcheckOp check) {
    json::Array list;
    if (check.getKeys() && check.getConstants())
      for (auto key : check.getKeys()->getAsRange<StringAttr>()) {
        Attribute value = check.getConstants()->get(key);
        if (auto text = llvm::dyn_cast_or_null<StringAttr>(value))
          list.push_back(json::Object{{"name", key.getValue()}, {"value", text.getValue()}});
        else if (auto real = llvm::dyn_cast_or_null<FloatAttr>(value))
          list.push_back(json::Object{{"name", key.getValue()}, {"value", number(real.getValueAsDouble())}});
      }
    return list;
  }
  static json::Array strings(ArrayAttr list) {
    json::Array result;
    for (auto text : list.getAsRange<StringAttr>())
      result.push_back(text.getValue());
    return result;
  }
  json::Array loopValues(ArrayAttr names, ValueRange values) {
    json::Array list;
    for (auto [name, value] : llvm::zip_equal(names.getAsRange<StringAttr>(), values))
      list.push_back(json::Object{{"name", name.getValue()}, {"slot", use(value)}});
    return list;
  }

  json::Object callNode(func::CallOp call) {
    auto function = symbols.lookup<func::FuncOp>(call.getCallee());
    auto number = input.entries.find(call.getCallee());
    if (!function || number == input.entries.end()) {
      call.emitOpError("internal error: calls something that is not compiled");
      failed = true;
      return {};
    }
    json::Object object{{"op", "call"}, {"fn", number->second}, {"args", useAll(call.getOperands())}};
    SmallVector<int> shared(call.getNumResults(), -1);
    for (auto [index, operand] : llvm::enumerate(call.getOperands()))
      if (auto donated = function.getArgAttrOfType<IntegerAttr>(index, "hw.donate"))
        shared[donated.getInt()] = use(operand);
    json::Array results;
    for (auto [index, result] : llvm::enumerate(call.getResults())) {
      int slot = shared[index] >= 0 ? slotOf[result] = shared[index] : define(result);
      results.push_back(slot);
    }
    object["results"] = std::move(results);
    for (Operation *named : {call.getOperation(), function.getOperation()})
      if (auto bench = named->getAttrOfType<StringAttr>("hw.bench"))
        object["bench"] = bench.getValue();
    return object;
  }

  json::Object recordNode(study::RecordOp record) {
    llvm::StringMap<json::Object> columns;
    SmallVector<StringRef> order;
    for (auto [name, value] : llvm::zip_equal(record.getColumns().getAsRange<StringAttr>(), record.getOperands())) {
      columns[name.getValue()] = json::Object{{"name", name.getValue()}, {"slot", use(value)}};
      order.push_back(name.getValue());
    }
    for (NamedAttribute constant : record.getConstants()) {
      json::Object column{{"name", constant.getName().getValue()}};
      if (auto text = dyn_cast<StringAttr>(constant.getValue()))
        column["value"] = text.getValue();
      else if (auto real = dyn_cast<FloatAttr>(constant.getValue()))
        column["value"] = number(real.getValueAsDouble());
      else if (auto integer = dyn_cast<IntegerAttr>(constant.getValue()))
        column["value"] = integer.getInt();
      else
        column["clock"] = "seconds"; // a unit: known when the row is written only
      columns[constant.getName().getValue()] = std::move(column);
      order.push_back(constant.getName().getValue());
    }
    json::Array list, names;
    for (auto name : record.getOrder().getAsRange<StringAttr>())
      names.push_back(name.getValue());
    for (StringRef name : order)
      list.push_back(std::move(columns[name]));
    return json::Object{{"op", "record"},
                        {"table", record.getTable()},
                        {"columns", std::move(list)},
                        {"order", std::move(names)},
                        {"rows", int64_t(record.getRows())},
                        {"hidden", record.getHidden()}};
  }

  //===-- Loops ---------------------------------------------------------------------------------------------------===//

  /// The slots that hold what a loop carries. A value that a call computes for this loop alone is computed in place;
  /// others are copied.
  SmallVector<int> carry(ValueRange inits, json::Array &nodes, Operation *op) {
    SmallVector<int> slots;
    for (Value init : inits) {
      int from = use(init);
      auto call = init.getDefiningOp<func::CallOp>();
      if (call && init.hasOneUse() && call->getBlock() == op->getBlock() && !llvm::is_contained(slots, from)) {
        slots.push_back(from);
        continue;
      }
      int slot = newSlot(init.getType());
      nodes.push_back(json::Object{{"op", "copy"}, {"from", from}, {"to", slot}});
      slots.push_back(slot);
    }
    return slots;
  }

  /// Copies that make `to[i]` the value of `values[i]`, all at once: what is overwritten before it is read goes aside
  /// first.
  void assign(ArrayRef<Value> values, ArrayRef<int> to, json::Array &nodes) {
    SmallVector<int> from;
    for (Value value : values)
      from.push_back(use(value));
    ++now;
    auto copy = [&](int source, int target) {
      slots[source].last = std::max(slots[source].last, now);
      nodes.push_back(json::Object{{"op", "copy"}, {"from", source}, {"to", target}});
    };
    for (size_t i = 0; i < from.size(); ++i) {
      bool isOverwritten = false;
      for (size_t j = 0; j < i; ++j)
        isOverwritten |= to[j] == from[i] && from[j] != to[j];
      if (isOverwritten && from[i] != to[i]) {
        int aside = newSlot(values[i].getType());
        copy(from[i], aside);
        from[i] = aside;
      }
    }
    ++now;
    for (size_t i = 0; i < from.size(); ++i)
      if (from[i] != to[i])
        copy(from[i], to[i]);
    ++now;
  }

  /// A region whose body reads carried values and yields their next ones. What it yields besides is left where it is;
  /// but a carried value, which is overwritten, is kept: `besides` are the slots.
  json::Array carriedBody(Region &region, unsigned first, ArrayRef<int> carried, SmallVectorImpl<int> &besides) {
    Block &block = region.front();
    for (auto [i, slot] : llvm::enumerate(carried))
      slotOf[block.getArgument(first + unsigned(i))] = slot;
    json::Array nodes = body(block);
    if (failed)
      return nodes;
    SmallVector<Value> values(block.getTerminator()->getOperands().take_front(carried.size()));
    SmallVector<int> to(carried);
    for (Value value : block.getTerminator()->getOperands().drop_front(carried.size())) {
      int slot = use(value);
      if (llvm::is_contained(carried, slot)) {
        values.push_back(value);
        to.push_back(slot = newSlot(value.getType()));
      }
      besides.push_back(slot);
    }
    assign(values, to, nodes);
    return nodes;
  }

  void forNode(study::ForOp loop, json::Array &nodes) {
    SmallVector<int> carried = carry(loop.getInits(), nodes, loop), held(carried);
    json::Object object{
        {"op", "for"}, {"variable", loop.getVariable()}, {"from", use(loop.getFrom())}, {"to", use(loop.getTo())}};
    held.push_back(use(loop.getFrom())), held.push_back(use(loop.getTo()));
    int index = define(loop.getBody().getArgument(0));
    held.push_back(index);
    object["index"] = index;
    around(held, [&] {
      SmallVector<int> none;
      object["body"] = carriedBody(loop.getBody(), 1, carried, none);
    });
    for (auto [result, slot] : llvm::zip_equal(loop.getResults(), carried))
      slotOf[result] = slot;
    if (loop.getIndependent())
      object["own"] = json::Array{index, int64_t(slots.size())};
    push(nodes, loop, std::move(object));
  }

  /// Branches are placed as if one ran after the other: those that run at the same time have their `own` slots in
  /// memory of their own. What they yield is copied to where it stays.
  void togetherNode(study::TogetherOp together, json::Array &nodes) {
    SmallVector<int> results;
    for (Value result : together.getResults())
      results.push_back(define(result));
    size_t own = slots.size();
    json::Array branches;
    around(results, [&] {
      ArrayRef<int> left = results;
      for (Region &region : together.getBranches()) {
        ValueRange yielded = region.front().getTerminator()->getOperands();
        json::Array branch = body(region.front());
        if (failed)
          return;
        assign(llvm::to_vector(yielded), left.take_front(yielded.size()), branch);
        left = left.drop_front(yielded.size());
        branches.push_back(std::move(branch));
      }
    });
    push(nodes, together,
         json::Object{{"op", "together"},
                      {"own", json::Array{int64_t(own), int64_t(slots.size())}},
                      {"branches", std::move(branches)}});
  }

  void trainNode(study::TrainOp train, json::Array &nodes) {
    SmallVector<int> carried = carry(train.getInits(), nodes, train), held(carried);
    json::Object object{{"op", "train"},
                        {"label", train.getLabel()},
                        {"rows", int64_t(train.getRows())},
                        {"batch", int64_t(train.getBatch())},
                        {"ordered", train.getOrdered()},
                        {"unit", train.getUnit()},
                        {"count", use(train.getCount())},
                        {"seed", use(train.getSeed())}};
    held.push_back(use(train.getCount())), held.push_back(use(train.getSeed()));
    auto slotFor = [&](Value value, int shared) {
      int slot = shared >= 0 ? slotOf[value] = shared : define(value);
      held.push_back(slot);
      return slot;
    };
    bool hasRows = train.getBatch() > 0, hasTail = !train.getTail().empty();
    Block &step = train.getStep().front();
    int epochSlot = slotFor(step.getArgument(0), -1), stepSlot = slotFor(step.getArgument(1), -1);
    object["epoch"] = epochSlot, object["step"] = stepSlot;
    object["row_indices"] = hasRows ? slotFor(step.getArgument(2), -1) : -1;
    if (hasTail) {
      Block &tail = train.getTail().front();
      slotFor(tail.getArgument(0), epochSlot), slotFor(tail.getArgument(1), stepSlot);
      object["tail_indices"] = slotFor(tail.getArgument(2), -1);
    }
    auto turn = [&](Region &region, const char *bodyKey, const char *lossKey, const char *diagnoseKey) {
      SmallVector<int, 1> loss;
      object[bodyKey] = carriedBody(region, train.firstCarried(region), carried, loss);
      if (failed)
        return;
      held.push_back(loss[0]);
      object[lossKey] = loss[0];
      diagnose(region.front().getTerminator()->getOperands().back(), object, diagnoseKey, held);
    };
    around(held, [&] {
      turn(train.getStep(), "body", "loss", "diagnose");
      if (hasTail && !failed)
        turn(train.getTail(), "tail", "loss_tail", "diagnose_tail");
      json::Array everyList;
      for (auto [i, region] : llvm::enumerate(train.getEvery())) {
        if (failed)
          return;
        json::Object every{{"period", train.getEveryPeriod()[i]},
                           {"unit", cast<StringAttr>(train.getEveryUnit()[i]).getValue()}};
        every["epoch"] = slotFor(region.getArgument(0), -1);
        every["step"] = slotFor(region.getArgument(1), -1);
        SmallVector<int> none;
        every["body"] = carriedBody(region, 2, carried, none);
        everyList.push_back(std::move(every));
      }
      object["every"] = std::move(everyList);
    });
    json::Array carriedList;
    for (auto [slot, name, role] : llvm::zip_equal(carried, train.getCarriedNames().getAsRange<StringAttr>(),
                                                   train.getCarriedRoles().getAsRange<StringAttr>()))
      carriedList.push_back(json::Object{{"slot", slot}, {"name", name.getValue()}, {"role", role.getValue()}});
    object["carried"] = std::move(carriedList);
    for (auto [result, slot] : llvm::zip_equal(train.getResults(), carried))
      slotOf[result] = slot;
    push(nodes, train, std::move(object));
  }

  /// The twin of the call that computes the loss, on the same arguments. They must still be there when a turn has
  /// ended.
  void diagnose(Value loss, json::Object &object, const char *key, SmallVectorImpl<int> &held) {
    auto call = loss.getDefiningOp<func::CallOp>();
    auto twin = call ? input.diagnoses.find(call.getCallee()) : input.diagnoses.end();
    if (twin == input.diagnoses.end())
      return;
    json::Array arguments, operations;
    for (Value operand : call.getOperands()) {
      int slot = use(operand);
      held.push_back(slot);
      arguments.push_back(slot);
    }
    for (const Diagnosis::Operation &operation : twin->second.operations)
      operations.push_back(json::Object{{"name", operation.name}, {"loc", operation.location}});
    int result = newSlot(RankedTensorType::get({}, IntegerType::get(module.getContext(), 32)));
    held.push_back(result);
    object[key] = json::Object{{"fn", twin->second.function},
                               {"args", std::move(arguments)},
                               {"results", json::Array{result}},
                               {"operations", std::move(operations)}};
  }

  void batchesNode(study::BatchesOp batches, json::Array &nodes) {
    json::Object object{
        {"op", "batches"}, {"rows", int64_t(batches.getRows())}, {"batch", int64_t(batches.getBatch())}};
    SmallVector<int> held, from, tailFrom, results;
    for (Value result : batches.getResults())
      results.push_back(define(result));
    held = results;
    auto run = [&](Region &region, const char *bodyKey, const char *indicesKey, SmallVectorImpl<int> &yielded) {
      Block &block = region.front();
      int indices = define(block.getArgument(0));
      held.push_back(indices);
      object[indicesKey] = indices;
      object[bodyKey] = body(block);
      for (Value value : block.getTerminator()->getOperands())
        yielded.push_back(failed ? -1 : use(value));
      held.append(yielded.begin(), yielded.end());
    };
    bool hasTail = !batches.getTail().empty();
    around(held, [&] {
      run(batches.getBody(), "body", "row_indices", from);
      if (hasTail && !failed)
        run(batches.getTail(), "tail", "tail_indices", tailFrom);
    });
    if (failed)
      return;
    json::Array list;
    for (auto [i, result] : llvm::enumerate(results)) {
      json::Object entry{
          {"combine", cast<StringAttr>(batches.getCombine()[i]).getValue()}, {"slot", result}, {"from", from[i]}};
      if (hasTail)
        entry["tail_from"] = tailFrom[i];
      list.push_back(std::move(entry));
    }
    object["results"] = std::move(list);
    push(nodes, batches, std::move(object));
  }

  json::Object regionObject(Region &region, SmallVectorImpl<int> &held) {
    Block &block = region.front();
    json::Array arguments;
    for (Value argument : block.getArguments()) {
      held.push_back(define(argument));
      arguments.push_back(held.back());
    }
    json::Object object{{"args", std::move(arguments)}, {"body", body(block)}};
    json::Array results;
    if (!failed)
      for (Value value : block.getTerminator()->getOperands()) {
        held.push_back(use(value));
        results.push_back(held.back());
      }
    object["results"] = std::move(results);
    return object;
  }

  ModuleOp module;
  SymbolTable symbols;
  const PlanInput &input;
  std::vector<int> touched; // slots, as they are used
  std::vector<Slot> slots;
  llvm::DenseMap<Value, int> slotOf;
  llvm::StringMap<int> settingSlots;
  int now = 0;
  bool failed = false;
};

} // namespace

std::optional<Plan> hw::backend::makePlan(ModuleOp module, const PlanInput &input) {
  return Planner(module, input).run();
}
