// RUN: hw-opt --canonicalize %s | FileCheck %s

// CHECK-LABEL: func @neutral
// CHECK-NEXT: return %arg0
func.func @neutral(%x: tensor<4xf32>) -> tensor<4xf32> {
  %zero = hw.constant dense<0.0> : tensor<4xf32>
  %one = hw.constant dense<1.0> : tensor<4xf32>
  %a = hw.add %zero, %x : tensor<4xf32>
  %b = hw.mul %one, %a : tensor<4xf32>
  %c = hw.div %b, %one : tensor<4xf32>
  %d = hw.sub %c, %zero : tensor<4xf32>
  %e = hw.neg %d : tensor<4xf32>
  %f = hw.neg %e : tensor<4xf32>
  %g = hw.pow %f, %one : tensor<4xf32>
  return %g : tensor<4xf32>
}

// x * 0 is NaN where x is infinite: it stays.
// CHECK-LABEL: func @zero
// CHECK: hw.mul
func.func @zero(%x: tensor<4xf32>) -> tensor<4xf32> {
  %zero = hw.constant dense<0.0> : tensor<4xf32>
  %a = hw.mul %x, %zero : tensor<4xf32>
  return %a : tensor<4xf32>
}

// CHECK-LABEL: func @powers
// CHECK-NOT: hw.pow
// CHECK: hw.mul %arg0, %arg0
// CHECK: hw.sqrt %arg0
// CHECK: hw.div
func.func @powers(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %two = hw.constant dense<2.0> : tensor<4xf32>
  %half = hw.constant dense<0.5> : tensor<4xf32>
  %minus = hw.constant dense<-1.0> : tensor<4xf32>
  %zero = hw.constant dense<0.0> : tensor<4xf32>
  %a = hw.pow %x, %two : tensor<4xf32>
  %b = hw.pow %x, %half : tensor<4xf32>
  %c = hw.pow %x, %minus : tensor<4xf32>
  %d = hw.pow %x, %zero : tensor<4xf32>
  return %a, %b, %c, %d : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}

// Constants, elementwise, in the element type; a splat of any size stays one.
// CHECK-LABEL: func @constants
// CHECK-DAG: hw.constant dense<[-1, 0, 1]> : tensor<3xi32>
// CHECK-DAG: hw.constant dense<[true, false, false]> : tensor<3xi1>
// CHECK-DAG: hw.constant dense<[255, 0, 3]> : tensor<3xui8>
// CHECK-DAG: hw.constant dense<6.000000e+00> : tensor<1000x1000xf32>
// CHECK-NOT: hw.add
func.func @constants() -> (tensor<3xi32>, tensor<3xi1>, tensor<3xui8>, tensor<1000x1000xf32>) {
  %x = hw.constant dense<[-1.5, 0.5, 1.25]> : tensor<3xf64>
  %i = hw.cast %x : tensor<3xf64> -> tensor<3xi32>
  %zero = hw.constant dense<0.0> : tensor<3xf64>
  %m = hw.compare "lt" %x, %zero : tensor<3xf64> -> tensor<3xi1>
  %y = hw.constant dense<[300.0, -5.0, 3.9]> : tensor<3xf64>
  %u = hw.cast %y : tensor<3xf64> -> tensor<3xui8>
  %two = hw.constant dense<2.0> : tensor<f32>
  %t = hw.broadcast %two dims [] : tensor<f32> -> tensor<1000x1000xf32>
  %four = hw.add %t, %t : tensor<1000x1000xf32>
  %six = hw.add %four, %t : tensor<1000x1000xf32>
  return %i, %m, %u, %six : tensor<3xi32>, tensor<3xi1>, tensor<3xui8>, tensor<1000x1000xf32>
}

// CHECK-LABEL: func @movement
// CHECK-NEXT: %[[R:.*]] = hw.reshape %arg0 : tensor<2x3xf32> -> tensor<6xf32>
// CHECK-NEXT: %[[B:.*]] = hw.broadcast %arg1 dims [2] : tensor<3xf32> -> tensor<5x2x3xf32>
// CHECK-NEXT: return %[[R]], %arg0, %[[B]], %arg0
func.func @movement(%x: tensor<2x3xf32>, %y: tensor<3xf32>) -> (tensor<6xf32>, tensor<2x3xf32>, tensor<5x2x3xf32>, tensor<2x3xf32>) {
  %a = hw.reshape %x : tensor<2x3xf32> -> tensor<3x2xf32>
  %b = hw.reshape %a : tensor<3x2xf32> -> tensor<6xf32>
  %c = hw.transpose %x permutation [1, 0] : tensor<2x3xf32> -> tensor<3x2xf32>
  %d = hw.transpose %c permutation [1, 0] : tensor<3x2xf32> -> tensor<2x3xf32>
  %e = hw.broadcast %y dims [1] : tensor<3xf32> -> tensor<2x3xf32>
  %f = hw.broadcast %e dims [1, 2] : tensor<2x3xf32> -> tensor<5x2x3xf32>
  %g = hw.concat %x, %e dim 0 : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<4x3xf32>
  %h = hw.slice %g [0, 0] [2, 3] [1, 1] : tensor<4x3xf32> -> tensor<2x3xf32>
  return %b, %d, %f, %h : tensor<6xf32>, tensor<2x3xf32>, tensor<5x2x3xf32>, tensor<2x3xf32>
}

