//! Answers in the shapes that clients give, with what goes wrong in them.

use super::*;
use alloy::primitives::{Address, U256, address, b256};
use serde_json::Value;

const BLOCK: B256 = b256!("00000000000000000000000000000000000000000000000000000000000000b1");
const TX: B256 = b256!("00000000000000000000000000000000000000000000000000000000000000a1");
const SENDER: Address = address!("1111111111111111111111111111111111111111");
const A: Address = address!("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
const B: Address = address!("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
const OURS: Address = address!("9999999999999999999999999999999999999999");

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

/// A call as both shapes are made of it.
#[derive(Clone)]
struct Shown {
    kind: &'static str,
    from: Address,
    to: Address,
    value: u64,
    fails: bool,
    within: Vec<Shown>,
}

fn call(kind: &'static str, from: Address, to: Address, value: u64) -> Shown {
    Shown { kind, from, to, value, fails: false, within: Vec::new() }
}

impl Shown {
    fn with(self, within: impl IntoIterator<Item = Shown>) -> Self {
        Self { within: within.into_iter().collect(), ..self }
    }

    fn failing(self) -> Self {
        Self { fails: true, ..self }
    }

    /// As geth's `callTracer` writes it.
    fn nested(&self) -> Value {
        let mut shown = json!({
            "from": self.from, "gas": "0x5208", "gasUsed": "0x0", "to": self.to, "input": "0x00", "type": self.kind,
        });
        if self.kind != "STATICCALL" {
            shown["value"] = json!(format!("{:#x}", self.value));
        }
        if self.fails {
            shown["error"] = json!("execution reverted");
            if self.kind.starts_with("CREATE") {
                shown.as_object_mut().unwrap().remove("to");
            }
        }
        if !self.within.is_empty() {
            shown["calls"] = self.within.iter().map(Self::nested).collect();
        }
        shown
    }

    /// As the trace module of OpenEthereum's heirs writes it; `at` is its place.
    fn flat(&self, at: &[u32], into: &mut Vec<Value>) {
        let Self { from, to, .. } = self;
        let value = format!("{:#x}", self.value);
        let mut shown = match self.kind {
            "SELFDESTRUCT" => json!({
                "type": "suicide", "result": null,
                "action": { "address": from, "refundAddress": to, "balance": value },
            }),
            "CREATE" | "CREATE2" => json!({
                "type": "create", "action": { "from": from, "gas": "0x1", "init": "0x", "value": value },
                "result": { "address": to, "code": "0x", "gasUsed": "0x0" },
            }),
            kind => json!({
                "type": "call", "result": { "gasUsed": "0x0", "output": "0x" },
                "action": {
                    "callType": kind.to_lowercase(), "from": from, "to": to, "gas": "0x1", "input": "0x", "value": value,
                },
            }),
        };
        if self.fails {
            shown["error"] = json!("Reverted");
            shown.as_object_mut().unwrap().remove("result");
        }
        shown["blockHash"] = json!(BLOCK);
        shown["blockNumber"] = json!(1);
        shown["subtraces"] = json!(self.within.len());
        shown["traceAddress"] = json!(at);
        shown["transactionHash"] = json!(TX);
        shown["transactionPosition"] = json!(0);
        into.push(shown);
        for (index, within) in (0u32..).zip(&self.within) {
            within.flat(&[at, &[index]].concat(), into);
        }
    }
}

fn flat(root: &Shown) -> Value {
    let mut shown = Vec::new();
    root.flat(&[], &mut shown);
    Value::Array(shown)
}

fn nested(root: &Shown) -> Value {
    json!([{ "txHash": TX, "result": root.nested() }])
}

fn read_block(method: Method, answer: &Value) -> Result<Vec<Move>, Unread> {
    read(method, false, &raw(answer), BLOCK, &[TX]).map(|mut moves| moves.remove(0).1)
}

/// What moved, the same by both shapes.
fn moved(root: &Shown) -> Vec<(Address, Address, u64)> {
    let by_flat = read_block(Method::Flat, &flat(root)).unwrap();
    assert_eq!(read_block(Method::Nested, &nested(root)).unwrap(), by_flat);
    let single = read(Method::Nested, true, &raw(&root.nested()), BLOCK, &[TX]).unwrap();
    assert_eq!(single, [(TX, by_flat.clone())]);
    by_flat.iter().map(|m| (m.from, m.to, u64::try_from(m.amount).unwrap())).collect()
}

#[test]
fn what_was_undone_moved_nothing() {
    let root = call("CALL", SENDER, A, 9).with([
        call("CALL", A, OURS, 1),
        call("CALL", A, B, 5)
            .failing()
            .with([call("CALL", B, OURS, 5), call("CALL", B, A, 0).with([call("CALL", A, OURS, 4)])]),
        call("CALL", A, OURS, 3).failing(),
        call("CALL", A, B, 2).with([call("CALL", B, OURS, 2)]),
    ]);
    assert_eq!(moved(&root), [(A, OURS, 1), (A, B, 2), (B, OURS, 2)], "its own value is not among it");
    assert_eq!(moved(&root.failing()), [], "all of it");
}

#[test]
fn only_what_changes_hands_counts() {
    let root = call("CALL", SENDER, A, 0).with([
        call("DELEGATECALL", A, OURS, 7),
        call("CALLCODE", A, OURS, 7),
        call("STATICCALL", A, OURS, 0),
        call("CALL", A, A, 6),
        call("CALL", A, OURS, 0),
        call("CALL", A, address!("0000000000000000000000000000000000000009"), 5),
        call("DELEGATECALL", A, B, 7).with([call("CALL", A, OURS, 2)]),
    ]);
    assert_eq!(moved(&root), [(A, OURS, 2)], "also what foreign code sends in the caller's place");
}

#[test]
fn contracts_are_made_and_end_with_money() {
    let root = call("CREATE", SENDER, A, 8).with([
        call("CREATE", A, B, 3).with([call("SELFDESTRUCT", B, OURS, 3)]),
        call("CREATE2", A, B, 2),
        call("CREATE2", A, B, 4).failing(),
        call("SELFDESTRUCT", A, A, 1),
        call("SELFDESTRUCT", A, OURS, 0),
    ]);
    assert_eq!(moved(&root), [(A, B, 3), (B, OURS, 3), (A, B, 2)]);
}

/// Geth shows calls of precompiles, others leave them out, and so they count the calls beside them otherwise.
#[test]
fn places_are_the_same_whatever_else_is_shown() {
    let precompile = call("STATICCALL", A, address!("0000000000000000000000000000000000000002"), 0);
    let paid = [call("CALL", A, OURS, 1), call("CALL", A, OURS, 1)];
    let terse = call("CALL", SENDER, A, 2).with(paid.clone());
    let mut all = vec![precompile];
    all.extend(paid);
    let wordy = call("CALL", SENDER, A, 2).with(all);
    assert_eq!(
        read_block(Method::Flat, &flat(&terse)).unwrap(),
        read_block(Method::Nested, &nested(&wordy)).unwrap()
    );
}

/// Reth and anvil list a contract's end right after the contract, before what it did.
#[test]
fn the_place_in_the_tree_tells_the_order() {
    let root = call("CALL", SENDER, A, 0).with([
        call("CALL", A, OURS, 1),
        call("CALL", A, B, 2),
        call("SELFDESTRUCT", A, OURS, 3),
    ]);
    let Value::Array(mut shown) = flat(&root) else { panic!("a list") };
    let end = shown.remove(3);
    shown.insert(1, end);
    let moves = read_block(Method::Flat, &Value::Array(shown)).unwrap();
    assert_eq!(moves.iter().map(|m| m.amount).collect::<Vec<_>>(), [1, 2, 3].map(U256::from));
}

#[test]
fn calls_are_nested_as_deep_as_the_machine_allows_and_no_deeper() {
    let deep = |depth: usize| {
        let mut text = format!("{{\"type\":\"CALL\",\"from\":\"{B}\",\"to\":\"{OURS}\",\"value\":\"0x5\"}}");
        for level in 0..depth {
            let (from, to) = if level % 2 == 0 { (A, B) } else { (B, A) };
            text = format!(
                "{{\"from\":\"{from}\",\"to\":\"{to}\",\"calls\":[{text}],\"value\":\"0x0\",\"type\":\"CALL\"}}"
            );
        }
        let answer = RawValue::from_string(text).unwrap();
        read(Method::Nested, true, &answer, BLOCK, &[TX]).map(|moves| moves[0].1.len())
    };
    for depth in [1, 39, 40, 41, 79, 80, 81, 1025] {
        assert_eq!(deep(depth), Ok(1), "{depth}");
    }
    let error = deep(1026).unwrap_err();
    assert!(matches!(&error, Unread::Senseless(text) if text.contains("nested deeper")), "{error:?}");

    let mut listed = flat(&call("CALL", SENDER, A, 0));
    listed[0]["traceAddress"] = json!(vec![0u32; 1026]);
    let error = read_block(Method::Flat, &listed).unwrap_err();
    assert!(matches!(&error, Unread::Senseless(text) if text.contains("nested deeper")), "{error:?}");
    // Not even read: what nobody asked for may nest as it likes.
    let junk = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let text = format!("{{\"type\":\"CALL\",\"junk\":{junk}}}");
    let answer = RawValue::from_string(text).unwrap();
    assert_eq!(read(Method::Nested, true, &answer, BLOCK, &[TX]), Ok(vec![(TX, vec![])]));
}

#[test]
fn answers_about_something_else_are_not_taken() {
    let root = call("CALL", SENDER, A, 1).with([call("CALL", A, OURS, 1)]);
    let mut other_block = flat(&root);
    other_block[1]["blockHash"] = json!(TX);
    assert_eq!(read_block(Method::Flat, &other_block), Err(Unread::OtherBlock));
    let mut other_block = nested(&root);
    other_block[0]["txHash"] = json!(BLOCK);
    assert_eq!(read_block(Method::Nested, &other_block), Err(Unread::OtherBlock));

    // A node that does not have the block yet, or stops in the middle.
    assert!(matches!(read_block(Method::Flat, &json!([])), Err(Unread::Failed(_))));
    assert!(matches!(read_block(Method::Nested, &json!([])), Err(Unread::Failed(_))));
    let timeout = json!([{ "txHash": TX, "error": "execution timeout" }]);
    let error = read_block(Method::Nested, &timeout).unwrap_err();
    assert!(matches!(&error, Unread::Failed(text) if text.contains("execution timeout")), "{error:?}");

    // Nobody's block reward is a call; what older versions leave out is not missed.
    let mut rewarded = flat(&root);
    let reward = json!({
        "type": "reward", "action": { "author": OURS, "rewardType": "block", "value": "0x1" }, "result": null,
        "blockHash": BLOCK, "blockNumber": 1, "subtraces": 0, "traceAddress": [], "transactionHash": null,
        "transactionPosition": null,
    });
    rewarded.as_array_mut().unwrap().push(reward);
    assert_eq!(read_block(Method::Flat, &rewarded).unwrap().len(), 1);
    let mut nameless = nested(&root);
    nameless[0].as_object_mut().unwrap().remove("txHash");
    assert_eq!(read_block(Method::Nested, &nameless).unwrap().len(), 1);
}

#[test]
fn answers_that_make_no_sense_say_what_is_missing() {
    let root = call("CALL", SENDER, A, 1).with([call("CALL", A, OURS, 1)]);
    for (field, word) in [("from", "sender"), ("to", "recipient"), ("value", "value"), ("type", "type")] {
        let mut answer = nested(&root);
        answer[0]["result"]["calls"][0].as_object_mut().unwrap().remove(field);
        let error = read_block(Method::Nested, &answer).unwrap_err();
        assert!(matches!(&error, Unread::Senseless(text) if text.contains(word)), "{field}: {error:?}");
    }
    for (field, word) in [("from", "sender"), ("to", "recipient"), ("value", "value")] {
        let mut answer = flat(&root);
        answer[1]["action"].as_object_mut().unwrap().remove(field);
        let error = read_block(Method::Flat, &answer).unwrap_err();
        assert!(matches!(&error, Unread::Senseless(text) if text.contains(word)), "{field}: {error:?}");
    }
    let unknown = call("CALL", SENDER, A, 0).with([call("AUTHCALL", A, OURS, 1)]);
    for (method, answer) in [(Method::Flat, flat(&unknown)), (Method::Nested, nested(&unknown))] {
        let error = read_block(method, &answer).unwrap_err();
        assert!(
            matches!(&error, Unread::Senseless(text) if text.to_lowercase().contains("authcall")),
            "{error:?}"
        );
    }
    assert_eq!(moved(&call("CALL", SENDER, A, 0).with([call("EXTSTATICCALL", A, OURS, 0)])), []);

    let mut orphan = flat(&root);
    orphan[1]["traceAddress"] = json!([0, 0]);
    let mut twice = flat(&root);
    twice[1]["traceAddress"] = json!([]);
    let mut stranger = flat(&root);
    stranger[1]["transactionHash"] = json!(BLOCK);
    let mut nobodys = flat(&root);
    nobodys[1]["transactionHash"] = Value::Null;
    for answer in [orphan, twice, stranger, nobodys, json!(null), json!({}), json!([1]), json!([{}])] {
        let error = read_block(Method::Flat, &answer).unwrap_err();
        assert!(matches!(&error, Unread::Senseless(_)), "{error:?}: {answer}");
    }
    for answer in [json!(null), json!([1]), json!([{}]), json!([{ "result": [] }]), json!([{ "result": 1 }])]
    {
        let error = read_block(Method::Nested, &answer).unwrap_err();
        assert!(matches!(&error, Unread::Senseless(_)), "{error:?}: {answer}");
    }
}
