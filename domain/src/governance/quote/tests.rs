use super::*;
use crate::governance::{
    change::Change,
    testing::{FOUNDED, TestDesk, TestKey, key},
};

const POLICY: &str = r#"{
    "currency": "CHF", "priceMaxAgeSeconds": 60, "prices": { "by": ["client.service", "platform.screening"] },
    "rules": [{ "id": "allow", "then": { "kind": "ALLOW" } }]
}"#;

fn at(seconds: i64) -> Timestamp {
    Timestamp(FOUNDED.0 + seconds * 1_000_000)
}

fn desk() -> TestDesk {
    let mut desk = TestDesk::new(0);
    desk.publish(serde_json::from_str(POLICY).unwrap());
    desk
}

fn quote(desk: &TestDesk, price: &str) -> Quote {
    Quote {
        genesis: desk.pinned(),
        asset: Asset::Xrp,
        decimals: 6,
        currency: "CHF".parse().unwrap(),
        price: price.parse().unwrap(),
        quoted_at: at(0),
        expires_at: at(1000),
    }
}

fn signed(quote: Quote, by: &str) -> SignedQuote {
    SignedQuote { signature: key(by).sign(&quote.digest()), quote }
}

fn check(desk: &TestDesk, now: Timestamp) -> QuoteCheck<'_> {
    let policy = &desk.state.policy().unwrap().policy;
    QuoteCheck { directory: desk.state.directory(), genesis: desk.pinned(), policy, now }
}

