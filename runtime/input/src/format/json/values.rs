//! JSON values whose places are known: a message holds one object, and may spread it over lines.
//!
//! Owns: the way from a value's place to its record. Does not own: the record (`Records`), messages (`messages`).
//!
//! Invariant: no byte behind a value's end decides about it, although the next value stands there.

use super::parse::is_white;
use super::{Records, Span};
use crate::format::Window;
use crate::format::json::scan::Scan;
use crate::format::rows::Rows;

pub(crate) struct JsonValues {
    records: Records,
    #[cfg(target_arch = "x86_64")]
    avx2: bool,
}

impl JsonValues {
    pub fn new(rows: &Rows, record_bytes_max: usize) -> JsonValues {
        JsonValues {
            records: Records::new(rows, record_bytes_max),
            #[cfg(target_arch = "x86_64")]
            avx2: super::has_avx2(),
        }
    }

    /// Decodes the values at `places`, which ascend. Behind each of them stands a line feed.
    pub fn decode(&mut self, window: &Window<'_>, places: &[(u32, u32)], rows: &mut Rows) {
        // The window is another one than at the last call, and so is what is known of its bytes.
        self.records.utf8 = Default::default();
        #[cfg(target_arch = "x86_64")]
        if self.avx2 {
            // SAFETY: the processor has these instructions, `new` asked it.
            return unsafe { self.decode_avx2(window, places, rows) };
        }
        self.decode_with::<super::scan::Base>(window, places, rows);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn decode_avx2(&mut self, window: &Window<'_>, places: &[(u32, u32)], rows: &mut Rows) {
        self.decode_with::<super::scan::x86::Avx2>(window, places, rows);
    }

    #[inline(always)]
    fn decode_with<S: Scan>(&mut self, window: &Window<'_>, places: &[(u32, u32)], rows: &mut Rows) {
        for &(start, end) in places {
            let span = Span { chunk: 0, start: start as usize, end: end as usize };
            // SAFETY: windows are padded, and the place is in the data.
            if let Some(closed) = unsafe { self.records.walk::<S>(window, span.start, |_| span.end) }
                && closed <= span.end
                && (closed == span.end || window.buf[closed..span.end].iter().all(|&byte| is_white(byte)))
            {
                self.records.shapes.hit();
                self.records.take(window, span, rows);
            } else {
                self.records.complete(window, span, rows);
            }
        }
    }
}
