//! A reader of XRPL's binary format for exactly the fields that a transaction of ours has.
//!
//! Fields stand in the order of their type code, then field code; headers and lengths have one shortest form.
//! <https://xrpl.org/docs/references/protocol/binary-format>. Each accepted byte string therefore has one reading, and
//! each reading one byte string. Nothing here is shared with [`build`](crate::build), nor with the codec that it uses.

use bursar_domain::ports::DecodeError;

/// The fields as they stand in the bytes, not yet held against any rule between them.
#[derive(Debug, Default)]
pub(super) struct RawFields {
    pub transaction_type: Option<u16>,
    pub network_id: Option<u32>,
    pub flags: Option<u32>,
    pub sequence: Option<u32>,
    pub destination_tag: Option<u32>,
    pub last_ledger_sequence: Option<u32>,
    pub ticket_sequence: Option<u32>,
    pub amount: Option<[u8; 8]>,
    pub fee: Option<[u8; 8]>,
    pub signing_pub_key: Option<[u8; 33]>,
    pub account: Option<[u8; 20]>,
    pub destination: Option<[u8; 20]>,
}

/// Type code and field code.
type FieldId = (u8, u8);

/// Far above any payment of ours (under 150 bytes).
const MAX_BYTES: usize = 1024;

pub(super) fn read(bytes: &[u8]) -> Result<RawFields, DecodeError> {
    if bytes.len() > MAX_BYTES {
        return Err(malformed("is longer than any transaction of ours"));
    }
    let mut reader = Reader(bytes);
    let mut fields = RawFields::default();
    let mut last: FieldId = (0, 0);
    while !reader.0.is_empty() {
        let id = reader.header()?;
        if id <= last {
            return Err(malformed("has fields out of order, or one of them twice"));
        }
        last = id;
        match id {
            (1, 2) => fields.transaction_type = Some(u16::from_be_bytes(reader.take()?)),
            (2, 1) => fields.network_id = Some(reader.uint32()?),
            (2, 2) => fields.flags = Some(reader.uint32()?),
            (2, 4) => fields.sequence = Some(reader.uint32()?),
            (2, 14) => fields.destination_tag = Some(reader.uint32()?),
            (2, 27) => fields.last_ledger_sequence = Some(reader.uint32()?),
            (2, 41) => fields.ticket_sequence = Some(reader.uint32()?),
            (6, 1) => fields.amount = Some(reader.amount("Amount")?),
            (6, 8) => fields.fee = Some(reader.amount("Fee")?),
            (7, 3) => fields.signing_pub_key = Some(reader.prefixed()?),
            (8, 1) => fields.account = Some(reader.prefixed()?),
            (8, 3) => fields.destination = Some(reader.prefixed()?),
            other => return Err(forbidden(other)),
        }
    }
    Ok(fields)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or_else(|| malformed("ends within a field"))?;
        self.0 = tail;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn uint32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_be_bytes)
    }

    /// One to three bytes: codes below 16 share the first, larger ones follow in a byte of their own.
    fn header(&mut self) -> Result<FieldId, DecodeError> {
        let first = self.byte()?;
        let mut long = |code: u8| match code {
            0 => self.byte().and_then(|code| {
                if code < 16 {
                    Err(malformed("has a field header that is not in its shortest form"))
                } else {
                    Ok(code)
                }
            }),
            code => Ok(code),
        };
        let type_code = long(first >> 4)?;
        let field_code = long(first & 0x0F)?;
        Ok((type_code, field_code))
    }

    /// XRP amounts have 8 bytes and the top bit clear; issued currencies have 48, multi-purpose tokens 33.
    fn amount(&mut self, field: &'static str) -> Result<[u8; 8], DecodeError> {
        match self.0.first() {
            Some(first) if first & 0b1010_0000 != 0 => {
                Err(DecodeError::Unexplained { field, reason: "is not in XRP".into() })
            }
            _ => self.take(),
        }
    }

    /// A length byte, which must be `N`, and as many bytes.
    fn prefixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        if usize::from(self.byte()?) != N {
            return Err(malformed("has a key or an account of the wrong length"));
        }
        self.take()
    }
}

pub(super) fn malformed(reason: &str) -> DecodeError {
    DecodeError::Malformed(reason.to_owned())
}

/// Names the fields that an attacker would want.
fn forbidden((type_code, field_code): FieldId) -> DecodeError {
    let field = match (type_code, field_code) {
        (2, 3) => "SourceTag",
        (2, 11) => "TransferRate",
        (2, 33) => "SetFlag",
        (2, 34) => "ClearFlag",
        (4, 1) => "EmailHash",
        (7, 2) => "MessageKey",
        (7, 7) => "Domain",
        (8, 9) => "NFTokenMinter",
        (16, 16) => "TickSize",
        (5, 9) => "AccountTxnID",
        (5, 17) => "InvoiceID",
        (6, 9) => "SendMax",
        (6, 10) => "DeliverMin",
        (7, 4) => "TxnSignature",
        (8, 12) => "Delegate",
        (15, 3) => "Signers",
        (15, 9) => "Memos",
        (18, 1) => "Paths",
        (19, 5) => "CredentialIDs",
        _ => "field",
    };
    let reason = format!(
        "(type {type_code}, code {field_code}) is not part of a plain XRP payment, nor of an AccountSet that sets nothing"
    );
    DecodeError::Unexplained { field, reason }
}
