//! `bursar reconcile`: the chains against the database, without the API.

use super::{ConfigFile, output::Output};
use crate::{
    compose::{self, SystemClock, Witness},
    config::Config,
};
use bursar_domain::{network::Network, time::Clock as _};
use bursar_store::{Store, halts::Halt};
use bursar_workers::reconciliation::{self, Finding, Report, Severity, Subject};
use clap::Args;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// Compare each chain with the database: every transaction of our addresses, every deposit, every balance.
///
/// Each chain is read anew, apart from the follower, up to the newest final block that was followed. Exit code 0: nothing is wrong;
/// 6: chain and database disagree (a BREAK); 1: a chain could not be compared. docs/reconcile.md has the findings.
#[derive(Debug, Args)]
pub struct Reconcile {
    /// Such as `bitcoin:mainnet`; all that are configured when absent. May be given more than once.
    #[arg(long)]
    network: Vec<Network>,
    /// First block to compare; the one after the last comparison without a break when absent. 0 compares everything (on XRP name a
    /// ledger that the node has).
    #[arg(long)]
    from: Option<u64>,
    /// Which of a chain's nodes to ask, by the name that the configuration gives it; the first that answers when absent.
    #[arg(long)]
    node: Option<String>,
    /// On a break, halt the accounts that it is about: nothing new is sent from them until `bursar resume`. Also:
    /// `halt_on_break` in the configuration.
    #[arg(long)]
    halt: bool,
    #[command(flatten)]
    file: ConfigFile,
}

/// Chain and database disagree.
#[derive(Debug, thiserror::Error)]
#[error("chain and database disagree: {0} break(s)")]
pub struct Broken(usize);

/// What came of one network.
struct Compared {
    network: Network,
    node: String,
    result: Result<(Report, Vec<Halt>), anyhow::Error>,
}

pub async fn run(command: Reconcile, output: Output) -> anyhow::Result<()> {
    let config = Config::load(&command.file.config)?;
    let store = compose::open_store(&config).await?;
    let mut witnesses: BTreeMap<Network, Vec<Witness>> = BTreeMap::new();
    for witness in compose::witnesses(&config)? {
        let wanted = command.network.is_empty() || command.network.contains(&witness.chain.network());
        let named = command.node.as_ref().is_none_or(|node| *node == witness.name);
        if wanted && named {
            witnesses.entry(witness.chain.network()).or_default().push(witness);
        }
    }
    if let Some(missing) = command.network.iter().find(|network| !witnesses.contains_key(network)) {
        anyhow::bail!("--network {missing}: no such network, or no such node of it, is configured");
    }
    anyhow::ensure!(!witnesses.is_empty(), "--node: no chain has a node of this name");

    let halt = command.halt || config.reconcile.halt_on_break;
    let mut all = Vec::new();
    for (network, nodes) in witnesses {
        all.push(compare(&store, network, nodes, command.from, halt).await);
    }
    show(&all, output);
    let reports = || all.iter().filter_map(|compared| compared.result.as_ref().ok());
    let breaks: usize = reports().map(|(report, _)| report.count(Severity::Break)).sum();
    if breaks > 0 {
        return Err(Broken(breaks).into());
    }
    match all.into_iter().find_map(|compared| Some((compared.network, compared.result.err()?))) {
        Some((network, error)) => Err(error.context(format!("{network} could not be compared"))),
        None => Ok(()),
    }
}

/// Asks one node after the other until one can tell all.
async fn compare(
    store: &Store,
    network: Network,
    nodes: Vec<Witness>,
    first: Option<u64>,
    halt: bool,
) -> Compared {
    let mut compared =
        Compared { network, node: String::new(), result: Err(anyhow::anyhow!("no node is configured")) };
    for Witness { name, chain, adapter, assets } in nodes {
        eprintln!("{network}: asking {name}");
        let subject = Subject { store, chain: chain.as_ref(), adapter, assets, first };
        let tenth = AtomicU64::new(0);
        let progress = |done: u64, parts: u64| {
            let now = done.saturating_mul(10).checked_div(parts).unwrap_or_default();
            if parts >= 100 && tenth.swap(now, Ordering::Relaxed) < now {
                eprintln!("{network}: {done} of {parts}");
            }
        };
        compared.node = name;
        compared.result = match reconciliation::reconcile(subject, &progress).await {
            Ok(report) => match reconciliation::settle(store, &report, halt, SystemClock.now()).await {
                Ok(halts) => Ok((report, halts)),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        };
        match &compared.result {
            Ok(_) => break,
            Err(error) => eprintln!("{network}: {}: {error:#}", compared.node),
        }
    }
    compared
}

fn show(all: &[Compared], output: Output) {
    if output.json {
        let networks: Vec<Value> = all.iter().map(network_json).collect();
        return output.value(&json!({ "networks": networks }));
    }
    for Compared { network, result, .. } in all {
        let Ok((report, halts)) = result else { continue };
        let (breaks, warnings) = (report.count(Severity::Break), report.count(Severity::Warning));
        output.note(&format!(
            "{network}: blocks {} to {}: {} transactions and {} credits compared, {breaks} break(s), {warnings} warning(s)",
            report.first, report.last.height, report.sent, report.received
        ));
        for finding in &report.findings {
            output.note(&format!("  {} {}{}", finding.severity().name(), finding.code, whose(finding)));
            output.note(&format!("    {}", finding.text));
            output.note(&format!("    what to do: {}", finding.code.remedy()));
        }
        for halt in halts {
            output.note(&format!("  stands: {halt}"));
        }
    }
}

/// Which account, transfer and transaction a finding is about.
fn whose(finding: &Finding) -> String {
    let parts = [
        finding.account.as_ref().map(|account| format!(" account {account}")),
        finding.transfer.map(|transfer| format!(" transfer {transfer}")),
        finding.tx_id.as_ref().map(|tx_id| format!(" transaction {tx_id}")),
    ];
    parts.into_iter().flatten().collect()
}

fn network_json(compared: &Compared) -> Value {
    let Compared { network, node, result } = compared;
    let (report, halts) = match result {
        Ok(found) => found,
        Err(error) => return json!({ "network": network, "node": node, "error": format!("{error:#}") }),
    };
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "code": finding.code.name(),
                "severity": finding.severity().name(),
                "account": finding.account,
                "transferId": finding.transfer,
                "txId": finding.tx_id,
                "text": finding.text,
                "remedy": finding.code.remedy(),
            })
        })
        .collect();
    json!({
        "network": network,
        "node": node,
        "first": report.first,
        "last": report.last,
        "sent": report.sent,
        "received": report.received,
        "breaks": report.count(Severity::Break),
        "warnings": report.count(Severity::Warning),
        "findings": findings,
        "halts": halts.iter().map(|halt| halt.id).collect::<Vec<_>>(),
    })
}
