//! What governance says about a transfer: the log, the policy in force, what was reserved, and the votes that came.
//!
//! The deciding itself is `bursar_domain::governance::authorization::authorize`, which every co-signer calls again with its own facts.
//! Here the orchestrator's facts are found out, and the evidence is put together.

use crate::{
    context::Context,
    engine::StepError,
    governance::{Governance, GovernanceError},
    screening::standing,
    windows,
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::{
        approval::{Approval, Ballot, Vote},
        authorization::{Authorization, Authorized, Denied, MAX_APPROVALS, authorize},
        directory::{User, UserId},
        log::Head,
        policy::{
            self, Allowed, Condition, Decision, Effect, Fact, Facts, Gap, Outcome, Policy, Request, RiskBand,
            evaluate,
        },
        quote::{QuoteCheck, SignedQuote},
        state::{PublishedPolicy, State},
        verdict::ScreeningCheck,
    },
    ids::{TransferId, WalletId},
    intent::Intent,
    lifecycle::Transfer,
    network::Chain,
    recall,
    time::Timestamp,
    travel_rule::Demand,
};
use bursar_store::{
    Store, StoreError, WriteTx, addresses,
    approvals::{self, Ruling, StoredApproval},
    governance::{self as kept, StoredEntry},
    quotes, reviews,
    screenings::{self, Subject},
    utxos,
    velocity::{self, Part, Sum},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The code of a [`Ruling`] by which a transfer may be signed.
pub const AUTHORIZED: &str = "AUTHORIZED";
/// The code of one that only the hour is in the way of.
pub const AWAITING_WINDOW: &str = "AWAITING_WINDOW";

/// A transfer held against the log as it is.
#[derive(Debug)]
pub struct Judged {
    pub state: Arc<State>,
    /// What co-signers need to come to the same answer.
    pub evidence: Authorization,
    pub result: Result<Authorized, Denied>,
    /// What the transfer adds to each sum that the policy limits.
    pub parts: Vec<Part>,
    /// Where all that is in the way is the hour: when a time window of the policy opens, before the intent expires.
    pub opens: Option<Timestamp>,
}

/// From what is read: all of it, or as it is within a transaction, in which nobody else writes.
enum Source<'a> {
    Store(&'a Store),
    Tx(&'a mut WriteTx),
}

/// Judges by what is committed.
pub async fn judge(
    context: &Context,
    governance: &Governance,
    transfer: &Transfer,
) -> Result<Judged, StepError> {
    let state = governance.state(&context.store).await?;
    let balance = balance(context, &state, transfer).await?;
    judge_from(Source::Store(&context.store), state, transfer, balance, context.now()).await
}

/// Judges within `tx`: what is found stays so until it ends. `balance` is what [`balance`] said before.
pub async fn judge_in(
    tx: &mut WriteTx,
    governance: &Governance,
    transfer: &Transfer,
    balance: Fact<Amount>,
    now: Timestamp,
) -> Result<Judged, StepError> {
    let state = governance.state_in(tx).await?;
    judge_from(Source::Tx(tx), state, transfer, balance, now).await
}

/// What goes with a package of this transfer to the co-signers; nothing where nobody is asked.
pub async fn evidence(context: &Context, transfer: &Transfer) -> Result<Option<Authorization>, StepError> {
    let Some(governance) = &context.governance else { return Ok(None) };
    let state = governance.state(&context.store).await?;
    let votes = approvals::of_transfer(&context.store, transfer.id).await?;
    let now = context.now();
    let mut evidence = gather(&state, transfer, votes, now);
    let mut source = Source::Store(&context.store);
    source.screened(&state, transfer, now, &mut evidence).await?;
    evidence.quote = source.quote(&state, transfer, now).await?;
    Ok(Some(evidence))
}

/// The paying wallet's confirmed balance, if the policy asks for it. No node is asked otherwise.
pub async fn balance(
    context: &Context,
    state: &State,
    transfer: &Transfer,
) -> Result<Fact<Amount>, StepError> {
    match state.policy() {
        Some(published) => {
            balance_for(context, &published.policy, transfer.wallet, &transfer.intent.intent).await
        }
        None => Ok(Err(Gap::Missing)),
    }
}

async fn balance_for(
    context: &Context,
    policy: &Policy,
    wallet: WalletId,
    intent: &Intent,
) -> Result<Fact<Amount>, StepError> {
    if !asks_for_balance(policy) {
        return Ok(Err(Gap::Missing));
    }
    let store = &context.store;
    if intent.network().chain() == Chain::Bitcoin {
        return Ok(Ok(utxos::balance(store, wallet).await?.0));
    }
    let ports = context.chain(intent.network()).ok_or(StepError::UnservedNetwork(intent.network()))?;
    let (mut total, mut cursor) = (Amount::ZERO, None);
    loop {
        let page = addresses::of_wallet(store, wallet, cursor.as_deref(), 200).await?;
        for record in &page.items {
            let Some(sum) = total.checked_add(ports.node.balance(&record.address, intent.asset).await?)
            else {
                return Ok(Err(Gap::Missing));
            };
            total = sum;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(Ok(total));
        }
    }
}

fn asks_for_balance(policy: &Policy) -> bool {
    fn asks(condition: &Condition) -> bool {
        condition.balance_share_above.is_some()
            || condition.any.iter().chain(condition.not.as_deref()).any(asks)
    }
    policy.rules.iter().any(|rule| asks(&rule.when))
}

/// The user who ordered it, as the order says: it was verified when it came, and is again before it is authorized.
pub fn initiator<'s>(state: &'s State, transfer: &Transfer) -> Option<&'s User> {
    transfer.intent.user(state.directory())
}

