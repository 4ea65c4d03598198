//! Starting: asking the engine for an instance in a store of its own.
//!
//! Owns: what is asked again, and how often. Does not own: what an instance is made of (`template`), calls (`instance`).
//!
//! Invariant: only what the kernel refused for the moment is asked again; every other failure is shown at once.

use crate::failure::CallFailure;
use crate::instance::{Host, failure, prepare, store};
use crate::limits::Limits;
use rustix::io::Errno;
use wasmtime::component::Instance;
use wasmtime::{Engine, Store, Trap};

/// Attempts to start an instance while the kernel is busy. One attempt lasts some 0.2 s (below), so this is a second.
const ATTEMPTS: u32 = 5;

/// An instance in a store of its own, made by `instantiate`; the start functions of its modules have `fuel`.
pub(crate) fn start(
    engine: &Engine,
    limits: &Limits,
    fuel: u64,
    ticks: u64,
    instantiate: impl Fn(&mut Store<Host>) -> wasmtime::Result<Instance>,
) -> Result<(Store<Host>, Instance), CallFailure> {
    let mut attempt = 1;
    loop {
        let mut store = store(engine, limits);
        prepare(&mut store, fuel, ticks);
        let error = match instantiate(&mut store) {
            Ok(instance) => return Ok((store, instance)),
            Err(error) => error,
        };
        if is_busy(&error) && attempt < ATTEMPTS {
            tracing::debug!(attempt, "the kernel was busy when an instance was started: {error:#}");
            attempt += 1;
            continue;
        }
        // Nothing was called yet: what is no trap and no limit is the engine's own.
        let plugin = store.data().hit_a_limit() || error.downcast_ref::<Trap>().is_some();
        return Err(match plugin {
            true => failure(&mut store, limits, fuel, error),
            false => CallFailure::of_engine(&error),
        });
    }
}

/// Whether the kernel refused something that it grants a moment later. The engine keeps the memory that instances begin with in
/// a memfd and seals it; the kernel seals nothing while it moves one of its pages (`F_ADD_SEALS` in fcntl(2): EBUSY): it looks five
/// times within 0.2 s, and gives up. On a loaded machine that happened once in some thousand seals of 20 MB.
fn is_busy(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        let code = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        code == Some(Errno::BUSY.raw_os_error()) || cause.downcast_ref::<Errno>() == Some(&Errno::BUSY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io;
    use wasmtime::component::{Component, Linker};

    /// What starting an empty component (a preamble alone) gives when its first `failures` attempts end in `error`; and how many there were.
    fn starts(failures: u32, error: fn() -> wasmtime::Error) -> (Result<(), CallFailure>, u32) {
        let engine = Engine::new(&crate::engine::config()).unwrap();
        let component = Component::new(&engine, b"\0asm\x0d\0\x01\0").unwrap();
        let attempts = Cell::new(0);
        let started = start(&engine, &Limits::default(), 1, 1, |store| {
            attempts.set(attempts.get() + 1);
            if attempts.get() <= failures {
                return Err(error());
            }
            Linker::new(&engine).instantiate(store, &component)
        });
        (started.map(|_| ()), attempts.get())
    }

    fn busy() -> wasmtime::Error {
        wasmtime::Error::from(io::Error::from_raw_os_error(Errno::BUSY.raw_os_error())).context("cannot add seals to the memfd")
    }

    #[test]
    fn a_busy_kernel_is_asked_again() {
        assert_eq!(starts(ATTEMPTS - 1, busy), (Ok(()), ATTEMPTS));
        assert_eq!(starts(1, || wasmtime::Error::from(Errno::BUSY)), (Ok(()), 2));
    }

    #[test]
    fn a_kernel_that_stays_busy_is_no_fault_of_the_plugin() {
        let (result, attempts) = starts(ATTEMPTS, busy);
        assert!(matches!(&result, Err(CallFailure::Engine(why)) if why.contains("add seals")), "{result:?}");
        assert_eq!(attempts, ATTEMPTS);
    }

    #[test]
    fn everything_else_is_shown_at_once() {
        let (result, attempts) = starts(1, || wasmtime::Error::msg("no such import"));
        assert!(matches!(&result, Err(CallFailure::Engine(why)) if why == "no such import"), "{result:?}");
        assert_eq!(attempts, 1);
        let (result, attempts) = starts(1, || wasmtime::Error::from(Errno::NOMEM));
        assert!(matches!(result, Err(CallFailure::NoMemory(_))), "{result:?}");
        assert_eq!(attempts, 1);
    }
}
