// RUN: hw-opt --study-outline -split-input-file %s | FileCheck %s

// One function a turn although a record stands between its halves; constants are repeated where they are read; the weight's buffer is taken over by its
// next value, but not that of the weight which is recorded after the call.
// CHECK-LABEL: func.func @study()
// CHECK: %[[RATE:.*]] = study.setting "rate"
// CHECK-NEXT: %[[X:.*]] = study.dataset
// CHECK-NEXT: %[[C:.*]]:2 = call @study0()
// CHECK-NEXT: %[[T:.*]]:2 = "study.train"(%[[C]]#{{.}}, %[[C]]#{{.}}, %[[C]]#{{.}}, %[[C]]#{{.}})
// CHECK: ^bb0(%{{.*}}: tensor<f64>, %{{.*}}: tensor<f64>, %[[W:.*]]: tensor<3xf64>, %[[V:.*]]: tensor<3xf64>)
// CHECK-NEXT: %[[S:.*]]:3 = func.call @fit_step(%[[W]], %[[X]], %[[V]], %[[RATE]])
// CHECK-NEXT: study.record "curve"(%[[S]]#0, %[[V]])
// CHECK-NEXT: study.yield %[[S]]#1, %[[S]]#2, %[[S]]#0
// CHECK: ^bb0
// CHECK-NEXT: %[[E:.*]] = func.call @fit_every0
// CHECK-NEXT: study.stop %[[E]]
// CHECK-NEXT: study.yield
// CHECK: return
// CHECK: func.func private @fit_step(%arg0: tensor<3xf64> {hw.donate = 1 : i64}, %arg1: tensor<3xf64>, %arg2: tensor<3xf64>, %arg3: tensor<f64>)
// CHECK-SAME: hw.entry = "fit.step"
// CHECK: hw.constant dense<2.000000e+00>
// CHECK: func.func private @fit_every0({{.*}}) -> tensor<i1> attributes {hw.entry = "fit.every0"}
// CHECK: func.func private @study0() -> (tensor<f64>, tensor<3xf64>) attributes {hw.entry = "study0"}
func.func @study() {
  %n = hw.constant dense<10.0> : tensor<f64>
  %two = hw.constant dense<2.0> : tensor<3xf64>
  %rate = study.setting "rate" = 0.1 : tensor<f64>
  %x = study.dataset "npy" "x.npy" "" classes 0 : tensor<3xf64>
  %t:2 = "study.train"(%n, %two, %two, %n) <{operandSegmentSizes = array<i32: 1, 2, 1>, rows = 3 : i64, batch = 0 : i64, ordered = true,
      unit = "epochs", label = "fit", carried_names = ["w", "v"], carried_roles = ["weight", "weight"], every_period = array<i64: 1>,
      every_unit = ["epochs"]}> ({
  ^bb0(%epoch: tensor<f64>, %step: tensor<f64>, %w: tensor<3xf64>, %v: tensor<3xf64>):
    %p = hw.mul %w, %x : tensor<3xf64>
    %q = hw.mul %p, %v : tensor<3xf64>
    %loss = hw.reduce_sum %q dims [0] : tensor<3xf64> -> tensor<f64>
    study.record "curve"(%loss, %v) ["loss", "v"] {} order ["loss", "v"] rows 0 hidden false : tensor<f64>, tensor<3xf64>
    %r = hw.broadcast %rate dims [] : tensor<f64> -> tensor<3xf64>
    %u = hw.mul %q, %r : tensor<3xf64>
    %next = hw.sub %w, %u : tensor<3xf64>
    %other = hw.mul %v, %two : tensor<3xf64>
    study.yield %next, %other, %loss : tensor<3xf64>, tensor<3xf64>, tensor<f64>
  }, {}, {
  ^bb0(%epoch: tensor<f64>, %step: tensor<f64>, %w: tensor<3xf64>, %v: tensor<3xf64>):
    %s = hw.reduce_sum %w dims [0] : tensor<3xf64> -> tensor<f64>
    %unused = hw.exp %w : tensor<3xf64>
    %bad = hw.compare "gt" %s, %n : tensor<f64> -> tensor<i1>
    study.stop %bad : tensor<i1>
    study.yield %w, %v : tensor<3xf64>, tensor<3xf64>
  }) : (tensor<f64>, tensor<3xf64>, tensor<3xf64>, tensor<f64>) -> (tensor<3xf64>, tensor<3xf64>)
  return
}