async fn judge_from(
    mut source: Source<'_>,
    state: Arc<State>,
    transfer: &Transfer,
    balance: Fact<Amount>,
    now: Timestamp,
) -> Result<Judged, StepError> {
    let votes = source.votes(transfer).await?;
    let mut evidence = gather(&state, transfer, votes, now);
    source.screened(&state, transfer, now, &mut evidence).await?;
    evidence.quote = source.quote(&state, transfer, now).await?;
    let named: BTreeSet<Head> = evidence.approvals.iter().map(|approval| approval.payload.head).collect();
    let mut known = BTreeSet::from([state.head()]);
    for head in named {
        if source.has(&state, head).await? {
            known.insert(head);
        }
    }
    let mut facts = Facts { balance, ..facts(now) };
    if let Some(PublishedPolicy { policy, .. }) = state.policy() {
        let asset = transfer.intent.intent.asset;
        facts.price = QuoteCheck::of(&state, policy, now).fact(asset, evidence.quote.as_ref(), facts.price);
    }
    let mut parts = Vec::new();
    let mut asked = None;
    // Whoever is not a user, and what makes no sense, is denied for that.
    if let (Some(PublishedPolicy { policy, .. }), Some(user)) = (state.policy(), initiator(&state, transfer))
        && let Ok(request) = Request::new(&transfer.intent.intent, user, state.address_book())
    {
        parts = add_up(&mut source, policy, &request, transfer.id, &mut facts).await?;
        asked = Some((policy.clone(), request));
    }
    let knows = |head: &Head| known.contains(head);
    let result = authorize(&state, knows, &transfer.intent, &evidence, &facts, transfer.created_at);
    // What was taken back with a key that has left since: co-signers would refuse the rest.
    let left = || recall::remaining(&transfer.intent, &transfer.recalls, Some(state.directory()));
    let result = result.and_then(|authorized| Ok(left().map(|_| authorized)?));
    let opens = match (&result, &asked) {
        (Err(Denied::Policy { .. }), Some((policy, request))) => {
            let facts = Facts { risk: risk(&state, policy, transfer, &evidence, now), ..facts };
            windows::opens(policy, request, &facts, transfer.intent.intent.expires_at)
        }
        _ => None,
    };
    Ok(Judged { state, evidence, result, parts, opens })
}

