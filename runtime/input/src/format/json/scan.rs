//! Finding the next byte that matters, many bytes at a time.
//!
//! Owns: the three scans that JSON decoding spends its time in, with AVX2 or SSE2 where the processor has them and
//! eight bytes at a time elsewhere.
//! Does not own: what the bytes mean.
//!
//! Invariants: every buffer ends in `PADDING` line feeds behind its data, and every scan stops at a line feed, so
//! no load reaches beyond the buffer. All implementations give the same answers.

/// Line feeds behind the data of every buffer, in bytes: two of the widest loads.
pub(crate) const PADDING: usize = 64;

/// Widest literal that `matches` compares, in bytes.
pub(crate) const LITERAL_BYTES: usize = 32;

/// # Safety
/// For every function: `at` is at most the length of the data, and `buf` ends in `PADDING` line feeds behind it.
pub(crate) trait Scan: Copy {
    /// The first quote, backslash or control character at or after `at`.
    unsafe fn special(buf: &[u8], at: usize) -> usize;

    /// The first byte at or after `at` that is no decimal digit.
    unsafe fn digits(buf: &[u8], at: usize) -> usize;

    /// Whether the bytes at `at` are those of `literal` where `mask` has a bit.
    unsafe fn matches(buf: &[u8], at: usize, literal: &[u8; LITERAL_BYTES], mask: u32) -> bool;
}

/// The best that every processor of this architecture has.
#[cfg(target_arch = "x86_64")]
pub(crate) type Base = x86::Sse2;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) type Base = Swar;

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use super::{LITERAL_BYTES, Scan};
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Sse2;

    impl Scan for Sse2 {
        #[inline(always)]
        unsafe fn special(buf: &[u8], mut at: usize) -> usize {
            loop {
                debug_assert!(at + 16 <= buf.len());
                // SAFETY: the padding holds a control character, so the loop ends with 16 bytes or more behind.
                let mask = unsafe {
                    let bytes = _mm_loadu_si128(buf.as_ptr().add(at).cast());
                    let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
                    let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
                    let last_control = _mm_set1_epi8(0x1F);
                    let control = _mm_cmpeq_epi8(_mm_max_epu8(bytes, last_control), last_control);
                    _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) as u32
                };
                if mask != 0 {
                    return at + mask.trailing_zeros() as usize;
                }
                at += 16;
            }
        }

        #[inline(always)]
        unsafe fn digits(buf: &[u8], mut at: usize) -> usize {
            loop {
                debug_assert!(at + 16 <= buf.len());
                // SAFETY: as in `special`; a line feed is no digit.
                let mask = unsafe {
                    let bytes = _mm_loadu_si128(buf.as_ptr().add(at).cast());
                    let value = _mm_sub_epi8(bytes, _mm_set1_epi8(b'0' as i8));
                    let digit = _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(9)), value);
                    !_mm_movemask_epi8(digit) as u32 & 0xFFFF
                };
                if mask != 0 {
                    return at + mask.trailing_zeros() as usize;
                }
                at += 16;
            }
        }

        #[inline(always)]
        unsafe fn matches(buf: &[u8], at: usize, literal: &[u8; LITERAL_BYTES], mask: u32) -> bool {
            debug_assert!(at + 32 <= buf.len());
            // SAFETY: `at` is in the data, and the padding holds another 64 bytes.
            let equal = unsafe {
                let place = buf.as_ptr().add(at);
                let wanted = literal.as_ptr();
                let low = _mm_cmpeq_epi8(_mm_loadu_si128(place.cast()), _mm_loadu_si128(wanted.cast()));
                let high =
                    _mm_cmpeq_epi8(_mm_loadu_si128(place.add(16).cast()), _mm_loadu_si128(wanted.add(16).cast()));
                _mm_movemask_epi8(low) as u32 | (_mm_movemask_epi8(high) as u32) << 16
            };
            !equal & mask == 0
        }
    }

    /// Only where the processor has AVX2; used inside functions compiled for it.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    impl Scan for Avx2 {
        #[inline(always)]
        unsafe fn special(buf: &[u8], mut at: usize) -> usize {
            loop {
                debug_assert!(at + 32 <= buf.len());
                // SAFETY: as in `Sse2`, with 32 bytes; the caller runs on a processor that has AVX2.
                let mask = unsafe {
                    let bytes = _mm256_loadu_si256(buf.as_ptr().add(at).cast());
                    let quote = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'"' as i8));
                    let backslash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\\' as i8));
                    let last_control = _mm256_set1_epi8(0x1F);
                    let control = _mm256_cmpeq_epi8(_mm256_max_epu8(bytes, last_control), last_control);
                    _mm256_movemask_epi8(_mm256_or_si256(_mm256_or_si256(quote, backslash), control)) as u32
                };
                if mask != 0 {
                    return at + mask.trailing_zeros() as usize;
                }
                at += 32;
            }
        }

        #[inline(always)]
        unsafe fn digits(buf: &[u8], at: usize) -> usize {
            // SAFETY: the same promise.
            unsafe { Sse2::digits(buf, at) }
        }

        #[inline(always)]
        unsafe fn matches(buf: &[u8], at: usize, literal: &[u8; LITERAL_BYTES], mask: u32) -> bool {
            debug_assert!(at + 32 <= buf.len());
            // SAFETY: as in `Sse2`.
            let equal = unsafe {
                let found = _mm256_loadu_si256(buf.as_ptr().add(at).cast());
                let wanted = _mm256_loadu_si256(literal.as_ptr().cast());
                _mm256_movemask_epi8(_mm256_cmpeq_epi8(found, wanted)) as u32
            };
            !equal & mask == 0
        }
    }
}

