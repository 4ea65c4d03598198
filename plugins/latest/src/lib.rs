//! Keeps the last value of each key, and says which update of its key a record is. A record without a value counts as
//! an update that leaves the value as it is.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Change<'a> {
    value: Option<&'a str>,
}

#[derive(Output)]
pub struct Updated {
    updates: u64,
}

#[derive(State, Default)]
#[segno(table = "latest")]
pub struct Last {
    updates: u64,
    value: String,
}

pub struct Latest;

impl Transform for Latest {
    type Config = ();
    type Tables = ();
    type Input<'a> = Change<'a>;
    type Output = Extend<Updated>;
    type State = Last;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, change: Change<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let last = ctx.state.or_default();
        last.updates += 1;
        if let Some(value) = change.value {
            last.value.clear();
            last.value.push_str(value);
        }
        ctx.out.push(Updated {
            updates: last.updates,
        });
        Ok(())
    }
}

segno_sdk::plugin!(Latest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_counted_by_key() {
        let mut latest = Harness::<Latest>::new("{}").unwrap();
        latest.push(row! { "value": "x" }.key("a"));
        latest.push(row! { "value": "y" }.key("b"));
        latest.push(row! { "value": None::<&str> }.key("a"));
        let result = latest.run();
        let seen: Vec<u64> = result.rows().iter().map(|row| row.u64("updates")).collect();
        assert_eq!(seen, [1, 1, 2]);
    }
}