/// With what risk it passed its screening, where the policy was asked after that.
fn risk(
    state: &State,
    policy: &Policy,
    transfer: &Transfer,
    evidence: &Authorization,
    now: Timestamp,
) -> Fact<RiskBand> {
    let (Some(screening), Some(initiator)) = (&policy.screening, initiator(state, transfer)) else {
        return Err(Gap::Missing);
    };
    let (directory, genesis) = (state.directory(), state.genesis_digest());
    let (intent, initiator) = (transfer.intent.intent.digest(), &initiator.id);
    let check = ScreeningCheck { directory, genesis, intent, initiator, screening, now };
    check.pass(evidence.verdict.as_ref(), &evidence.releases).map_err(|_| Gap::Missing)
}

/// What is known here before anything is read. Without a quote there is no price: above every limit. The risk comes from the verdict.
fn facts(now: Timestamp) -> Facts {
    Facts { price: Err(Gap::Unpriceable), risk: Err(Gap::Missing), ..Facts::unknowable(now) }
}

/// A transfer that nobody has signed.
#[derive(Debug, Clone, Copy)]
pub struct Proposed<'a> {
    pub intent: &'a Intent,
    pub wallet: WalletId,
    pub initiator: &'a User,
}

/// What `policy` would say now of what is proposed. Nothing is written.
pub async fn simulate(
    context: &Context,
    state: &State,
    policy: &Policy,
    proposed: Proposed<'_>,
    risk: Fact<RiskBand>,
) -> Result<Decision, StepError> {
    let Proposed { intent, wallet, initiator } = proposed;
    let request = Request::new(intent, initiator, state.address_book()).map_err(StepError::Intent)?;
    let balance = balance_for(context, policy, wallet, intent).await?;
    let mut facts = Facts { balance, risk, ..facts(context.now()) };
    let mut source = Source::Store(&context.store);
    let check = QuoteCheck::of(state, policy, facts.now);
    let quote = source.freshest(&check, intent.asset).await?;
    facts.price = check.fact(intent.asset, quote.as_ref(), facts.price);
    let nobody = TransferId::new(context.ids.uuid());
    add_up(&mut source, policy, &request, nobody, &mut facts).await?;
    Ok(evaluate(policy, &request, &facts))
}

/// What the policy in force demands of `told`, which has those payouts of the order only that go to institutions; `None`: it says nothing
/// about the travel rule. Facts that are found out at authorization only are not known here.
pub(crate) async fn must_tell(
    context: &Context,
    state: &State,
    transfer: &Transfer,
    told: &Intent,
) -> Result<Option<Demand>, StepError> {
    let Some(PublishedPolicy { policy, .. }) = state.policy() else { return Ok(None) };
    if policy.travel_rule.is_none() {
        return Ok(None);
    }
    // Nobody's order is rejected later, for that.
    let in_doubt =
        || Demand { asked: true, why: "by the policy, which cannot be asked about this order".into() };
    let Some(user) = initiator(state, transfer) else { return Ok(Some(in_doubt())) };
    let Ok(request) = Request::new(told, user, state.address_book()) else { return Ok(Some(in_doubt())) };
    let mut facts = facts(context.now());
    let check = QuoteCheck::of(state, policy, facts.now);
    let quote = Source::Store(&context.store).freshest(&check, told.asset).await?;
    facts.price = check.fact(told.asset, quote.as_ref(), facts.price);
    Ok(policy::must_tell(policy, &request, &facts))
}

/// Finds out every sum that the policy asks for, and what the transfer adds to it. The parts are also of sums that no rule asks for yet,
/// so that a rule that is published later knows them.
async fn add_up(
    source: &mut Source<'_>,
    policy: &Policy,
    request: &Request,
    except: TransferId,
    facts: &mut Facts,
) -> Result<Vec<Part>, StoreError> {
    let mut parts: Vec<Part> = Vec::new();
    for query in policy.velocity_queries(request) {
        let name = velocity::name(&query, policy.currency);
        let window_seconds = query.window_seconds;
        let asked = Sum { name: &name, window_seconds, now: facts.now, except };
        let sum = source.sum(asked).await?;
        if parts.iter().all(|part| part.name != name) {
            let amount = query.adds(policy, request, facts).ok();
            parts.push(Part { name, amount });
        }
        facts.velocity.insert(query, sum);
    }
    for query in policy.velocity_standing(request) {
        let name = velocity::name(&query, policy.currency);
        if parts.iter().all(|part| part.name != name) {
            parts.push(Part { name, amount: query.adds(policy, request, facts).ok() });
        }
    }
    Ok(parts)
}

