//! Engine results: name, code and text as rippled 3.1.2 gives them.
//! Source: <https://xrpl.org/docs/references/protocol/transactions/transaction-results>

macro_rules! engine_results {
    ($($variant:ident = $name:literal, $code:literal, $message:literal;)*) => {
        /// Result of trying a transaction. The class (tes, tec, ter, tef, tem, tel) decides what becomes of it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Ter { $($variant),* }

        impl Ter {
            /// Name on the wire, such as `tesSUCCESS`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// `engine_result_code` on the wire.
            #[must_use]
            pub fn code(self) -> i32 {
                match self { $(Self::$variant => $code),* }
            }

            /// `engine_result_message` on the wire.
            #[must_use]
            pub fn message(self) -> &'static str {
                match self { $(Self::$variant => $message),* }
            }

            /// Result of this name; `None` for names that the stand-in never gives.
            #[must_use]
            pub fn by_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

engine_results! {
    TelBadDomain = "telBAD_DOMAIN", -398, "Domain too long.";
    TelInsufFeeP = "telINSUF_FEE_P", -394, "Fee insufficient.";
    TelNoDstPartial = "telNO_DST_PARTIAL", -393, "Partial payment to create account not allowed.";
    TelCanNotQueue = "telCAN_NOT_QUEUE", -392, "Can not queue at this time.";
    TelCanNotQueueBalance = "telCAN_NOT_QUEUE_BALANCE", -391, "Can not queue at this time: insufficient balance to pay all queued fees.";
    TelCanNotQueueBlocks = "telCAN_NOT_QUEUE_BLOCKS", -390, "Can not queue at this time: would block later queued transaction(s).";
    TelCanNotQueueBlocked = "telCAN_NOT_QUEUE_BLOCKED", -389, "Can not queue at this time: blocking transaction in queue.";
    TelCanNotQueueFee = "telCAN_NOT_QUEUE_FEE", -388, "Can not queue at this time: fee insufficient to replace queued transaction.";
    TelCanNotQueueFull = "telCAN_NOT_QUEUE_FULL", -387, "Can not queue at this time: queue is full.";
    TelWrongNetwork = "telWRONG_NETWORK", -386, "Transaction specifies a Network ID that differs from that of the local node.";
    TelRequiresNetworkId = "telREQUIRES_NETWORK_ID", -385, "Transactions submitted to this node/network must include a correct NetworkID field.";
    TelNetworkIdMakesTxNonCanonical = "telNETWORK_ID_MAKES_TX_NON_CANONICAL", -384, "Transactions submitted to this node/network must NOT include a NetworkID field.";

    TemMalformed = "temMALFORMED", -299, "Malformed transaction.";
    TemBadAmount = "temBAD_AMOUNT", -298, "Malformed: Bad amount.";
    TemBadCurrency = "temBAD_CURRENCY", -297, "Malformed: Bad currency.";
    TemBadFee = "temBAD_FEE", -295, "Invalid fee, negative or not XRP.";
    TemBadIssuer = "temBAD_ISSUER", -294, "Malformed: Bad issuer.";
    TemBadLimit = "temBAD_LIMIT", -293, "Limits must be non-negative.";
    TemBadRegkey = "temBAD_REGKEY", -290, "Malformed: Regular key cannot be same as master key.";
    TemBadSendXrpLimit = "temBAD_SEND_XRP_LIMIT", -288, "Malformed: Limit quality is not allowed for XRP to XRP.";
    TemBadSendXrpMax = "temBAD_SEND_XRP_MAX", -287, "Malformed: Send max is not allowed for XRP to XRP.";
    TemBadSendXrpNoDirect = "temBAD_SEND_XRP_NO_DIRECT", -286, "Malformed: No Ripple direct is not allowed for XRP to XRP.";
    TemBadSendXrpPartial = "temBAD_SEND_XRP_PARTIAL", -285, "Malformed: Partial payment is not allowed for XRP to XRP.";
    TemBadSendXrpPaths = "temBAD_SEND_XRP_PATHS", -284, "Malformed: Paths are not allowed for XRP to XRP.";
    TemBadTransferRate = "temBAD_TRANSFER_RATE", -280, "Malformed: Transfer rate must be >= 1.0 and <= 2.0.";
    TemDstIsSrc = "temDST_IS_SRC", -279, "Destination may not be source.";
    TemDstNeeded = "temDST_NEEDED", -278, "Destination not specified.";
    TemInvalidFlag = "temINVALID_FLAG", -276, "The transaction has an invalid flag.";
    TemRedundant = "temREDUNDANT", -275, "The transaction is redundant.";
    TemDisabled = "temDISABLED", -273, "The transaction requires logic that is currently disabled.";
    TemBadQuorum = "temBAD_QUORUM", -271, "Malformed: Quorum is unreachable.";
    TemBadSigner = "temBAD_SIGNER", -272, "Malformed: No signer may duplicate account or other signers.";
    TemBadWeight = "temBAD_WEIGHT", -270, "Malformed: Weight must be a positive value.";
    TemCannotPreauthSelf = "temCANNOT_PREAUTH_SELF", -267, "An account may not preauthorize itself.";
    TemInvalidCount = "temINVALID_COUNT", -266, "Malformed: Count field outside valid range.";
    TemSeqAndTicket = "temSEQ_AND_TICKET", -263, "Transaction contains a TicketSequence and a non-zero Sequence.";

    TefBadAuth = "tefBAD_AUTH", -196, "Transaction's public key is not authorized.";
    TefPastSeq = "tefPAST_SEQ", -190, "This sequence number has already passed.";
    TefMasterDisabled = "tefMASTER_DISABLED", -188, "Master key is disabled.";
    TefMaxLedger = "tefMAX_LEDGER", -187, "Ledger sequence too high.";
    TefBadSignature = "tefBAD_SIGNATURE", -186, "A signature is provided for a non-signer.";
    TefBadQuorum = "tefBAD_QUORUM", -185, "Signatures provided do not meet the quorum.";
    TefNotMultiSigning = "tefNOT_MULTI_SIGNING", -184, "Account has no appropriate list of multi-signers.";
    TefNoTicket = "tefNO_TICKET", -180, "Ticket is not in ledger.";

    TerInsufFeeB = "terINSUF_FEE_B", -97, "Account balance can't pay fee.";
    TerNoAccount = "terNO_ACCOUNT", -96, "The source account does not exist.";
    TerPreSeq = "terPRE_SEQ", -92, "Missing/inapplicable prior transaction.";
    TerQueued = "terQUEUED", -89, "Held until escalated fee drops.";
    TerPreTicket = "terPRE_TICKET", -88, "Ticket is not yet in ledger.";

    TesSuccess = "tesSUCCESS", 0, "The transaction was applied. Only final in a validated ledger.";

    TecPathPartial = "tecPATH_PARTIAL", 101, "Path could not send full amount.";
    TecUnfundedPayment = "tecUNFUNDED_PAYMENT", 104, "Insufficient XRP balance to send.";
    TecDirFull = "tecDIR_FULL", 121, "Can not add entry to full directory.";
    TecNoDst = "tecNO_DST", 124, "Destination does not exist. Send XRP to create it.";
    TecNoDstInsufXrp = "tecNO_DST_INSUF_XRP", 125, "Destination does not exist. Too little XRP sent to create it.";
    TecNoLineInsufReserve = "tecNO_LINE_INSUF_RESERVE", 126, "No such line. Too little reserve to create it.";
    TecPathDry = "tecPATH_DRY", 128, "Path could not send partial amount.";
    TecNoAlternativeKey = "tecNO_ALTERNATIVE_KEY", 130, "The operation would remove the ability to sign transactions with the account.";
    TecOwners = "tecOWNERS", 132, "Non-zero owner count.";
    TecInsuffFee = "tecINSUFF_FEE", 136, "Insufficient balance to pay fee.";
    TecNoTarget = "tecNO_TARGET", 138, "Target account does not exist.";
    TecNoPermission = "tecNO_PERMISSION", 139, "No permission to perform requested operation.";
    TecNoEntry = "tecNO_ENTRY", 140, "No matching entry found.";
    TecInsufficientReserve = "tecINSUFFICIENT_RESERVE", 141, "Insufficient reserve to complete requested operation.";
    TecNeedMasterKey = "tecNEED_MASTER_KEY", 142, "The operation requires the use of the Master Key.";
    TecDstTagNeeded = "tecDST_TAG_NEEDED", 143, "A destination tag is required.";
    TecDuplicate = "tecDUPLICATE", 149, "Ledger object already exists.";
    TecHasObligations = "tecHAS_OBLIGATIONS", 151, "The account cannot be deleted since it has obligations.";
    TecTooSoon = "tecTOO_SOON", 152, "It is too early to attempt the requested operation. Please wait.";
}

impl Ter {
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::TesSuccess
    }

    /// Fee and sequence are consumed, nothing else happens.
    #[must_use]
    pub fn is_claimed(self) -> bool {
        (100..=255).contains(&self.code())
    }

    /// Not applied now, may apply later.
    #[must_use]
    pub fn is_retry(self) -> bool {
        (-99..0).contains(&self.code())
    }
}
