//! Owns the plugin's side of the component model's canonical ABI: three exports, two imports, one list each way.
//! Does not own what the lists mean (`engine`).
//!
//! Written by hand, because both lists can then stay where they are: the host writes a batch into memory that is kept
//! from call to call and starts at a multiple of 8, and reads the answer out of the engine's own buffer.
//! Invariants: an instance has one thread and one call at a time; what a call returns stays valid until the next call.

use core::cell::{Cell, UnsafeCell};
use std::alloc::{Layout, handle_alloc_error};

use crate::engine::Engine;
use crate::observe::Level;
use crate::transform::Plugin;

/// The `component-type` section: the world in `wit/transform.wit`, encoded by wit-component. It makes the module that
/// the compiler writes complete: any componentizer can turn it into a component.
#[doc(hidden)]
pub const COMPONENT_TYPE: [u8; include_bytes!("component-type.bin").len()] =
    *include_bytes!("component-type.bin");

#[link(wasm_import_module = "segno:stream/observe@1.0.0")]
unsafe extern "C" {
    #[link_name = "log"]
    fn import_log(level: i32, message: *const u8, length: usize);
    #[link_name = "count"]
    fn import_count(name: *const u8, length: usize, delta: i64);
}

pub(crate) fn log(level: u8, message: &str) {
    // SAFETY: the host reads the text during the call and keeps nothing.
    unsafe { import_log(i32::from(level), message.as_ptr(), message.len()) }
}

pub(crate) fn count(name: &str, delta: u64) {
    // SAFETY: the host reads the name during the call and keeps nothing.
    unsafe { import_count(name.as_ptr(), name.len(), delta as i64) }
}

/// The area that a call returns: `list<u8>`, or `result<list<u8>, string>` and `result<_, string>` in their memory
/// layout.
#[repr(C)]
struct Answer {
    words: [Cell<usize>; 3],
}

/// The instance behind the exports. One static of this for each component; made by [`plugin!`](crate::plugin).
#[doc(hidden)]
pub struct Instance<T: Plugin> {
    engine: UnsafeCell<Option<Engine<T>>>,
    /// Keeps the last description or error alive.
    text: UnsafeCell<String>,
    answer: Answer,
}

// SAFETY: a component instance has one thread.
unsafe impl<T: Plugin> Sync for Instance<T> {}

impl<T: Plugin> Instance<T> {
    #[expect(clippy::new_without_default, reason = "made in statics only")]
    pub const fn new() -> Self {
        Self {
            engine: UnsafeCell::new(None),
            text: UnsafeCell::new(String::new()),
            answer: Answer {
                words: [const { Cell::new(0) }; 3],
            },
        }
    }

    fn give(&self, words: [usize; 3]) -> *const u8 {
        for (cell, word) in self.answer.words.iter().zip(words) {
            cell.set(word);
        }
        (&raw const self.answer).cast()
    }

    fn give_error(&self, error: String) -> *const u8 {
        // SAFETY: one call at a time; nobody holds a reference to the last text.
        let text = unsafe { &mut *self.text.get() };
        *text = error;
        self.give([1, text.as_ptr().addr(), text.len()])
    }

    pub fn describe(&self) -> *const u8 {
        log_panics();
        // SAFETY: as in `give_error`.
        let text = unsafe { &mut *self.text.get() };
        *text = Engine::<T>::describe();
        self.give([text.as_ptr().addr(), text.len(), 0])
    }

    /// # Safety
    /// `at` and `length` are a list that the host wrote into memory from [`lend`].
    pub unsafe fn init(&self, at: *const u8, length: usize) -> *const u8 {
        log_panics();
        // SAFETY: promised by the caller; frames come from the host, which owns all memory here and has checked them.
        let engine = unsafe { Engine::init_trusted(core::slice::from_raw_parts(at, length)) };
        give_back();
        // Side tables may be much larger than any batch: their memory is for others to use.
        // SAFETY: nothing is lent any more.
        unsafe { *ARENA.memory.get() = Vec::new() };
        match engine {
            Ok(engine) => {
                // SAFETY: one call at a time.
                unsafe { *self.engine.get() = Some(engine) };
                self.give([0, 0, 0])
            }
            Err(error) => self.give_error(error),
        }
    }

    /// # Safety
    /// As [`Instance::init`].
    pub unsafe fn process(&self, at: *const u8, length: usize) -> *const u8 {
        // SAFETY: one call at a time.
        let Some(engine) = (unsafe { &mut *self.engine.get() }) else {
            return self.give_error("process was called before init".to_owned());
        };
        // SAFETY: as in `init`.
        let answer = unsafe { engine.process_trusted(core::slice::from_raw_parts(at, length)) };
        give_back();
        match answer {
            Ok(bytes) => self.give([0, bytes.as_ptr().addr(), bytes.len()]),
            Err(error) => self.give_error(error),
        }
    }
}

/// Where the host writes the list of a call.
struct Arena {
    memory: UnsafeCell<Vec<u64>>,
    lent: Cell<bool>,
}

// SAFETY: a component instance has one thread.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena {
    memory: UnsafeCell::new(Vec::new()),
    lent: Cell::new(false),
};

/// The list of the current call has been read.
fn give_back() {
    ARENA.lent.set(false);
}

/// Gives the host memory to write a list into: always the same, grown when it must be.
///
/// # Safety
/// Called by the host as `cabi_realloc`.
#[doc(hidden)]
pub unsafe fn lend(old: *mut u8, old_length: usize, alignment: usize, length: usize) -> *mut u8 {
    // Every export takes one list, so that the host asks once for each call. Anything else gets memory of its own.
    if old.is_null() && alignment <= 8 && !ARENA.lent.replace(true) {
        // SAFETY: nothing was lent, so that nobody holds a reference into the arena.
        let memory = unsafe { &mut *ARENA.memory.get() };
        let words = length.div_ceil(8);
        if memory.capacity() < words {
            *memory = Vec::new();
            memory.reserve_exact(words.next_power_of_two());
        }
        return memory.as_mut_ptr().cast();
    }
    if length == 0 {
        return core::ptr::without_provenance_mut(alignment);
    }
    // SAFETY: the host passes back what it got from here, with its size and alignment.
    unsafe {
        let layout = Layout::from_size_align_unchecked(length, alignment);
        let new = if old_length == 0 {
            std::alloc::alloc(layout)
        } else {
            std::alloc::realloc(
                old,
                Layout::from_size_align_unchecked(old_length, alignment),
                length,
            )
        };
        if new.is_null() {
            handle_alloc_error(layout);
        }
        new
    }
}

const OUTSIDE: &str = "\na plugin has no clock, no threads and no operating system, since a replay would differ: take the event time of the record, hand rows in as a side table";

/// A panic traps, and a trap says nothing: log what it is about first.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        // The place is in the standard library, and its words do not say what a plugin is to do.
        let outside = panic.location().is_some_and(|at| at.file().contains("library/std/src/sys/"));
        let instead = if outside { OUTSIDE } else { "" };
        crate::observe::log(Level::Error, format_args!("{panic}{instead}"));
    }));
}
