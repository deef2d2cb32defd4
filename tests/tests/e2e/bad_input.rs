//! Whatever is wrong with a request is told with its field, as a problem document, and nothing comes of it.

use crate::{
    ledger::require_tag,
    world::{self, Wallet, text},
};
use anyhow::{Context as _, ensure};
use bursar_tests::{
    Environment,
    environment::TOKEN,
    initiator::{payment, request, tagged},
    recipients::{self, BitcoinType},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn bad_input__should_be_refused_with_the_field_named() -> world::Verdict {
    world::run("bad-input", async |environment| {
        let world = World {
            bitcoin: Wallet::bitcoin(environment, None, &[50_000_000]).await?,
            ethereum: Wallet::ethereum(environment, 2, 100).await?,
            xrp: Wallet::xrp(environment, None, 100).await?,
            environment,
        };
        let mut failures = Vec::new();
        for check in
            [world.shapes().await?, world.values().await?, world.signatures().await?, world.money().await?]
        {
            failures.extend(check);
        }
        failures.extend(world.other_routes().await?);
        ensure!(failures.is_empty(), "{} wrong answer(s):\n{}", failures.len(), failures.join("\n"));
        world.nothing_was_created().await?;
        world.reuse().await
    })
    .await
}

struct World<'a> {
    environment: &'a Environment,
    bitcoin: Wallet,
    ethereum: Wallet,
    xrp: Wallet,
}

/// What came back.
struct Answer {
    status: StatusCode,
    media_type: String,
    body: Value,
}

