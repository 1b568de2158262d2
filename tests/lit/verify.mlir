// What the dialects refuse, and in which words.
// RUN: hw-opt %s -split-input-file -verify-diagnostics

func.func @add(%x: tensor<2xf32>, %y: tensor<3xf32>) {
  // expected-error @+1 {{must have the same shape and base type}}
  %z = "hw.add"(%x, %y) : (tensor<2xf32>, tensor<3xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @dynamic(%x: tensor<?xf32>) {
  // expected-error @+1 {{must be statically shaped tensor of f32 or f64 values}}
  %z = hw.exp %x : tensor<?xf32>
  return
}

// -----

func.func @compare(%x: tensor<2xf32>) {
  // expected-error @+1 {{predicate 'above' is not one of eq, ne, lt, le, gt, ge}}
  %z = hw.compare "above" %x, %x : tensor<2xf32> -> tensor<2xi1>
  return
}

// -----

func.func @select(%m: tensor<3xi1>, %x: tensor<2xf32>) {
  // expected-error @+1 {{must have the same shape and base type}}
  %z = hw.select %m, %x, %x : tensor<3xi1>, tensor<2xf32>
  return
}

// -----

func.func @broadcast(%x: tensor<1xf32>) {
  // expected-error @+1 {{dimension 0 of size 1 cannot become size 4}}
  %z = hw.broadcast %x dims [0] : tensor<1xf32> -> tensor<4xf32>
  return
}

// -----

func.func @broadcast_order(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{dimensions must increase}}
  %z = hw.broadcast %x dims [1, 0] : tensor<2x3xf32> -> tensor<3x2xf32>
  return
}

// -----

func.func @reduce(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{gives 'tensor<3xf32>', but its result is 'tensor<2xf32>'}}
  %z = hw.reduce_sum %x dims [0] : tensor<2x3xf32> -> tensor<2xf32>
  return
}

// -----

func.func @reshape(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{cannot make 'tensor<5xf32>' of 'tensor<2x3xf32>'}}
  %z = hw.reshape %x : tensor<2x3xf32> -> tensor<5xf32>
  return
}

// -----

func.func @slice(%x: tensor<5xf32>) {
  // expected-error @+1 {{2:6:1 is outside a size of 5}}
  %z = hw.slice %x [2] [6] [1] : tensor<5xf32> -> tensor<4xf32>
  return
}

// -----

func.func @pad(%x: tensor<5xf32>) {
  // expected-error @+1 {{padding cannot be negative}}
  %z = hw.pad %x [-1] [0] [0] : tensor<5xf32> -> tensor<4xf32>
  return
}

// -----

func.func @concat(%x: tensor<2x3xf32>, %y: tensor<2x4xf32>) {
  // expected-error @+1 {{cannot join 'tensor<2x4xf32>' to 'tensor<2x3xf32>' along dimension 0}}
  %z = hw.concat %x, %y dim 0 : (tensor<2x3xf32>, tensor<2x4xf32>) -> tensor<4x3xf32>
  return
}

// -----

func.func @dot(%x: tensor<2x3xf32>, %y: tensor<4x5xf32>) {
  // expected-error @+1 {{pairs dimension 1 of size 3 with dimension 0 of size 4}}
  %z = hw.dot_general %x, %y batch [] x [] contract [1] x [0] : (tensor<2x3xf32>, tensor<4x5xf32>) -> tensor<2x5xf32>
  return
}

// -----

