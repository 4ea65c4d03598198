//! Decisions of ownership, commit and recovery: facts in, decision out, no I/O.
