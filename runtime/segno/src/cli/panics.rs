//! Panics: an error with a code.
//!
//! Owns: what a panic of the command's own thread becomes. Does not own: threads that are joined, whose end is an error there.
//!
//! Invariant: an allocation that fails ends the process. The standard library makes a backtrace under a lock where
//! RUST_BACKTRACE asks for one; that allocates, and what it does about an allocation that fails waits for the same lock, for
//! ever. So there are no backtraces: a panic says where it was.

use super::{Failure, Outcome};
use segno_core::{Code, Error};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// To be called before there is another thread.
pub fn prepare() {
    // SAFETY: this is the only thread, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var("RUST_BACKTRACE") };
}

/// What a command ends with, a panic included.
pub fn caught(command: impl FnOnce() -> Outcome) -> Outcome {
    // Nothing of the command is looked at afterwards.
    catch_unwind(AssertUnwindSafe(command)).unwrap_or_else(|panic| Err(Failure(vec![error(&*panic)])))
}

fn error(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Error::new(Code::Internal, text.unwrap_or("a panic without words"))
        .with_help("where a thread could not start, allow the process more of them (ulimit -u, or the container's limit of pids)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        let Err(Failure(errors)) = caught(|| panic!("lane {}", 7)) else { panic!("it is no error") };
        assert_eq!((errors[0].code(), errors[0].message()), (Code::Internal, "lane 7"));
        assert!(matches!(caught(|| Ok(3)), Ok(3)));
    }
}
