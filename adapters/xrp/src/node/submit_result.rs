//! What the engine's answer to a submission means. All of it is provisional.
//! <https://xrpl.org/docs/references/protocol/transactions/transaction-results>

/// What to tell the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Submission {
    /// Applied provisionally, queued, or kept for later.
    Accepted,
    AlreadyKnown,
    /// The Sequence or Ticket is gone: by this very transaction, or by another. The code alone cannot tell.
    TurnIsGone,
    Rejected,
    /// Not a code that this table knows how to read.
    Unclear,
}

pub(super) fn read(engine_result: &str) -> Submission {
    match engine_result {
        "tesSUCCESS" | "terQUEUED" | "terPRE_SEQ" | "terPRE_TICKET" => Submission::Accepted,
        "tefALREADY" => Submission::AlreadyKnown,
        "tefPAST_SEQ" | "tefNO_TICKET" => Submission::TurnIsGone,
        code => match code.get(..3) {
            // A tec claims its fee in a ledger and is relayed like a success.
            Some("tec") => Submission::Accepted,
            Some("tel" | "tem" | "tef" | "ter") => Submission::Rejected,
            _ => Submission::Unclear,
        },
    }
}

/// For people who read the reason of a rejection; the engine's own message says the rest.
pub(super) fn advice(engine_result: &str) -> &'static str {
    match engine_result {
        "tefMAX_LEDGER" => "; past LastLedgerSequence: expired, unless it is in a ledger already",
        "telINSUF_FEE_P" => "; the fee is below what the load asks for now, it may pass later",
        code if code.starts_with("telCAN_NOT_QUEUE") => {
            "; the queue has no room for it now, it may pass later"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_is_read_as_what_it_means() {
        use Submission::{Accepted, AlreadyKnown, Rejected, TurnIsGone, Unclear};
        for (code, meaning) in [
            ("tesSUCCESS", Accepted),
            ("terQUEUED", Accepted),
            ("terPRE_SEQ", Accepted),
            ("terPRE_TICKET", Accepted),
            ("tecUNFUNDED_PAYMENT", Accepted),
            ("tecNO_DST_INSUF_XRP", Accepted),
            ("tecDST_TAG_NEEDED", Accepted),
            ("tecNO_PERMISSION", Accepted),
            ("tefALREADY", AlreadyKnown),
            ("tefPAST_SEQ", TurnIsGone),
            ("tefNO_TICKET", TurnIsGone),
            ("tefMAX_LEDGER", Rejected),
            ("tefBAD_AUTH", Rejected),
            ("tefMASTER_DISABLED", Rejected),
            ("temREDUNDANT", Rejected),
            ("temBAD_FEE", Rejected),
            ("telINSUF_FEE_P", Rejected),
            ("telCAN_NOT_QUEUE_FULL", Rejected),
            ("terNO_ACCOUNT", Rejected),
            ("terINSUF_FEE_B", Rejected),
            ("", Unclear),
            ("tes", Unclear),
            ("tesSOMETHING_NEW", Unclear),
            ("xyz", Unclear),
            ("té", Unclear),
        ] {
            assert_eq!(read(code), meaning, "{code}");
        }
    }
}