// Along what a broadcast repeated, a sum is a product.
// CHECK-LABEL: func @sum
// CHECK: %[[S:.*]] = hw.reduce_sum %arg0 dims [0] : tensor<3x4xf32> -> tensor<4xf32>
// CHECK: hw.mul %[[S]]
func.func @sum(%x: tensor<3x4xf32>) -> tensor<4xf32> {
  %b = hw.broadcast %x dims [1, 2] : tensor<3x4xf32> -> tensor<7x3x4xf32>
  %s = hw.reduce_sum %b dims [0, 1] : tensor<7x3x4xf32> -> tensor<4xf32>
  return %s : tensor<4xf32>
}

// Windows of one element each are the tensor.
// CHECK-LABEL: func @windows
// CHECK: hw.window_sum
// CHECK: return %arg0
func.func @windows(%x: tensor<4x6xf32>) -> (tensor<4x6xf32>, tensor<4x3xf32>) {
  %a = hw.window_sum %x window [1, 1] stride [1, 1] pad [0, 0] [0, 0] : tensor<4x6xf32> -> tensor<4x6xf32>
  %b = hw.window_spread %a window [1] stride [1] pad [0] [0] : tensor<4x6xf32> -> tensor<4x6xf32>
  %c = hw.window_sum %b window [1] stride [2] pad [0] [0] : tensor<4x6xf32> -> tensor<4x3xf32>
  return %b, %c : tensor<4x6xf32>, tensor<4x3xf32>
}

// What is within the bounds by how it is computed needs no look: a clipped place, the places of a largest, bytes.
// CHECK-LABEL: func @whole_by_construction
// CHECK-NOT: hw.whole
// CHECK: return
func.func @whole_by_construction(%x: tensor<4x5xf32>, %b: tensor<4xui8>, %u: tensor<ui32>, %s: tensor<ui32>) -> (tensor<4xi32>, tensor<4xi32>, tensor<4xi32>, tensor<4xi32>) {
  %value, %index = hw.reduce_max %x dim 1 : tensor<4x5xf32> -> tensor<4xf32>, tensor<4xi32>
  %a = hw.whole %index below 5 from_end what "index" outside "axis 0" : tensor<4xi32> -> tensor<4xi32>
  %c = hw.whole %b below 256 what "index" outside "axis 0" : tensor<4xui8> -> tensor<4xi32>
  %i = hw.iota dim 0 : tensor<4xf32>
  %three = hw.constant dense<3.0> : tensor<4xf32>
  %shifted = hw.sub %i, %three : tensor<4xf32>
  %zero = hw.constant dense<0.0> : tensor<4xf32>
  %clipped = hw.max %shifted, %zero : tensor<4xf32>
  %d = hw.whole %clipped below 2 cut what "index" outside "axis 0" : tensor<4xf32> -> tensor<4xi32>
  %bits = hw.random_bits %u, %s site 0 : (tensor<ui32>, tensor<ui32>) -> tensor<4xui32>
  %k = hw.constant dense<256> : tensor<4xui32>
  %high = hw.div %bits, %k : tensor<4xui32>
  %f = hw.cast %high : tensor<4xui32> -> tensor<4xf32>
  %unit = hw.constant dense<5.9604644775390625e-08> : tensor<4xf32>
  %r = hw.mul %f, %unit : tensor<4xf32>
  %ten = hw.constant dense<10.0> : tensor<4xf32>
  %scaled = hw.mul %r, %ten : tensor<4xf32>
  %floor = hw.floor %scaled : tensor<4xf32>
  %nine = hw.constant dense<9.0> : tensor<4xf32>
  %least = hw.min %floor, %nine : tensor<4xf32>
  %e = hw.whole %least below 10 what "label" outside "the classes 0 to 9" : tensor<4xf32> -> tensor<4xi32>
  return %a, %c, %d, %e : tensor<4xi32>, tensor<4xi32>, tensor<4xi32>, tensor<4xi32>
}

// What may be outside, or NaN, stays; constants within fold, from the end too.
// CHECK-LABEL: func @whole
// CHECK-DAG: hw.constant dense<[5, 0]> : tensor<2xi32>
// CHECK-COUNT-5: hw.whole
// CHECK: return
func.func @whole(%x: tensor<2xf32>, %i: tensor<2xi32>, %m: tensor<2xi1>) -> (tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) {
  %inside = hw.constant dense<[-1.0, 0.0]> : tensor<2xf32>
  %a = hw.whole %inside below 6 from_end what "index" outside "axis 0" : tensor<2xf32> -> tensor<2xi32>
  %outside = hw.constant dense<[-7.0, 0.0]> : tensor<2xf32>
  %b = hw.whole %outside below 6 from_end what "index" outside "axis 0" : tensor<2xf32> -> tensor<2xi32>
  %zero = hw.constant dense<0.0> : tensor<2xf32>
  %five = hw.constant dense<5.0> : tensor<2xf32>
  %low = hw.max %x, %zero : tensor<2xf32>
  %clipped = hw.min %low, %five : tensor<2xf32>
  %c = hw.whole %clipped below 6 cut what "index" outside "axis 0" : tensor<2xf32> -> tensor<2xi32>
  %d = hw.whole %i below 6 from_end what "index" outside "axis 0" : tensor<2xi32> -> tensor<2xi32>
  %half = hw.constant dense<0.5> : tensor<2xf32>
  %mask = hw.cast %m : tensor<2xi1> -> tensor<2xf32>
  %scaled = hw.mul %mask, %half : tensor<2xf32>
  %e = hw.whole %scaled below 6 what "index" outside "axis 0" : tensor<2xf32> -> tensor<2xi32>
  %f = hw.whole %mask below 1 what "index" outside "axis 0" : tensor<2xf32> -> tensor<2xi32>
  return %a, %b, %c, %d, %e, %f : tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>
}
