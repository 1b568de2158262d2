// RUN: hw-opt --hw-expand-derivatives %s -split-input-file -verify-diagnostics

func.func @loop(%n: tensor<f64>, %w: tensor<f64>) -> tensor<f64> {
  // expected-error @+1 {{cannot differentiate through a loop that runs at run time; a loop over a literal list is unrolled, and can be}}
  %y = "study.for"(%n, %n, %w) <{variable = "i"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<f64>):
    %e = hw.exp %c : tensor<f64>
    study.yield %e : tensor<f64>
  }) : (tensor<f64>, tensor<f64>, tensor<f64>) -> tensor<f64>
  // expected-note @+1 {{for this derivative}}
  %g = hw.grad %y wrt %w : (tensor<f64>, tensor<f64>) -> tensor<f64>
  return %g : tensor<f64>
}

// -----

// A concatenation of something that is not a row for each of the data.
func.func @concatenated(%w: tensor<3xf64>, %c: tensor<6xf64>) -> tensor<3xf64> {
  // expected-error @+1 {{cannot differentiate through concatenated batches whose results do not have a row for each of the data}}
  %y = "study.batches"() <{rows = 10 : i64, batch = 5 : i64, combine = ["concat"]}> ({
  ^bb0(%rows: tensor<5xi32>):
    %e = hw.exp %w : tensor<3xf64>
    study.yield %e : tensor<3xf64>
  }, {}) : () -> tensor<6xf64>
  %g = hw.vjp %y wrt %w cotangents %c : (tensor<6xf64>, tensor<3xf64>, tensor<6xf64>) -> tensor<3xf64>
  return %g : tensor<3xf64>
}
