// RUN: hw-opt --hw-simplify %s | FileCheck %s

// One contracted element: a multiplication.
// CHECK-LABEL: func @outer
// CHECK-NOT: dot_general
// CHECK-DAG: %[[X:.*]] = hw.reshape %arg0 : tensor<8x1xf32> -> tensor<8xf32>
// CHECK-DAG: %[[Y:.*]] = hw.reshape %arg1 : tensor<1x5xf32> -> tensor<5xf32>
// CHECK-DAG: %[[XX:.*]] = hw.broadcast %[[X]] dims [0] : tensor<8xf32> -> tensor<8x5xf32>
// CHECK-DAG: %[[YY:.*]] = hw.broadcast %[[Y]] dims [1] : tensor<5xf32> -> tensor<8x5xf32>
// CHECK: hw.mul %[[XX]], %[[YY]]
func.func @outer(%x: tensor<8x1xf32>, %y: tensor<1x5xf32>) -> tensor<8x5xf32> {
  %z = hw.dot_general %x, %y batch [] x [] contract [1] x [0] : (tensor<8x1xf32>, tensor<1x5xf32>) -> tensor<8x5xf32>
  return %z : tensor<8x5xf32>
}

// A matrix with a vector: a multiplication in the matrix's shape, and a sum.
// CHECK-LABEL: func @vector
// CHECK-NOT: dot_general
// CHECK: %[[P:.*]] = hw.mul %arg0, %{{.*}} : tensor<8x4xf32>
// CHECK: %[[S:.*]] = hw.reduce_sum %[[P]] dims [1]
// CHECK: hw.reshape %[[S]] : tensor<8xf32> -> tensor<8x1xf32>
func.func @vector(%x: tensor<8x4xf32>, %y: tensor<4x1xf32>) -> tensor<8x1xf32> {
  %z = hw.dot_general %x, %y batch [] x [] contract [1] x [0] : (tensor<8x4xf32>, tensor<4x1xf32>) -> tensor<8x1xf32>
  return %z : tensor<8x1xf32>
}

// A matrix product stays one, and reads what was transposed in place; its own transpose swaps the factors.
// CHECK-LABEL: func @transposes
// CHECK-NEXT: %[[Z:.*]] = hw.dot_general %arg1, %arg0 batch [] x [] contract [0] x [0] : (tensor<4x5xf32>, tensor<4x8xf32>) -> tensor<5x8xf32>
// CHECK-NEXT: return %[[Z]]
func.func @transposes(%x: tensor<4x8xf32>, %y: tensor<4x5xf32>) -> tensor<5x8xf32> {
  %t = hw.transpose %x permutation [1, 0] : tensor<4x8xf32> -> tensor<8x4xf32>
  %z = hw.dot_general %t, %y batch [] x [] contract [1] x [0] : (tensor<8x4xf32>, tensor<4x5xf32>) -> tensor<8x5xf32>
  %zt = hw.transpose %z permutation [1, 0] : tensor<8x5xf32> -> tensor<5x8xf32>
  return %zt : tensor<5x8xf32>
}

// Arithmetic on what is repeated happens before the repetition.
// CHECK-LABEL: func @repeated
// CHECK: %[[S:.*]] = hw.mul %arg0, %arg1 : tensor<f32>
// CHECK: %[[B:.*]] = hw.broadcast %[[S]]
// CHECK: hw.mul %[[B]], %arg2
func.func @repeated(%a: tensor<f32>, %b: tensor<f32>, %x: tensor<4xf32>) -> tensor<4xf32> {
  %aa = hw.broadcast %a dims [] : tensor<f32> -> tensor<4xf32>
  %bb = hw.broadcast %b dims [] : tensor<f32> -> tensor<4xf32>
  %ab = hw.mul %aa, %bb : tensor<4xf32>
  %z = hw.mul %ab, %x : tensor<4xf32>
  return %z : tensor<4xf32>
}