impl World<'_> {
    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
        let response = request.bearer_auth(&self.environment.api.key).send().await?;
        answer(response).await
    }

    fn at(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let api = &self.environment.api;
        api.http.request(method, format!("{}{path}", api.url))
    }

    async fn create(&self, body: String) -> anyhow::Result<Answer> {
        let request = self.at(Method::POST, "/v1/transfers").header("content-type", "application/json");
        self.send(request.body(body)).await
    }

    /// A good request, but for the signature.
    fn good(&self, wallet: &Wallet, asset: &str, to: &str, amount: &str) -> anyhow::Result<Value> {
        let max_fee = if asset == "BTC" { "0.001" } else { "0.01" };
        Ok(serde_json::to_value(request(&wallet.id, asset, vec![payment(to, amount)], max_fee)?)?)
    }

    fn good_bitcoin(&self) -> anyhow::Result<Value> {
        self.good(&self.bitcoin, "BTC", &recipients::bitcoin(BitcoinType::P2wpkh), "0.01")
    }

    /// Sends each body and says which answers were wrong.
    async fn refused(&self, cases: Vec<(&str, String, u16, &str)>) -> anyhow::Result<Vec<String>> {
        let mut failures = Vec::new();
        for (name, body, status, field) in cases {
            let answer = self.create(body).await.context(name.to_owned())?;
            failures.extend(wrong(name, &answer, status, Some(field)));
        }
        Ok(failures)
    }

    async fn shapes(&self) -> anyhow::Result<Vec<String>> {
        let good = self.good_bitcoin()?;
        let with = |pointer: &str, value: Value| -> anyhow::Result<String> {
            let mut body = good.clone();
            *body.pointer_mut(pointer).with_context(|| pointer.to_owned())? = value;
            Ok(body.to_string())
        };
        let mut unknown = good.clone();
        unknown["colour"] = json!(1);
        let mut no_wallet = good.clone();
        no_wallet.as_object_mut().context("an object")?.remove("walletId");
        let mut tag = good.clone();
        tag["payments"][0]["tag"] = json!("memo");
        let mut large_tag = good.clone();
        large_tag["payments"][0]["tag"] = json!(4_294_967_296_u64);
        self.refused(vec![
            ("malformed JSON", "{not json".into(), 400, "body"),
            ("no body", String::new(), 400, "body"),
            ("two bodies", format!("{good}{good}"), 400, "body"),
            ("a list", "[]".into(), 400, "body"),
            ("fee of the wrong type", with("/maxFee", json!(5))?, 400, "maxFee"),
            ("amount of the wrong type", with("/payments/0/amount", json!(0.01))?, 400, "payments[0].amount"),
            ("payments of the wrong type", with("/payments", json!("all"))?, 400, "payments"),
            ("tag of the wrong type", tag.to_string(), 400, "payments[0].tag"),
            ("tag above 32 bits", large_tag.to_string(), 400, "payments[0].tag"),
            (
                "missing amount",
                json!({ "payments": [{ "address": "x" }] }).to_string(),
                400,
                "payments[0].amount",
            ),
            ("unknown field", unknown.to_string(), 400, "colour"),
            ("missing wallet", no_wallet.to_string(), 400, "walletId"),
        ])
        .await
    }

    async fn values(&self) -> anyhow::Result<Vec<String>> {
        let good = self.good_bitcoin()?;
        let with = |pointer: &str, value: Value| -> anyhow::Result<String> {
            let mut body = good.clone();
            *body.pointer_mut(pointer).with_context(|| pointer.to_owned())? = value;
            Ok(body.to_string())
        };
        let amount = |text: &str| with("/payments/0/amount", json!(text));
        let to = |text: &str| with("/payments/0/address", json!(text));
        let bech32 = recipients::bitcoin(BitcoinType::P2tr);
        let base58 = recipients::bitcoin(BitcoinType::P2pkh);
        let (account, _) = recipients::xrp()?;
        let mainnet_x = xrpl::core::addresscodec::classic_address_to_xaddress(&account, Some(1), false)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let checksummed = checksummed();
        let eth = |to: &str, amount: &str| -> anyhow::Result<String> {
            Ok(self.good(&self.ethereum, "ETH", to, amount)?.to_string())
        };
        let xrp = |to: &str, amount: &str| -> anyhow::Result<String> {
            Ok(self.good(&self.xrp, "XRP", to, amount)?.to_string())
        };
        let mut tag = good.clone();
        tag["payments"][0]["tag"] = json!(7);
        let mut twice = good.clone();
        twice["payments"] = json!([good["payments"][0], good["payments"][0]]);
        let mut two_overflow = good.clone();
        let almost = alloy::primitives::U256::MAX.to_string();
        let almost = format!("{}.{}", &almost[..almost.len() - 8], &almost[almost.len() - 8..]);
        let other = recipients::bitcoin(BitcoinType::P2tr);
        two_overflow["payments"] = json!([payment(&other, &almost), payment(&bech32, &almost)]);
        let mut two_eth = self.good(&self.ethereum, "ETH", &recipients::ethereum(), "0.1")?;
        two_eth["payments"] =
            json!([payment(&recipients::ethereum(), "0.1"), payment(&recipients::ethereum(), "0.1")]);
        let mut source = good.clone();
        source["source"] = json!(bech32);
        let huge = format!("1{}", "0".repeat(90));
        let address = "payments[0].address";
        let payment_amount = "payments[0].amount";
        self.refused(vec![
            ("unknown asset", with("/asset", json!("DOGE"))?, 422, "asset"),
            ("asset of another chain", with("/asset", json!("XRP"))?, 422, "asset"),
            ("negative amount", amount("-0.01")?, 422, payment_amount),
            ("zero amount", amount("0.00")?, 422, payment_amount),
            ("too precise amount", amount("0.000000001")?, 422, payment_amount),
            ("overflowing amount", amount(&huge)?, 422, payment_amount),
            ("overflowing sum", two_overflow.to_string(), 422, "payments"),
            ("amount with exponent", amount("1e-2")?, 422, payment_amount),
            ("amount with space", amount(" 1")?, 422, payment_amount),
            ("amount in other digits", amount("١")?, 422, payment_amount),
            ("empty amount", amount("")?, 422, payment_amount),
            ("too precise wei", eth(&recipients::ethereum(), "0.0000000000000000001")?, 422, payment_amount),
            ("too precise drops", xrp(&account, "0.0000001")?, 422, payment_amount),
            ("zero fee cap", with("/maxFee", json!("0"))?, 422, "maxFee"),
            ("negative fee cap", with("/maxFee", json!("-1"))?, 422, "maxFee"),
            ("bad checksum, bech32m", to(&flipped(&bech32))?, 422, address),
            ("bad checksum, base58", to(&flipped(&base58))?, 422, address),
            ("bad checksum, EIP-55", eth(&wrong_case(&checksummed), "0.1")?, 422, address),
            ("bad checksum, XRP", xrp(&flipped(&account), "1")?, 422, address),
            ("no address", to("")?, 422, address),
            ("mainnet bech32", to("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")?, 422, address),
            ("mainnet base58", to("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2")?, 422, address),
            ("mainnet X-address", xrp(&mainnet_x, "1")?, 422, address),
            ("address of another chain", to(&recipients::ethereum())?, 422, address),
            ("tag on bitcoin", tag.to_string(), 422, "payments[0].tag"),
            ("the same destination twice", twice.to_string(), 422, "payments[1].address"),
            ("batch on ethereum", two_eth.to_string(), 422, "payments"),
            ("no payments", with("/payments", json!([]))?, 422, "payments"),
            ("source on bitcoin", source.to_string(), 422, "source"),
            ("expired", with("/expiresAt", json!("2020-01-01T00:00:00Z"))?, 422, "expiresAt"),
            ("time without zone", with("/expiresAt", json!("2030-01-01"))?, 422, "expiresAt"),
            ("external id with space", with("/externalId", json!("an invoice"))?, 422, "externalId"),
            ("empty external id", with("/externalId", json!(""))?, 422, "externalId"),
            (
                "unknown wallet",
                with("/walletId", json!("018f3f6e-0000-7000-8000-000000000000"))?,
                422,
                "walletId",
            ),
            ("wallet id of another form", with("/walletId", json!("main"))?, 422, "walletId"),
        ])
        .await
    }

    async fn signatures(&self) -> anyhow::Result<Vec<String>> {
        let to = recipients::bitcoin(BitcoinType::P2wpkh);
        let signed = self.bitcoin.request(self.environment, "BTC", vec![payment(&to, "0.01")]).await?;
        let signed = serde_json::to_value(signed)?;
        let with = |field: &str, value: Value| {
            let mut body = signed.clone();
            body[field] = value;
            body.to_string()
        };
        let mut other_amount = signed.clone();
        other_amount["payments"][0]["amount"] = json!("0.02");
        let mut other_recipient = signed.clone();
        other_recipient["payments"][0]["address"] = json!(recipients::bitcoin(BitcoinType::P2wpkh));
        self.refused(vec![
            ("no initiator", self.good_bitcoin()?.to_string(), 422, "initiator"),
            ("no signature", with("signature", Value::Null), 422, "signature"),
            ("short signature", with("signature", json!("00")), 422, "signature"),
            ("false signature", with("signature", json!("11".repeat(64))), 422, "signature"),
            ("short initiator", with("initiator", json!("22")), 422, "initiator"),
            ("another initiator", with("initiator", json!("22".repeat(32))), 422, "signature"),
            ("fee cap changed after signing", with("maxFee", json!("0.002")), 422, "signature"),
            ("amount changed after signing", other_amount.to_string(), 422, "signature"),
            ("recipient changed after signing", other_recipient.to_string(), 422, "signature"),
        ])
        .await
    }

    /// Well-formed and signed, but it could not be paid.
    async fn money(&self) -> anyhow::Result<Vec<String>> {
        let Environment { nodes, .. } = self.environment;
        let (strict, seed) = recipients::xrp()?;
        nodes.xrpl.fund(&strict, 50_000_000).await?;
        require_tag(self.environment, &strict, &seed).await?;
        let (fresh, _) = recipients::xrp()?;
        let btc = recipients::bitcoin(BitcoinType::P2tr);
        let eth = recipients::ethereum();
        let amount = "payments[0].amount";
        let (bitcoin, ethereum, xrp) = (&self.bitcoin, &self.ethereum, &self.xrp);
        let cases = [
            ("dust", bitcoin, "BTC", payment(&btc, "0.00000100"), "0.001", amount),
            ("more BTC than there is", bitcoin, "BTC", payment(&btc, "0.50000001"), "0.001", amount),
            ("all BTC, nothing left for the fee", bitcoin, "BTC", payment(&btc, "0.5"), "0.001", amount),
            ("BTC fee cap too low", bitcoin, "BTC", payment(&btc, "0.1"), "0.00000001", "maxFee"),
            ("more ETH than there is", ethereum, "ETH", payment(&eth, "2.1"), "0.01", amount),
            ("ETH fee cap too low", ethereum, "ETH", payment(&eth, "0.1"), "0.000000000000000001", "maxFee"),
            ("more tokens than there are", ethereum, TOKEN, payment(&eth, "100.000001"), "0.01", amount),
            ("XRP below the reserve", xrp, "XRP", tagged(&strict, 1, "99.5"), "0.01", amount),
            ("no tag where one is required", xrp, "XRP", payment(&strict, "1"), "0.01", "payments[0].tag"),
            ("too little for a new account", xrp, "XRP", payment(&fresh, "0.5"), "0.01", amount),
            ("XRP fee cap too low", xrp, "XRP", tagged(&strict, 1, "1"), "0.000001", "maxFee"),
        ];
        let mut bodies = Vec::new();
        for (name, wallet, asset, payment, max_fee, field) in cases {
            let unsigned = request(&wallet.id, asset, vec![payment], max_fee)?;
            let signed = wallet.sign(self.environment, unsigned).await?;
            bodies.push((name, serde_json::to_string(&signed)?, 422, field));
        }
        let mut foreign = request(&ethereum.id, "ETH", vec![payment(&eth, "0.1")], "0.01")?;
        foreign.source = Some(recipients::ethereum());
        let foreign = ethereum.sign(self.environment, foreign).await?;
        bodies.push(("source of somebody else", serde_json::to_string(&foreign)?, 422, "source"));
        self.refused(bodies).await
    }

    async fn other_routes(&self) -> anyhow::Result<Vec<String>> {
        let mut failures = Vec::new();
        let bitcoin = &self.bitcoin.id;
        let unknown = "018f3f6e-0000-7000-8000-000000000000";
        let get = |path: &str| self.at(Method::GET, path);
        let post = |path: &str, body: Value| self.at(Method::POST, path).json(&body);
        let cases = [
            ("bad cursor", get("/v1/transfers?cursor=zzz"), 400, Some("cursor")),
            ("cursor of another list", get("/v1/transfers?cursor=MTIz"), 400, Some("cursor")),
            ("limit 0", get("/v1/transfers?limit=0"), 400, Some("limit")),
            ("limit 201", get("/v1/events?limit=201"), 400, Some("limit")),
            ("bad event cursor", get("/v1/events?cursor=-1"), 400, Some("cursor")),
            ("unknown status", get("/v1/transfers?status=PAID"), 400, Some("query")),
            ("unknown asset filter", get("/v1/transfers?asset=DOGE"), 400, Some("asset")),
            ("unknown parameter", get("/v1/transfers?colour=red"), 400, Some("query")),
            ("unknown transfer", get(&format!("/v1/transfers/{unknown}")), 404, None),
            (
                "cancel an unknown transfer",
                post(&format!("/v1/transfers/{unknown}/cancel"), json!({})),
                404,
                None,
            ),
            ("transfer id of another form", get("/v1/transfers/none"), 400, Some("path")),
            ("unknown wallet", get(&format!("/v1/wallets/{unknown}")), 404, None),
            (
                "address of an unknown wallet",
                post(&format!("/v1/wallets/{unknown}/addresses"), json!({})),
                404,
                None,
            ),
            ("unknown route", get("/v1/treasure"), 404, None),
            ("unknown method", self.at(Method::DELETE, &format!("/v1/wallets/{bitcoin}")), 405, None),
            (
                "unknown chain",
                post("/v1/wallets", json!({ "name": "x", "chain": "doge" })),
                400,
                Some("chain"),
            ),
            (
                "kind of another chain",
                post("/v1/wallets", json!({ "name": "x", "chain": "xrp", "kind": "p2tr" })),
                422,
                Some("kind"),
            ),
            ("empty name", post("/v1/wallets", json!({ "name": "", "chain": "xrp" })), 422, Some("name")),
            (
                "Idempotency-Key with space",
                post("/v1/transfers", self.good_bitcoin()?).header("idempotency-key", "a b"),
                400,
                Some("Idempotency-Key"),
            ),
            (
                "body above 256 kB",
                self.at(Method::POST, "/v1/transfers").body("x".repeat(300_000)),
                413,
                None,
            ),
            (
                "estimate above the balance",
                post("/v1/transfers/estimate", self.good(&self.bitcoin, "BTC", &self.bitcoin.address, "9")?),
                422,
                Some("payments[0].amount"),
            ),
        ];
        for (name, request, status, field) in cases {
            let answer = self.send(request).await.context(name)?;
            failures.extend(wrong(name, &answer, status, field));
        }
        for (name, key) in
            [("no API key", None), ("unknown API key", Some("bursar_00")), ("another scheme", Some(""))]
        {
            let mut request = get("/v1/wallets");
            if let Some(key) = key {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            let response = request.send().await?;
            if !response.headers().contains_key("www-authenticate") {
                failures.push(format!("{name}: no WWW-Authenticate"));
            }
            failures.extend(wrong(name, &answer(response).await?, 401, None));
        }
        Ok(failures)
    }

    async fn nothing_was_created(&self) -> anyhow::Result<()> {
        let api = &self.environment.api;
        let transfers: Value = api.client.get("/v1/transfers", &[]).await?;
        ensure!(transfers["items"] == json!([]), "{transfers}");
        let wallets: Value = api.client.get("/v1/wallets", &[]).await?;
        ensure!(wallets["items"].as_array().map(Vec::len) == Some(3), "{wallets}");
        let events: Value = api.client.get("/v1/events", &[("limit", "200".into())]).await?;
        let told = events["items"].as_array().context("a page has items")?;
        let of_transfers = told.iter().filter(|event| !event["transferId"].is_null()).count();
        ensure!(of_transfers == 0, "{events}");
        Ok(())
    }

    /// The same again is the same transfer; something else under the same name is a conflict.
    async fn reuse(&self) -> anyhow::Result<()> {
        let Environment { api, .. } = self.environment;
        let to = recipients::bitcoin(BitcoinType::P2wpkh);
        let asked = self.bitcoin.request(self.environment, "BTC", vec![payment(&to, "0.01")]).await?;
        let body = serde_json::to_string(&asked)?;
        let post = |key: Option<&str>, body: &str| {
            let request = self.at(Method::POST, "/v1/transfers").header("content-type", "application/json");
            let request = match key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            };
            request.body(body.to_owned())
        };
        let raw = async |key: Option<&str>, body: &str| -> anyhow::Result<(StatusCode, String)> {
            let response = post(key, body).bearer_auth(&api.key).send().await?;
            Ok((response.status(), response.text().await?))
        };
        let (status, first) = raw(Some("once"), &body).await?;
        ensure!(status == StatusCode::CREATED, "{status}: {first}");
        let id = text(&serde_json::from_str(&first)?, "id")?;
        let (status, replayed) = raw(Some("once"), &body).await?;
        ensure!((status, &replayed) == (StatusCode::CREATED, &first), "{status}: {replayed}");
        for key in [None, Some("another")] {
            let (status, again) = raw(key, &body).await?;
            ensure!(status == StatusCode::OK, "{status}: {again}");
            ensure!(text(&serde_json::from_str(&again)?, "id")? == id, "{again}");
        }

        let mut other = self.bitcoin.request(self.environment, "BTC", vec![payment(&to, "0.02")]).await?;
        let mut failures = Vec::new();
        let answer = self.send(post(Some("once"), &serde_json::to_string(&other)?)).await?;
        failures.extend(wrong("reused Idempotency-Key", &answer, 409, Some("Idempotency-Key")));
        other.external_id.clone_from(&asked.external_id);
        let other = self.bitcoin.sign(self.environment, other).await?;
        let answer = self.send(post(None, &serde_json::to_string(&other)?)).await?;
        failures.extend(wrong("reused externalId", &answer, 409, Some("externalId")));
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        let transfers: Value = api.client.get("/v1/transfers", &[]).await?;
        ensure!(transfers["items"].as_array().map(Vec::len) == Some(1), "{transfers}");
        Ok(())
    }
}

