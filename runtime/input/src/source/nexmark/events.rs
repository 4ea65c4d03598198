//! The events of Nexmark: every field as a function of (seed, event, field), and their JSON.
//!
//! Owns: fields, proportions, skew, values.
//! Does not own: partitions and reading (`super`).
//!
//! Invariant: only integer arithmetic, so that every machine makes the same events.

use segno_core::columns::{Column, ColumnType, Schema};
use segno_core::source::{NexmarkKind, NexmarkSpec};
use std::fmt::Write as _;
use std::io;

const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
const BIDS: u64 = 46;
const ALL: u64 = PERSONS + AUCTIONS + BIDS;

const FIRST_ID: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
/// Half of the bids go to the newest of each hundred auctions, three of four come from the newest of each hundred
/// persons: the skew of the original.
const HOT_STRIDE: u64 = 100;
/// Auctions and persons among which the others are spread.
const AUCTIONS_OPEN: u64 = 100;
const PERSONS_ACTIVE: u64 = 1000;

const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] = [
    "Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne",
];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// One field of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FieldSpec {
    /// The column's name: `bid.price`.
    pub path: &'static str,
    /// `None`: every event has it.
    pub of: Option<NexmarkKind>,
    pub what: What,
    pub ty: ColumnType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    EventType,
    DateTime,
    PersonId,
    PersonName,
    Email,
    CreditCard,
    City,
    State,
    AuctionId,
    ItemName,
    Description,
    InitialBid,
    Reserve,
    Expires,
    Seller,
    Category,
    BidAuction,
    Bidder,
    Price,
    Channel,
    Url,
    /// Filler, of about so many bytes.
    Extra(u64),
}

const fn field(path: &'static str, of: Option<NexmarkKind>, what: What, ty: ColumnType) -> FieldSpec {
    FieldSpec { path, of, what, ty }
}

use ColumnType::{I32, I64, Timestamp, Utf8};
const PERSON: Option<NexmarkKind> = Some(NexmarkKind::Person);
const AUCTION: Option<NexmarkKind> = Some(NexmarkKind::Auction);
const BID: Option<NexmarkKind> = Some(NexmarkKind::Bid);

/// Every column, in the order of the JSON lines.
pub(super) const FIELDS: [FieldSpec; 27] = [
    field("event_type", None, What::EventType, I32),
    field("date_time", None, What::DateTime, Timestamp),
    field("person.id", PERSON, What::PersonId, I64),
    field("person.name", PERSON, What::PersonName, Utf8),
    field("person.email_address", PERSON, What::Email, Utf8),
    field("person.credit_card", PERSON, What::CreditCard, Utf8),
    field("person.city", PERSON, What::City, Utf8),
    field("person.state", PERSON, What::State, Utf8),
    field("person.date_time", PERSON, What::DateTime, Timestamp),
    field("person.extra", PERSON, What::Extra(60), Utf8),
    field("auction.id", AUCTION, What::AuctionId, I64),
    field("auction.item_name", AUCTION, What::ItemName, Utf8),
    field("auction.description", AUCTION, What::Description, Utf8),
    field("auction.initial_bid", AUCTION, What::InitialBid, I64),
    field("auction.reserve", AUCTION, What::Reserve, I64),
    field("auction.date_time", AUCTION, What::DateTime, Timestamp),
    field("auction.expires", AUCTION, What::Expires, Timestamp),
    field("auction.seller", AUCTION, What::Seller, I64),
    field("auction.category", AUCTION, What::Category, I64),
    field("auction.extra", AUCTION, What::Extra(100), Utf8),
    field("bid.auction", BID, What::BidAuction, I64),
    field("bid.bidder", BID, What::Bidder, I64),
    field("bid.price", BID, What::Price, I64),
    field("bid.channel", BID, What::Channel, Utf8),
    field("bid.url", BID, What::Url, Utf8),
    field("bid.date_time", BID, What::DateTime, Timestamp),
    field("bid.extra", BID, What::Extra(19), Utf8),
];

/// The columns of a generator: those of the other kinds are null, or left out where there is one kind only.
pub fn schema(spec: &NexmarkSpec) -> Schema {
    let fields = FIELDS.iter().filter(|field| field.of.is_none() || spec.only.is_none() || field.of == spec.only);
    Schema::new(
        fields.map(|f| Column::new(f.path, f.ty, f.of.is_some() && spec.only.is_none())).collect(),
    )
}

