//! Owns a small strict reader and writer of JSON, for plugin descriptions and configurations.
//! Does not own any meaning. It is here, and not a library, because every plugin carries it: it has to be small.
//! Invariants: numbers keep their text, so that nothing is rounded; objects keep their order and refuse a name that
//! occurs twice; no input makes it recurse deeper than [`DEPTH_MAX`].

use core::fmt;
use std::borrow::Cow;

/// Nested arrays and objects; more is refused, so that hostile text cannot exhaust the stack.
pub const DEPTH_MAX: usize = 64;

/// A JSON value that borrows from its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    /// The number's text, checked against the grammar.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Where and why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Bytes before the fault.
    pub at: usize,
    pub reason: &'static str,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid JSON at byte {}: {}", self.at, self.reason)
    }
}

impl std::error::Error for JsonError {}

impl<'a> Json<'a> {
    /// Reads one value and nothing after it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let text = core::str::from_utf8(bytes).map_err(|error| JsonError {
            at: error.valid_up_to(),
            reason: "not UTF-8",
        })?;
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        parser.space();
        if parser.at != text.len() {
            return Err(parser.error("there is more after the value"));
        }
        Ok(value)
    }

    /// The value of a name, when this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// What this is, for an error message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, reason: &'static str) -> JsonError {
        JsonError {
            at: self.at,
            reason,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8, reason: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.error(reason));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.space();
        match self.peek() {
            Some(b'{' | b'[') if depth == DEPTH_MAX => Err(self.error("nested too deeply")),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in [
                    ("null", Json::Null),
                    ("true", Json::Bool(true)),
                    ("false", Json::Bool(false)),
                ] {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.error("a value is expected"))
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                _ => return Err(self.error("`,` or `]` is expected")),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.at += 1;
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("a name in quotes is expected"));
            }
            let name = self.string()?;
            if members.iter().any(|(known, _)| *known == name) {
                return Err(self.error("a name occurs twice in one object"));
            }
            self.space();
            self.eat(b':', "`:` is expected")?;
            let value = self.value(depth + 1)?;
            members.push((name, value));
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                _ => return Err(self.error("`,` or `}` is expected")),
            }
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.error("a digit is expected"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Json<'a>, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json::Number(&self.text[start..self.at]))
    }

    /// At the opening quote.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut copied = start;
        loop {
            match self.peek() {
                None => return Err(self.error("a string does not end")),
                Some(b'"') => {
                    let rest = &self.text[copied..self.at];
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(rest),
                        Some(mut text) => {
                            text.push_str(rest);
                            Cow::Owned(text)
                        }
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.push_str(&self.text[copied..self.at]);
                    self.at += 1;
                    let character = self.escape()?;
                    owned.get_or_insert_default().push(character);
                    copied = self.at;
                }
                Some(0..=0x1f) => return Err(self.error("a control character is not escaped")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let byte = self
            .peek()
            .ok_or_else(|| self.error("a string does not end"))?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => byte as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    self.eat(b'\\', "half of a surrogate pair")?;
                    self.eat(b'u', "half of a surrogate pair")?;
                    let second = self.hex()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err(self.error("half of a surrogate pair"));
                    }
                    0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).ok_or_else(|| self.error("half of a surrogate pair"))?
            }
            _ => return Err(self.error("an unknown escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self
                .peek()
                .and_then(|byte| (byte as char).to_digit(16))
                .ok_or_else(|| self.error("four hexadecimal digits are expected"))?;
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

/// Appends a string in quotes.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let code = character as usize;
                out.push_str("\\u00");
                out.push(HEX[code >> 4] as char);
                out.push(HEX[code & 15] as char);
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> &'static str {
        Json::parse(text.as_bytes()).unwrap_err().reason
    }

    #[test]
    fn values_keep_their_order_and_numbers_their_text() {
        let json = Json::parse(
            br#" {"b": [1, -2.50e+3, null], "a": {"x": true}, "c": "\u00e9\ud83d\ude00\n"} "#,
        )
        .unwrap();
        assert_eq!(json.get("a").unwrap().get("x"), Some(&Json::Bool(true)));
        assert_eq!(
            json.get("b"),
            Some(&Json::Array(vec![
                Json::Number("1"),
                Json::Number("-2.50e+3"),
                Json::Null
            ]))
        );
        assert_eq!(json.get("c"), Some(&Json::String("é😀\n".into())));
    }

    #[test]
    fn what_is_not_json_is_refused_with_a_reason() {
        assert_eq!(
            fault("{\"a\":1,\"a\":2}"),
            "a name occurs twice in one object"
        );
        assert_eq!(fault("[1,]"), "a value is expected");
        assert_eq!(fault("[1 2]"), "`,` or `]` is expected");
        assert_eq!(fault("01"), "there is more after the value");
        assert_eq!(fault("-"), "a digit is expected");
        assert_eq!(fault("1."), "a digit is expected");
        assert_eq!(fault("\"a"), "a string does not end");
        assert_eq!(fault("\"\n\""), "a control character is not escaped");
        assert_eq!(fault("\"\\ud800x\""), "half of a surrogate pair");
        assert_eq!(fault("\"\\udc00\""), "half of a surrogate pair");
        assert_eq!(fault("\"\\x\""), "an unknown escape");
        assert_eq!(fault("nul"), "a value is expected");
        assert_eq!(fault(""), "a value is expected");
        assert_eq!(Json::parse(b"\"\xff\"").unwrap_err().reason, "not UTF-8");
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Json::parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(fault(&nested(DEPTH_MAX + 1)), "nested too deeply");
        assert_eq!(fault(&"[".repeat(1_000_000)), "nested too deeply");
    }

    #[test]
    fn a_written_string_reads_back() {
        let text = "a\"b\\c\n\r\t\u{1}\u{1f}é😀/";
        let mut out = String::new();
        push_string(&mut out, text);
        assert_eq!(Json::parse(out.as_bytes()), Ok(Json::String(text.into())));
    }
}
