//! A payment that the institution at the other end must be told of first, through an exchange that the orchestrator dies at.

use crate::world::{Verdict, Wallet, completed, prepare_with, run_on, until};
use anyhow::{Context as _, ensure};
use bursar_tests::{cosigners::Signing, environment, initiator::payment, recipients};
use serde_json::{Value, json};
use std::{
    fs,
    process::Command,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::{TcpListener, TcpStream},
};

/// Name and body of each question.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// An exchange that never answers the first question, and accepts at the next.
async fn exchange() -> anyhow::Result<(String, Asked)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/transfers", listener.local_addr()?);
    let asked = Asked::default();
    let kept = asked.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufStream::new(stream);
            let Ok(question) = hear(&mut stream).await else { continue };
            let first = {
                let mut asked = kept.lock().expect("nobody panics with it");
                asked.push(question);
                asked.len() == 1
            };
            if !first {
                // Whoever is gone is not told.
                let _ = answer(&mut stream).await;
            }
            open.push(stream);
        }
    });
    Ok((url, asked))
}

async fn hear(stream: &mut BufStream<TcpStream>) -> anyhow::Result<(String, Value)> {
    let (mut name, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end().split_once(": ") {
            Some((header, value)) if header.eq_ignore_ascii_case("idempotency-key") => {
                value.clone_into(&mut name)
            }
            Some((header, value)) if header.eq_ignore_ascii_case("content-length") => {
                length = value.parse()?
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((name, serde_json::from_slice(&body)?))
}

async fn answer(stream: &mut BufStream<TcpStream>) -> std::io::Result<()> {
    let body = json!({ "status": "ACCEPTED", "reference": "trp-1" }).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ";
    stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    stream.flush().await
}

fn data() -> Value {
    let person = |name: &str| {
        json!({ "naturalPerson": { "name": { "nameIdentifier": [{ "primaryIdentifier": name, "nameIdentifierType": "LEGL" }] },
        "customerIdentification": "c-1" } })
    };
    json!({
        "originator": { "originatorPersons": [person("Zwahlen")], "accountNumber": ["a-1"] },
        "beneficiary": { "beneficiaryPersons": [person("Exempla")], "accountNumber": ["b-1"] },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_under_the_travel_rule__should_be_told_once_and_paid_once() -> Verdict {
    let (options, nodes) =
        prepare_with("travel-rule", |options| options.signing = Signing::DevelopmentSingleKey).await?;
    run_on(options, nodes, async |environment| {
        let (url, asked) = exchange().await?;
        let folder = environment.options.dir.join("orchestrator");
        environment.orchestrator.kill9()?;
        let made = Command::new(environment::program("bursar")?)
            .args(["travel-rule", "key", "--out"])
            .arg(folder.join("travel-rule.key"))
            .status()?;
        ensure!(made.success(), "no key: {made}");
        let token = folder.join("exchange.token");
        fs::write(&token, "s3cret")?;
        fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let section = format!(
            "\n[travel_rule]\nkey_file = \"travel-rule.key\"\nexchange = \"http\"\nurl = \"{url}\"\ntoken_file = \"exchange.token\"\n\
             timeout_seconds = 60\nthresholds = {{ ETH = \"0.5\" }}\n"
        );
        let config = environment.orchestrator.config().to_owned();
        fs::write(&config, fs::read_to_string(&config)? + &section)?;
        environment.start_again().await?;

        let wallet = Wallet::ethereum(environment, 2, 0).await?;
        let little = wallet.pay(environment, "ETH", vec![payment(&recipients::ethereum(), "0.1")]).await?;
        completed(environment, &little).await?;
        let id = wallet.pay(environment, "ETH", vec![payment(&recipients::ethereum(), "0.5")]).await?;
        let path = format!("/v1/transfers/{id}");
        until("a transfer that waits for data", || async {
            let transfer: Value = environment.api.client.get(&path, &[]).await?;
            ensure!(transfer["subStatus"] == "TRAVEL_RULE_DATA_MISSING", "{transfer}");
            Ok(())
        })
        .await?;
        let _: Value = environment.api.client.put(&format!("{path}/travel-rule"), &data()).await?;
        until("a question to the exchange", || async {
            let asked = asked.lock().expect("nobody panics with it").len();
            ensure!(asked == 1, "{asked} questions");
            Ok(())
        })
        .await?;
        // Between the exchange and its verdict.
        environment.orchestrator.kill9()?;
        environment.orchestrator.start().await?;
        completed(environment, &id).await?;
        let shown: Value = environment.api.client.get(&format!("{path}/travel-rule"), &[]).await?;
        ensure!((&shown["state"], &shown["reference"]) == (&json!("ACCEPTED"), &json!("trp-1")), "{shown}");
        let asked = asked.lock().expect("nobody panics with it").clone();
        let name = format!("{id}:1");
        let told = asked.iter().all(|(asked, body)| *asked == name && body["ivms101"] == data());
        ensure!(asked.len() == 2 && told, "{asked:?}");

        // Nobody's name is on this machine's disk in the clear.
        let mut looked_at = 0;
        for file in fs::read_dir(folder.join("data"))?.chain(fs::read_dir(&folder)?) {
            let file = file?.path();
            if !file.is_file() {
                continue;
            }
            let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
            let named = bytes.windows(7).any(|part| part == b"Zwahlen" || part == b"Exempla");
            ensure!(!named, "{} has a name in it", file.display());
            looked_at += 1;
        }
        ensure!(looked_at >= 3, "{looked_at} files");
        Ok(())
    })
    .await
}
