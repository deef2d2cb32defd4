//! `bursar-screener serve`.

use super::{Common, runtime};
use anyhow::Context as _;
use bursar_kyt::{clock::SystemClock, config::Config, server, service};
use clap::Args;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use std::{process::ExitCode, sync::Arc};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[derive(Args)]
pub struct Serve {
    #[command(flatten)]
    common: Common,
}

impl Serve {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.common.load()?;
        runtime()?.block_on(serve(&self.common, &config))?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn serve(common: &Common, config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let metrics = PrometheusBuilder::new().install_recorder().context("cannot collect metrics")?;
    let composed = config.compose(Arc::new(SystemClock))?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listen: {}", config.listen))?;
    let address = listener.local_addr().context("listen")?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "others than this machine can reach the screener; put TLS in front of it");
    }
    let stop = CancellationToken::new();
    let beside = TaskTracker::new();
    beside.spawn(service::poll(composed.screener.clone(), composed.poll, stop.clone()));
    if let Some(push) = composed.push {
        beside.spawn(push.run(composed.screener.clone(), stop.clone()));
    }
    beside.close();
    common.say(&json!({ "listening": address.to_string() }), &format!("listening at {address}"));
    let stopping = stop.clone();
    let told = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
        stopping.cancel();
    };
    let router = server::router(composed.screener, composed.token, Some(metrics));
    server::serve(listener, router, told).await.context("the HTTP server")?;
    stop.cancel();
    beside.wait().await;
    Ok(())
}
