//! Owns reading a plugin's configuration into its author's struct, with errors that say where and what to do.
//! Does not own the pipeline file: its host hands over the step's `config:` as JSON.
//! Invariant: an unknown field is an error, never ignored.

use core::fmt;
use std::collections::BTreeMap;

use segno_wire::json::Json;

/// A configuration, or a part of one. Implemented by `#[derive(Config)]` for structs and for enums without fields.
pub trait Config: Sized {
    fn read(json: &Json<'_>, place: &Place<'_>) -> Result<Self, ConfigError>;
    /// The value when the field is not there; nothing when it must be.
    fn missing() -> Option<Self> {
        None
    }
}

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A place in a configuration, as in `limits.delays[2]`.
#[derive(Clone, Copy)]
pub struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Field(&'p str),
    Item(usize),
}

impl<'p> Place<'p> {
    pub const ROOT: Place<'static> = Place {
        parent: None,
        step: Step::Root,
    };

    pub fn field(&'p self, name: &'p str) -> Place<'p> {
        Place {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    pub fn item(&'p self, index: usize) -> Place<'p> {
        Place {
            parent: Some(self),
            step: Step::Item(index),
        }
    }

    /// An error at this place.
    pub fn error(&self, what: impl fmt::Display) -> ConfigError {
        ConfigError(match self.step {
            Step::Root => format!("config: {what}"),
            _ => format!("config.{self}: {what}"),
        })
    }

    fn expected(&self, what: &str, found: &Json<'_>) -> ConfigError {
        match found {
            Json::Number(text) => self.error(format_args!("{what} is expected, not {text}")),
            _ => self.error(format_args!("{what} is expected, not {}", found.kind())),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name)
                if self
                    .parent
                    .is_some_and(|parent| !matches!(parent.step, Step::Root)) =>
            {
                write!(f, ".{name}")
            }
            Step::Field(name) => f.write_str(name),
            Step::Item(index) => write!(f, "[{index}]"),
        }
    }
}

/// Reads a whole configuration.
pub(crate) fn read_root<C: Config>(bytes: &[u8]) -> Result<C, String> {
    let json = Json::parse(bytes).map_err(|error| format!("config: {error}"))?;
    C::read(&json, &Place::ROOT).map_err(|error| error.0)
}

/// The members of an object, all of whose names are known.
#[doc(hidden)]
pub fn members<'j, 'a>(
    json: &'j Json<'a>,
    place: &Place<'_>,
    known: &[&str],
) -> Result<&'j Json<'a>, ConfigError> {
    match json {
        Json::Object(members) => match members.iter().find(|(name, _)| !known.contains(&&**name)) {
            None => Ok(json),
            Some((name, _)) => {
                let hint = match nearest(name, known) {
                    Some(near) => format!("; did you mean `{near}`?"),
                    None if known.is_empty() => "; this plugin has no configuration".to_owned(),
                    None => format!("; known are {}", known.join(", ")),
                };
                Err(place.field(name).error(format_args!("unknown field{hint}")))
            }
        },
        other => Err(place.expected("an object", other)),
    }
}

/// Reads one field of an object.
#[doc(hidden)]
pub fn field<C: Config>(
    object: &Json<'_>,
    place: &Place<'_>,
    name: &str,
    default: Option<fn() -> C>,
) -> Result<C, ConfigError> {
    let place = place.field(name);
    match object.get(name) {
        Some(value) => C::read(value, &place),
        None => match default {
            Some(make) => Ok(make()),
            None => C::missing().ok_or_else(|| place.error("is missing")),
        },
    }
}

/// Reads one of several words.
#[doc(hidden)]
pub fn word(json: &Json<'_>, place: &Place<'_>, words: &[&str]) -> Result<usize, ConfigError> {
    let Json::String(text) = json else {
        return Err(place.expected("a string", json));
    };
    words.iter().position(|word| word == text).ok_or_else(|| {
        let hint = match nearest(text, words) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it is one of {}", words.join(", ")),
        };
        place.error(format_args!("unknown value `{text}`; {hint}"))
    })
}

/// The known name that a misspelt one most likely means.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    // Two swapped letters are two edits; a name of three letters is another name by then.
    let limit = match name.chars().count() {
        0..=3 => 1,
        4..=8 => 2,
        _ => 3,
    };
    known
        .iter()
        .map(|known| (edits(name, known), *known))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, known)| known)
}

/// The Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// No configuration: an empty object.
impl Config for () {
    fn read(json: &Json<'_>, place: &Place<'_>) -> Result<Self, ConfigError> {
        members(json, place, &[]).map(|_| ())
    }
}

impl Config for bool {
    fn read(json: &Json<'_>, place: &Place<'_>) -> Result<Self, ConfigError> {
        match json {
            Json::Bool(value) => Ok(*value),
            other => Err(place.expected("true or false", other)),
        }
    }
}

impl Config for String {
    fn read(json: &Json<'_>, place: &Place<'_>) -> Result<Self, ConfigError> {
        match json {
            Json::String(text) => Ok(text.clone().into_owned()),
            other => Err(place.expected("a string", other)),
        }
    }
}

macro_rules! integer {
    ($($type:ty)*) => {$(
        impl Config for $type {
            fn read(json: &Json<'_>, place: &Place<'_>) -> Result<Self, ConfigError> {
                let Json::Number(text) = json else {
                    return Err(place.expected("a whole number", json));
                };
                text.parse().map_err(|_| {
                    if text.contains(['.', 'e', 'E']) {
                        place.expected("a whole number", json)
                    } else {
                        place.error(format_args!("{text} is not between {} and {}", <$type>::MIN, <$type>::MAX))
                    }
                })
            }
        }
    )*};
}

integer!(i32 i64 u32 u64 usize);

impl Config for f64 {
    fn read(json: &Json<'_>, place: &Place<'_>) -> Result<Self, ConfigError> {
        match json {
            Json::Number(text) => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(value),
                _ => Err(place.error(format_args!("{text} is too large for a number"))),
            },
            other => Err(place.expected("a number", other)),
        }
    }
}

impl<C: Config> Config for Option<C> {
    fn read(json: &Json<'_>, place: &Place<'_>) -> Result<Self, ConfigError> {
        match json {
            Json::Null => Ok(None),
            value => C::read(value, place).map(Some),
        }
    }
    fn missing() -> Option<Self> {
        Some(None)
    }
}

impl<C: Config> Config for Vec<C> {
    fn read(json: &Json<'_>, place: &Place<'_>) -> Result<Self, ConfigError> {
        match json {
            Json::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| C::read(item, &place.item(index)))
                .collect(),
            other => Err(place.expected("a list", other)),
        }
    }
}

impl<C: Config> Config for BTreeMap<String, C> {
    fn read(json: &Json<'_>, place: &Place<'_>) -> Result<Self, ConfigError> {
        match json {
            Json::Object(members) => members
                .iter()
                .map(|(name, value)| {
                    Ok((
                        name.clone().into_owned(),
                        C::read(value, &place.field(name))?,
                    ))
                })
                .collect(),
            other => Err(place.expected("an object", other)),
        }
    }
}