// Factors meet, unless their product leaves the range. A division stays exact: floor(49 / 49) is 1.
// CHECK-LABEL: func @scale
// CHECK: %[[C:.*]] = hw.constant dense<{{1.0*e\+01|10.0*}}> : tensor<4xf32>
// CHECK: hw.div
// CHECK: hw.mul %{{.*}}, %[[C]]
// CHECK: hw.mul
// CHECK-NEXT: hw.mul
func.func @scale(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %three = hw.constant dense<3.0> : tensor<4xf32>
  %five = hw.constant dense<5.0> : tensor<4xf32>
  %two = hw.constant dense<2.0> : tensor<4xf32>
  %huge = hw.constant dense<1.0e30> : tensor<4xf32>
  %a = hw.div %x, %three : tensor<4xf32>
  %b = hw.mul %a, %five : tensor<4xf32>
  %z = hw.mul %b, %two : tensor<4xf32>
  %c = hw.mul %x, %huge : tensor<4xf32>
  %d = hw.mul %c, %huge : tensor<4xf32>
  return %z, %d : tensor<4xf32>, tensor<4xf32>
}

// CHECK-LABEL: func @mask
// CHECK: %[[H:.*]] = hw.max %arg0
// CHECK: hw.compare "gt" %[[H]]
func.func @mask(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xi1>) {
  %zero = hw.constant dense<0.0> : tensor<4xf32>
  %h = hw.max %x, %zero : tensor<4xf32>
  %m = hw.compare "gt" %x, %zero : tensor<4xf32> -> tensor<4xi1>
  return %h, %m : tensor<4xf32>, tensor<4xi1>
}

// Two evaluations over the same batches become one, but not if one needs the other.
// CHECK-LABEL: func @batches
// CHECK: %[[R:.*]]:2 = "study.batches"()
// CHECK: study.yield %{{.*}}, %{{.*}} : tensor<f32>, tensor<f32>
// CHECK: "study.batches"()
// CHECK: study.yield %{{.*}} : tensor<f32>
// CHECK: return %[[R]]#0, %[[R]]#1
func.func @batches(%w: tensor<f32>) -> (tensor<f32>, tensor<f32>, tensor<f32>) {
  %a = "study.batches"() <{rows = 10 : i64, batch = 5 : i64, combine = ["mean"]}> ({
  ^bb0(%rows: tensor<5xi32>):
    %y = hw.exp %w : tensor<f32>
    study.yield %y : tensor<f32>
  }, {}) : () -> tensor<f32>
  %v = hw.sin %w : tensor<f32>
  %b = "study.batches"() <{rows = 10 : i64, batch = 5 : i64, combine = ["mean"]}> ({
  ^bb0(%rows: tensor<5xi32>):
    %y = hw.exp %v : tensor<f32>
    study.yield %y : tensor<f32>
  }, {}) : () -> tensor<f32>
  %c = "study.batches"() <{rows = 10 : i64, batch = 5 : i64, combine = ["mean"]}> ({
  ^bb0(%rows: tensor<5xi32>):
    %y = hw.mul %a, %w : tensor<f32>
    study.yield %y : tensor<f32>
  }, {}) : () -> tensor<f32>
  return %a, %b, %c : tensor<f32>, tensor<f32>, tensor<f32>
}

// What is made of numbers alone is f64; where it is only counted or chosen, it is made in f32 at once. A sum of f64 is
// rounded once, at the end.
// CHECK-LABEL: func @narrowed
// CHECK-NOT: f64
// CHECK: hw.iota dim 0 : tensor<4xf32>
// CHECK-NOT: f64
// CHECK: hw.cast %{{.*}} : tensor<4xi1> -> tensor<4xf32>
// CHECK-NOT: f64
// CHECK: hw.select %{{.*}} : tensor<4xi1>, tensor<4xf32>
// CHECK: return
func.func @narrowed(%m: tensor<4xi1>, %x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %i = hw.iota dim 0 : tensor<4xf64>
  %a = hw.cast %i : tensor<4xf64> -> tensor<4xf32>
  %w = hw.cast %m : tensor<4xi1> -> tensor<4xf64>
  %b = hw.cast %w : tensor<4xf64> -> tensor<4xf32>
  %p = hw.constant dense<0.1> : tensor<4xf64>
  %q = hw.constant dense<0.2> : tensor<4xf64>
  %s = hw.select %m, %p, %q : tensor<4xi1>, tensor<4xf64>
  %c = hw.cast %s : tensor<4xf64> -> tensor<4xf32>
  return %a, %b, %c : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}
// CHECK-LABEL: func @rounded_once
// CHECK: hw.add %{{.*}} : tensor<4xf64>
func.func @rounded_once(%y: tensor<4xf64>) -> tensor<4xf32> {
  %i = hw.iota dim 0 : tensor<4xf64>
  %z = hw.add %y, %i : tensor<4xf64>
  %a = hw.cast %z : tensor<4xf64> -> tensor<4xf32>
  return %a : tensor<4xf32>
}