#[derive(Clone, Debug)]
pub(super) struct Generator {
    pub spec: NexmarkSpec,
}

/// An event's number among all kinds, its kind, and its time.
#[derive(Clone, Copy)]
pub(super) struct Event {
    number: u64,
    pub kind: NexmarkKind,
    micros: i64,
}

impl Generator {
    /// The event at an offset: with one kind only, offsets count that kind.
    pub fn event(&self, offset: u64) -> Event {
        let of = |every: u64, first: u64| (offset / every) * ALL + first + offset % every;
        let number = match self.spec.only {
            None => offset,
            Some(NexmarkKind::Person) => of(PERSONS, 0),
            Some(NexmarkKind::Auction) => of(AUCTIONS, PERSONS),
            Some(NexmarkKind::Bid) => of(BIDS, PERSONS + AUCTIONS),
        };
        let kind = match number % ALL {
            place if place < PERSONS => NexmarkKind::Person,
            place if place < PERSONS + AUCTIONS => NexmarkKind::Auction,
            _ => NexmarkKind::Bid,
        };
        let passed = u128::from(offset) * 1_000_000 / u128::from(self.spec.events_per_second.max(1));
        let micros = self.spec.start_micros.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
        Event { number, kind, micros }
    }

    /// Independent random bits for (event, purpose).
    fn draw(&self, event: Event, purpose: u64) -> u64 {
        mix(mix(self.spec.seed ^ purpose.wrapping_mul(0xA076_1D64_78BD_642F)) ^ event.number)
    }

    fn last_person(&self, event: Event) -> u64 {
        event.number / ALL
    }

    fn last_auction(&self, event: Event) -> u64 {
        let (group, place) = (event.number / ALL, event.number % ALL);
        if place < PERSONS {
            return (group * AUCTIONS).saturating_sub(1);
        }
        group * AUCTIONS + (place - PERSONS).min(AUCTIONS - 1)
    }

    fn some_person(&self, event: Event, purpose: u64) -> u64 {
        let last = self.last_person(event);
        let bits = self.draw(event, purpose);
        let number = match bits % 4 {
            0 => last - (bits >> 8) % PERSONS_ACTIVE.min(last + 1),
            _ => last / HOT_STRIDE * HOT_STRIDE,
        };
        FIRST_ID + number
    }

    fn price(&self, event: Event, purpose: u64) -> i64 {
        // 1 to 10^6 units, evenly over the magnitudes, in hundredths. Powers by multiplication only, so that every
        // machine makes the same.
        let bits = self.draw(event, purpose);
        let magnitude = 10u64.pow((bits % 6) as u32);
        (magnitude * 100 + (bits >> 8) % (magnitude * 900)) as i64
    }

