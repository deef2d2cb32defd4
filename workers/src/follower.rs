//! Walks one chain block by block and writes what concerns us: inclusions, spent and new outputs, deposits.
//!
//! The walk is a chain of parent hashes from the cursor on. A block that does not link to the cursor, or another block in the
//! cursor's place, is a reorganisation: the walk goes back to the last block that both sides share and starts again from there.
//! One process leads and walks; the others stand by, so that the number of node calls follows the number of blocks, and processes with
//! nodes that disagree do not take back each other's blocks. Should two of them walk at once, the store's compare-and-set on the cursor
//! lets one write each block.

use crate::context::{ChainPorts, Context};
use bursar_domain::{
    chain::{BlockRef, ContractPayments, ObservedBlock, Tips, WatchSet},
    network::Network,
    ports::NodeError,
};
use bursar_store::{StoreError, chain, deposits::holds};
use tokio_util::sync::CancellationToken;

/// How many block hashes are kept to find a fork; deeper reorganisations stop the follower with an error in plain sight.
const REMEMBERED_BLOCKS: u32 = 500;

#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{network}: none of the last {REMEMBERED_BLOCKS} blocks that were seen is on the node's chain: is it another network?"
    )]
    NoCommonBlock { network: Network },
    #[error(
        "{network}: the node's block after {height} does not follow its own block {height}: are there two nodes behind it?"
    )]
    Inconsistent { network: Network, height: u64 },
}

/// Follows until cancelled. Errors are logged and retried at the next poll.
pub async fn run(context: Context, network: Network, stop: CancellationToken) {
    let Some(ports) = context.chain(network).cloned() else { return };
    let mut healthy = true;
    loop {
        match round(&context, network, &ports, &stop).await {
            Ok(()) => {
                if !healthy {
                    tracing::info!(%network, "following again");
                }
                healthy = true;
            }
            Err(error) => {
                if healthy {
                    tracing::warn!(%network, %error, "cannot follow the chain; trying again");
                }
                healthy = false;
            }
        }
        metrics::gauge!("bursar_follower_healthy", "network" => network.to_string()).set(if healthy {
            1.0
        } else {
            0.0
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ports.poll) => {}
        }
    }
}

async fn round(
    context: &Context,
    network: Network,
    ports: &ChainPorts,
    stop: &CancellationToken,
) -> Result<(), FollowError> {
    let leads = context.store.leads(&format!("follow {network}")).await?;
    metrics::gauge!("bursar_follower_leads", "network" => network.to_string())
        .set(f64::from(u8::from(leads)));
    match leads {
        true => catch_up(context, network, ports, stop).await,
        false => Ok(()),
    }
}

/// Up to which height what was walked is final. The node's rule gives the depth; it is counted from the block that the
/// follower has reached, because only up to there the hashes are known to be linked to each other.
pub(crate) fn final_height(tips: &Tips, walked: u64) -> u64 {
    let unfinal = tips.tip.height.saturating_sub(tips.final_height);
    walked.saturating_sub(unfinal).min(tips.final_height)
}

