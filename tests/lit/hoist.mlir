// RUN: hw-opt --study-hoist %s | FileCheck %s

// What depends on nothing of the loops moves out of both; a repetition only goes along with what reads it.
// CHECK-LABEL: func @nested
// CHECK: %[[B:.*]] = hw.broadcast %arg1
// CHECK-NEXT: %[[S:.*]] = hw.sin %[[B]]
// CHECK-NEXT: "study.for"
// CHECK-NEXT: ^bb0(%[[I:.*]]: tensor<f64>, %[[C:.*]]: tensor<3xf64>)
// CHECK-NEXT: %[[E:.*]] = hw.exp %[[C]]
// CHECK-NEXT: "study.for"
// CHECK-NEXT: ^bb0(%[[J:.*]]: tensor<f64>, %[[D:.*]]: tensor<3xf64>)
// CHECK-NEXT: hw.broadcast %[[J]]
// CHECK-NEXT: hw.constant
// CHECK-NEXT: hw.mul %[[D]], %[[S]]
func.func @nested(%n: tensor<f64>, %w: tensor<f64>, %x: tensor<3xf64>) -> tensor<3xf64> {
  %y = "study.for"(%n, %n, %x) <{variable = "i"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<3xf64>):
    %z = "study.for"(%n, %n, %x) <{variable = "j"}> ({
    ^bb0(%j: tensor<f64>, %d: tensor<3xf64>):
      %e = hw.exp %c : tensor<3xf64>
      %b = hw.broadcast %w dims [] : tensor<f64> -> tensor<3xf64>
      %s = hw.sin %b : tensor<3xf64>
      %jj = hw.broadcast %j dims [] : tensor<f64> -> tensor<3xf64>
      %k = hw.constant dense<2.0> : tensor<3xf64>
      %p = hw.mul %d, %s : tensor<3xf64>
      %q = hw.mul %p, %jj : tensor<3xf64>
      %r = hw.mul %q, %k : tensor<3xf64>
      %t = hw.add %r, %e : tensor<3xf64>
      study.yield %t : tensor<3xf64>
    }) : (tensor<f64>, tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
    study.yield %z : tensor<3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  return %y : tensor<3xf64>
}