func.func @gather(%x: tensor<0x3xf32>, %i: tensor<2xi32>) {
  // expected-error @+1 {{needs rows to gather from}}
  %z = hw.gather %x at %i : (tensor<0x3xf32>, tensor<2xi32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @max(%x: tensor<3x0xf32>) {
  // expected-error @+1 {{has nothing to take the largest of}}
  %z, %i = hw.reduce_max %x dim 1 : tensor<3x0xf32> -> tensor<3xf32>, tensor<3xi32>
  return
}

// -----

func.func @cholesky(%x: tensor<3x4xf32>) {
  // expected-error @+1 {{needs a square matrix, got 'tensor<3x4xf32>'}}
  %z = hw.cholesky %x : tensor<3x4xf32>
  return
}

// -----

func.func @grad(%x: tensor<3xf32>) {
  // expected-error @+1 {{needs a scalar to differentiate, got 'tensor<3xf32>'}}
  %z = hw.grad %x wrt %x : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @batches() {
  // expected-error @+1 {{has a tail region exactly if batches do not divide the rows}}
  %z = "study.batches"() <{rows = 10 : i64, batch = 4 : i64, combine = ["mean"]}> ({
  ^bb0(%rows: tensor<4xi32>):
    %c = hw.constant dense<0.0> : tensor<f32>
    study.yield %c : tensor<f32>
  }, {}) : () -> tensor<f32>
  return
}

// -----

func.func @loop(%n: tensor<f64>, %x: tensor<3xf32>) {
  // expected-error @+1 {{region 'body' yields 0 values, expected 1}}
  %z = "study.for"(%n, %n, %x) <{variable = "i"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<3xf32>):
    study.yield
  }) : (tensor<f64>, tensor<f64>, tensor<3xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @conv_channels(%x: tensor<1x4x5x5xf32>, %w: tensor<2x3x3x3xf32>) {
  // expected-error @+1 {{weights for 3 channels cannot read an input of 4}}
  %z = hw.conv %x, %w stride [1, 1] pad [0, 0] [0, 0] dilation [1, 1] groups 1 : (tensor<1x4x5x5xf32>, tensor<2x3x3x3xf32>) -> tensor<1x2x3x3xf32>
  return
}

// -----

func.func @conv_groups(%x: tensor<1x4x5x5xf32>, %w: tensor<3x2x3x3xf32>) {
  // expected-error @+1 {{2 groups do not divide 4 channels of the input and 3 of the output}}
  %z = hw.conv %x, %w stride [1, 1] pad [0, 0] [0, 0] dilation [1, 1] groups 2 : (tensor<1x4x5x5xf32>, tensor<3x2x3x3xf32>) -> tensor<1x3x3x3xf32>
  return
}

// -----

func.func @conv_kernel(%x: tensor<1x1x5x5xf32>, %w: tensor<1x1x3x3xf32>) {
  // expected-error @+1 {{a kernel of size 3 does not fit dimension 2 of size 5 with its padding}}
  %z = hw.conv %x, %w stride [1, 1] pad [0, 0] [0, 0] dilation [3, 1] groups 1 : (tensor<1x1x5x5xf32>, tensor<1x1x3x3xf32>) -> tensor<1x1x1x3xf32>
  return
}

// -----

func.func @conv_stride(%x: tensor<1x1x5x5xf32>, %w: tensor<1x1x3x3xf32>) {
  // expected-error @+1 {{stride cannot be 0}}
  %z = hw.conv %x, %w stride [1, 0] pad [0, 0] [0, 0] dilation [1, 1] groups 1 : (tensor<1x1x5x5xf32>, tensor<1x1x3x3xf32>) -> tensor<1x1x3x3xf32>
  return
}

// -----

func.func @conv_entries(%x: tensor<1x1x5x5xf32>, %w: tensor<1x1x3x3xf32>) {
  // expected-error @+1 {{padding has 1 entries for 2 dimensions}}
  %z = hw.conv %x, %w stride [1, 1] pad [0] [0, 0] dilation [1, 1] groups 1 : (tensor<1x1x5x5xf32>, tensor<1x1x3x3xf32>) -> tensor<1x1x3x3xf32>
  return
}

// -----

func.func @conv_rank(%x: tensor<1x1x5x5xf32>, %w: tensor<1x1x3xf32>) {
  // expected-error @+1 {{needs an input, weights and an output of one rank of at least 2}}
  %z = hw.conv %x, %w stride [1, 1] pad [0, 0] [0, 0] dilation [1, 1] groups 1 : (tensor<1x1x5x5xf32>, tensor<1x1x3xf32>) -> tensor<1x1x3x3xf32>
  return
}

// -----

func.func @conv_backward_data(%c: tensor<1x1x3x3xf32>, %w: tensor<1x1x3x3xf32>) {
  // expected-error @+1 {{convolving 'tensor<1x1x8x6xf32>' with 'tensor<1x1x3x3xf32>' gives 'tensor<1x1x3x2xf32>', not 'tensor<1x1x3x3xf32>'}}
  %x = hw.conv_backward_data %c, %w stride [2, 2] pad [0, 0] [0, 0] dilation [1, 1] groups 1 : (tensor<1x1x3x3xf32>, tensor<1x1x3x3xf32>) -> tensor<1x1x8x6xf32>
  return
}

// -----

func.func @max_pool(%x: tensor<1x5x5xf32>) {
  // expected-error @+1 {{pooling 'tensor<1x5x5xf32>' gives the shape of 'tensor<1x2x2xf32>', not 'tensor<1x3x2xf32>'}}
  %z, %i = hw.max_pool %x window [2, 2] stride [2, 2] pad [0, 0] [0, 0] : tensor<1x5x5xf32> -> tensor<1x3x2xf32>, tensor<1x3x2xi32>
  return
}

// -----

func.func @pool_padding(%x: tensor<5xf32>) {
  // expected-error @+1 {{a window of dimension 0 would lie in the padding alone}}
  %z = hw.window_sum %x window [2] stride [1] pad [2] [0] : tensor<5xf32> -> tensor<6xf32>
  return
}

// -----

func.func @pool_scatter(%c: tensor<2xf32>, %i: tensor<3xi32>) {
  // expected-error @+1 {{has updates 'tensor<2xf32>' for an index 'tensor<3xi32>'}}
  %x = hw.pool_scatter %c at %i window [2] stride [2] pad [0] [0] : (tensor<2xf32>, tensor<3xi32>) -> tensor<6xf32>
  return
}

// -----

func.func @whole(%x: tensor<2xf32>) {
  // expected-error @+1 {{has no room for 4294967296 numbers in 'i32'}}
  %i = hw.whole %x below 4294967296 what "index" outside "axis 0" : tensor<2xf32> -> tensor<2xi32>
  return
}
