//! The whole command, run as a process: killed, disturbed, and compared.
//!
//! Owns: proofs that need a real process and real files. Does not own: rules that a function shows (tests beside it).
//!
//! `make test` sets SEGNO_COMPONENTS (first-party plugins), SEGNO_TESTING_BIN (the command with failpoints) and
//! SEGNO_CHECKER_BIN (the independent checker), SEGNO_COMPONENTIZE_PY and SEGNO_COMPONENTIZE_JS (what builds plugins in these).

mod absence;
mod author;
mod c;
mod change;
mod cli;
mod cookbook;
mod damage;
mod event_time;
mod invariance;
mod js;
mod kills;
mod lab;
mod large;
mod logs;
mod nexmark;
mod observe;
mod ownership;
mod pages;
mod postgres;
mod python;
mod redrive;
mod replay;
mod s3;
mod shards;
mod slow;
mod tables;
mod tap;
mod ttl;
mod tutorial;
