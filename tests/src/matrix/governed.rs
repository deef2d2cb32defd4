//! A desk around a lane: a governance log with a policy, a service that screens, a travel rule, and an endpoint that is told of every event.
//!
//! | module | what it holds |
//! |---|---|
//! | [`outside`] | the services that it talks to |
//! | [`people`] | who signs what |

pub mod outside;
pub mod people;

use super::Course;
use crate::{api::Api, desk::SCREENING, initiator::Initiator};
use anyhow::{Context as _, ensure};
use bursar::client::Client;
use bursar_domain::{
    amount::Amount,
    governance::{
        policy::VelocityQuery,
        verdict::{Disposition, Release},
    },
    ids::TransferId,
    wallet::WalletDescriptor,
};
use bursar_store::{Store, velocity};
use bursar_workers::{travel_rule::vault::VaultKey, webhooks::keys::KeyFile};
use outside::Outside;
use people::People;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// The reference currency of the policy, in which nothing is priced here.
const CURRENCY: &str = "USD";
const WINDOW_SECONDS: u64 = 86_400;
const EVENTS_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

pub struct Governed {
    pub outside: Outside,
    /// Orders payments.
    pub olga: Api,
    /// Whose word a transfer or a deposit waits for, and what they call with.
    clients: BTreeMap<&'static str, Client>,
    folder: PathBuf,
    /// The event after which the endpoint was told of each.
    since: i64,
    pub(super) now: Now,
}

/// What has happened to the payment of now. What was signed is kept, so that it can be handed in again as it was.
#[derive(Default)]
pub(super) struct Now {
    pub votes: BTreeMap<&'static str, Value>,
    pub release: Option<Release>,
    pub disposition: Option<Disposition>,
    /// An alert has frozen it once.
    pub alerted: bool,
    /// The transaction of the deposit.
    pub deposit: Option<String>,
    /// The deposit is screened again.
    pub asked_again: bool,
}

/// The sizes of payments in each asset, in its smallest unit: up to the first nobody is asked; above it, two parties approve; above the second the
/// institution at the other end is told.
const SIZES: [(&str, &str, &str); 3] = [
    ("BTC", "150000", "250000"),
    ("ETH", "375000000000000000", "625000000000000000"),
    ("XRP", "18750000", "31250000"),
];

fn policy() -> Value {
    let any = |amount: fn(&(&str, &str, &str)) -> Value| {
        let each: Vec<Value> = SIZES.iter().map(|size| json!({ "amount": amount(size) })).collect();
        json!({ "any": each })
    };
    json!({
        "currency": CURRENCY,
        "priceMaxAgeSeconds": 60,
        "screening": { "by": [SCREENING], "maxAgeSeconds": 3600 },
        "travelRule": { "when": any(|(asset, _, second)| json!({ "in": asset, "above": second })) },
        "rules": [
            { "id": "all", "then": { "kind": "ALLOW" } },
            {
                "id": "two-parties",
                "when": any(|(asset, first, second)| json!({ "in": asset, "above": first, "atMost": second })),
                "then": { "kind": "REQUIRE", "of": "ALL",
                    "groups": [{ "group": "client", "quorum": 1 }, { "group": "manager", "quorum": 1 }] },
            },
            {
                "id": "limit",
                "when": { "velocity": { "windowSeconds": WINDOW_SECONDS, "of": "COUNT", "groupBy": "WALLET", "above": "1000000" } },
                "then": { "kind": "DENY", "reason": "enough for today" },
            },
        ],
    })
}

