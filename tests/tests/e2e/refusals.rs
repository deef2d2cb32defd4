//! Callbacks, tokens, signatures and logins that prove nothing: each is refused with a problem document, and counted under its reason.

use crate::{
    governed::govern_by,
    schemathesis::refused,
    world::{Verdict, prepare_with, run_on},
};
use anyhow::{Context as _, ensure};
use bursar::api::auth::message::{self, Target};
use bursar_domain::{
    governance::testing::key,
    screening::{Alert, AlertSubject, RiskBand, SignedAlert},
    time::Timestamp,
};
use bursar_tests::{Environment, cosigners::Signing, recipients};
use ed25519_dalek::SigningKey;
use rand::Rng as _;
use reqwest::{RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

/// One call that is to be refused.
struct Call {
    what: &'static str,
    /// Status and problem type.
    answer: (u16, &'static str),
    /// The metric's label.
    reason: &'static str,
    request: RequestBuilder,
}

/// Sends each and holds what it is answered, and what is counted for it, against what is wanted.
async fn hold(
    environment: &Environment,
    metric: impl Fn(&str) -> String,
    calls: Vec<Call>,
) -> anyhow::Result<()> {
    for Call { what, answer, reason, request } in calls {
        let metric = metric(reason);
        let before = refused(environment, &metric).await?;
        let response = request.send().await.context(what)?;
        let status = response.status().as_u16();
        let media_type = response.headers().get("content-type").cloned().context(what)?;
        let problem: Value = response.json().await.context(what)?;
        let kind = problem["type"].as_str().unwrap_or_default().trim_start_matches("urn:bursar:problem:");
        ensure!((status, kind) == answer, "{what}: {status} {problem}");
        ensure!(media_type == "application/problem+json", "{what}: {media_type:?}");
        ensure!(problem["status"] == status && problem["title"].is_string(), "{what}: {problem}");
        let counted = refused(environment, &metric).await? - before;
        ensure!(counted == 1, "{what}: {metric} went up by {counted}");
    }
    Ok(())
}

fn alerts(environment: &Environment) -> anyhow::Result<Vec<Call>> {
    let alert = Alert {
        id: "refusals:1".into(),
        subject: AlertSubject::Address {
            network: "ethereum:31337".parse()?,
            address: recipients::ethereum(),
        },
        risk: RiskBand::Severe,
        sanctions: true,
        description: "listed since today".into(),
        raised_at: now(),
    };
    let sign = |alert: &Alert, user: &str| {
        let signature = key(user).sign(&alert.digest());
        serde_json::to_value(SignedAlert { alert: alert.clone(), signature })
    };
    let mut changed = sign(&alert, "platform.screening")?;
    changed["alert"]["description"] = json!("changed on the way");
    let mut stranger = sign(&alert, "platform.screening")?;
    stranger["signature"]["user"] = json!("nobody");
    let unnamed = sign(&Alert { id: String::new(), ..alert.clone() }, "platform.screening")?;
    let (malformed, signature) = ((400, "malformed-request"), (403, "governance-alert-signature"));
    let url = format!("{}/v1/screening/alerts", environment.api.url);
    let call = |what, body: String, answer, reason| {
        let request = environment.api.http.post(&url).header("content-type", "application/json").body(body);
        Call { what, answer, reason, request }
    };
    Ok(vec![
        call("no body", String::new(), malformed, "malformed"),
        call("half an object", "{".into(), malformed, "malformed"),
        call("a list", "[]".into(), malformed, "malformed"),
        call("a null", "\u{0}".into(), malformed, "malformed"),
        call("no signature", json!({ "alert": alert }).to_string(), malformed, "malformed"),
        call("an alert without a name", unnamed.to_string(), malformed, "malformed"),
        call("changed on the way", changed.to_string(), signature, "signature"),
        call("of nobody", stranger.to_string(), signature, "signature"),
        call("of another service", sign(&alert, "client.service")?.to_string(), signature, "signature"),
    ])
}

/// `POST /v1/policy/validate`, signed, and changed afterwards.
fn signed(
    environment: &Environment,
    by: &SigningKey,
    at: Timestamp,
    change: impl FnOnce(&mut HeaderMap, &mut String),
) -> anyhow::Result<RequestBuilder> {
    let (path, mut body) = ("/v1/policy/validate", "{}".to_owned());
    let mut headers = HeaderMap::new();
    let authority = environment.api.url.strip_prefix("http://");
    let target = Target { method: "POST", path, query: None, authority, headers: &headers };
    let added = message::sign(by, &target, body.as_bytes(), at, rand::rngs::OsRng.r#gen())?;
    for (name, value) in added {
        headers.insert(name, value.parse()?);
    }
    change(&mut headers, &mut body);
    let url = format!("{}{path}", environment.api.url);
    Ok(environment.api.http.post(url).headers(headers).body(body))
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &'static str) {
    headers.insert(name, value.parse().expect("visible ASCII"));
}

fn replace(headers: &mut HeaderMap, name: &'static str, from: &str, to: &str) {
    let value = headers[name].to_str().expect("a signature is ASCII").replacen(from, to, 1);
    headers.insert(name, value.parse().expect("so is what is put in"));
}

fn signatures(environment: &Environment) -> anyhow::Result<Vec<Call>> {
    let user = key("client.operator").secret;
    let unauthorized = (401, "unauthorized");
    let call = |what, reason, change: fn(&mut HeaderMap, &mut String)| {
        anyhow::Ok(Call {
            what,
            answer: unauthorized,
            reason,
            request: signed(environment, &user, now(), change)?,
        })
    };
    let old = Timestamp(now().0 - 120_000_000);
    let stranger = SigningKey::from_bytes(&[9; 32]);
    Ok(vec![
        call("no structured field", "malformed", |headers, _| put(headers, "signature-input", "(((;;="))?,
        call("an empty signature", "malformed", |headers, _| put(headers, "signature", "bursar=::"))?,
        call("no base64", "malformed", |headers, _| put(headers, "signature", "bursar=:%%%:"))?,
        call("another label", "malformed", |headers, _| replace(headers, "signature", "bursar=", "other="))?,
        call("no signature", "malformed", |headers, _| drop(headers.remove("signature")))?,
        call("no input", "malformed", |headers, _| drop(headers.remove("signature-input")))?,
        call("the method uncovered", "malformed", |headers, _| {
            replace(headers, "signature-input", "\"@method\" ", "");
        })?,
        call("no nonce", "malformed", |headers, _| replace(headers, "signature-input", "nonce=", "n="))?,
        call("another algorithm", "malformed", |headers, _| {
            replace(headers, "signature-input", "\"ed25519\"", "\"hmac-sha256\"");
        })?,
        call("another time than was signed", "signature", |headers, _| {
            replace(headers, "signature-input", ";expires=", ";expires=1");
        })?,
        call("another body", "digest", |_, body| body.push(' '))?,
        call("another digest", "signature", |headers, _| {
            put(headers, "content-digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
        })?,
        Call {
            what: "of two minutes ago",
            answer: unauthorized,
            reason: "clock",
            request: signed(environment, &user, old, |_, _| {})?,
        },
        Call {
            what: "by a key of nobody",
            answer: unauthorized,
            reason: "unknown",
            request: signed(environment, &stranger, now(), |_, _| {})?,
        },
    ])
}

fn tokens(environment: &Environment) -> anyhow::Result<Vec<Call>> {
    let url = format!("{}/v1/wallets", environment.api.url);
    let get = || environment.api.http.get(&url);
    let call =
        |what, reason, request: RequestBuilder| Call { what, answer: (401, "unauthorized"), reason, request };
    let session = format!("bursar_session_{}", "0".repeat(64));
    let cookie = format!("__Host-bursar_session={session}");
    let two = signed(environment, &key("client.operator").secret, now(), |_, _| {})?;
    Ok(vec![
        call("nothing", "missing", get()),
        call("no token", "malformed", get().header("authorization", "Bearer ")),
        call("another scheme", "malformed", get().basic_auth("olga", Some("secret"))),
        call("not a token of here", "malformed", get().bearer_auth("eyJhbGciOiJub25lIn0.e30.")),
        call("bytes", "malformed", get().header("authorization", &b"Bearer bursar_\xff"[..])),
        call("two tokens", "malformed", get().bearer_auth("bursar_1").bearer_auth("bursar_2")),
        call("a token and a signature", "malformed", two.bearer_auth("bursar_1")),
        call("a bearer key", "bearer", get().bearer_auth(format!("bursar_{}", "0".repeat(64)))),
        call("a session of nobody", "over", get().bearer_auth(&session)),
        call("a cookie of nobody", "over", get().header("cookie", &cookie)),
        call("a cookie that is something else", "missing", get().header("cookie", "__Host-bursar_session=1")),
        call("a forged form", "forged", environment.api.http.post(&url).header("cookie", &cookie).body("{}")),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_proves_nothing__should_be_refused_and_counted() -> Verdict {
    let (options, nodes) =
        prepare_with("refusals", |options| options.signing = Signing::DevelopmentSingleKey).await?;
    run_on(options, nodes, async |environment| {
        crate::schemathesis::configure(environment).await?;
        let policy = json!({
            "currency": "USD",
            "priceMaxAgeSeconds": 60,
            "screening": { "by": ["platform.screening"], "maxAgeSeconds": 3600 },
            "rules": [{ "id": "all", "then": { "kind": "ALLOW" } }],
        });
        govern_by(environment, policy).await?;
        let callback = |reason: &str| {
            format!("bursar_callbacks_refused_total{{callback=\"screening_alert\",reason=\"{reason}\"}}")
        };
        let caller = |reason: &str| format!("bursar_authentication_refused_total{{reason=\"{reason}\"}}");
        hold(environment, callback, alerts(environment)?).await?;
        hold(environment, caller, tokens(environment)?).await?;
        hold(environment, caller, signatures(environment)?).await?;

        // The same request twice.
        let once = signed(environment, &key("client.operator").secret, now(), |_, _| {})?;
        let twice = once.try_clone().context("a body of text can be sent again")?;
        let first = once.send().await?;
        ensure!(first.status() == 400, "{}", first.text().await?);
        let again = Call { what: "again", answer: (401, "unauthorized"), reason: "replayed", request: twice };
        hold(environment, caller, vec![again]).await?;

        let signature = key("client.operator").sign(&[7; 32]);
        let login = json!({ "challenge": "00".repeat(56), "signature": signature, "bearer": true });
        let request = environment.api.http.post(format!("{}/v1/sessions", environment.api.url)).json(&login);
        let status = request.send().await?.status();
        ensure!(status == 422, "an Ed25519 key begins no session: {status}");
        Ok(())
    })
    .await
}
