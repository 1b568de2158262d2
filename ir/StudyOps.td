// The study dialect: the plan of an experiment. Its ops say what happens in which order; the arithmetic between them is hw ops,
// which `study-outline` gathers into entry points. docs/study-dialect.md is generated from here.
#ifndef STUDY_OPS
#define STUDY_OPS

include "HwBase.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Study_Dialect : Dialect {
  let name = "study";
  let cppNamespace = "::hw::study";
  let summary = "What an experiment does, in order: loops, training, recording, saving, drawing.";
  let dependentDialects = ["::hw::HwDialect"];
}

class Study_Op<string mnemonic, list<Trait> traits = []> : Op<Study_Dialect, mnemonic, traits>;

def YieldOp : Study_Op<"yield", [Pure, Terminator, ReturnLike]> {
  let summary = "ends a region: the next values of what it carries, or its results";
  let description = [{
    Constraints:
    1. It ends a region of a study op, which checks the types.

    Example:
    ```mlir
    // %n: tensor<f64>, %x: tensor<3xf32>
    %y = "study.for"(%n, %n, %x) <{variable = "i"}> ({
    ^bb0(%i: tensor<f64>, %carried: tensor<3xf32>):
      study.yield %carried : tensor<3xf32>
    }) : (tensor<f64>, tensor<f64>, tensor<3xf32>) -> tensor<3xf32>
    ```
  }];
  let arguments = (ins Variadic<Hw_Tensor>:$operands);
  let assemblyFormat = "($operands^)? attr-dict (`:` type($operands)^)?";
  let builders = [OpBuilder<(ins), [{}]>];
}

def SettingOp : Study_Op<"setting", [Pure]> {
  let summary = "a top-level scalar of the file, which --set reaches";
  let description = [{
    `value` is its value in this build (already the quick one under --quick).

    Constraints:
    1. The result has rank 0.

    Example:
    ```mlir
    %rate = study.setting "rate" = 1.000000e-03 : tensor<f64>
    ```
  }];
  let arguments = (ins StrAttr:$name, F64Attr:$value);
  let results = (outs StaticShapeTensorOf<[F64]>:$result);
  let assemblyFormat = "$name `=` $value attr-dict `:` type($result)";
}

def DatasetOp : Study_Op<"dataset", [Pure]> {
  let summary = "a tensor read from a file when the program starts";
  let description = [{
    `kind` is one of `npy`, `csv`, `idx`, `mnist`, `fashion_mnist`, `cifar10`, `safetensors`. `path` is the file or folder, relative to `--data`; `part` names
    the piece: a CSV column, a tensor of a safetensors file, `train.images`, `train.labels`, `test.images`, `test.labels`, or of one file `images`, `labels`. The result's type is what the header said when
    the program was compiled; the run checks that it still holds. `label_classes` > 0 bounds the values (labels): others are an error.

    Example:
    ```mlir
    %x = study.dataset "mnist" "data/mnist" "train.images" classes 0 : tensor<60000x28x28xui8>
    ```
  }];
  let arguments = (ins StrAttr:$kind, StrAttr:$path, StrAttr:$part, I64Attr:$label_classes);
  let results = (outs Hw_Tensor:$result);
  let assemblyFormat = "$kind $path $part `classes` $label_classes attr-dict `:` type($result)";
}