/// Eight bytes at a time in a plain register.
#[cfg_attr(all(target_arch = "x86_64", not(test)), allow(dead_code))]
#[derive(Clone, Copy)]
pub(crate) struct Swar;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// High bits where a byte is zero; those above the first one may be wrong, the first one is right.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

impl Scan for Swar {
    #[inline(always)]
    unsafe fn special(buf: &[u8], mut at: usize) -> usize {
        while let Some(eight) = buf[at..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*eight);
            let quote = zeros(word ^ ONES * b'"' as u64);
            let backslash = zeros(word ^ ONES * b'\\' as u64);
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            let found = quote | backslash | control;
            if found != 0 {
                return at + found.trailing_zeros() as usize / 8;
            }
            at += 8;
        }
        at
    }

    #[inline(always)]
    unsafe fn digits(buf: &[u8], mut at: usize) -> usize {
        while buf[at].wrapping_sub(b'0') <= 9 {
            at += 1;
        }
        at
    }

    #[inline(always)]
    unsafe fn matches(buf: &[u8], at: usize, literal: &[u8; LITERAL_BYTES], mask: u32) -> bool {
        let length = 32 - mask.leading_zeros() as usize;
        buf[at..at + length] == literal[..length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn padded(data: &[u8]) -> Vec<u8> {
        let mut buf = data.to_vec();
        buf.resize(data.len() + PADDING, b'\n');
        buf
    }

    fn all<S: Scan>(buf: &[u8], at: usize, literal: &[u8; 32], mask: u32) -> (usize, usize, bool) {
        // SAFETY: `padded` keeps the promise; Avx2 is only asked where it exists.
        unsafe { (S::special(buf, at), S::digits(buf, at), S::matches(buf, at, literal, mask)) }
    }

    proptest! {
        #[test]
        fn every_implementation_finds_what_the_plain_search_finds(
            data in prop::collection::vec(
                prop_oneof![4 => b'0'..=b'9', 8 => b'a'..=b'z', 2 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => 0x80u8..=0xFF],
                0..150,
            ),
            at in 0usize..150,
            length in 1usize..=32,
            flip in prop::option::of(0usize..32),
        ) {
            let at = at.min(data.len());
            let buf = padded(&data);
            let special = (at..).find(|&i| matches!(buf[i], b'"' | b'\\') || buf[i] < 0x20).unwrap();
            let digits = (at..).find(|&i| !buf[i].is_ascii_digit()).unwrap();
            let mut literal: [u8; 32] = buf[at..at + 32].try_into().unwrap();
            if let Some(flip) = flip {
                literal[flip] ^= 1;
            }
            let mask = (u64::MAX >> (64 - length)) as u32;
            let equal = buf[at..at + length] == literal[..length];
            prop_assert_eq!(all::<Swar>(&buf, at, &literal, mask), (special, digits, equal));
            prop_assert_eq!(all::<Base>(&buf, at, &literal, mask), (special, digits, equal));
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                prop_assert_eq!(all::<x86::Avx2>(&buf, at, &literal, mask), (special, digits, equal));
            }
        }
    }
}
