//! `bursar-screener check-config`.

use super::Common;
use bursar_domain::{governance::log::EntryDigest, time::Clock};
use bursar_kyt::clock::SystemClock;
use clap::Args;
use serde_json::json;
use std::{process::ExitCode, sync::Arc};

#[derive(Args)]
pub struct CheckConfig {
    #[command(flatten)]
    common: Common,
}

impl CheckConfig {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.common.load()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let key = config.validate(&clock)?;
        let provider = config.provider(&clock)?;
        let (public, user, name) = (hex::encode(key.public()), &config.key.user, provider.name());
        let genesis = config.genesis.unwrap_or(EntryDigest::NONE);
        self.common.say(
            &json!({ "provider": name, "user": user, "publicKey": public, "genesis": genesis, "listen": config.listen }),
            &format!("good: asks {name}, signs as {user} with {public} under genesis {genesis}, listens at {}", config.listen),
        );
        Ok(ExitCode::SUCCESS)
    }
}
