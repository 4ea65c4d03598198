//! Nexmark query 3: auctions with the person who opened them, an incremental join of two streams with the key `party`.
//!
//! Whichever comes first waits for the other. An auction waits until its person comes and is forgotten then; a person is
//! kept for ever. A person who comes again replaces what was known; rows that were given stay as they are.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Event<'a> {
    #[segno(name = "person.name")]
    name: Option<&'a str>,
    #[segno(name = "person.city")]
    city: Option<&'a str>,
    #[segno(name = "person.state")]
    state: Option<&'a str>,
    #[segno(name = "auction.id")]
    auction: Option<i64>,
}

#[derive(Output)]
pub struct Opened<'a> {
    name: &'a str,
    city: &'a str,
    state: &'a str,
    auction: i64,
}

#[derive(State, Default)]
pub struct Person {
    name: Option<String>,
    city: String,
    state: String,
    waiting: Vec<Auction>,
}

#[derive(State)]
pub struct Auction {
    id: i64,
}

pub struct Join;

impl Transform for Join {
    type Config = ();
    type Tables = ();
    type Input<'a> = Event<'a>;
    type Output = Emit<Opened<'static>>;
    type State = Person;

    fn init(_: (), _: ()) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, event: Event<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let person = ctx.state.or_default();
        if let Some(id) = event.auction {
            match &person.name {
                Some(name) => {
                    ctx.out.push(Opened { name, city: &person.city, state: &person.state, auction: id });
                }
                None => person.waiting.push(Auction { id }),
            }
        }
        if let Some(name) = event.name {
            let (city, state) = (event.city.unwrap_or_default(), event.state.unwrap_or_default());
            for auction in person.waiting.drain(..) {
                ctx.out.push(Opened { name, city, state, auction: auction.id });
            }
            person.name = Some(name.to_owned());
            person.city = city.to_owned();
            person.state = state.to_owned();
        }
        Ok(())
    }
}

segno_sdk::plugin!(Join);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_comes_first_waits() {
        let mut join = Harness::<Join>::new("{}").unwrap();
        let none = None::<&str>;
        for (party, name, auction) in
            [("1", None, Some(7)), ("1", None, Some(8)), ("1", Some("Kate"), None), ("2", Some("Paul"), None), ("1", None, Some(9))]
        {
            let place = name.map(|_| "OR");
            assert!(name.is_some() || place == none);
            join.push(
                row! { "person.name": name, "person.city": place, "person.state": place, "auction.id": auction }.key(party),
            );
        }
        let result = join.run();
        let rows: Vec<_> = result.rows().iter().map(|row| (row.cause, row.text("name").to_owned(), row.i64("auction"))).collect();
        let kate = |cause, auction| (cause, "Kate".to_owned(), auction);
        assert_eq!(rows, [kate(2, 7), kate(2, 8), kate(4, 9)]);
    }
}
