//! Lives of blocks against the phases of training loops, case by case.

use tidegauge_schemas::Category;

use super::{Inferred, PhaseMap, infer};
use crate::replay::{EndedPhase, PhaseClass};

/// A training loop written down: phases in brackets, blocks by letters. A block's first letter is its allocation, its second
/// its free; each takes one `seq`, as brackets do.
struct Loop {
    map: PhaseMap,
    text: String,
}

impl Loop {
    fn new(text: &str) -> Self {
        let names = [
            ('d', "data"),
            ('f', "forward"),
            ('l', "loss"),
            ('b', "backward"),
            ('r', "recompute"),
            ('o', "optimizer"),
            ('z', "zero_grad"),
            ('e', "eval"),
            ('x', "my own part"),
        ];
        let mut open = Vec::new();
        let mut phases = Vec::new();
        let characters: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        for (at, pair) in characters.iter().enumerate() {
            match pair {
                '(' => open.push(at),
                ')' => {
                    let begin = open.pop().unwrap();
                    let letter = characters[begin - 1];
                    let name = names.iter().find(|(of, _)| *of == letter).unwrap().1;
                    phases.push(EndedPhase {
                        name: name.to_owned(),
                        step: None,
                        thread: 1,
                        begin_nanos: 0,
                        end_nanos: 0,
                        seqs: (begin as u64, at as u64),
                        devices: Vec::new(),
                        is_complete: true,
                    });
                }
                _ => {}
            }
        }
        Self { map: PhaseMap::new(phases), text: characters.into_iter().collect() }
    }

    fn of(&self, block: char) -> Inferred {
        let mut seqs = self.text.char_indices().filter(|(_, c)| *c == block).map(|(at, _)| at as u64);
        let born = self.map.at(seqs.next().expect("the block is in the loop"));
        infer(&self.map, born, seqs.next().map(|seq| self.map.at(seq)))
    }

    fn category(&self, block: char) -> Category {
        self.of(block).category
    }
}

fn check(text: &str, expected: &[(char, Category)]) {
    let written = Loop::new(text);
    for (block, category) in expected {
        assert_eq!(written.category(*block), *category, "{block} in {text}");
    }
}

use Category::{Activation, AutogradDetail, Gradient, Input, OptimizerState, Parameter, Temporary, Unknown};

#[test]
fn an_ordinary_loop() {
    check(
        "P T T d(D D I) f(A W A_ L) b(G L S S A I) o(M Q Q) z(G) d(J) f(B K) b(H J B) o() z(H)",
        &[
            ('P', Parameter),
            ('T', Temporary),
            ('D', Temporary),
            ('I', Input),
            // Kept beyond the next forward.
            ('W', Unknown),
            ('L', Activation),
            ('G', Gradient),
            ('S', AutogradDetail),
            ('M', OptimizerState),
            ('Q', Temporary),
            ('K', Activation),
            ('B', Activation),
            ('H', Gradient),
        ],
    );
}

#[test]
fn a_workspace_is_no_activation() {
    check("f(W A) b(A) o() f(B) b(B) o() f(C) b(C)", &[('W', Unknown), ('A', Activation)]);
}

#[test]
fn outputs_that_a_variable_keeps_go_in_the_next_forward() {
    check(
        "f(Y) b() o() f(Y X) b() o() f(X Z) b() o() f() b() o()",
        &[('Y', Activation), ('X', Activation), ('Z', Unknown)],
    );
}

#[test]
fn a_loss_outside_of_phases_is_forwards() {
    check("f(A) L M M b(L A) o() f(B) b(B) o()", &[('L', Activation), ('M', Temporary), ('A', Activation)]);
    check("f(A) l(L N N) b(L A) o()", &[('L', Activation), ('N', Temporary)]);
}

#[test]
fn gradients_are_accumulated_over_batches() {
    check(
        "f(A) b(G A) f(B) b(T T B) o() z(G) f(C) b(H C) o() z(H)",
        &[('G', Gradient), ('T', AutogradDetail), ('A', Activation), ('B', Activation), ('H', Gradient)],
    );
}

#[test]
fn gradients_that_are_set_to_zero_stay() {
    check("f() b(G) o(M) z() f() b(T T) o() z() f() b() o()", &[('G', Gradient), ('M', OptimizerState)]);
}

#[test]
fn state_that_is_made_anew_in_each_step_is_state() {
    check(
        "f() b() o(M) z() f() b() o(N M) f() b() o(N Q R) f(R)",
        &[('M', OptimizerState), ('N', OptimizerState)],
    );
}

#[test]
fn what_is_recomputed_within_backward_is_told_apart() {
    let text = Loop::new("f(A) b(S S r(R T T) R r(U) U G A) o() z(G) f() b() o()");
    assert_eq!(text.of('R'), Inferred { category: Activation, is_recomputed: true });
    assert_eq!(text.of('U'), Inferred { category: Activation, is_recomputed: true });
    assert_eq!(text.of('T'), Temporary.into());
    assert_eq!(text.of('A'), Activation.into());
    assert_eq!((text.category('S'), text.category('G')), (AutogradDetail, Gradient));
}

#[test]
fn a_closure_runs_the_loop_within_the_optimizer() {
    check(
        "P o(z() f(A) b(G A) H Q Q z(G) f(B) b(K B)) f() b() o()",
        &[
            ('P', Parameter),
            ('A', Activation),
            ('G', Gradient),
            ('B', Activation),
            ('H', OptimizerState),
            ('Q', Temporary),
        ],
    );
}

#[test]
fn phases_that_say_nothing_are_part_of_what_they_are_in() {
    check("f(x(A T T)) b(A) o() f() b() o()", &[('A', Activation), ('T', Temporary)]);
    check("x(f(A)) x(b(A)) o()", &[('A', Activation)]);
}

#[test]
fn evaluation_leaves_nothing_that_is_known() {
    check("f(A) b(A) o() e(T T U) f() b() o() f()", &[('T', Temporary), ('U', Unknown)]);
}

#[test]
fn a_forward_that_ran_out_of_memory_has_activations() {
    check("P f(A) b(A) o() f(B C C", &[('P', Parameter)]);
    check("P f(A) b(A) o() f(B C C)", &[('B', Activation), ('C', Temporary)]);
    check("P f(B C C)", &[('B', Activation), ('C', Temporary), ('P', Parameter)]);
}

#[test]
fn without_phases_nothing_is_known() {
    check("A B B", &[('A', Unknown), ('B', Unknown)]);
    assert!(!Loop::new("A B B").map.has_phases());
}

#[test]
fn a_batch_made_outside_of_phases_is_input() {
    check(
        "P f() b() o() I T T f() b(I) o() z() J f(J) b() o() Y f() b() o() f() b() o() f() b() o()",
        &[('I', Input), ('T', Temporary), ('J', Input), ('Y', Unknown)],
    );
}

#[test]
fn a_window_begins_with_what_was_there() {
    check("S G I f(I) b() o(S) z(G) f() b() o()", &[('S', OptimizerState), ('G', Gradient), ('I', Input)]);
}

#[test]
fn stretches_that_nothing_lies_in_are_none() {
    let written = Loop::new("f(A)b(A)");
    assert_eq!(written.map.class(written.map.at(2)), PhaseClass::Forward);
    assert_eq!(written.map.class(written.map.at(4)), PhaseClass::Other, "between the two");
    assert_eq!(written.map.class(written.map.at(6)), PhaseClass::Backward);
    assert_eq!(written.map.class(written.map.at(u64::MAX)), PhaseClass::Other);
}