async fn answer(response: reqwest::Response) -> anyhow::Result<Answer> {
    let status = response.status();
    let media_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().to_owned();
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status, media_type, body })
}

/// What is wrong with a refusal, if anything.
fn wrong(name: &str, answer: &Answer, status: u16, field: Option<&str>) -> Option<String> {
    let Answer { status: got, media_type, body } = answer;
    let complain = |what: &str| Some(format!("{name}: {what}: {got} {media_type} {body}"));
    if got.as_u16() != status || body["status"] != status {
        return complain(&format!("expected {status}"));
    }
    if media_type != "application/problem+json" {
        return complain("not a problem document");
    }
    if !body["type"].as_str().is_some_and(|kind| kind.starts_with("urn:bursar:problem:")) {
        return complain("no stable type");
    }
    let field = field?;
    let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = errors.iter().any(|error| {
        error["field"] == field && error["message"].as_str().is_some_and(|message| !message.is_empty())
    });
    if named { None } else { complain(&format!("does not name {field}")) }
}

/// The text with its last character changed, within its alphabet.
fn flipped(address: &str) -> String {
    let mut text = address.to_owned();
    let last = text.pop();
    text.push(if last == Some('q') { 'p' } else { 'q' });
    text
}

/// An address whose EIP-55 form has letters of both cases.
fn checksummed() -> String {
    loop {
        let address = recipients::ethereum();
        let digits = &address[2..];
        let upper = digits.bytes().any(|byte| byte.is_ascii_uppercase());
        if upper && digits.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return address;
        }
    }
}

/// The same with the case of its first letter changed.
fn wrong_case(address: &str) -> String {
    let mut changed = false;
    let digits = address[2..].chars().map(|digit| {
        if changed || !digit.is_ascii_alphabetic() {
            return digit;
        }
        changed = true;
        if digit.is_ascii_uppercase() { digit.to_ascii_lowercase() } else { digit.to_ascii_uppercase() }
    });
    format!("0x{}", digits.collect::<String>())
}
