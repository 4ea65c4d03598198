//! Memory that is free stays with the process, up to a bound.
//!
//! Owns: the settings of the C library's allocator, which Rust and RocksDB share.
//! Does not own: how much is used (limits of epochs, plugins and caches).
//!
//! An epoch takes blocks and columns of megabytes and gives them back. By default each of them is mapped anew, and the
//! kernel clears every page again: that took as long as a third of the work itself (bench/RESULTS.md).
//! And by default there are eight heaps for each core, over which threads spread by chance, each with free memory of its own: with one
//! for each core, query 17 of Nexmark is as fast and takes 220 MiB instead of 290.

/// What is smaller is taken from the heap, bytes. The C library takes no larger value.
const MAPPED_FROM: i32 = 32 << 20;

/// What is free at the end of a heap is given back above this, bytes.
const KEPT_MAX: i32 = 256 << 20;

/// Called once, before there are other threads.
pub fn keep_what_is_free() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: these only set numbers of the allocator; an unknown one is refused, and then the default stays.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_MAX);
        let cores = std::thread::available_parallelism().map_or(1, |cores| i32::try_from(cores.get()).unwrap_or(i32::MAX));
        libc::mallopt(libc::M_ARENA_MAX, cores);
    }
}
