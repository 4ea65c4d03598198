//! Faults by lines of text, for the binary: one command on a line, answered by `ok`, by counts, or by what is wrong.
//!
//! Owns: the commands. Does not own: what they do (`tcp`, `http`).

use crate::http::{Act, HttpProxy};
use crate::tcp::TcpProxy;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

/// Commands of a TCP proxy.
pub const TCP_COMMANDS: &str = "delay MS | bandwidth BYTES_PER_SECOND | pause | resume | blackhole | refuse | \
    drop-replies | cut-after-up BYTES | cut-after-down BYTES | cut | heal | seen";
/// Commands of an HTTP proxy. The first TIMES requests of METHOD whose path contains PART meet the fault.
pub const HTTP_COMMANDS: &str = "answer|apply-answer TIMES METHOD PART STATUS CODE | hang|apply-hang|apply-cut TIMES METHOD \
    PART | cut-body TIMES METHOD PART BYTES | hide TIMES METHOD PART KEYS_CONTAINING | heal | seen";

/// A proxy that commands can change.
pub trait Controlled {
    /// Does what a line says; gives the answer, or what is wrong.
    fn obey(&self, line: &str) -> Result<String, String>;
}

fn number<T: std::str::FromStr>(word: Option<&&str>) -> Result<T, String> {
    word.and_then(|word| word.parse().ok()).ok_or_else(|| "a number is missing or malformed".to_owned())
}

impl Controlled for TcpProxy {
    fn obey(&self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut faults = self.faults();
        match words.first().copied().unwrap_or_default() {
            "delay" => faults.delay = Duration::from_millis(number(words.get(1))?),
            "bandwidth" => faults.bandwidth = Some(number(words.get(1))?),
            "pause" => faults.paused = true,
            "resume" => faults.paused = false,
            "blackhole" => faults.blackhole = true,
            "refuse" => faults.refuse = true,
            "drop-replies" => faults.drop_replies = true,
            "cut-after-up" => faults.cut_after_up = Some(number(words.get(1))?),
            "cut-after-down" => faults.cut_after_down = Some(number(words.get(1))?),
            "heal" => faults = Default::default(),
            "cut" => self.cut(),
            "seen" => return Ok(format!("{:?}", self.seen())),
            _ => return Err(format!("not a command; there are: {TCP_COMMANDS}")),
        }
        self.set(faults);
        Ok("ok".to_owned())
    }
}

impl Controlled for HttpProxy {
    fn obey(&self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |at: usize| words.get(at).copied().map(str::to_owned).ok_or_else(|| format!("word {at} is missing"));
        let act = match words.first().copied().unwrap_or_default() {
            "answer" => Act::Answer { status: number(words.get(4))?, code: word(5)? },
            "apply-answer" => Act::ApplyThenAnswer { status: number(words.get(4))?, code: word(5)? },
            "hang" => Act::Hang,
            "apply-hang" => Act::ApplyThenHang,
            "apply-cut" => Act::ApplyThenCut,
            "cut-body" => Act::CutBody { after: number(words.get(4))? },
            "hide" => Act::HideKeys { containing: word(4)? },
            "heal" => Act::Pass,
            "seen" => return Ok(format!("{:?}", self.seen())),
            _ => return Err(format!("not a command; there are: {HTTP_COMMANDS}")),
        };
        if act == Act::Pass {
            self.heal();
        } else {
            self.first(number(words.get(1))?, &word(2)?, &word(3)?, act);
        }
        Ok("ok".to_owned())
    }
}

/// Obeys whoever connects, one after the other, for ever.
pub fn serve(listener: &TcpListener, proxy: &dyn Controlled) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let mut answers = stream.try_clone()?;
        for line in BufReader::new(stream).lines() {
            // A peer that is gone ends its connection only.
            let Ok(line) = line else { break };
            let answer = proxy.obey(&line).unwrap_or_else(|wrong| format!("error: {wrong}"));
            if writeln!(answers, "{answer}").is_err() {
                break;
            }
        }
    }
}