impl Governed {
    /// Founds the desk of a lane whose API is to be at `url`, and writes its files into `dir`.
    pub async fn found(dir: &Path, url: &str, initiator: &Initiator) -> anyhow::Result<Self> {
        let outside = Outside::start().await?;
        let webhook = json!({
            "id": "matrix", "url": format!("{}/hooks", outside.url()), "events": ["*"], "party": "CLIENT", "allowPrivate": true,
        });
        let people =
            People::found(initiator, serde_json::from_value(policy())?, serde_json::from_value(webhook)?)?;
        fs::write(dir.join("log.json"), people.exported().to_string())?;
        VaultKey::create(&dir.join("travel-rule.key"))?;
        KeyFile::create(&dir.join("webhooks.key"), &mut rand::rngs::OsRng)?;
        let mut token =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join("token"))?;
        token.write_all(b"a-token-of-the-matrix")?;
        let client = |user: &'static str| -> anyhow::Result<(&str, Client)> {
            Ok((user, Client::signing(url, people.secret(user)?.clone())?))
        };
        let clients = ["anna", "mark", "otto", "lena", "olga", "sven"].into_iter().map(client);
        let clients = clients.collect::<anyhow::Result<_>>()?;
        let olga = Api::signing(url.to_owned(), people.secret("olga")?.clone())?;
        outside.opens(people)?;
        Ok(Self { outside, olga, clients, folder: dir.to_owned(), since: 0, now: Now::default() })
    }

    pub fn people(&self) -> anyhow::Result<&People> {
        self.outside.people()
    }

    pub fn log_file(&self) -> PathBuf {
        self.folder.join("log.json")
    }

    /// What a lane's configuration has besides.
    pub(super) fn configure(&self, course: Course, config: &mut toml::Table) -> anyhow::Result<()> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let (token, url) = (file("token"), self.outside.url());
        let mut travel_rule = toml::Table::new();
        travel_rule.insert("key_file".into(), file("travel-rule.key").into());
        if course == Course::Noted {
            travel_rule.insert("exchange".into(), "manual".into());
        } else {
            travel_rule.insert("exchange".into(), "http".into());
            travel_rule.insert("url".into(), format!("{url}/exchange").into());
            travel_rule.insert("token_file".into(), token.clone().into());
        }
        config.insert("travel_rule".into(), travel_rule.into());
        let genesis = self.people()?.genesis().to_string();
        config.insert("governance".into(), toml::toml! { genesis = genesis }.into());
        let screening = toml::toml! { url = url
        token_file = token
        poll_seconds = 1 };
        config.insert("screening".into(), screening.into());
        let key = file("webhooks.key");
        let webhooks = toml::toml! { key_file = key
        allow_networks = ["127.0.0.0/8"] };
        config.insert("webhooks".into(), webhooks.into());
        let api = config.get_mut("api").and_then(toml::Value::as_table_mut).context("a lane has an API")?;
        // So that each look costs no nonce.
        api.insert("bearer".into(), true.into());
        Ok(())
    }

    /// Hands something in as this user. Whether it was taken; who had no answer looks at what it was about.
    pub(super) async fn hand_in(
        &self,
        user: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<bool> {
        let client = self.clients.get(user).with_context(|| format!("{user} calls nobody"))?;
        match client.call(method, path, Some(body)).await {
            Ok(response) if response.status().is_success() => Ok(true),
            Ok(response) => {
                let status = response.status();
                println!("{user}: {path}: {status} {}", response.text().await.unwrap_or_default());
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }

    pub(super) async fn read(&self, user: &str, path: &str) -> anyhow::Result<Value> {
        let client = self.clients.get(user).with_context(|| format!("{user} calls nobody"))?;
        Ok(client.get(path, &[]).await?)
    }

    /// Waits until the endpoint is there, which is told of what happens from then on.
    pub(super) async fn await_endpoint(&mut self) -> anyhow::Result<()> {
        let this = &*self;
        let found = bursar_regtest::eventually(EVENTS_WITHIN, LOOK, "the endpoint", || async {
            let page = this.read("sven", "/v1/webhooks").await.map_err(|error| format!("{error:#}"))?;
            match page["items"][0]["cursor"].as_str().and_then(|cursor| cursor.parse::<i64>().ok()) {
                Some(cursor) => Ok(cursor),
                None => Err(page.to_string()),
            }
        });
        self.since = found.await?;
        Ok(())
    }

    /// Waits until the receiver has had every event of the log since there is an endpoint, each under one id and as the log has it.
    pub(super) async fn await_events(&self, reader: &Api) -> anyhow::Result<()> {
        bursar_regtest::eventually(EVENTS_WITHIN, LOOK, "every event at its receiver", || async {
            self.compare_events(reader).await.map_err(|error| format!("{error:#}"))
        })
        .await?;
        let heard = self.outside.heard();
        ensure!(heard.contradictions.is_empty(), "came twice, and differed: {:?}", heard.contradictions);
        Ok(())
    }

    async fn compare_events(&self, reader: &Api) -> anyhow::Result<()> {
        let mut cursor = self.since;
        let mut events = Vec::new();
        loop {
            let query = [("cursor", cursor.to_string()), ("limit", "200".to_owned())];
            let page: Value = reader.client.get("/v1/events", &query).await?;
            let items = page["items"].as_array().context("a page has items")?;
            let Some(last) = items.last() else { break };
            cursor = last["sequence"].as_i64().context("an event has a number")?;
            events.extend(items.iter().cloned());
        }
        let heard = self.outside.heard();
        let mut received = BTreeMap::<i64, Vec<(&str, &Value)>>::new();
        for (id, body) in &heard.webhooks {
            let sequence = body["data"]["sequence"].as_i64().context("a message names its event")?;
            if sequence > self.since {
                received.entry(sequence).or_default().push((id, &body["data"]));
            }
        }
        for event in &events {
            let sequence = event["sequence"].as_i64().context("an event has a number")?;
            let (id, told) = match received.remove(&sequence).as_deref() {
                Some([one]) => *one,
                None => anyhow::bail!("nobody was told of {event}"),
                Some(more) => anyhow::bail!("event {sequence} came under several ids: {more:?}"),
            };
            let withheld = event["payload"]["withheld"] == true;
            let mut told = told.clone();
            if withheld {
                told["payload"] = event["payload"].clone();
            }
            ensure!(told == *event, "{id} tells {told}, and the log has {event}");
        }
        ensure!(received.is_empty(), "told of what is not in the log: {received:?}");
        ensure!(!events.is_empty(), "no events");
        Ok(())
    }

    /// Which of these transfers the institution at the other end was told of: each once.
    pub(super) fn told_of(&self, transfer: &str) -> Vec<String> {
        let heard = self.outside.heard();
        let begins = format!("{transfer}:");
        heard.told.keys().filter(|name| name.starts_with(&begins)).cloned().collect()
    }
}

/// How many transfers of the wallet count against the policy's limit, in the database of a process that does not run.
pub(super) async fn counted(url: &str, wallet: WalletDescriptor) -> anyhow::Result<Option<Amount>> {
    use bursar_domain::governance::policy::{Measure, VelocityGroup};
    let store = Store::open(url).await?;
    let query = VelocityQuery {
        window_seconds: WINDOW_SECONDS,
        of: Measure::Count,
        group: VelocityGroup::Wallet(wallet),
    };
    let name = velocity::name(&query, CURRENCY.parse()?);
    let nobody = TransferId::new(uuid::Uuid::nil());
    let sum =
        velocity::Sum { name: &name, window_seconds: WINDOW_SECONDS, now: people::now(), except: nobody };
    Ok(velocity::sum(&store, sum).await?.ok())
}