    /// A field of an event: an integer, or text put into `text`.
    pub fn value(&self, event: Event, what: What, text: &mut String) -> Made {
        text.clear();
        match what {
            What::EventType => {
                return Made::Int(match event.kind {
                    NexmarkKind::Person => 0,
                    NexmarkKind::Auction => 1,
                    NexmarkKind::Bid => 2,
                });
            }
            What::DateTime => return Made::Micros(event.micros),
            What::PersonId => return Made::Int((FIRST_ID + self.last_person(event)) as i64),
            What::AuctionId => return Made::Int((FIRST_ID + self.last_auction(event)) as i64),
            What::InitialBid => return Made::Int(self.price(event, 1)),
            What::Reserve => return Made::Int(self.price(event, 1) + self.price(event, 2)),
            What::Expires => {
                let length = 1_000_000 + self.draw(event, 3) % 20_000_000;
                return Made::Micros(event.micros.saturating_add(length as i64));
            }
            What::Seller => return Made::Int(self.some_person(event, 4) as i64),
            What::Category => return Made::Int((FIRST_CATEGORY + self.draw(event, 5) % 5) as i64),
            What::BidAuction => {
                let last = self.last_auction(event);
                let bits = self.draw(event, 6);
                let number = match bits % 2 {
                    0 => last - (bits >> 8) % AUCTIONS_OPEN.min(last + 1),
                    _ => last / HOT_STRIDE * HOT_STRIDE,
                };
                return Made::Int((FIRST_ID + number) as i64);
            }
            What::Bidder => return Made::Int(self.some_person(event, 7) as i64),
            What::Price => return Made::Int(self.price(event, 8)),
            What::PersonName => {
                let bits = self.draw(event, 9);
                text.push_str(FIRST_NAMES[(bits % 11) as usize]);
                text.push(' ');
                text.push_str(LAST_NAMES[(bits >> 8) as usize % 9]);
            }
            What::Email => {
                letters(self.draw(event, 10), 7, text);
                text.push('@');
                letters(self.draw(event, 11), 5, text);
                text.push_str(".com");
            }
            What::CreditCard => {
                let bits = self.draw(event, 12);
                for part in 0..4 {
                    let gap = if part == 0 { "" } else { " " };
                    let _ = write!(text, "{gap}{:04}", (bits >> (part * 16) & 0xFFFF) % 10_000);
                }
            }
            What::City => text.push_str(CITIES[(self.draw(event, 13) % 10) as usize]),
            What::State => text.push_str(STATES[(self.draw(event, 14) % 6) as usize]),
            What::ItemName => letters(self.draw(event, 15), 20, text),
            What::Description => letters(self.draw(event, 16), 60, text),
            What::Channel => {
                let bits = self.draw(event, 17);
                match bits % 2 {
                    0 => text.push_str(HOT_CHANNELS[(bits >> 8) as usize % 4]),
                    _ => drop(write!(text, "channel-{}", (bits >> 8) % 10_000)),
                }
            }
            What::Url => {
                text.push_str("https://www.nexmark.com/");
                let bits = self.draw(event, 18);
                for part in 0..3 {
                    letters(mix(bits ^ part), 5, text);
                    text.push('/');
                }
                text.push_str("item.htm?query=1");
            }
            What::Extra(about) => {
                let bits = self.draw(event, 19);
                letters(bits, about - about / 4 + bits % (about / 2 + 1), text);
            }
        }
        Made::Text
    }
}

pub(super) enum Made {
    Int(i64),
    Micros(i64),
    Text,
}

fn mix(bits: u64) -> u64 {
    let mut z = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn letters(mut bits: u64, count: u64, text: &mut String) {
    for place in 0..count {
        if place % 12 == 0 {
            bits = mix(bits);
        }
        text.push(char::from(b'a' + (bits % 26) as u8));
        bits /= 26;
    }
}

/// Writes events `from..to` of all partitions as JSON lines; a bid has about 259 bytes. With all kinds, each line also
/// has the event time as `date_time`.
pub fn write_json_lines(
    spec: &NexmarkSpec,
    events: std::ops::Range<u64>,
    into: &mut impl io::Write,
) -> io::Result<()> {
    let generator = Generator { spec: spec.clone() };
    let mut line = String::new();
    for offset in events {
        write_event(&generator, generator.event(offset), &mut line);
        line.push('\n');
        into.write_all(line.as_bytes())?;
    }
    Ok(())
}

pub(super) fn write_event(generator: &Generator, event: Event, line: &mut String) {
    line.clear();
    let mut text = String::new();
    let mut member = |line: &mut String, spec: &FieldSpec| {
        let name = spec.path.rsplit('.').next().unwrap_or(spec.path);
        let _ = match generator.value(event, spec.what, &mut text) {
            Made::Int(number) => write!(line, "\"{name}\":{number}"),
            // Letters, digits and punctuation only: nothing to escape.
            Made::Text => write!(line, "\"{name}\":\"{text}\""),
            Made::Micros(micros) => write!(line, "\"{name}\":\"{}\"", time_text(micros)),
        };
    };
    line.push('{');
    member(line, &FIELDS[0]);
    if generator.spec.only.is_none() {
        line.push(',');
        member(line, &FIELDS[1]);
    }
    for (name, kind) in [("person", NexmarkKind::Person), ("auction", NexmarkKind::Auction), ("bid", NexmarkKind::Bid)] {
        let _ = write!(line, ",\"{name}\":");
        if kind != event.kind {
            line.push_str("null");
            continue;
        }
        let mut mark = '{';
        for spec in FIELDS.iter().filter(|spec| spec.of == Some(kind)) {
            line.push(mark);
            mark = ',';
            member(line, spec);
        }
        line.push('}');
    }
    line.push('}');
}

/// `2015-07-15 00:00:00.000000`
fn time_text(micros: i64) -> String {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(timestamp) => jiff::tz::Offset::UTC.to_datetime(timestamp).strftime("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        Err(_) => micros.to_string(),
    }
}
