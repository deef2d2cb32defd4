//! A draft of a policy, tried on the transfers of the past.
//!
//! Both policies, the draft and the one in force, are evaluated over the same transfers, oldest first, each with sums of its own that
//! begin empty: what one of them denies adds nothing to its sums. People, groups and addresses are those of today. What nobody kept (prices,
//! balances, risks) is not known to either, so that rules over it are unsure.

use crate::api::{
    ApiState,
    extract::{Body, page_size},
    governance::log,
    problem::Problem,
    wire::time,
};
use axum::{Json, extract::State};
use bursar_domain::{
    amount::Amount,
    governance::{
        policy::{Currency, Decision, Fact, Facts, Gap, Outcome, Policy, Request, Requirement, evaluate},
        state::State as LogState,
    },
    ids::TransferId,
    lifecycle::Transfer,
    signing::PartyRole,
    time::Timestamp,
};
use bursar_store::{
    transfers::{self, Filter},
    velocity,
};
use bursar_workers::authorization;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use utoipa::ToSchema;

/// The most transfers that one request looks at, newest first.
const MAX_TRANSFERS: usize = 5000;
const PAGE: u32 = 500;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Backtest {
    #[schema(value_type = Object)]
    pub policy: Policy,
    /// Transfers of the last so many days, 1 to 365.
    #[schema(minimum = 1, maximum = 365)]
    pub days: u32,
    /// `next` of the page before.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub after: Option<TransferId>,
    /// 1 to 200 differences, 50 when absent.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BacktestView {
    pub from: String,
    pub to: String,
    /// Transfers that both policies were asked about.
    pub evaluated: usize,
    /// Whose initiator is no user today.
    pub not_evaluated: usize,
    /// There were more transfers in this time: only the newest were looked at.
    pub truncated: bool,
    /// By the policy in force; all denied if there is none.
    pub before: Counts,
    /// By the draft.
    pub after: Counts,
    /// Transfers that the draft decides in another way.
    pub differing: usize,
    /// Some of them, oldest first.
    pub items: Vec<Difference>,
    /// Pass as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub next: Option<TransferId>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub denied: usize,
    /// At once, with nobody asked.
    pub free: usize,
    pub need_approvals: usize,
    /// These may need approvals as well.
    pub delayed: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    #[schema(value_type = String)]
    pub transfer_id: TransferId,
    pub external_id: String,
    pub created_at: String,
    pub before: Verdict,
    pub after: Verdict,
}

/// What a policy asks for, whichever of its rules does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub denied: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub requirements: BTreeSet<Requirement>,
    pub delay_seconds: u64,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub signers: BTreeSet<PartyRole>,
}

/// How a draft would have decided the transfers of the last days, and which of them in another way than the policy in force.
#[utoipa::path(post, path = "/v1/policy/backtest", tag = "governance", security(("apiKey" = [])), request_body = Backtest,
    responses((status = 200, body = BacktestView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 413, body = Problem), (status = 503, body = Problem)))]
pub async fn backtest(
    State(state): State<ApiState>,
    Body { value: Backtest { policy, days, after, limit }, .. }: Body<Backtest>,
) -> Result<Json<BacktestView>, Problem> {
    let (_, log) = log(&state).await?;
    let limit = page_size(limit)? as usize;
    if !(1..=365).contains(&days) {
        return Err(Problem::malformed("days", "must be from 1 to 365"));
    }
    let to = state.context.now();
    let back = Duration::from_secs(u64::from(days) * 24 * 3600);
    let from = Timestamp(to.micros().saturating_sub(i64::try_from(back.as_micros()).unwrap_or(i64::MAX)));
    let (transfers, truncated) = past(&state, from).await?;
    // Many transfers and many rules: not for the threads that serve requests.
    let compared = tokio::task::spawn_blocking(move || compare(&log, &policy, &transfers)).await;
    let compared = compared.map_err(|error| Problem::internal(&error))?;
    let Compared { before, after: by_draft, not_evaluated, evaluated, differences } = compared;
    let differing = differences.len();
    let mut rest = differences.into_iter().filter(|it| after.is_none_or(|after| it.transfer_id > after));
    let items: Vec<_> = rest.by_ref().take(limit).collect();
    let more = rest.next().is_some();
    let next = items.last().filter(|_| more).map(|last| last.transfer_id);
    let (from, to) = (time(from), time(to));
    let after = by_draft;
    Ok(Json(BacktestView {
        from,
        to,
        evaluated,
        not_evaluated,
        truncated,
        before,
        after,
        differing,
        items,
        next,
    }))
}

