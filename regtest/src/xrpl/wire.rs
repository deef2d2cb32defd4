//! A structural walk over a serialised transaction, before the codec sees it: the codec indexes without checking, and
//! recurses once per nested object. Only shape and bounds are judged here, not fields.
//! Source: <https://xrpl.org/docs/references/protocol/binary-format>

/// rippled refuses deeper nesting.
const MAX_DEPTH: usize = 10;

const OBJECT: u8 = 14;
const ARRAY: u8 = 15;
const END: u8 = 1;

/// Whether the bytes are a complete sequence of fields, each within bounds.
#[must_use]
pub fn is_well_formed(blob: &[u8]) -> bool {
    let mut rest = blob;
    fields(&mut rest, 0, None).is_some()
}

/// Reads fields until the end of input, or until the end marker of `container`.
fn fields(rest: &mut &[u8], depth: usize, container: Option<u8>) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    loop {
        if rest.is_empty() {
            return container.is_none().then_some(());
        }
        let (kind, field) = header(rest)?;
        if matches!(kind, OBJECT | ARRAY) && field == END {
            return (container == Some(kind)).then_some(());
        }
        value(rest, kind, depth)?;
    }
}

fn value(rest: &mut &[u8], kind: u8, depth: usize) -> Option<()> {
    let length = match kind {
        1 => 2,
        2 => 4,
        3 => 8,
        4 => 16,
        5 => 32,
        6 => amount_length(rest)?,
        7 | 8 | 19 => variable_length(rest)?,
        OBJECT | ARRAY => return fields(rest, depth + 1, Some(kind)),
        16 => 1,
        17 | 26 => 20,
        18 => return paths(rest),
        _ => return None,
    };
    take(rest, length).map(|_| ())
}

/// XRP takes 8 bytes, an MPT 33, an issued currency 48.
fn amount_length(rest: &[u8]) -> Option<usize> {
    match *rest.first()? {
        first if first & 0x80 != 0 => Some(48),
        first if first & 0x20 != 0 => Some(33),
        _ => Some(8),
    }
}

fn paths(rest: &mut &[u8]) -> Option<()> {
    loop {
        match byte(rest)? {
            0x00 => return Some(()),
            0xFF => {}
            step => {
                let parts = [0x01, 0x10, 0x20].into_iter().filter(|part| step & part != 0).count();
                take(rest, parts * 20)?;
            }
        }
    }
}

/// Type and field code of a field header of one to three bytes.
fn header(rest: &mut &[u8]) -> Option<(u8, u8)> {
    let first = byte(rest)?;
    let (mut kind, mut field) = (first >> 4, first & 0x0F);
    if kind == 0 {
        kind = byte(rest).filter(|kind| *kind >= 16)?;
    }
    if field == 0 {
        field = byte(rest).filter(|field| *field >= 16)?;
    }
    Some((kind, field))
}

fn variable_length(rest: &mut &[u8]) -> Option<usize> {
    let first = usize::from(byte(rest)?);
    match first {
        0..=192 => Some(first),
        193..=240 => Some(193 + (first - 193) * 256 + usize::from(byte(rest)?)),
        241..=254 => {
            let (second, third) = (usize::from(byte(rest)?), usize::from(byte(rest)?));
            Some(12_481 + (first - 241) * 65_536 + second * 256 + third)
        }
        _ => None,
    }
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    take(rest, 1).and_then(|bytes| bytes.first().copied())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYMENT: &str = "12000022000000002400000017201B0000003561400000000000001568400000000000000A732103C68D30928D0DBD92F2EFFB002681FD4E16AB29F034E2B7400F41E5A9A697F16E74008114DCA538C0F4CDCFFEADAE3CCA280EF20BFD9A605B831496B80AE50D268C52CE63ADCCA504D907D500B29F";

    #[test]
    fn a_payment_should_be_well_formed_and_no_part_of_a_field() {
        let blob = hex::decode(PAYMENT).unwrap();
        assert!(is_well_formed(&blob));
        assert!(!is_well_formed(&blob[..blob.len() - 1]));
        assert!(!is_well_formed(&[blob.as_slice(), &[0]].concat()));
    }

    #[test]
    fn deep_nesting_should_be_refused_without_recursion() {
        assert!(!is_well_formed(&[0xEA; 8192]));
        assert!(!is_well_formed(&[0xF9; 8192]));
    }

    #[test]
    fn an_end_marker_of_another_container_should_be_refused() {
        assert!(!is_well_formed(&[0xE1]));
        assert!(!is_well_formed(&[0xEA, 0xF1]));
        assert!(is_well_formed(&[0xEA, 0xE1]));
    }
}
