//! Gives each record's bytes as they are: what is left when a plugin does nothing is the price of the boundary.
//! The bytes do cross, both ways; a filter would let them stay where they are.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Record<'a> {
    value: &'a [u8],
}

#[derive(Output)]
pub struct Forwarded<'a> {
    value: &'a [u8],
}

pub struct PassThrough;

impl Transform for PassThrough {
    type Config = ();
    type Tables = ();
    type Input<'a> = Record<'a>;
    type Output = Emit<Forwarded<'static>>;
    type State = ();

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    #[inline]
    fn process(&mut self, record: Record<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        ctx.out.push(Forwarded {
            value: record.value,
        });
        Ok(())
    }
}

segno_sdk::plugin!(PassThrough);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut forward = Harness::<PassThrough>::new("{}").unwrap();
        let values: [&[u8]; 5] = [b"", b"a", b"\xff\x00", b"", &[7; 300]];
        for value in values {
            forward.push(row! { "value": value });
        }
        let result = forward.run();
        let out: Vec<_> = result.rows().iter().map(|row| row.bytes("value")).collect();
        assert_eq!(out, values);
    }
}
