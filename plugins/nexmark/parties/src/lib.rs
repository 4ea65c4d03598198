//! Nexmark queries 3 and 8, first step: gives persons and auctions a common key, `party`: the person, or the seller.
//! Bids are left out, and what the settings do not ask for.

use segno_sdk::prelude::*;

#[derive(Input)]
pub struct Event<'a> {
    #[segno(name = "person.id")]
    person: Option<i64>,
    #[segno(name = "person.state")]
    state: Option<&'a str>,
    #[segno(name = "auction.seller")]
    seller: Option<i64>,
    #[segno(name = "auction.category")]
    category: Option<i64>,
}

#[derive(Output)]
pub struct Party {
    party: i64,
}

#[derive(Config)]
pub struct Settings {
    /// Persons of these states only; of all states if not given.
    states: Option<Vec<String>>,
    /// Auctions of this category only; of all categories if not given.
    category: Option<i64>,
}

pub struct Parties {
    settings: Settings,
}

impl Transform for Parties {
    type Config = Settings;
    type Tables = ();
    type Input<'a> = Event<'a>;
    type Output = Extend<Party>;
    type State = ();

    fn init(settings: Settings, _: ()) -> Result<Self, String> {
        Ok(Self { settings })
    }

    #[inline]
    fn process(&mut self, event: Event<'_>, ctx: &mut Context<'_, Self>) -> Outcome {
        let Settings { states, category } = &self.settings;
        if let Some(party) = event.person {
            if states.as_ref().is_none_or(|states| states.iter().any(|state| Some(&**state) == event.state)) {
                ctx.out.push(Party { party });
            }
        } else if let Some(party) = event.seller
            && (category.is_none() || *category == event.category)
        {
            ctx.out.push(Party { party });
        }
        Ok(())
    }
}

segno_sdk::plugin!(Parties);

#[cfg(test)]
mod tests {
    use super::*;

    fn parties(config: &str) -> (Vec<usize>, Vec<i64>) {
        let none = (None::<i64>, None::<&str>);
        let mut parties = Harness::<Parties>::new(config).unwrap();
        for ((person, state), (seller, category)) in [
            ((Some(1), Some("OR")), (None, None)),
            ((Some(2), Some("AZ")), (None, None)),
            (none, (Some(3), Some(10))),
            (none, (Some(4), Some(11))),
            (none, (None, None)),
        ] {
            parties.push(row! {
                "person.id": person, "person.state": state, "auction.seller": seller, "auction.category": category,
            });
        }
        let result = parties.run();
        (result.causes(), result.rows().iter().map(|row| row.i64("party")).collect())
    }

    #[test]
    fn persons_and_auctions_have_one_key() {
        assert_eq!(parties("{}"), (vec![0, 1, 2, 3], vec![1, 2, 3, 4]));
        assert_eq!(parties(r#"{"states": ["OR", "ID"], "category": 10}"#), (vec![0, 2], vec![1, 3]));
    }
}
