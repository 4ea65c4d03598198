//! The exports of the component, by hand: answers that the SDK would never give.
//!
//! Owns: lies about an answer. Does not own: misbehaviour that ordinary Rust can reach (`lib`).
//! Invariant: a call without a lie answers as `segno_sdk::plugin!` does.

use crate::Hostile;
use core::sync::atomic::{AtomicU8, Ordering};

impl segno_sdk::Plugin for Hostile {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
}

/// What is wrong with the answer of the current call.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Lie {
    /// An error takes the place of the answer.
    GiveUp = 1,
    /// The last 8 bytes are missing.
    Cut,
    /// The first 8 bytes are others.
    Garble,
    /// The list is said to be longer than all memory.
    Beyond,
}

static LIE: AtomicU8 = AtomicU8::new(0);

pub fn lie(lie: Lie) {
    LIE.store(lie as u8, Ordering::Relaxed);
}

#[cfg(target_arch = "wasm32")]
const _: () = {
    use segno_sdk::guest::{COMPONENT_TYPE, Instance, lend};

    static INSTANCE: Instance<Hostile> = Instance::new();

    #[unsafe(link_section = "component-type:segno:stream@1.0.0:transform")]
    #[used]
    static TYPE: [u8; COMPONENT_TYPE.len()] = COMPONENT_TYPE;

    #[unsafe(export_name = "describe")]
    extern "C" fn describe() -> *const u8 {
        INSTANCE.describe()
    }

    #[unsafe(export_name = "init")]
    unsafe extern "C" fn init(at: *const u8, length: usize) -> *const u8 {
        // SAFETY: the host calls with a list that it wrote into lent memory.
        unsafe { INSTANCE.init(at, length) }
    }

    #[unsafe(export_name = "process")]
    unsafe extern "C" fn process(at: *const u8, length: usize) -> *const u8 {
        const WHY: &str = "hostile gives up";
        // SAFETY: as in `init`. An answer is three words in cells: whether it is an error, the list's address, its
        // length; the list is this instance's own.
        unsafe {
            let answer = INSTANCE.process(at, length);
            let words = answer.cast_mut().cast::<usize>();
            match LIE.swap(0, Ordering::Relaxed) {
                lie if lie == Lie::GiveUp as u8 => {
                    words.write(1);
                    words.add(1).write(WHY.as_ptr().addr());
                    words.add(2).write(WHY.len());
                }
                lie if lie == Lie::Cut as u8 => words.add(2).write(words.add(2).read() - 8),
                lie if lie == Lie::Garble as u8 => (words.add(1).read() as *mut [u8; 8]).write([0xff; 8]),
                lie if lie == Lie::Beyond as u8 => words.add(2).write(usize::MAX / 2),
                _ => {}
            }
            answer
        }
    }

    #[unsafe(export_name = "cabi_realloc")]
    unsafe extern "C" fn cabi_realloc(old: *mut u8, old_length: usize, alignment: usize, length: usize) -> *mut u8 {
        // SAFETY: called by the host as the canonical ABI says.
        unsafe { lend(old, old_length, alignment, length) }
    }
};
