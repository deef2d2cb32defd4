//! A strict reader of RLP (Yellow Paper, appendix B). One byte string for each value: whatever has a shorter form, a
//! leading zero, a length that does not fit or bytes left over is refused, so that two different inputs never read alike.

/// Bytes still to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RlpError {
    #[error("RLP ends too early")]
    Truncated,
    #[error("RLP has bytes left over")]
    Trailing,
    #[error("RLP is not in its shortest form")]
    NotCanonical,
    #[error("RLP has a list where a string belongs, or the other way round")]
    Kind,
    #[error("RLP integer is too large")]
    TooLarge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item<'a> {
    String(&'a [u8]),
    List(&'a [u8]),
}

impl<'a> Reader<'a> {
    /// Reads `bytes` as exactly one list and gives its content.
    pub fn list(bytes: &'a [u8]) -> Result<Self, RlpError> {
        let mut outer = Self(bytes);
        let content = outer.next_list()?;
        outer.end()?;
        Ok(content)
    }

    pub fn next_list(&mut self) -> Result<Self, RlpError> {
        match self.item()? {
            Item::List(content) => Ok(Self(content)),
            Item::String(_) => Err(RlpError::Kind),
        }
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], RlpError> {
        match self.item()? {
            Item::String(content) => Ok(content),
            Item::List(_) => Err(RlpError::Kind),
        }
    }

    /// A big-endian integer of at most `N` bytes without leading zeros; zero is the empty string.
    pub fn integer<const N: usize>(&mut self) -> Result<[u8; N], RlpError> {
        let digits = self.bytes()?;
        if digits.first() == Some(&0) {
            return Err(RlpError::NotCanonical);
        }
        let start = N.checked_sub(digits.len()).ok_or(RlpError::TooLarge)?;
        let mut padded = [0; N];
        padded[start..].copy_from_slice(digits);
        Ok(padded)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), RlpError> {
        if self.0.is_empty() { Ok(()) } else { Err(RlpError::Trailing) }
    }

    fn item(&mut self) -> Result<Item<'a>, RlpError> {
        let (&prefix, rest) = self.0.split_first().ok_or(RlpError::Truncated)?;
        match prefix {
            0x00..=0x7f => {
                let (byte, rest) = self.0.split_at(1);
                self.0 = rest;
                Ok(Item::String(byte))
            }
            0x80..=0xb7 => {
                let content = self.take(rest, usize::from(prefix - 0x80))?;
                match content {
                    [0x00..=0x7f] => Err(RlpError::NotCanonical),
                    _ => Ok(Item::String(content)),
                }
            }
            0xb8..=0xbf => self.long(rest, usize::from(prefix - 0xb7)).map(Item::String),
            0xc0..=0xf7 => self.take(rest, usize::from(prefix - 0xc0)).map(Item::List),
            0xf8..=0xff => self.long(rest, usize::from(prefix - 0xf7)).map(Item::List),
        }
    }

    /// Content whose length, above 55, is written in `width` bytes.
    fn long(&mut self, rest: &'a [u8], width: usize) -> Result<&'a [u8], RlpError> {
        let (digits, rest) = rest.split_at_checked(width).ok_or(RlpError::Truncated)?;
        if digits.first() == Some(&0) {
            return Err(RlpError::NotCanonical);
        }
        let length = digits
            .iter()
            .try_fold(0usize, |length, digit| length.checked_mul(256)?.checked_add(usize::from(*digit)))
            .ok_or(RlpError::Truncated)?;
        if length <= 55 {
            return Err(RlpError::NotCanonical);
        }
        self.take(rest, length)
    }

    fn take(&mut self, rest: &'a [u8], length: usize) -> Result<&'a [u8], RlpError> {
        let (content, rest) = rest.split_at_checked(length).ok_or(RlpError::Truncated)?;
        self.0 = rest;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(bytes: &[u8]) -> Result<Vec<u8>, RlpError> {
        let mut reader = Reader(bytes);
        let content = reader.bytes()?.to_vec();
        reader.end()?;
        Ok(content)
    }

    /// The examples of the Ethereum wiki's RLP page, and what is near to them.
    #[test]
    fn strings_have_one_form() {
        assert_eq!(string(b"\x83dog"), Ok(b"dog".to_vec()));
        assert_eq!(string(&[0x80]), Ok(vec![]));
        assert_eq!(string(&[0x0f]), Ok(vec![0x0f]));
        assert_eq!(string(&[0x82, 0x04, 0x00]), Ok(vec![0x04, 0x00]));
        assert_eq!(string(&[0x81, 0x0f]), Err(RlpError::NotCanonical));
        assert_eq!(string(b"\xb8\x03dog"), Err(RlpError::NotCanonical));
        assert_eq!(string(b"\xb9\x00\x38"), Err(RlpError::NotCanonical));
        assert_eq!(string(b"\x83do"), Err(RlpError::Truncated));
        assert_eq!(string(b"\x83dogs"), Err(RlpError::Trailing));
        assert_eq!(string(&[0xc0]), Err(RlpError::Kind));
        assert_eq!(string(&[0xbf; 9]), Err(RlpError::Truncated));
        assert_eq!(string(&[]), Err(RlpError::Truncated));
    }

    #[test]
    fn integers_have_no_leading_zero() {
        let integer = |bytes| Reader(bytes).integer::<2>();
        assert_eq!(integer(&[0x80]), Ok([0, 0]));
        assert_eq!(integer(&[0x01]), Ok([0, 1]));
        assert_eq!(integer(&[0x00]), Err(RlpError::NotCanonical));
        assert_eq!(integer(&[0x82, 0x00, 0x80]), Err(RlpError::NotCanonical));
        assert_eq!(integer(&[0x83, 1, 2, 3]), Err(RlpError::TooLarge));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(mut reader) = Reader::list(&bytes) {
                while !reader.is_empty() && reader.item().is_ok() {}
            }
        }
    }
}