def ForOp : Study_Op<"for", [SingleBlock, RecursiveMemoryEffects]> {
  let summary = "a run-time loop over from, from + 1, ..., to";
  let description = [{
    Body arguments: the variable (tensor<f64>), then the carried values. Yields their next values. Values of the surroundings are captured freely.
    `independent`: turns need nothing of each other, and may run at the same time (study-together says so).

    Constraints:
    1. The body's arguments, its yield and the results have the types of the initial values (after the variable).

    Example:
    ```mlir
    // %from: tensor<f64>, %to: tensor<f64>, %x: tensor<3xf32>
    %y = "study.for"(%from, %to, %x) <{variable = "i"}> ({
    ^bb0(%i: tensor<f64>, %carried: tensor<3xf32>):
      %next = hw.exp %carried : tensor<3xf32>
      study.yield %next : tensor<3xf32>
    }) : (tensor<f64>, tensor<f64>, tensor<3xf32>) -> tensor<3xf32>
    ```
  }];
  let arguments = (ins StaticShapeTensorOf<[F64]>:$from, StaticShapeTensorOf<[F64]>:$to, Variadic<Hw_Tensor>:$inits, StrAttr:$variable,
                       UnitAttr:$independent);
  let results = (outs Variadic<Hw_Tensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let hasVerifier = 1;
}

def TogetherOp : Study_Op<"together", [SingleBlock, RecursiveMemoryEffects]> {
  let summary = "parts that need nothing of each other, and may run at the same time";
  let description = [{
    Rows of tables come in the order of the branches all the same. Each branch yields values; the results are those of all branches, in order. Values of the
    surroundings are captured freely.

    Constraints:
    1. The results have the types of what the branches yield.

    Example:
    ```mlir
    // %x: tensor<3xf32>
    %a, %b = "study.together"() ({
      %e = hw.exp %x : tensor<3xf32>
      study.yield %e : tensor<3xf32>
    }, {
      %s = hw.sin %x : tensor<3xf32>
      study.yield %s : tensor<3xf32>
    }) : () -> (tensor<3xf32>, tensor<3xf32>)
    ```
  }];
  let results = (outs Variadic<Hw_Tensor>:$results);
  let regions = (region VariadicRegion<SizedRegion<1>>:$branches);
  let hasVerifier = 1;
}

def TrainOp : Study_Op<"train", [SingleBlock]> {
  let summary = "a training loop";
  let description = [{
    Carries weights, model state, optimiser state and whatever the blocks rebind. One turn is one run of `step` (or `tail`, the last, smaller batch of an
    epoch; absent if batches divide `rows`), then of each `every` region that is due.
    
    - `rows`: rows of the data; `batch`: rows a step, 0 for all of them at once. `ordered`: no shuffling. `seed`: of the shuffles.
    - `count`: number of `unit` ("epochs" or "steps").
    - `step` and `tail` take (epoch: tensor<f64>, step: tensor<f64>, [rows: tensor<Bxi32> if batch > 0], carried...) and yield
      (next carried..., loss: tensor<f32 or f64>), loss being the sum of what is minimised, watched for NaN and shown on the progress bar.
    - `every[k]` takes (epoch, step (both completed counts), carried...) and yields (next carried...). It runs each `every_period[k]`
      `every_unit[k]`s ("epochs", "steps"). `study.stop` inside ends the training after that region.
    - `carried_names`, `carried_roles`: for each carried value, a name ("net.linear1.weight") and one of `weight`, `state`, `optimiser`, `variable`.
    - `label`: what progress and messages call this training. `loss_table` etc. are ordinary records.

    Constraints:
    1. Regions take and yield the carried values with the types of the initial ones.
    2. There is a name and a role for each carried value, a period and a unit for each `every` region.
    3. `tail` is there exactly if `batch` > 0 does not divide `rows`.

    Example:
    ```mlir
    // %count: tensor<f64>, %seed: tensor<f64>, %w: tensor<3xf32>
    %end = "study.train"(%count, %w, %seed) <{operandSegmentSizes = array<i32: 1, 1, 1>, rows = 100 : i64, batch = 0 : i64,
        ordered = false, unit = "epochs", label = "fit", carried_names = ["net.weight"], carried_roles = ["weight"],
        every_period = array<i64>, every_unit = []}> ({
    ^bb0(%epoch: tensor<f64>, %step: tensor<f64>, %v: tensor<3xf32>):
      %loss = hw.reduce_sum %v dims [0] : tensor<3xf32> -> tensor<f32>
      study.yield %v, %loss : tensor<3xf32>, tensor<f32>
    }, {}) : (tensor<f64>, tensor<3xf32>, tensor<f64>) -> tensor<3xf32>
    ```
  }];
  let arguments = (ins StaticShapeTensorOf<[F64]>:$count, Variadic<Hw_Tensor>:$inits, I64Attr:$rows, I64Attr:$batch, BoolAttr:$ordered,
                       StrAttr:$unit, StaticShapeTensorOf<[F64]>:$seed, StrAttr:$label, StrArrayAttr:$carried_names, StrArrayAttr:$carried_roles,
                       DenseI64ArrayAttr:$every_period, StrArrayAttr:$every_unit);
  let results = (outs Variadic<Hw_Tensor>:$results);
  let regions = (region SizedRegion<1>:$step, AnyRegion:$tail, VariadicRegion<SizedRegion<1>>:$every);
  let extraClassDeclaration = [{
    /// Where the carried values start among the arguments of one of the regions.
    unsigned firstCarried(::mlir::Region &region) {
      bool isStep = &region == &getStep() || &region == &getTail();
      return isStep && getBatch() ? 3 : 2;
    }
  }];
  let hasVerifier = 1;
}

def StopOp : Study_Op<"stop"> {
  let summary = "inside `every`: ends the training after this block where the condition holds";
  let description = [{
    Constraints:
    1. It stands in an `every` region.

    Example:
    ```mlir
    // %bad: tensor<i1>
    study.stop %bad : tensor<i1>
    ```
  }];
  let arguments = (ins Hw_MaskTensor:$condition);
  let assemblyFormat = "$condition attr-dict `:` type($condition)";
}

def CheckpointOp : Study_Op<"checkpoint"> {
  let summary = "writes a checkpoint, from which the run can go on";
  let description = [{
    A run writes one every half minute without being asked; this is for a place that is worth one. Not in a training's step.

    Example:
    ```mlir
    study.checkpoint
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def BatchesOp : Study_Op<"batches", [SingleBlock, RecursiveMemoryEffects]> {
  let summary = "evaluates over a data set in batches, in order";
  let description = [{
    `body` takes (rows: tensor<Bxi32>) and yields values; `tail` the same for the last, smaller batch (absent if `batch` divides `rows`).
    `combine[i]` says how the i-th result is made: `mean`, weighted by rows, or `concat`, along dimension 0 of the yielded value.

    Constraints:
    1. `combine` has an entry for each result.
    2. `tail` is there exactly if `batch` does not divide `rows`.

    Example:
    ```mlir
    // %x: tensor<100x3xf32>
    %mean = "study.batches"() <{rows = 100 : i64, batch = 50 : i64, combine = ["mean"]}> ({
    ^bb0(%rows: tensor<50xi32>):
      %part = hw.gather %x at %rows : (tensor<100x3xf32>, tensor<50xi32>) -> tensor<50x3xf32>
      %sum = hw.reduce_sum %part dims [0] : tensor<50x3xf32> -> tensor<3xf32>
      study.yield %sum : tensor<3xf32>
    }, {}) : () -> tensor<3xf32>
    ```
  }];
  let arguments = (ins I64Attr:$rows, I64Attr:$batch, StrArrayAttr:$combine);
  let results = (outs Variadic<Hw_Tensor>:$results);
  let regions = (region SizedRegion<1>:$body, AnyRegion:$tail);
  let hasVerifier = 1;
}

def EighOp : Study_Op<"eigh", [Pure]> {
  let summary = "eigenvalues of a symmetric matrix, ascending, and its eigenvectors";
  let description = [{
    A V = V diag(values), V orthogonal: column j of `vectors` belongs to `values[j]`. The sign of each column is arbitrary. Vectors that nothing reads
    are not computed. Derivatives of the vectors, and second ones of the values, are those of simple eigenvalues.

    Constraints:
    1. matrix and vectors: [n, n], values: [n], of one element type.

    Example:
    ```mlir
    // %m: tensor<3x3xf64>
    %e, %v = study.eigh %m : tensor<3x3xf64> -> tensor<3xf64>, tensor<3x3xf64>
    ```
  }];
  let arguments = (ins Hw_FloatTensor:$matrix);
  let results = (outs Hw_FloatTensor:$values, Hw_FloatTensor:$vectors);
  let assemblyFormat = "$matrix attr-dict `:` type($matrix) `->` type($values) `,` type($vectors)";
  let builders = [OpBuilder<(ins "::mlir::Value":$matrix)>];
  let hasVerifier = 1;
}

def GradcheckOp : Study_Op<"gradcheck"> {
  let summary = "compares gradient and Hessian-vector product with central differences, a table row a parameter";
  let description = [{
    `loss` takes the weights and yields (loss: tensor<f64>, kinks: tensor<f64>): `kinks` is a fingerprint of every comparison's outcome, so that a difference that
    crosses a kink is recognised. `gradient` takes the weights and yields their gradients. `product` takes weights, then directions, and yields Hessian-vector
    products. Weights are f64. Rows go to `table`: parameter, entries, gradient_error, hvp_error (relative), at_kink; before these the columns `keys`, whose
    values are `constants`: the variables of the loops around.

    Example:
    ```mlir
    // %w: tensor<3xf64>
    "study.gradcheck"(%w) <{table = "check", names = ["weight"]}> ({
    ^bb0(%a: tensor<3xf64>):
      %y = hw.mul %a, %a : tensor<3xf64>
      %loss = hw.reduce_sum %y dims [0] : tensor<3xf64> -> tensor<f64>
      %kinks = hw.constant dense<0.0> : tensor<f64>
      study.yield %loss, %kinks : tensor<f64>, tensor<f64>
    }, {
    ^bb0(%a: tensor<3xf64>):
      %g = hw.add %a, %a : tensor<3xf64>
      study.yield %g : tensor<3xf64>
    }, {
    ^bb0(%a: tensor<3xf64>, %v: tensor<3xf64>):
      %h = hw.add %v, %v : tensor<3xf64>
      study.yield %h : tensor<3xf64>
    }) : (tensor<3xf64>) -> ()
    ```
  }];
  let arguments = (ins Variadic<Hw_FloatTensor>:$weights, StrAttr:$table, StrArrayAttr:$names, OptionalAttr<DictionaryAttr>:$constants,
                       OptionalAttr<StrArrayAttr>:$keys);
  let regions = (region SizedRegion<1>:$loss, SizedRegion<1>:$gradient, SizedRegion<1>:$product);
}

def BenchOp : Study_Op<"bench", [SingleBlock]> {
  let summary = "arithmetic that `hwc bench` times, and a run skips";
  let description = [{
    The body takes the inputs (so that nothing is hoisted out of it) and yields what must be computed. `name` is its name in the report.

    Constraints:
    1. The body takes the inputs.

    Example:
    ```mlir
    // %w: tensor<3xf32>
    "study.bench"(%w) <{name = "net.forward"}> ({
    ^bb0(%a: tensor<3xf32>):
      %loss = hw.reduce_sum %a dims [0] : tensor<3xf32> -> tensor<f32>
      study.yield %loss : tensor<f32>
    }) : (tensor<3xf32>) -> ()
    ```
  }];
  let arguments = (ins Variadic<Hw_Tensor>:$inputs, StrAttr:$name);
  let regions = (region SizedRegion<1>:$body);
  let hasVerifier = 1;
}

def RecordOp : Study_Op<"record"> {
  let summary = "appends to a table";
  let description = [{
    One value a column: `columns[i]` names operand i. Operands are scalars, or (with `rows` > 0) tensors with dimension 0 of size `rows`, which give a row each;
    scalars are then repeated. A value with further dimensions takes a column an element: `name[0]`, `name[1]`, ... `constants` are columns whose
    value is a string or number known at compile time, e.g. an unrolled loop's variable. `order` lists all column names in the table's order.
    `hidden` tables leave no file: they hold a step's scalars for `every`.

    Example:
    ```mlir
    // %loss: tensor<f32>
    study.record "curve"(%loss) ["loss"] {run = 1.0} order ["run", "loss"] rows 0 hidden false : tensor<f32>
    ```
  }];
  let arguments = (ins StrAttr:$table, Variadic<Hw_Tensor>:$operands, StrArrayAttr:$columns, DictionaryAttr:$constants, StrArrayAttr:$order, I64Attr:$rows,
                       BoolAttr:$hidden);
  let assemblyFormat = "$table `(` $operands `)` $columns $constants `order` $order `rows` $rows `hidden` $hidden attr-dict `:` type($operands)";
}

def ReduceOp : Study_Op<"reduce"> {
  let summary = "reduces a table's column to a scalar: mean, sum, min, max, last or count";
  let description = [{
    Of an empty column: sum and count 0, others NaN. Reads the table as it is at this point of the plan.

    Example:
    ```mlir
    %mean = study.reduce "mean" "curve" "loss" : tensor<f64>
    ```
  }];
  let arguments = (ins StrAttr:$table, StrAttr:$column, StrAttr:$kind);
  let results = (outs StaticShapeTensorOf<[F64]>:$result);
  let assemblyFormat = "$kind $table $column attr-dict `:` type($result)";
}

def ClearOp : Study_Op<"clear"> {
  let summary = "empties a hidden table";
  let description = [{
    Example:
    ```mlir
    study.clear "steps"
    ```
  }];
  let arguments = (ins StrAttr:$table);
  let assemblyFormat = "$table attr-dict";
}

def SaveOp : Study_Op<"save"> {
  let summary = "writes tensors to a file of the output folder";
  let description = [{
    `format` "npy": one operand, `<name>.npy`. "safetensors": `<name>.safetensors` with `names` for the operands. "csv": no operands; the column
    `column` of `table` (or the whole table if empty) as `<name>.npy`. Run-time loop variables come as trailing scalar operands, named by `loop_names`; the file's name becomes
    `<name>-<variable>=<value>`; those of unrolled loops are already part of `name`.

    Example:
    ```mlir
    // %h: tensor<3x3xf64>
    "study.save"(%h) <{name = "hessian", format = "npy", names = ["hessian"], loop_names = [], table = "", column = ""}> : (tensor<3x3xf64>) -> ()
    ```
  }];
  let arguments = (ins StrAttr:$name, StrAttr:$format, Variadic<Hw_Tensor>:$operands, StrArrayAttr:$names, StrArrayAttr:$loop_names,
                       StrAttr:$table, StrAttr:$column);
}

def PlotOp : Study_Op<"plot"> {
  let summary = "draws tables as figures when the plan gets here";
  let description = [{
    `spec` is a JSON object: {"title": "loss, {target}", "on": "curve" or null, "per": ["target"], "logx": false, "logy": true,
    "marks": [{"kind": "line", "y": EXPR, "over": [EXPR...], "by": ["widths"], "label": EXPR or null, "right": false} ]}, where EXPR is {"table": "curve",
    "column": "loss"} (plus "index": j for column `name[j]`).

    Example:
    ```mlir
    "study.plot"() <{spec = "{}", loop_names = []}> : () -> ()
    ```
  }];
  let arguments = (ins StrAttr:$spec, Variadic<Hw_Tensor>:$loop_values, StrArrayAttr:$loop_names);
}

#endif