/// The transfers since `from`, oldest first, and whether there were more than are looked at.
async fn past(state: &ApiState, from: Timestamp) -> Result<(Vec<Transfer>, bool), Problem> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    let truncated = loop {
        let filter = Filter::default();
        let page = transfers::list(&state.context.store, &filter, cursor.as_deref(), PAGE).await?;
        let (count, before) = (page.items.len(), found.len());
        found.extend(page.items.into_iter().take_while(|transfer| transfer.created_at >= from));
        cursor = page.next;
        if found.len() > MAX_TRANSFERS {
            found.truncate(MAX_TRANSFERS);
            break true;
        }
        if cursor.is_none() || found.len() - before < count {
            break false;
        }
    };
    found.reverse();
    Ok((found, truncated))
}

struct Compared {
    before: Counts,
    after: Counts,
    evaluated: usize,
    not_evaluated: usize,
    differences: Vec<Difference>,
}

fn compare(log: &LogState, draft: &Policy, transfers: &[Transfer]) -> Compared {
    let published = log.policy().map(|published| &*published.policy);
    let (mut now, mut then) = (published.map(Trial::new), Trial::new(draft));
    let mut compared = Compared {
        before: Counts::default(),
        after: Counts::default(),
        evaluated: 0,
        not_evaluated: 0,
        differences: Vec::new(),
    };
    for transfer in transfers {
        let intent = &transfer.intent.intent;
        let request = authorization::initiator(log, transfer)
            .and_then(|user| Request::new(intent, user, log.address_book()).ok());
        let Some(request) = request else {
            compared.not_evaluated += 1;
            continue;
        };
        compared.evaluated += 1;
        let at = transfer.created_at;
        let before = now.as_mut().map_or_else(Verdict::none, |trial| trial.decide(&request, at));
        let after = then.decide(&request, at);
        compared.before.count(&before);
        compared.after.count(&after);
        if !before.same(&after) {
            compared.differences.push(Difference {
                transfer_id: transfer.id,
                external_id: intent.external_id.to_string(),
                created_at: time(at),
                before,
                after,
            });
        }
    }
    compared.differences.sort_by_key(|difference| difference.transfer_id);
    compared
}

/// A policy with the sums of what it permitted so far.
struct Trial<'p> {
    policy: &'p Policy,
    sums: BTreeMap<String, Vec<(Timestamp, Option<Amount>)>>,
}

impl<'p> Trial<'p> {
    const fn new(policy: &'p Policy) -> Self {
        Self { policy, sums: BTreeMap::new() }
    }

    fn decide(&mut self, request: &Request, now: Timestamp) -> Verdict {
        let mut facts = Facts::unknowable(now);
        let currency: Currency = self.policy.currency;
        let queries = self.policy.velocity_queries(request);
        for query in &queries {
            let sum = self.sum(&velocity::name(query, currency), query.window_seconds, now);
            facts.velocity.insert(query.clone(), sum);
        }
        let Decision { outcome, .. } = evaluate(self.policy, request, &facts);
        if let Outcome::Allowed(_) = outcome {
            let names: BTreeMap<String, _> =
                queries.iter().map(|query| (velocity::name(query, currency), query)).collect();
            for (name, query) in names {
                let added = query.adds(self.policy, request, &facts).ok();
                self.sums.entry(name).or_default().push((now, added));
            }
        }
        Verdict::from(outcome)
    }

    fn sum(&self, name: &str, window_seconds: u64, now: Timestamp) -> Fact<Amount> {
        let window = Duration::from_secs(window_seconds);
        let parts = self.sums.get(name).into_iter().flatten().rev();
        let within = parts.take_while(|(at, _)| now.since(*at) < window);
        within
            .map(|(_, amount)| *amount)
            .try_fold(Amount::ZERO, |sum, amount| sum.checked_add(amount?))
            .ok_or(Gap::Unknowable)
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Denied { reasons } => {
                Self { because: reasons.iter().map(ToString::to_string).collect(), ..Self::none() }
            }
            Outcome::Allowed(allowed) => Self {
                denied: false,
                because: Vec::new(),
                requirements: allowed.requirements.into_iter().map(|required| required.requirement).collect(),
                delay_seconds: allowed.delay_seconds,
                signers: allowed.signers,
            },
        }
    }
}

impl Verdict {
    /// Without a policy nothing is allowed.
    fn none() -> Self {
        let (requirements, signers) = (BTreeSet::new(), BTreeSet::new());
        Self { denied: true, because: Vec::new(), requirements, delay_seconds: 0, signers }
    }

    /// Whether it comes to the same, whatever the reasons.
    fn same(&self, other: &Self) -> bool {
        (self.denied && other.denied) || self == other
    }
}

impl Counts {
    fn count(&mut self, verdict: &Verdict) {
        let Verdict { denied, requirements, delay_seconds, .. } = verdict;
        if *denied {
            self.denied += 1;
            return;
        }
        self.need_approvals += usize::from(!requirements.is_empty());
        self.delayed += usize::from(*delay_seconds > 0);
        self.free += usize::from(requirements.is_empty() && *delay_seconds == 0);
    }
}