/// The votes that count by this state, and its head: only of those whom a requirement of the policy may ask, so that others crowd nobody
/// out, and of each only how they stand now. Whoever said no last said no. Of whoever said yes the newest vote goes, and the oldest
/// since they last said no, which may be the one that was in time.
fn gather(state: &State, transfer: &Transfer, votes: Vec<StoredApproval>, now: Timestamp) -> Authorization {
    let mut evidence = Authorization::none(state.head());
    let Some(ballot) = ballot(state, transfer, now) else { return evidence };
    let electorate = electorate(state);
    let mut of_users: BTreeMap<UserId, Vec<Approval>> = BTreeMap::new();
    for StoredApproval { approval, .. } in votes {
        if let Ok(user) = ballot.check(&approval)
            && electorate.contains(&user.id)
        {
            of_users.entry(user.id.clone()).or_default().push(approval);
        }
    }
    let (mut newest, mut oldest) = (Vec::new(), Vec::new());
    for mut own in of_users.into_values() {
        let rejects = |vote: &Approval| vote.payload.vote == Vote::Reject;
        own.sort_by_key(|vote| (vote.payload.given_at, rejects(vote)));
        let Some(last) = own.pop() else { continue };
        if !rejects(&last) {
            let since = own.iter().rposition(rejects).map_or(0, |no| no + 1);
            oldest.extend(own.into_iter().nth(since));
        }
        newest.push(last);
    }
    // Who said no is never left out, nor is anybody for the sake of another's second vote.
    newest.sort_by_key(|vote| vote.payload.vote != Vote::Reject);
    newest.extend(oldest);
    newest.truncate(MAX_APPROVALS);
    newest.sort_by_key(|vote| (vote.payload.vote != Vote::Reject, vote.payload.given_at));
    evidence.approvals = newest;
    evidence
}

/// Whom the policy in force may ask for approval: the members of all groups that a requirement names.
fn electorate(state: &State) -> BTreeSet<&UserId> {
    let rules = state.policy().into_iter().flat_map(|published| &published.policy.rules);
    let requirements = rules.filter_map(|rule| match &rule.then {
        Effect::Require(requirement) => Some(&requirement.groups),
        _ => None,
    });
    let groups = requirements.flatten().filter_map(|wanted| state.directory().group(&wanted.group));
    groups.flat_map(|group| &group.members).collect()
}

/// What votes about this transfer are held against; `None` while there is no policy, or nobody who initiated it.
pub fn ballot<'s>(state: &'s State, transfer: &Transfer, now: Timestamp) -> Option<Ballot<'s>> {
    Some(Ballot {
        state,
        policy: state.policy()?.version,
        intent: transfer.intent.intent.digest(),
        initiator: &initiator(state, transfer)?.id,
        submitted_at: transfer.created_at,
        now,
    })
}

/// Whether the log has this entry.
pub async fn has(store: &Store, state: &State, head: Head) -> Result<bool, GovernanceError> {
    Ok(Source::Store(store).has(state, head).await?)
}

