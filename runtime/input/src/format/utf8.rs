//! UTF-8 of whole stretches at once.
//!
//! Owns: which bytes of the stream are known to be UTF-8.
//! Does not own: what happens to a record that is not.
//!
//! Invariant: the answer for a record depends on its bytes only, whatever stretch it was checked with.

use crate::format::Window;

/// Bytes checked at once: they stay in the first-level cache for the decoding that follows. Tests cross many borders.
const STRETCH_BYTES: usize = if cfg!(test) { 64 } else { 16 << 10 };

/// Offsets `from..to` of the stream are UTF-8 and stand at the borders of characters.
#[derive(Default)]
pub(crate) struct Utf8 {
    from: u64,
    to: u64,
}

impl Utf8 {
    /// Whether `window.buf[start..end]` is UTF-8. Called with growing `start`.
    #[inline]
    pub fn is_valid(&mut self, window: &Window<'_>, start: usize, end: usize) -> bool {
        let (from, to) = (window.base + start as u64, window.base + end as u64);
        (from >= self.from && to <= self.to) || self.check(window, start, end)
    }

    #[cold]
    fn check(&mut self, window: &Window<'_>, start: usize, end: usize) -> bool {
        let alone = || simdutf8::basic::from_utf8(&window.buf[start..end]).is_ok();
        let from = window.base + start as u64;
        if from < self.from {
            // Behind a stretch that was not UTF-8 as a whole.
            return alone();
        }
        if from > self.to {
            (self.from, self.to) = (from, from);
        }
        while self.to < window.base + end as u64 {
            let low = (self.to - window.base) as usize;
            let mut high = (low + STRETCH_BYTES).max(end).min(window.len);
            while high > low && window.buf[high] & 0xC0 == 0x80 {
                high -= 1;
            }
            self.to = window.base + high as u64;
            if high == low || simdutf8::basic::from_utf8(&window.buf[low..high]).is_err() {
                self.from = self.to.max(window.base + end as u64);
                self.to = self.from;
                return alone();
            }
        }
        true
    }
}
