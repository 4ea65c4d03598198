//! PostgreSQL: a table as a sink, and rows as a side table.
//!
//! - `server`: reaching a database, and what its refusals mean
//! - `tls`: a connection that is as secure as the URL says
//! - `table`: what the table must look like, its statements
//! - `marks`: the last epoch of each sink, and who may write
//! - `encode`: rows as the server reads them
//! - `sink`: the contract, put together from these
//! - `side`: rows of a side table, read in one snapshot; `value`: its values
//!
//! Owns: everything of the PostgreSQL client. Does not own: the contract (`segno_core::sink`), the decision which epochs
//! are lacking (`segno_core::protocol::follow`).
//!
//! Invariants: the rows of an epoch and its number are written in one transaction, which locks the sink's mark first.
//! No message holds a password.

mod encode;
mod marks;
mod server;
mod side;
mod sink;
mod table;
mod tls;
mod value;

pub use side::{Bounds, Rows, Snapshot, Wanted};
pub use sink::PostgresSink;