impl Source<'_> {
    async fn votes(&mut self, transfer: &Transfer) -> Result<Vec<StoredApproval>, StoreError> {
        match self {
            Self::Store(store) => approvals::of_transfer(store, transfer.id).await,
            Self::Tx(tx) => approvals::of_transfer_in(tx, transfer.id).await,
        }
    }

    /// Adds the verdict that counts and the releases that do, where the policy asks for screening.
    async fn screened(
        &mut self,
        state: &Arc<State>,
        transfer: &Transfer,
        now: Timestamp,
        evidence: &mut Authorization,
    ) -> Result<(), StoreError> {
        if state.policy().is_none_or(|published| published.policy.screening.is_none()) {
            return Ok(());
        }
        let subject = Subject::Transfer(transfer.id);
        let (settled, releases) = match self {
            Self::Store(store) => {
                (screenings::settled(store, subject).await?, reviews::releases(store, transfer.id).await?)
            }
            Self::Tx(tx) => {
                (screenings::settled_in(tx, subject).await?, reviews::releases_in(tx, transfer.id).await?)
            }
        };
        let releases = releases.into_iter().map(|stored| stored.signed).collect();
        let found = standing::Evidence { settled, releases, log: Some(state.clone()) };
        (evidence.verdict, evidence.releases) = standing::to_co_signers(&found, transfer, now);
        Ok(())
    }

    /// The price that goes with it, if the policy names who quotes any.
    async fn quote(
        &mut self,
        state: &State,
        transfer: &Transfer,
        now: Timestamp,
    ) -> Result<Option<SignedQuote>, StoreError> {
        let Some(PublishedPolicy { policy, .. }) = state.policy() else { return Ok(None) };
        self.freshest(&QuoteCheck::of(state, policy, now), transfer.intent.intent.asset).await
    }

    async fn freshest(
        &mut self,
        check: &QuoteCheck<'_>,
        asset: Asset,
    ) -> Result<Option<SignedQuote>, StoreError> {
        if check.policy.prices.is_none() {
            return Ok(None);
        }
        let currency = check.policy.currency;
        let there = match self {
            Self::Store(store) => quotes::of_asset(store, asset, currency).await?,
            Self::Tx(tx) => quotes::of_asset_in(tx, asset, currency).await?,
        };
        Ok(check.freshest(asset, there.into_iter().map(|stored| stored.signed)))
    }

    async fn sum(&mut self, asked: Sum<'_>) -> Result<Fact<Amount>, StoreError> {
        match self {
            Self::Store(store) => velocity::sum(store, asked).await,
            Self::Tx(tx) => velocity::sum_in(tx, asked).await,
        }
    }

    async fn has(&mut self, state: &State, head: Head) -> Result<bool, StoreError> {
        if head.seq >= state.head().seq {
            return Ok(head == state.head());
        }
        let there = match self {
            Self::Store(store) => kept::entries(store, head.seq, 1).await?,
            Self::Tx(tx) => kept::entries_in(tx, head.seq, 1).await?,
        };
        let same = |there: &StoredEntry| there.seq == head.seq && there.digest == head.digest;
        Ok(there.first().is_some_and(same))
    }
}

impl Judged {
    /// What is kept of it for people.
    pub fn ruling(&self) -> Ruling {
        let (head, policy) = (self.state.head(), self.state.policy().map(|published| published.version));
        let (code, reason, progress) = match &self.result {
            Ok(authorized) => (AUTHORIZED, None, Some(authorized.progress.clone())),
            Err(denied) if self.opens.is_some() => (AWAITING_WINDOW, Some(denied.to_string()), None),
            Err(denied) => (denied.code(), Some(denied.to_string()), progress_of(denied)),
        };
        Ruling { code: code.into(), reason, head, policy, decision: self.decision().cloned(), progress }
    }

    /// What the policy said, if it came to that.
    pub fn decision(&self) -> Option<&Decision> {
        match &self.result {
            Ok(authorized) => Some(&authorized.decision),
            Err(
                Denied::Policy { decision }
                | Denied::Approvals { decision, .. }
                | Denied::Delayed { decision, .. },
            ) => Some(decision),
            Err(_) => None,
        }
    }

    /// What the policy asks for, if it permits.
    pub fn allowed(&self) -> Option<&Allowed> {
        match &self.decision()?.outcome {
            Outcome::Allowed(allowed) => Some(allowed),
            Outcome::Denied { .. } => None,
        }
    }
}

fn progress_of(denied: &Denied) -> Option<bursar_domain::governance::approval::Progress> {
    match denied {
        Denied::Approvals { progress, .. } => Some((**progress).clone()),
        _ => None,
    }
}
