//! What conditional jumps tell of the values that they compare.

use super::canary::{Rule, is_out};
use super::compare::order;
use super::refusal::RefusalKind;
use super::scalar::Scalar;
use super::span::Span;
use super::transfer::Transfer;
use super::value::{Kind, Slack, Value};
use crate::instruction::{Condition, Operand, Register, Width};

impl Transfer<'_> {
    /// What a conditional jump says where `holds` is how it turned out; `false` if it cannot have.
    pub(super) fn branch(
        &mut self,
        width: Width,
        condition: Condition,
        dst: Register,
        src: Operand,
        holds: bool,
    ) -> bool {
        let a = self.state.get(dst);
        let b = self.operand(width, src);
        if a.is_unusable() || b.is_unusable() {
            let source = match src {
                Operand::Register(src) if b.is_unusable() => src,
                _ => dst,
            };
            self.refuse(RefusalKind::Unusable, Some(source));
            return true;
        }
        let condition = match (a.kind, b.kind) {
            (Kind::Number, Kind::Number) => condition,
            _ if is_null_test(width, condition, &b) => {
                return self.branch_null(dst, &a, (condition == Condition::Equal) == holds);
            }
            _ if is_null_test(width, condition, &a)
                && let Operand::Register(src) = src =>
            {
                return self.branch_null(src, &b, (condition == Condition::Equal) == holds);
            }
            _ if width == Width::Bits64 && condition != Condition::AnyBit => {
                match self.comparable(&a, &b) {
                    Some(true) => match ordered_as(condition, &a.number, &b.number) {
                        Some(condition) => condition,
                        None => return true,
                    },
                    // They may be compared, and that says nothing.
                    Some(false) => return true,
                    None => {
                        self.refuse(RefusalKind::Comparison, Some(dst));
                        return true;
                    }
                }
            }
            _ => {
                self.refuse(RefusalKind::Comparison, Some(dst));
                return true;
            }
        };
        let holds = holds || is_out(Rule::Branch);
        let refined = Scalar::refine(width, condition, holds, &a.number, &b.number);
        let Some((of_dst, of_src)) = refined else {
            return false;
        };
        if !self.state.learn(dst, &of_dst) {
            return false;
        }
        self.state.learn_length(dst);
        if let Operand::Register(src) = src {
            if !self.state.learn(src, &of_src) {
                return false;
            }
            self.state.learn_length(src);
            self.learn_slack(width, condition, holds, (dst, &a), (src, &b));
        }
        true
    }

    /// What a test for 0 says of what is no number.
    fn branch_null(&mut self, register: Register, value: &Value, is_null: bool) -> bool {
        match value.kind {
            Kind::MapValue { or_null: true, .. } => {
                self.state.learn_null(register, is_null);
                true
            }
            Kind::Pointer(_) | Kind::MapValue { .. } => !(is_null && value.is_near()),
            // A name is not 0.
            _ => !is_null,
        }
    }

    /// True if two addresses compare as their numbers do, `false` if that is not known; `None` if
    /// they may not be compared.
    fn comparable(&self, a: &Value, b: &Value) -> Option<bool> {
        match (a.kind, b.kind) {
            (Kind::Pointer(one), Kind::Pointer(other)) => (one == other).then_some(true),
            (
                Kind::MapValue {
                    map,
                    or_null: false,
                    lookup,
                },
                Kind::MapValue {
                    map: other,
                    or_null: false,
                    lookup: other_lookup,
                },
            ) => (map == other).then_some(lookup != 0 && lookup == other_lookup),
            _ => None,
        }
    }

    /// What is at most something that has slack, has as much.
    fn learn_slack(
        &mut self,
        width: Width,
        condition: Condition,
        holds: bool,
        (dst, a): (Register, &Value),
        (src, b): (Register, &Value),
    ) {
        if a.slack == Slack::NONE && b.slack == Slack::NONE {
            return;
        }
        let wide = width == Width::Bits64 || (a.number.fits_32() && b.number.fits_32());
        let is_equal = matches!(
            (condition, holds),
            (Condition::Equal, true) | (Condition::NotEqual, false)
        );
        if wide && is_equal {
            self.state.learn_slack(dst, b.slack);
            self.state.learn_slack(src, a.slack);
            return;
        }
        let Some(order) = order(condition, holds).filter(|_| wide) else {
            return;
        };
        let (smaller, greater) = if order.first { (dst, b) } else { (src, a) };
        // As unsigned numbers, a negative one is above all others.
        let ordered = match (order.signed, width) {
            (true, Width::Bits64) => true,
            (true, Width::Bits32) => a.number.signed().max.max(b.number.signed().max) < 1 << 31,
            (false, _) => greater.number.signed().min >= 0,
        };
        if ordered {
            let more = -i64::from(order.strict);
            self.state.learn_slack(smaller, greater.slack.less(more));
        }
    }
}

fn is_null_test(width: Width, condition: Condition, other: &Value) -> bool {
    width == Width::Bits64
        && other.kind == Kind::Number
        && matches!(condition, Condition::Equal | Condition::NotEqual)
        && other.number.single() == Some(0)
}

/// How offsets compare where the addresses of one region do so; `None` if that says nothing.
fn ordered_as(condition: Condition, a: &Scalar, b: &Scalar) -> Option<Condition> {
    // Such addresses do not wrap, and are positive as signed numbers.
    let plain = Span::new(-(1_i64 << 32), 1 << 48);
    if !plain.includes(a.signed()) || !plain.includes(b.signed()) {
        return matches!(condition, Condition::Equal | Condition::NotEqual).then_some(condition);
    }
    Some(match condition {
        Condition::Greater => Condition::SignedGreater,
        Condition::GreaterOrEqual => Condition::SignedGreaterOrEqual,
        Condition::Less => Condition::SignedLess,
        Condition::LessOrEqual => Condition::SignedLessOrEqual,
        other => other,
    })
}
