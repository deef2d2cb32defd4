//! From an intent and facts to the fields of a payment.

mod replace;

use crate::{
    LAST_IMPLICIT_NETWORK_ID, XrpAdapter,
    address::AccountId,
    codec::{Action, Fields, Turn},
    keys::{PublicKey, is_account_path},
};
use bursar_domain::{
    account::{AccountState, XrpAccount},
    amount::{Amount, AmountError, Drops},
    asset::Asset,
    effects::Resource,
    intent::{Destination, Intent},
    network::Network,
    package::UnsignedTransaction,
    ports::{BuildError, BuildRequest, BuildTransaction, DeriveAddress, InvalidDestination},
};

impl BuildTransaction for XrpAdapter {
    fn build(&self, request: &BuildRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let BuildRequest { intent, key, state, source, resource, change: _ } = *request;
        let network_id = network_id(intent)?;
        let state = xrp_state(state)?;
        let source = source
            .filter(|path| is_account_path(&intent.wallet, path))
            .ok_or(BuildError::Inconsistent("the source is not an account of the wallet"))?;
        let signing_pub_key = PublicKey::derive(&intent.wallet, key, &source)?;
        let account = signing_pub_key.account();
        check_source(intent, state, &account)?;
        let (to, action) = payment(intent, &account)?;

        check_fee(intent, state)?;
        check_destination(state, to, action.amount())?;
        check_funds(state, action.amount())?;

        let fields = Fields {
            network_id,
            account,
            action,
            fee: state.fee,
            turn: turn(resource, state)?,
            last_ledger_sequence: last_ledger(state)?,
            signing_pub_key,
        };
        let bytes =
            fields.unsigned_bytes().map_err(|_| BuildError::Inconsistent("the codec refuses the fields"))?;
        Ok(UnsignedTransaction { wallet: intent.wallet, source: Some(source), bytes })
    }
}

/// As a transaction holds it: above 1024 only.
fn network_id(intent: &Intent) -> Result<Option<u32>, BuildError> {
    match intent.network() {
        Network::Xrp(id) => Ok((id > LAST_IMPLICIT_NETWORK_ID).then_some(id)),
        _ => Err(BuildError::Inconsistent("the intent is not for an XRP network")),
    }
}

fn xrp_state(state: &AccountState) -> Result<&XrpAccount, BuildError> {
    match state {
        AccountState::Xrp(state) => Ok(state),
        _ => Err(BuildError::Inconsistent("the account's state is of another chain")),
    }
}

fn last_ledger(state: &XrpAccount) -> Result<u32, BuildError> {
    state
        .validated_ledger
        .checked_add(state.ledger_window)
        .filter(|last| *last > state.validated_ledger)
        .ok_or(BuildError::Inconsistent("the ledger window must be at least 1"))
}

/// What the intent pays, and to whom.
fn payment<'a>(intent: &'a Intent, account: &AccountId) -> Result<(&'a Destination, Action), BuildError> {
    let (Asset::Xrp, [payment]) = (intent.asset, intent.payments.as_slice()) else {
        return Err(BuildError::Inconsistent("an XRP transaction makes one payment of XRP"));
    };
    let refused = |source| BuildError::Destination { index: 0, source };
    let given = &payment.destination;
    let canonical =
        XrpAdapter.parse_destination(intent.network(), &given.address, given.tag).map_err(refused)?;
    if canonical != *given {
        return Err(BuildError::Inconsistent("the destination is not in its canonical form"));
    }
    let destination = AccountId::parse(&canonical.address)
        .map_err(|_| BuildError::Inconsistent("the canonical destination does not parse"))?;
    if destination == *account {
        let reason = "it is the paying account itself".to_owned();
        return Err(refused(InvalidDestination::Unsupported { reason }));
    }
    let amount = Drops::try_from(payment.amount)
        .and_then(|drops| if drops.0 == 0 { Err(AmountError::Zero) } else { Ok(drops) })
        .map_err(|source| BuildError::Amount { index: 0, source })?;
    Ok((given, Action::Payment { destination, destination_tag: given.tag, amount }))
}

fn check_source(intent: &Intent, state: &XrpAccount, account: &AccountId) -> Result<(), BuildError> {
    let address = account.to_string();
    if state.address != address {
        return Err(BuildError::Inconsistent("the account's state is of another account than the source"));
    }
    match &intent.source {
        Some(source) if *source != address => {
            Err(BuildError::Inconsistent("the source path is not that of the intent's source"))
        }
        _ => Ok(()),
    }
}

fn check_fee(intent: &Intent, state: &XrpAccount) -> Result<(), BuildError> {
    let fee = Amount::from(state.fee);
    if state.fee.0 == 0 || state.fee > Drops::MAX {
        return Err(BuildError::Inconsistent("the fee is not between 1 drop and the supply"));
    }
    if fee > intent.max_fee {
        return Err(BuildError::FeeAboveCap { fee, cap: intent.max_fee });
    }
    Ok(())
}

/// Refuses what would end as `tecDST_TAG_NEEDED`, `tecNO_PERMISSION` or `tecNO_DST_INSUF_XRP`, each of which costs a fee.
fn check_destination(state: &XrpAccount, to: &Destination, amount: Drops) -> Result<(), BuildError> {
    let XrpAccount { destination, reserve_base, .. } = state;
    if destination.requires_tag && to.tag.is_none() {
        return Err(BuildError::TagRequired { index: 0 });
    }
    if destination.refuses_deposit {
        return Err(BuildError::DepositRefused { index: 0 });
    }
    if !destination.exists && amount < *reserve_base {
        return Err(BuildError::BelowReserve { index: 0, minimum: (*reserve_base).into() });
    }
    Ok(())
}

/// The rule of a Payment: the balance before the fee must cover the amount and the larger of reserve and fee. The fee may
/// eat into the reserve; the amount may not.
fn check_funds(state: &XrpAccount, amount: Drops) -> Result<(), BuildError> {
    let owned = state.reserve_increment.0.checked_mul(u64::from(state.owner_count));
    let reserve = owned.and_then(|owned| owned.checked_add(state.reserve_base.0));
    let required = reserve
        .and_then(|reserve| reserve.max(state.fee.0).checked_add(amount.0))
        .ok_or(BuildError::Inconsistent("the reserve is larger than any supply"))?;
    if state.balance.0 < required {
        return Err(BuildError::InsufficientFunds {
            asset: Asset::Xrp,
            required: Amount::from_u64(required),
            available: state.balance.into(),
        });
    }
    Ok(())
}

fn turn(resource: Option<&Resource>, state: &XrpAccount) -> Result<Turn, BuildError> {
    match resource {
        Some(Resource::Sequence { account, sequence })
            if *account == state.address && *sequence >= state.sequence && *sequence > 0 =>
        {
            Ok(Turn::Sequence(*sequence))
        }
        Some(Resource::Ticket { account, ticket }) if *account == state.address && *ticket > 0 => {
            Ok(Turn::Ticket(*ticket))
        }
        _ => {
            Err(BuildError::Inconsistent("the resource is not an unused Sequence or a Ticket of the source"))
        }
    }
}
