//! What the handlers share.

use bursar_domain::asset::{Asset, AssetInfo};
use bursar_signer_client::Coordinator;
use bursar_workers::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;

#[derive(Clone)]
pub struct ApiState {
    pub context: Context,
    pub assets: Arc<Assets>,
    /// Absent in a process without the co-signers' relay.
    pub coordinator: Option<Coordinator>,
    /// The development signer signs in place of co-signers.
    pub single_key: bool,
    pub metrics: PrometheusHandle,
    /// Who is let in, and how often.
    pub auth: Arc<super::auth::Authentication>,
    /// What signs and sends webhooks; absent without a key file.
    pub webhooks: Option<Arc<bursar_workers::webhooks::Webhooks>>,
    /// Event streams that are open.
    pub streams: super::events::Streams,
}

impl ApiState {
    /// The name of what signs instead of co-signers; to be seen wherever the installation tells about itself.
    pub fn insecure_signer(&self) -> Option<&'static str> {
        self.single_key.then_some(bursar_signer_client::development::NAME)
    }
}

/// The assets that this installation pays, by the names that people use.
#[derive(Debug, Clone)]
pub struct Assets(Vec<AssetInfo>);

impl Assets {
    pub fn new(infos: Vec<AssetInfo>) -> Self {
        Self(infos)
    }
    pub fn all(&self) -> &[AssetInfo] {
        &self.0
    }
    /// By symbol, or by the text form of the asset.
    pub fn find(&self, name: &str) -> Option<&AssetInfo> {
        self.0.iter().find(|info| info.symbol == name || info.asset.to_string() == name)
    }
    pub fn info(&self, asset: Asset) -> Option<&AssetInfo> {
        self.0.iter().find(|info| info.asset == asset)
    }
}
