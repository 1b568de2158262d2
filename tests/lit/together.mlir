// RUN: hw-opt --study-together -split-input-file %s | FileCheck %s

// Each part takes along what only it needs and a copy of what is cheap; what is read of both comes after.
// CHECK-LABEL: func.func @study()
// CHECK: %[[X:.*]] = study.dataset
// CHECK-NEXT: %[[SHARED:.*]] = hw.exp %[[X]]
// CHECK-NEXT: %[[T:.*]]:3 = "study.together"() ({
// CHECK-DAG: hw.constant dense<2.0
// CHECK-DAG: hw.constant dense<1.0
// CHECK: %[[W:.*]] = hw.mul %[[SHARED]], %[[X]]
// CHECK: %[[A:.*]] = "study.for"
// CHECK: hw.mul %{{.*}}, %[[W]]
// CHECK: %[[S:.*]] = hw.reduce_sum %[[A]]
// CHECK-NEXT: study.record "t"(%[[S]])
// CHECK-NEXT: study.yield %[[A]], %[[S]]
// CHECK: }, {
// CHECK: %[[V:.*]] = hw.sin %[[SHARED]]
// CHECK: %[[B:.*]] = "study.for"
// CHECK: hw.mul %{{.*}}, %[[V]]
// CHECK: study.record "t"(%[[B]])
// CHECK-NEXT: study.yield %[[B]]
// CHECK-NEXT: }) : () ->
// CHECK-NEXT: %[[D:.*]] = hw.sub %[[T]]#0, %[[T]]#2
// CHECK-NEXT: study.record "u"(%[[D]], %[[T]]#1)
func.func @study() {
  %n = hw.constant dense<1.0> : tensor<f64>
  %two = hw.constant dense<2.0> : tensor<3xf64>
  %x = study.dataset "npy" "x.npy" "" classes 0 : tensor<3xf64>
  %shared = hw.exp %x : tensor<3xf64>
  %w = hw.mul %shared, %x : tensor<3xf64>
  %a = "study.for"(%n, %n, %two) <{variable = "i"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<3xf64>):
    %next = hw.mul %c, %w : tensor<3xf64>
    study.yield %next : tensor<3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  %s = hw.reduce_sum %a dims [0] : tensor<3xf64> -> tensor<f64>
  study.record "t"(%s) ["s"] {} order ["s"] rows 0 hidden false : tensor<f64>
  %v = hw.sin %shared : tensor<3xf64>
  %b = "study.for"(%n, %n, %two) <{variable = "i"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<3xf64>):
    %next = hw.mul %c, %v : tensor<3xf64>
    study.yield %next : tensor<3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  %d = hw.sub %a, %b : tensor<3xf64>
  study.record "t"(%b) ["s"] {} order ["s"] rows 3 hidden false : tensor<3xf64>
  study.record "u"(%d, %s) ["d", "s"] {} order ["d", "s"] rows 3 hidden false : tensor<3xf64>, tensor<f64>
  return
}

// -----

// What goes on with an earlier result, or reads a table, keeps its place: here nothing is left to run together.
// CHECK-LABEL: func.func @study()
// CHECK-NOT: study.together
// CHECK: return
func.func @study() {
  %n = hw.constant dense<1.0> : tensor<f64>
  %x = study.dataset "npy" "x.npy" "" classes 0 : tensor<3xf64>
  %a = "study.for"(%n, %n, %x) <{variable = "i"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<3xf64>):
    study.record "t"(%i) ["i"] {} order ["i"] rows 0 hidden false : tensor<f64>
    study.yield %c : tensor<3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  %b = "study.for"(%n, %n, %a) <{variable = "i"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<3xf64>):
    study.record "t"(%i) ["i"] {} order ["i"] rows 0 hidden false : tensor<f64>
    study.yield %c : tensor<3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  %last = study.reduce "last" "t" "i" : tensor<f64>
  %c = "study.for"(%n, %last, %x) <{variable = "i"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<3xf64>):
    study.yield %c : tensor<3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  return
}

// -----