/// Walks to the node's tip.
pub async fn catch_up(
    context: &Context,
    network: Network,
    ports: &ChainPorts,
    stop: &CancellationToken,
) -> Result<(), FollowError> {
    let tips = ports.fresh_tips(context.now()).await?;
    let mut cursor = match chain::cursor(&context.store, network).await? {
        Some(cursor) => cursor,
        None => start(context, network, ports, &tips.tip).await?,
    };
    metrics::gauge!("bursar_chain_height", "network" => network.to_string()).set(tips.tip.height as f64);
    if tips.tip.height <= cursor.height && !same_block(context, network, &tips.tip).await? {
        cursor = rewind(context, network, ports).await?;
    }
    while cursor.height < tips.tip.height && !stop.is_cancelled() {
        let watch = watch_set(context, network, ports).await?;
        let observed = ports.node.block(cursor.height + 1, &watch).await?;
        if observed.parent_hash != cursor.hash {
            let back = rewind(context, network, ports).await?;
            if back == cursor {
                return Err(FollowError::Inconsistent { network, height: cursor.height });
            }
            cursor = back;
            continue;
        }
        let now = context.now();
        let mut tx = context.store.write().await?;
        let applied = match chain::apply_block(&mut tx, network, &observed, now).await {
            Ok(applied) => applied,
            // Another process follows the same chain and was faster.
            Err(StoreError::NotNext { cursor: Some(theirs), .. }) if theirs != cursor => {
                cursor = theirs;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if applied.deposits > 0 && context.screening.is_some() {
            holds::screen_block(&mut tx, network, observed.block.height, now).await?;
        }
        chain::set_final_height(&mut tx, network, final_height(&tips, observed.block.height)).await?;
        chain::nudge_confirming(&mut tx, network, now).await?;
        if observed.block.height.is_multiple_of(64) {
            chain::prune_blocks(&mut tx, network, REMEMBERED_BLOCKS).await?;
        }
        tx.commit().await?;
        for resource in &applied.foreign_spends {
            tracing::error!(%network, %resource, block = observed.block.height, "used by a transaction that is not ours");
        }
        measure_contract_payments(network, &observed);
        cursor = observed.block;
        metrics::counter!("bursar_blocks_walked_total", "network" => network.to_string()).increment(1);
        metrics::gauge!("bursar_follower_height", "network" => network.to_string()).set(cursor.height as f64);
    }
    Ok(())
}

/// In plain sight: deposits by contracts are not seen in blocks that no node traces.
fn measure_contract_payments(network: Network, observed: &ObservedBlock) {
    let seen = match &observed.contract_payments {
        ContractPayments::NotSought => return,
        ContractPayments::Unknown => {
            metrics::counter!("bursar_blocks_untraced_total", "network" => network.to_string()).increment(1);
            0.0
        }
        ContractPayments::Known(_) => 1.0,
    };
    metrics::gauge!("bursar_contract_payments_seen", "network" => network.to_string()).set(seen);
}

async fn watch_set(context: &Context, network: Network, ports: &ChainPorts) -> Result<WatchSet, StoreError> {
    let mut watch = chain::watch_set(&context.store, network).await?;
    watch.tokens.extend(ports.tokens.iter().copied());
    Ok(watch)
}

async fn start(
    context: &Context,
    network: Network,
    ports: &ChainPorts,
    tip: &BlockRef,
) -> Result<BlockRef, FollowError> {
    let first = match ports.start_height {
        Some(height) if height < tip.height => ports.node.block(height, &WatchSet::default()).await?.block,
        _ => tip.clone(),
    };
    let mut tx = context.store.write().await?;
    chain::start_at(&mut tx, network, &first).await?;
    tx.commit().await?;
    tracing::info!(%network, height = first.height, "following from here");
    Ok(first)
}

/// Whether the walk went through this very block. Blocks older than what is remembered count as the same.
async fn same_block(context: &Context, network: Network, block: &BlockRef) -> Result<bool, StoreError> {
    let seen = chain::seen(&context.store, network, block.height).await?;
    Ok(seen.is_none_or(|hash| hash == block.hash))
}

/// Goes back to the newest block that the node still has.
async fn rewind(context: &Context, network: Network, ports: &ChainPorts) -> Result<BlockRef, FollowError> {
    for seen in chain::recent_blocks(&context.store, network, REMEMBERED_BLOCKS).await? {
        let theirs = match ports.node.block(seen.height, &WatchSet::default()).await {
            Ok(observed) => observed.block,
            Err(NodeError::NoBlock { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        if theirs != seen {
            continue;
        }
        let now = context.now();
        let mut tx = context.store.write().await?;
        let touched = chain::rollback_to(&mut tx, network, seen.height, now).await?;
        tx.commit().await?;
        tracing::warn!(%network, height = seen.height, transfers = touched.len(), "reorganisation: went back to here");
        metrics::counter!("bursar_reorgs_total", "network" => network.to_string()).increment(1);
        return Ok(seen);
    }
    Err(FollowError::NoCommonBlock { network })
}