#[test]
fn a_price_is_a_plain_decimal_above_zero() {
    for text in ["1", "0.000000000000000001", "12345678901234567890.123456789012345678", "007.50"] {
        assert_eq!(text.parse::<UnitPrice>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "0",
        "0.00",
        ".5",
        "5.",
        "1e3",
        "-1",
        "+1",
        "1,5",
        "1.2.3",
        "123456789012345678901",
        "1.1234567890123456789",
    ] {
        assert_eq!(text.parse::<UnitPrice>(), Err(InvalidPrice), "{text}");
    }
}

/// 2.514 CHF for an XRP is 251.4 hundredths for a million drops.
#[test]
fn a_quote_is_a_price_of_smallest_units() {
    let desk = desk();
    let worth = |price: &str, drops: u64| {
        let price =
            signed(quote(&desk, price), "client.service").price(Asset::Xrp, &check(&desk, at(1))).unwrap();
        price.of(Amount::from_u64(drops)).unwrap().to_string()
    };
    assert_eq!(worth("2.514", 1_000_000), "252");
    assert_eq!(worth("2.514", 10_000_000), "2514");
    assert_eq!(worth("2.5", 1_000_000), "250");
    assert_eq!(worth("3", 1_000_000), "300");
    assert_eq!(worth("0.000000000000000001", 1), "1");
    assert_eq!(worth("0000000000000000003.0", 1_000_000), "300");
}

#[test]
fn only_what_a_named_service_signed_for_this_desk_counts_and_not_for_long() {
    let desk = desk();
    let now = at(30);
    let code = |edit: fn(&mut Quote), by: &str, now: Timestamp| {
        let mut quote = quote(&desk, "2.5");
        edit(&mut quote);
        signed(quote, by).price(Asset::Xrp, &check(&desk, now)).err().map_or("COUNTS", |error| error.code())
    };
    let same: fn(&mut Quote) = |_| ();
    assert_eq!(code(same, "client.service", now), "COUNTS");
    assert_eq!(code(same, "platform.screening", now), "COUNTS");
    assert_eq!(code(same, "client.operator", now), "NOT_SOURCE");
    assert_eq!(code(|quote| quote.genesis = EntryDigest([7; 32]), "client.service", now), "OTHER_DESK");
    assert_eq!(code(|quote| quote.asset = Asset::Btc, "client.service", now), "OTHER_ASSET");
    assert_eq!(
        code(|quote| quote.currency = "USD".parse().unwrap(), "client.service", now),
        "OTHER_CURRENCY"
    );
    assert_eq!(code(|quote| quote.decimals = 7, "client.service", now), "DECIMALS");
    assert_eq!(code(|quote| quote.expires_at = quote.quoted_at, "client.service", now), "NEVER_VALID");
    assert_eq!(code(same, "client.service", at(60)), "COUNTS");
    assert_eq!(code(same, "client.service", Timestamp(at(60).0 + 1)), "STALE");
    assert_eq!(code(|quote| quote.expires_at = at(30), "client.service", now), "STALE");
    assert_eq!(code(|quote| quote.quoted_at = at(151), "client.service", now), "FROM_THE_FUTURE");
    let token: fn(&mut Quote) =
        |quote| (quote.asset, quote.decimals) = (Asset::Erc20([1; 20]), MAX_DECIMALS + 1);
    let mut many = quote(&desk, "1");
    token(&mut many);
    let too_many = signed(many, "client.service").price(Asset::Erc20([1; 20]), &check(&desk, now));
    assert_eq!(too_many, Err(NotQuoted::TooManyDecimals));
    // Another price under the same signature.
    let mut changed = signed(quote(&desk, "2.5"), "client.service");
    changed.quote.price = "2.50".parse().unwrap();
    assert_eq!(changed.price(Asset::Xrp, &check(&desk, now)).unwrap_err().code(), "SIGNATURE");
}

#[test]
fn a_service_that_is_suspended_or_not_named_any_more_quotes_nothing() {
    let mut desk = desk();
    let by_client = signed(quote(&desk, "2.5"), "client.service");
    assert!(by_client.price(Asset::Xrp, &check(&desk, at(1))).is_ok());
    desk.accept(Change::SuspendUser { user: TestKey::new("client.service", "main").user }, &["client.owner"]);
    assert_eq!(by_client.price(Asset::Xrp, &check(&desk, at(1))).unwrap_err().code(), "SIGNATURE");
    let by_other = signed(quote(&desk, "2.5"), "platform.screening");
    let mut policy: Policy = serde_json::from_str(POLICY).unwrap();
    policy.prices.as_mut().unwrap().by.remove(&by_other.signature.user);
    desk.publish(policy);
    assert_eq!(by_other.price(Asset::Xrp, &check(&desk, at(1))).unwrap_err().code(), "NOT_SOURCE");
    let mut policy: Policy = serde_json::from_str(POLICY).unwrap();
    policy.prices = None;
    desk.publish(policy);
    assert_eq!(by_other.price(Asset::Xrp, &check(&desk, at(1))), Err(NotQuoted::NoSource));
}

#[test]
fn the_freshest_that_counts_is_taken() {
    let desk = desk();
    let made = |price: &str, quoted_at: i64, by: &str| {
        signed(Quote { quoted_at: at(quoted_at), ..quote(&desk, price) }, by)
    };
    let quotes = [
        made("2", 5, "client.service"),
        made("3", 7, "platform.screening"),
        made("4", 9, "client.operator"),
        made("5", 500, "client.service"),
    ];
    let check = check(&desk, at(10));
    let freshest = check.freshest(Asset::Xrp, quotes.clone()).unwrap();
    assert_eq!(freshest.quote.price.to_string(), "3");
    assert_eq!(check.fact(Asset::Xrp, Some(&freshest), Err(Gap::Unknowable)).unwrap().at, at(7));
    assert_eq!(check.fact(Asset::Xrp, Some(&quotes[2]), Err(Gap::Unknowable)), Err(Gap::Unpriceable));
    assert_eq!(check.fact(Asset::Xrp, None, Err(Gap::Unknowable)), Err(Gap::Unpriceable));
    assert_eq!(check.freshest(Asset::Btc, quotes), None);
}

/// docs/policy.md shows the same.
#[test]
fn a_quote_survives_its_json_and_is_signed_as_documented() {
    let quote = Quote { genesis: EntryDigest([1; 32]), ..quote(&desk(), "2.514") };
    let expected = [
        &b"\0\0\0\x0fbursar/quote/v1\0\0\0\x20"[..],
        &[1; 32],
        b"\0\0\0\x03XRP\0\0\0\x08\0\0\0\0\0\0\0\x06\0\0\0\x03CHF\0\0\0\x052.514\0\0\0\x08",
        &at(0).0.to_be_bytes(),
        b"\0\0\0\x08",
        &at(1000).0.to_be_bytes(),
    ];
    assert_eq!(quote.canonical().as_bytes(), expected.concat());
    let json = serde_json::to_string(&signed(quote.clone(), "client.service")).unwrap();
    assert_eq!(serde_json::from_str::<SignedQuote>(&json).unwrap().quote, quote);
}
