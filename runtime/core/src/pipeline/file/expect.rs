//! `expect` of a step: how many rejects are no surprise.
//!
//! Owns: reading the rules. Does not own: judging by them (`protocol::expect`).
//!
//! Invariant: a share becomes a count of its window here, so that one rule has one meaning.

use crate::pipeline::fields::{Fields, Reader};
use crate::pipeline::shape;
use crate::pipeline::spec::*;
use crate::pipeline::tree::{Node, Value};

/// Records of a window at most: far above what anybody waits for, far below what a counter holds.
const OVER_MAX: u64 = 1_000_000_000_000;
/// Parts of a share: a thousandth of a percent can be written.
const SHARE_PARTS: u64 = 100_000;

const OTHERWISE_CHOICES: [(&str, Otherwise); 2] = [("stop", Otherwise::Stop), ("warn", Otherwise::Warn)];

impl Reader {
    /// One rule, or a list of them.
    pub(super) fn expect(&mut self, node: &Node, on_error: Option<OnError>) -> Option<Vec<Expectation>> {
        if on_error == Some(OnError::Fail) {
            return self.invalid(
                &node.span,
                "expect counts rejects, and with on_error: fail the first reject ends the run",
                "set on_error: dlq or skip on the step, or remove expect",
            );
        }
        let nodes = match &node.value {
            Value::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(node),
        };
        // All of them are read, so that all errors are told.
        let rules: Vec<Option<Expectation>> = nodes.iter().map(|node| self.expectation(node)).collect();
        rules.into_iter().collect()
    }

    fn expectation(&mut self, node: &Node) -> Option<Expectation> {
        let fields = self.fields(node, "the expectation", &shape::EXPECT.names())?;
        let over = self
            .required(&fields, "over", "the expectation", "say how many records a window has, as in over: 10k")
            .and_then(|node| self.count(node, "over", 1..=OVER_MAX));
        let rejects = self.rejects(&fields, over);
        let otherwise = match fields.get("else") {
            Some(node) => self.choice(node, "else", &OTHERWISE_CHOICES),
            None => Some(Otherwise::default()),
        };
        let (rejects, over) = (rejects?, over?);
        if rejects >= over {
            let span = fields.get("rejects").map_or(fields.span(), |node| node.span.clone());
            let message = format!("the window has {over} records, so no step can reject more than {rejects} of them");
            return self.invalid(&span, message, "choose fewer rejects or a larger window");
        }
        Some(Expectation { rejects, over, otherwise: otherwise? })
    }

    fn rejects(&mut self, fields: &Fields<'_>, over: Option<u64>) -> Option<u64> {
        let help = "write a count, as in rejects: 100, or a share of the window, as in rejects: 1%";
        let node = self.required(fields, "rejects", "the expectation", help)?;
        let share = match &node.value {
            Value::Text(text) => text.trim().strip_suffix('%').map(str::trim),
            _ => None,
        };
        let Some(share) = share else { return self.count(node, "rejects", 0..=OVER_MAX) };
        let Some(parts) = share_parts(share) else {
            return self.invalid(&node.span, format!("\"{share}%\" is not a share between 0% and 100%"), help);
        };
        let rejects = (u128::from(over?) * u128::from(parts) / u128::from(SHARE_PARTS)) as u64;
        if rejects == 0 && parts > 0 {
            let message = format!("{share}% of {} records is less than one record", over?);
            return self.invalid(&node.span, message, "choose a larger window, or rejects: 0 to allow none");
        }
        Some(rejects)
    }
}

/// `1`, `0.5`, `0.001` percent in parts of a whole.
fn share_parts(percent: &str) -> Option<u64> {
    let (whole, decimals) = percent.split_once('.').unwrap_or((percent, ""));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || (percent.contains('.') && !digits(decimals)) || decimals.len() > 3 {
        return None;
    }
    let parts = format!("{whole}{decimals:0<3}").parse::<u64>().ok()?;
    (parts <= SHARE_PARTS).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_to_a_thousandth_of_a_percent() {
        let shares = ["0", "1", "0.5", "0.001", "100", "12.34"].map(share_parts);
        assert_eq!(shares, [0, 1_000, 500, 1, 100_000, 12_340].map(Some));
        for wrong in ["", ".5", "1.", "-1", "1.2345", "101", "1e2", "99999999999999999999"] {
            assert_eq!(share_parts(wrong), None, "{wrong}");
        }
    }
}