// Turns of a loop are independent where it carries nothing and reads no table that they share.
// CHECK-LABEL: func.func @study()
// CHECK: "study.for"{{.*}} <{independent, variable = "yes"}>
// CHECK: "study.for"{{.*}} <{variable = "carries"}>
// CHECK: "study.for"{{.*}} <{variable = "reads"}>
// CHECK: "study.for"{{.*}} <{variable = "draws"}>
// CHECK: "study.for"{{.*}} <{variable = "overwrites"}>
func.func @study() {
  %n = hw.constant dense<1.0> : tensor<f64>
  "study.for"(%n, %n) <{variable = "yes"}> ({
  ^bb0(%i: tensor<f64>):
    study.record "t"(%i) ["i"] {} order ["i"] rows 0 hidden false : tensor<f64>
    "study.save"(%i) <{name = "i", format = "npy", names = ["i"], loop_names = ["yes"], table = "", column = ""}> : (tensor<f64>) -> ()
    study.yield
  }) : (tensor<f64>, tensor<f64>) -> ()
  %a = "study.for"(%n, %n, %n) <{variable = "carries"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<f64>):
    study.yield %i : tensor<f64>
  }) : (tensor<f64>, tensor<f64>, tensor<f64>) -> tensor<f64>
  "study.for"(%n, %a) <{variable = "reads"}> ({
  ^bb0(%i: tensor<f64>):
    %last = study.reduce "last" "t" "i" : tensor<f64>
    study.record "u"(%last) ["i"] {} order ["i"] rows 0 hidden false : tensor<f64>
    study.yield
  }) : (tensor<f64>, tensor<f64>) -> ()
  "study.for"(%n, %a) <{variable = "draws"}> ({
  ^bb0(%i: tensor<f64>):
    "study.plot"() <{spec = "{}", loop_names = []}> : () -> ()
    study.yield
  }) : (tensor<f64>, tensor<f64>) -> ()
  "study.for"(%n, %a) <{variable = "overwrites"}> ({
  ^bb0(%i: tensor<f64>):
    "study.save"(%a) <{name = "a", format = "npy", names = ["a"], loop_names = [], table = "", column = ""}> : (tensor<f64>) -> ()
    study.yield
  }) : (tensor<f64>, tensor<f64>) -> ()
  return
}

// -----

// Two that save under one name run one after the other: the file is the second one's. What comes then begins anew.
// CHECK-LABEL: func.func @study()
// CHECK: "study.together"() ({
// CHECK: "study.for"{{.*}} <{variable = "one"}>
// CHECK: "study.save"
// CHECK-NEXT: study.yield
// CHECK-NEXT: }, {
// CHECK: %[[B:.*]] = "study.for"{{.*}} <{variable = "two"}>
// CHECK-NOT: "study.save"
// CHECK: study.yield %[[B]]
// CHECK-NEXT: }) : () ->
// CHECK-NEXT: "study.save"
// CHECK: "study.for"{{.*}} <{variable = "three"}>
func.func @study() {
  %n = hw.constant dense<1.0> : tensor<f64>
  %x = study.dataset "npy" "x.npy" "" classes 0 : tensor<3xf64>
  %a = "study.for"(%n, %n, %x) <{variable = "one"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<3xf64>):
    study.yield %c : tensor<3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  "study.save"(%a) <{name = "net", format = "npy", names = ["net"], loop_names = [], table = "", column = ""}> : (tensor<3xf64>) -> ()
  %b = "study.for"(%n, %n, %x) <{variable = "two"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<3xf64>):
    study.yield %c : tensor<3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  "study.save"(%b) <{name = "net", format = "npy", names = ["net"], loop_names = [], table = "", column = ""}> : (tensor<3xf64>) -> ()
  %c = "study.for"(%n, %n, %x) <{variable = "three"}> ({
  ^bb0(%i: tensor<f64>, %c: tensor<3xf64>):
    study.yield %c : tensor<3xf64>
  }) : (tensor<f64>, tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  "study.save"(%c) <{name = "other", format = "npy", names = ["net"], loop_names = [], table = "", column = ""}> : (tensor<3xf64>) -> ()
  return
}
