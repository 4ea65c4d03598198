//! Owns copying short runs of bytes.
//!
//! In a sandbox a copy of unknown length is a call out of the compiled code, some 10 ns however short it is, and most
//! texts are short. Here lengths up to 64 are two or four copies of known length, which are single instructions and may
//! overlap. Natively it is as fast as `extend_from_slice`.

/// Appends `bytes` to `out`.
#[inline]
pub(crate) fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        4..=8 => ends::<4>(out, bytes),
        9..=16 => ends::<8>(out, bytes),
        17..=32 => ends::<16>(out, bytes),
        33..=64 => ends::<32>(out, bytes),
        0..=3 => {
            for at in 0..3 {
                if let Some(byte) = bytes.get(at) {
                    out.push(*byte);
                }
            }
        }
        _ => out.extend_from_slice(bytes),
    }
}

/// Appends N to 2N bytes: the first N, then the last N over what they share.
#[inline(always)]
fn ends<const N: usize>(out: &mut Vec<u8>, bytes: &[u8]) {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
        let shared = 2 * N - bytes.len();
        out.extend_from_slice(first);
        out.truncate(out.len() - shared);
        out.extend_from_slice(last);
    }
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn every_length_is_copied_whole() {
        let bytes: Vec<u8> = (0..100).collect();
        for length in 0..=bytes.len() {
            let mut out = vec![255; 3];
            append(&mut out, &bytes[..length]);
            assert_eq!(out[..3], [255; 3]);
            assert_eq!(out[3..], bytes[..length]);
        }
    }
}
