// RUN: hw-opt --hw-expand-derivatives %s | FileCheck %s
// RUN: hw-opt --hw-derivatives %s | FileCheck %s --check-prefix=TIDY

// The primal's exp is the derivative's; and nothing comes of nothing, as it may be infinite.
// CHECK-LABEL: func @exp
// CHECK: %[[Y:.*]] = hw.exp %arg0
// CHECK-NEXT: %[[D:.*]] = hw.mul %arg1, %[[Y]]
// CHECK: %[[M:.*]] = hw.compare "ne" %arg1
// CHECK: %[[Z:.*]] = hw.select %[[M]], %[[D]]
// CHECK-NEXT: return %[[Z]]
func.func @exp(%x: tensor<3xf32>, %v: tensor<3xf32>) -> tensor<3xf32> {
  %y = hw.exp %x : tensor<3xf32>
  %d = hw.jvp %y wrt %x tangents %v : (tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  return %d : tensor<3xf32>
}

// Nothing of the linearisation is left, and a layer's three products are three.
// TIDY-LABEL: func @layer
// TIDY-COUNT-3: hw.dot_general
// TIDY-NOT: hw.dot_general
// TIDY-NOT: unrealized_conversion_cast
func.func @layer(%x: tensor<8x4xf32>, %w: tensor<4x5xf32>) -> (tensor<8x4xf32>, tensor<4x5xf32>) {
  %z = hw.dot_general %x, %w batch [] x [] contract [1] x [0] : (tensor<8x4xf32>, tensor<4x5xf32>) -> tensor<8x5xf32>
  %h = hw.tanh %z : tensor<8x5xf32>
  %l = hw.reduce_sum %h dims [0, 1] : tensor<8x5xf32> -> tensor<f32>
  %g:2 = hw.grad %l wrt %x, %w : (tensor<f32>, tensor<8x4xf32>, tensor<4x5xf32>) -> (tensor<8x4xf32>, tensor<4x5xf32>)
  return %g#0, %g#1 : tensor<8x4xf32>, tensor<4x5xf32>
}

// A weight gradient comes out in the weight's own orientation: no transpose, for x W and for x W^T.
// TIDY-LABEL: func @orientation
// TIDY-NOT: hw.transpose
// TIDY: return
func.func @orientation(%x: tensor<8x4xf32>, %w: tensor<5x4xf32>, %c: tensor<8x5xf32>) -> tensor<5x4xf32> {
  %z = hw.dot_general %x, %w batch [] x [] contract [1] x [1] : (tensor<8x4xf32>, tensor<5x4xf32>) -> tensor<8x5xf32>
  %g = hw.vjp %z wrt %w cotangents %c : (tensor<8x5xf32>, tensor<5x4xf32>, tensor<8x5xf32>) -> tensor<5x4xf32>
  return %g : tensor<5x4xf32>
}

// relu's mask is read off its result: z is not kept.
// CHECK-LABEL: func @relu
// CHECK: %[[H:.*]] = hw.max %arg0, %[[ZERO:.*]] :
// CHECK: hw.compare "gt" %[[H]], %[[ZERO]]
func.func @relu(%x: tensor<3xf32>, %c: tensor<3xf32>) -> tensor<3xf32> {
  %zero = hw.constant dense<0.0> : tensor<3xf32>
  %y = hw.max %x, %zero : tensor<3xf32>
  %g = hw.vjp %y wrt %x cotangents %c : (tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  return %g : tensor<3xf32>
}

// A Hessian-vector product (jvp of grad) of a layer: the forward and the gradient product, and the tangent of either.
// TIDY-LABEL: func @hvp
// TIDY-COUNT-4: hw.dot_general
// TIDY-NOT: hw.dot_general
// TIDY: return
func.func @hvp(%x: tensor<8x4xf64>, %w: tensor<4x5xf64>, %v: tensor<4x5xf64>) -> (tensor<4x5xf64>, tensor<4x5xf64>) {
  %z = hw.dot_general %x, %w batch [] x [] contract [1] x [0] : (tensor<8x4xf64>, tensor<4x5xf64>) -> tensor<8x5xf64>
  %h = hw.tanh %z : tensor<8x5xf64>
  %l = hw.reduce_sum %h dims [0, 1] : tensor<8x5xf64> -> tensor<f64>
  %g = hw.grad %l wrt %w : (tensor<f64>, tensor<4x5xf64>) -> tensor<4x5xf64>
  %hv = hw.jvp %g wrt %w tangents %v : (tensor<4x5xf64>, tensor<4x5xf64>, tensor<4x5xf64>) -> tensor<4x5xf64>
  return %g, %hv : tensor<4x5xf64>, tensor<4x5xf64>
}

// A gradient of a gradient's norm; of what does not depend on w, zero.
// TIDY-LABEL: func @norm
// TIDY-NOT: hw.grad
// TIDY-DAG: %[[ZERO:.*]] = hw.constant dense<0.000000e+00> : tensor<2xf64>
// TIDY-DAG: %[[C:.*]] = hw.constant dense<8.000000e+00> : tensor<3xf64>
// TIDY: %[[G:.*]] = hw.mul %arg0, %[[C]]
// TIDY-NEXT: return %[[G]], %[[ZERO]]
func.func @norm(%w: tensor<3xf64>, %u: tensor<2xf64>) -> (tensor<3xf64>, tensor<2xf64>) {
  %y = hw.mul %w, %w : tensor<3xf64>
  %l = hw.reduce_sum %y dims [0] : tensor<3xf64> -> tensor<f64>
  %g = hw.grad %l wrt %w : (tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  %gg = hw.mul %g, %g : tensor<3xf64>
  %n = hw.reduce_sum %gg dims [0] : tensor<3xf64> -> tensor<f64>
  %h:2 = hw.grad %n wrt %w, %u : (tensor<f64>, tensor<3xf64>, tensor<2xf64>) -> (tensor<3xf64>, tensor<2xf64>)
  return %h#0, %h#1 : tensor<3xf64>, tensor<2xf64>
}

// d/dw of w b, b = w w, in both: through b too.
// TIDY-LABEL: func @total
// TIDY-DAG: %[[B:.*]] = hw.mul %arg0, %arg0
// TIDY-DAG: %[[W:.*]] = hw.mul %{{.*}}, %{{.*}}
// TIDY: return %{{.*}}, %arg0
func.func @total(%w: tensor<f64>) -> (tensor<f64>, tensor<f64>) {
  %b = hw.mul %w, %w : tensor<f64>
  %l = hw.mul %w, %b : tensor<f64>
  %g:2 = hw.grad %l wrt %w, %b : (tensor<f64>, tensor<f64>, tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %g#0, %g#1 : tensor<f64>, tensor<f64>
}

// The derivative stays where it is asked for; the flow crosses blocks outwards.
// CHECK-LABEL: func @outwards
// CHECK: hw.exp
// CHECK: study.batches
// CHECK: ^bb0(%[[V:.*]]: tensor<1xi32>)
// CHECK: hw.mul %{{.*}}, %{{.*}} : tensor<3xf64>
// CHECK: study.yield
func.func @outwards(%w: tensor<3xf64>, %t: tensor<3x3xf64>) -> tensor<3x3xf64> {
  %y = hw.exp %w : tensor<3xf64>
  %m = "study.batches"() <{rows = 3 : i64, batch = 1 : i64, combine = ["concat"]}> ({
  ^bb0(%row: tensor<1xi32>):
    %v1 = hw.gather %t at %row : (tensor<3x3xf64>, tensor<1xi32>) -> tensor<1x3xf64>
    %v = hw.reshape %v1 : tensor<1x3xf64> -> tensor<3xf64>
    %d = hw.jvp %y wrt %w tangents %v : (tensor<3xf64>, tensor<3xf64>, tensor<3xf64>) -> tensor<3xf64>
    %d1 = hw.reshape %d : tensor<3xf64> -> tensor<1x3xf64>
    study.yield %d1 : tensor<1x3xf64>
  }, {}) : () -> tensor<3x3xf64>
  return %m : tensor<3x3xf64>
}

// What is held is constant: d(x near)/dx is near, though near = 2 x; and d(x near)/d(x, near) starts anew at near.
// TIDY-LABEL: func @held
// TIDY: %[[NEAR:.*]] = hw.mul %arg0
// TIDY: return %[[NEAR]], %[[NEAR]], %arg0
func.func @held(%x: tensor<f64>) -> (tensor<f64>, tensor<f64>, tensor<f64>) {
  %two = hw.constant dense<2.0> : tensor<f64>
  %near = hw.mul %x, %two : tensor<f64>
  %y = hw.mul %x, %near : tensor<f64>
  %g = hw.grad %y wrt %x held %near : (tensor<f64>, tensor<f64>, tensor<f64>) -> tensor<f64>
  %h:2 = hw.grad %y wrt %x, %near held %near : (tensor<f64>, tensor<f64>, tensor<f64>, tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %g, %h#0, %h#1 : tensor<f64>, tensor<f64>, tensor<f64>
}

// The derivative of an eigenvalue needs the vectors, of the one decomposition that there is.
// TIDY-LABEL: func @eigenvalues
// TIDY: %[[E:.*]], %[[V:.*]] = study.eigh
// TIDY-NOT: study.eigh
// TIDY: hw.dot_general {{.*}}%[[V]]
func.func @eigenvalues(%m: tensor<3x3xf64>, %c: tensor<3xf64>) -> (tensor<3xf64>, tensor<3x3xf64>) {
  %e, %v = study.eigh %m : tensor<3x3xf64> -> tensor<3xf64>, tensor<3x3xf64>
  %g = hw.vjp %e wrt %m cotangents %c : (tensor<3xf64>, tensor<3x3xf64>, tensor<3xf64>) -> tensor<3x3xf64>
  return %e, %g : tensor<3xf64>, tensor<3x3xf64>
}

// Batches: a mean's gradient is the mean of the batches', and the loss's forward pass is shared with it.
// TIDY-LABEL: func @batches
// TIDY: %[[R:.*]]:2 = "study.batches"() <{batch = 4 : i64, combine = ["mean", "mean"], rows = 10 : i64}>
// TIDY: hw.exp
// TIDY-NOT: hw.exp
// TIDY: study.yield
// TIDY: }, {
// TIDY: hw.exp
// TIDY-NOT: hw.exp
// TIDY: return %[[R]]#0, %[[R]]#1
func.func @batches(%x: tensor<10xf64>, %w: tensor<f64>) -> (tensor<f64>, tensor<f64>) {
  %l = "study.batches"() <{rows = 10 : i64, batch = 4 : i64, combine = ["mean"]}> ({
  ^bb0(%rows: tensor<4xi32>):
    %b = hw.gather %x at %rows : (tensor<10xf64>, tensor<4xi32>) -> tensor<4xf64>
    %wb = hw.broadcast %w dims [] : tensor<f64> -> tensor<4xf64>
    %p = hw.mul %b, %wb : tensor<4xf64>
    %e = hw.exp %p : tensor<4xf64>
    %s = hw.reduce_sum %e dims [0] : tensor<4xf64> -> tensor<f64>
    study.yield %s : tensor<f64>
  }, {
  ^bb0(%rows: tensor<2xi32>):
    %b = hw.gather %x at %rows : (tensor<10xf64>, tensor<2xi32>) -> tensor<2xf64>
    %wb = hw.broadcast %w dims [] : tensor<f64> -> tensor<2xf64>
    %p = hw.mul %b, %wb : tensor<2xf64>
    %e = hw.exp %p : tensor<2xf64>
    %s = hw.reduce_sum %e dims [0] : tensor<2xf64> -> tensor<f64>
    study.yield %s : tensor<f64>
  }) : () -> tensor<f64>
  %g = hw.grad %l wrt %w : (tensor<f64>, tensor<f64>) -> tensor<f64>
  return %l, %g : tensor<f64>, tensor<f64>
}

// Of a concatenation each batch pulls back its own rows; the sum over batches is a mean with a factor of rows / batch = 2.
// CHECK-LABEL: func @concatenated
// CHECK: "study.batches"
// CHECK: "study.batches"() <{batch = 5 : i64, combine = ["mean"], rows = 10 : i64}>
// CHECK: ^bb0(%[[ROWS:.*]]: tensor<5xi32>)
// CHECK: %[[C:.*]] = hw.gather %arg2 at %[[ROWS]]
// CHECK: %[[TWO:.*]] = hw.constant dense<2.000000e+00> : tensor<5xf64>
// CHECK: hw.mul %[[C]], %[[TWO]]
// CHECK: study.yield %{{.*}} : tensor<f64>
// CHECK: "study.batches"() <{batch = 5 : i64, combine = ["concat"], rows = 10 : i64}>
// CHECK: () -> tensor<10xf64>
func.func @concatenated(%x: tensor<10xf64>, %w: tensor<f64>, %c: tensor<10xf64>) -> (tensor<10xf64>, tensor<f64>, tensor<10xf64>) {
  %y = "study.batches"() <{rows = 10 : i64, batch = 5 : i64, combine = ["concat"]}> ({
  ^bb0(%rows: tensor<5xi32>):
    %b = hw.gather %x at %rows : (tensor<10xf64>, tensor<5xi32>) -> tensor<5xf64>
    %wb = hw.broadcast %w dims [] : tensor<f64> -> tensor<5xf64>
    %p = hw.mul %b, %wb : tensor<5xf64>
    study.yield %p : tensor<5xf64>
  }, {}) : () -> tensor<10xf64>
  %g = hw.vjp %y wrt %w cotangents %c : (tensor<10xf64>, tensor<f64>, tensor<10xf64>) -> tensor<f64>
  %d = hw.jvp %y wrt %w tangents %w : (tensor<10xf64>, tensor<f64>, tensor<f64>) -> tensor<10xf64>
  return %y, %g, %d : tensor<10xf64>, tensor<f64>, tensor<10xf64>
}

// No tangent passes these; stop_gradient itself is gone.
// CHECK-LABEL: func @stops
// CHECK-NOT: hw.stop_gradient
// CHECK: %[[ZERO:.*]] = hw.constant dense<0.000000e+00>
// CHECK: return %[[ZERO]]
func.func @stops(%x: tensor<3xf32>, %v: tensor<3xf32>) -> tensor<3xf32> {
  %a = hw.floor %x : tensor<3xf32>
  %b = hw.sign %x : tensor<3xf32>
  %c = hw.stop_gradient %x : tensor<3xf32>
  %i = hw.cast %x : tensor<3xf32> -> tensor<3xi32>
  %d = hw.cast %i : tensor<3xi32> -> tensor<3xf32>
  %ab = hw.add %a, %b : tensor<3xf32>
  %cd = hw.add %c, %d : tensor<3xf32>
  %y = hw.add %ab, %cd : tensor<3xf32>
  %t = hw.jvp %y wrt %x tangents %v : (tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  return %t : tensor<3xf32>
}

// A convolution's gradients are one op each; a pooling's goes where its index says.
// TIDY-LABEL: func @convolution
// TIDY: %[[Y:.*]] = hw.conv %arg0, %arg1
// TIDY: %[[P:.*]], %[[I:.*]] = hw.max_pool %[[Y]]
// TIDY: %[[C:.*]] = hw.pool_scatter %arg2 at %[[I]]
// TIDY-DAG: %[[X:.*]] = hw.conv_backward_data %[[C]], %arg1
// TIDY-DAG: %[[W:.*]] = hw.conv_backward_weights %arg0, %[[C]]
// TIDY-NOT: hw.conv
// TIDY: return %[[X]], %[[W]]
func.func @convolution(%x: tensor<2x3x8x8xf32>, %w: tensor<4x3x3x3xf32>, %c: tensor<2x4x3x3xf32>) -> (tensor<2x3x8x8xf32>, tensor<4x3x3x3xf32>) {
  %y = hw.conv %x, %w stride [1, 1] pad [0, 0] [0, 0] dilation [1, 1] groups 1 : (tensor<2x3x8x8xf32>, tensor<4x3x3x3xf32>) -> tensor<2x4x6x6xf32>
  %p, %i = hw.max_pool %y window [2, 2] stride [2, 2] pad [0, 0] [0, 0] : tensor<2x4x6x6xf32> -> tensor<2x4x3x3xf32>, tensor<2x4x3x3xi32>
  %g:2 = hw.vjp %p wrt %x, %w cotangents %c : (tensor<2x4x3x3xf32>, tensor<2x3x8x8xf32>, tensor<4x3x3x3xf32>, tensor<2x4x3x3xf32>) -> (tensor<2x3x8x8xf32>, tensor<4x3x3x3xf32>)
  return %g#0, %g#1 : tensor<2x3x8x8xf32>, tensor<4x3x3x3xf32>
}

// A factor that is finite as far as the network is, behind a relu or not, is multiplied by; what a mask may have left
// out is guarded.
// CHECK-LABEL: func @finite
// CHECK-NOT: hw.compare "ne"
// CHECK: return
func.func @finite(%x: tensor<8x4xf32>, %w: tensor<4x4xf32>, %b: tensor<4xf32>) -> tensor<4x4xf32> {
  %zero = hw.constant dense<0.0> : tensor<8x4xf32>
  %eps = hw.constant dense<1.0e-5> : tensor<4xf32>
  %h = hw.dot_general %x, %w batch [] x [] contract [1] x [0] : (tensor<8x4xf32>, tensor<4x4xf32>) -> tensor<8x4xf32>
  %bb = hw.broadcast %b dims [1] : tensor<4xf32> -> tensor<8x4xf32>
  %s = hw.add %h, %bb : tensor<8x4xf32>
  %t = hw.tanh %s : tensor<8x4xf32>
  %hh = hw.mul %s, %t : tensor<8x4xf32>
  %square = hw.mul %h, %h : tensor<8x4xf32>
  %sum = hw.reduce_sum %square dims [0] : tensor<8x4xf32> -> tensor<4xf32>
  %v = hw.add %sum, %eps : tensor<4xf32>
  %d = hw.sqrt %v : tensor<4xf32>
  %db = hw.broadcast %d dims [1] : tensor<4xf32> -> tensor<8x4xf32>
  %q = hw.div %hh, %db : tensor<8x4xf32>
  %r = hw.max %q, %zero : tensor<8x4xf32>
  %e = hw.reduce_sum %r dims [0, 1] : tensor<8x4xf32> -> tensor<f32>
  %g = hw.grad %e wrt %w : (tensor<f32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  return %g : tensor<4x4xf32>
}

// CHECK-LABEL: func @guarded
// CHECK: hw.compare "gt"
// CHECK: hw.compare "ne"
// CHECK: return
func.func @guarded(%x: tensor<8xf32>, %y: tensor<8xf32>) -> tensor<8xf32> {
  %zero = hw.constant dense<0.0> : tensor<8xf32>
  %m = hw.compare "gt" %y, %zero : tensor<8xf32> -> tensor<8xi1>
  %d = hw.sub %x, %y : tensor<8xf32>
  %s = hw.mul %d, %d : tensor<8xf32>
  %z = hw.select %m, %s, %zero : tensor<8xi1>, tensor<8xf32>
  %e = hw.reduce_sum %z dims [0] : tensor<8xf32> -> tensor<f32>
  %g = hw.grad %e wrt %x : (tensor<f32>, tensor<8xf32>) -> tensor<8xf32>
  return %g : tensor<8xf32>
}
