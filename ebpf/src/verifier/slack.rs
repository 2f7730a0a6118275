//! How far numbers and addresses stay from the end of the data, whose length is one number that
//! nobody knows beforehand.
//!
//! A value has slack `k` if, as a signed number, it plus `k` is at most that length. The address of
//! the end has slack 0, and so has the length, which is the end less the start. Adding to a value
//! takes as much from its slack; a comparison with something that has slack gives it on; and an
//! access to `len` bytes is inside if the slack is at least `len`. What is known of one value is
//! known of its copies, less how far they are apart.

use super::value::{Slack, Value};
use crate::instruction::{AluOp, Width};

/// The slack of `a op b`, where the result is a number or an address of data.
pub(super) fn of_result(width: Width, op: AluOp, a: &Value, b: &Value) -> Slack {
    if a.slack == Slack::NONE && b.slack == Slack::NONE {
        return Slack::NONE;
    }
    let whole = width == Width::Bits64;
    match op {
        AluOp::Add if whole || is_sum(a, b) => of_sum(a, b),
        AluOp::Sub if whole || is_difference(a, b) => of_difference(a, b),
        // The result is none, or less than what it is made of.
        AluOp::And | AluOp::Rsh | AluOp::Div | AluOp::Mod
            if a.number.signed().min >= 0 && (whole || (fit_32(a, b))) =>
        {
            a.slack
        }
        _ => Slack::NONE,
    }
}

fn fit_32(a: &Value, b: &Value) -> bool {
    a.number.fits_32() && b.number.fits_32()
}

/// True if nothing is carried out of the lower half.
fn is_sum(a: &Value, b: &Value) -> bool {
    let sum = |a: u64, b: u64| a.checked_add(b).is_some_and(|it| it <= u64::from(u32::MAX));
    fit_32(a, b) && sum(a.number.unsigned().max, b.number.unsigned().max)
}

/// True if nothing is borrowed from above the lower half.
fn is_difference(a: &Value, b: &Value) -> bool {
    fit_32(a, b) && a.number.unsigned().min >= b.number.unsigned().max
}

fn of_sum(a: &Value, b: &Value) -> Slack {
    let least = a.number.signed().min.checked_add(b.number.signed().min);
    let most = a.most().checked_add(b.most());
    if least.is_none() || most.is_none() {
        return Slack::NONE;
    }
    a.slack.less(b.most()).max(b.slack.less(a.most()))
}

fn of_difference(a: &Value, b: &Value) -> Slack {
    let least = a.number.signed().min.checked_sub(b.most());
    let most = a.most().checked_sub(b.number.signed().min);
    let by = b.number.signed().min.checked_neg();
    match (least, most, by) {
        (Some(_), Some(_), Some(by)) => a.slack.less(by),
        _ => Slack::NONE,
    }
}
