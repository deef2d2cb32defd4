//! The same transactions by this adapter and by ethers, the JavaScript library.

use crate::{
    replacing::replace,
    support::{Case, LocalKey, wallet},
};
use alloy::primitives::Address;
use bursar_domain::{amount::Amount, asset::Asset, package::Purpose, ports::DecodeTransaction};
use bursar_ethereum::{EthereumAdapter, MAX_GAS_LIMIT, MIN_GAS_LIMIT};
use rand::{Rng, SeedableRng, rngs::StdRng};
use ruint::aliases::U256;
use serde_json::{Value, json};
use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

const CASES: usize = 400;

/// `$BURSAR_DIFFERENTIAL_DIR`, or tests/differential of this repository.
fn folder() -> PathBuf {
    let configured = std::env::var_os("BURSAR_DIFFERENTIAL_DIR").map(PathBuf::from);
    configured.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/differential"))
}

fn random_case(rng: &mut StdRng) -> Case {
    let amount: U256 = U256::from_limbs(rng.r#gen()) >> rng.gen_range(8usize..256);
    let max_fee = (rng.r#gen::<u128>() >> rng.gen_range(16u32..128)).max(1);
    let mut payee: [u8; 20] = rng.r#gen();
    payee[0] |= 1;
    let mut token: [u8; 20] = rng.r#gen();
    token[0] &= 0xfe;
    Case {
        // ethers holds the nonce, and checks the chain id, as a JavaScript number.
        chain_id: (rng.r#gen::<u64>() >> rng.gen_range(11..63)).max(1),
        index: rng.gen_range(0..1 << 31),
        nonce: rng.r#gen::<u64>() >> rng.gen_range(11..64),
        gas_limit: rng.gen_range(MIN_GAS_LIMIT..=MAX_GAS_LIMIT),
        max_fee,
        priority: rng.gen_range(0..=max_fee),
        asset: if rng.r#gen() { Asset::Eth } else { Asset::Erc20(token) },
        payee: Address::from(payee).to_checksum(None),
        amount: Amount(amount.max(U256::from(1))),
    }
}

fn ask_ethers(cases: &[Value]) -> Vec<Value> {
    let folder = folder();
    assert!(
        folder.join("node_modules/ethers").is_dir(),
        "ethers is not installed in {}: run ./dev setup",
        folder.display()
    );
    let mut node = Command::new("node")
        .arg(folder.join("ethereum.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts: run ./dev setup, which says how to get it");
    let mut input = node.stdin.take().expect("standard input is piped");
    let text = json!(cases).to_string();
    // From a thread of its own, because both pipes may fill up.
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = node.wait_with_output().expect("node ends");
    writer.join().unwrap().expect("node reads all cases");
    assert!(output.status.success(), "ethereum.mjs failed: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("ethereum.mjs writes a JSON list")
}

#[test]
fn ethers_agrees_on_every_byte() {
    let rng = &mut StdRng::seed_from_u64(1559);
    let mut questions = Vec::new();
    let mut ours = Vec::new();
    for seed in 0..CASES {
        let key = LocalKey::new(seed as u64);
        let case = random_case(rng);
        let unsigned = case.build(&key).unwrap();
        let payload = EthereumAdapter.signing_payloads(&unsigned, &key.group).unwrap().remove(0);
        let signed = key.assemble(&unsigned);
        let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
        // Every other one is cancelled, too.
        let earlier = std::slice::from_ref(&unsigned);
        if seed % 2 == 0
            && let Ok(cancel) = replace(&case, &key, case.account(&key), earlier, &Purpose::Cancel, 10)
        {
            let raised = |fee: u128| (fee * 110).div_ceil(100).max(fee + 1);
            let (priority, max_fee) = (raised(case.priority), raised(case.max_fee));
            let address = key.address(&wallet(case.chain_id), case.index);
            let payload = EthereumAdapter.signing_payloads(&cancel, &key.group).unwrap().remove(0);
            let signed = key.assemble(&cancel);
            questions.push(json!({
                "privateKey": hex(&key.child(&case.source()).to_bytes()),
                "chainId": case.chain_id.to_string(),
                "nonce": case.nonce.to_string(),
                "gasLimit": "21000",
                "maxFeePerGas": max_fee.max(priority).to_string(),
                "maxPriorityFeePerGas": priority.to_string(),
                "token": null,
                "payee": address.to_ascii_lowercase(),
                "amount": "0",
            }));
            ours.push(json!({
                "address": address,
                "unsigned": hex(&cancel.bytes),
                "digest": hex(&payload.message),
                "signed": hex(&signed.bytes),
                "hash": signed.tx_id,
            }));
        }
        questions.push(json!({
            "privateKey": hex(&key.child(&case.source()).to_bytes()),
            "chainId": case.chain_id.to_string(),
            "nonce": case.nonce.to_string(),
            "gasLimit": case.gas_limit.to_string(),
            "maxFeePerGas": case.max_fee.to_string(),
            "maxPriorityFeePerGas": case.priority.to_string(),
            "token": match case.asset { Asset::Erc20(token) => Some(hex(&token)), _ => None },
            // Lower case, so that the checksum is ethers' own.
            "payee": case.payee.to_ascii_lowercase(),
            "amount": case.amount.to_string(),
        }));
        ours.push(json!({
            "address": key.address(&wallet(case.chain_id), case.index),
            "unsigned": hex(&unsigned.bytes),
            "digest": hex(&payload.message),
            "signed": hex(&signed.bytes),
            "hash": signed.tx_id,
        }));
    }
    let theirs = ask_ethers(&questions);
    assert_eq!(theirs.len(), questions.len());
    for ((question, ours), theirs) in questions.iter().zip(&ours).zip(&theirs) {
        assert_eq!(ours, theirs, "{question}");
    }
}