// -----

// What needs a result of the plan's is a function of its own, called when it is first needed. Each buffer goes to the value that the loop
// carries in it next.
// CHECK-LABEL: func.func @study()
// CHECK: %[[A:.*]]:3 = call @study0()
// CHECK-NEXT: %[[L:.*]]:2 = "study.for"(%[[A]]#{{.}}, %[[A]]#{{.}}, %[[A]]#{{.}}, %[[A]]#{{.}})
// CHECK: func.call @run(
// CHECK-NEXT: study.yield
// CHECK: %[[M:.*]] = study.reduce
// CHECK-NEXT: %[[B:.*]]:2 = call @study1(%[[L]]#0, %[[M]])
// CHECK-NEXT: study.record "a"(%[[B]]#{{.}})
// CHECK-NEXT: study.record "b"(%[[B]]#{{.}})
// CHECK-NOT: call
// CHECK: func.func private @run(%arg0: tensor<3xf64> {hw.donate = 1 : i64}, %arg1: tensor<3xf64> {hw.donate = 0 : i64}) ->
// CHECK: func.func private @study1(
func.func @study() {
  %one = hw.constant dense<1.0> : tensor<f64>
  %x = hw.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf64>
  %y = hw.exp %x : tensor<3xf64>
  %l:2 = "study.for"(%one, %one, %x, %y) <{variable = "run"}> ({
  ^bb0(%i: tensor<f64>, %a: tensor<3xf64>, %b: tensor<3xf64>):
    %na = hw.exp %a : tensor<3xf64>
    %nb = hw.exp %b : tensor<3xf64>
    study.yield %nb, %na : tensor<3xf64>, tensor<3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<3xf64>, tensor<3xf64>) -> (tensor<3xf64>, tensor<3xf64>)
  %s = hw.reduce_sum %l#0 dims [0] : tensor<3xf64> -> tensor<f64>
  %m = study.reduce "mean" "curve" "loss" : tensor<f64>
  study.record "a"(%s) ["s"] {} order ["s"] rows 0 hidden false : tensor<f64>
  %d = hw.sub %s, %m : tensor<f64>
  study.record "b"(%d) ["d"] {} order ["d"] rows 0 hidden false : tensor<f64>
  return
}

// -----

// A broadcast is repeated where it is read: it is neither passed, nor what it repeats returned for its sake.
// CHECK-LABEL: func.func @study()
// CHECK: %[[A:.*]]:2 = call @study0(%[[X:.*]]) :
// CHECK: call @run(%{{.*}}, %[[A]]#{{.}})
// CHECK: func.func private @run(%arg0: tensor<4x3xf64> {hw.donate = 0 : i64}, %arg1: tensor<3xf64>) -> tensor<4x3xf64>
// CHECK-NEXT: hw.broadcast %arg1
// CHECK: func.func private @study0(%arg0: tensor<3xf64>) -> (tensor<3xf64>, tensor<4x3xf64>)
func.func @study() {
  %n = study.setting "n" = 3.0 : tensor<f64>
  %x = study.dataset "npy" "x.npy" "" classes 0 : tensor<3xf64>
  %e = hw.exp %x : tensor<3xf64>
  %b = hw.broadcast %e dims [1] : tensor<3xf64> -> tensor<4x3xf64>
  %s = hw.sin %e : tensor<3xf64>
  %sb = hw.broadcast %s dims [1] : tensor<3xf64> -> tensor<4x3xf64>
  %init = hw.mul %b, %sb : tensor<4x3xf64>
  %l = "study.for"(%n, %n, %init) <{variable = "run"}> ({
  ^bb0(%i: tensor<f64>, %a: tensor<4x3xf64>):
    %next = hw.mul %a, %b : tensor<4x3xf64>
    study.yield %next : tensor<4x3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<4x3xf64>) -> tensor<4x3xf64>
  study.record "a"(%l) ["s"] {} order ["s"] rows 0 hidden false : tensor<4x3xf64>
  return
}
