use super::*;
use crate::{governance::address_book::AddressEntry, time::Timestamp};
use serde_json::{Value, json};

fn complete() -> Value {
    let name = |primary: &str| json!({ "nameIdentifier": [{ "primaryIdentifier": primary, "nameIdentifierType": "LEGL" }] });
    let company = json!({ "name": { "nameIdentifier": [{ "legalPersonName": "Desk AG", "legalPersonNameIdentifierType": "LEGL" }] } });
    json!({
        "originator": {
            "originatorPersons": [{ "naturalPerson": {
                "name": name("Muster"),
                "dateAndPlaceOfBirth": { "dateOfBirth": "1980-02-29", "placeOfBirth": "Bern" },
            } }],
            "accountNumber": ["CH-1"],
        },
        "beneficiary": { "beneficiaryPersons": [{ "naturalPerson": { "name": name("Exempla") } }], "accountNumber": ["x"] },
        "originatingVASP": { "originatingVASP": { "legalPerson": company } },
    })
}

fn read(value: &Value) -> Ivms101 {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn complete_data_lacks_nothing_and_comes_back_as_it_was() {
    let data = read(&complete());
    assert_eq!((data.validate(), data.lacks()), (Ok(()), Vec::new()));
    assert_eq!(serde_json::to_value(&data).unwrap(), complete());
}

#[test]
fn what_is_missing_is_named_and_nobody_is() {
    let mut value = complete();
    let person = value["originator"]["originatorPersons"][0]["naturalPerson"].as_object_mut().unwrap();
    person.remove("dateAndPlaceOfBirth");
    value["beneficiary"]["accountNumber"] = json!([]);
    let data = read(&value);
    assert_eq!(data.validate(), Ok(()));
    let lacks = data.lacks();
    assert_eq!(lacks.len(), 2, "{lacks:?}");
    assert!(
        lacks[0].starts_with("originator.originatorPersons[0]") && lacks[1] == "beneficiary.accountNumber"
    );
    assert!(!lacks.concat().contains("Muster"));
}

#[test]
fn what_is_wrong_is_told_by_its_field_and_not_by_its_value() {
    let originator = "/originator/originatorPersons/0/naturalPerson";
    for (place, value, field) in [
        ("/name/nameIdentifier/0/primaryIdentifier", json!("x".repeat(101)), "primaryIdentifier"),
        ("/name/nameIdentifier/0/primaryIdentifier", json!("a\nb"), "primaryIdentifier"),
        ("/name/nameIdentifier/0/nameIdentifierType", json!("NONE"), "nameIdentifierType"),
        ("/name/nameIdentifier/0/nameIdentifierType", json!("ALIA"), "nameIdentifier"),
        ("/name/nameIdentifier", json!([]), "nameIdentifier"),
        ("/dateAndPlaceOfBirth/dateOfBirth", json!("1981-02-29"), "dateOfBirth"),
        ("/dateAndPlaceOfBirth/dateOfBirth", json!("1981-13-01"), "dateOfBirth"),
        ("/dateAndPlaceOfBirth/placeOfBirth", json!(" "), "placeOfBirth"),
    ] {
        let mut data = complete();
        *data.pointer_mut(&format!("{originator}{place}")).unwrap() = value.clone();
        let invalid = read(&data).validate().unwrap_err();
        assert!(invalid.field.ends_with(field), "{place}: {invalid}");
        assert!(value.as_str().is_none_or(|value| value == " " || !invalid.to_string().contains(value)));
    }
    let mut both = complete();
    both["originator"]["originatorPersons"][0]["legalPerson"] =
        both["originatingVASP"]["originatingVASP"]["legalPerson"].clone();
    assert!(read(&both).validate().is_err());
    let mut unknown = complete();
    unknown["more"] = json!(1);
    assert!(serde_json::from_value::<Ivms101>(unknown).is_err());
}

fn payment(to: &str, amount: u64) -> Payment {
    Payment {
        destination: Destination { address: to.to_owned(), tag: None },
        amount: Amount::from_u64(amount),
    }
}

fn order(payments: Vec<Payment>) -> Intent {
    Intent {
        external_id: "one".parse().unwrap(),
        wallet: "bitcoin:regtest/p2tr/0".parse().unwrap(),
        asset: Asset::Btc,
        source: None,
        payments,
        max_fee: Amount::from_u64(1),
        expires_at: Timestamp::from_secs(1),
        fills: None,
        terms: None,
    }
}

fn listed(counterparty: Option<&str>) -> Listed {
    let entry = AddressEntry {
        id: "cold".parse().unwrap(),
        network: order(vec![]).network(),
        destination: Destination { address: "cold".into(), tag: None },
        label: "cold".into(),
        counterparty: counterparty.map(|name| name.parse().unwrap()),
    };
    Listed { entry, seq: 1, since: Timestamp::from_secs(0) }
}

#[test]
fn who_is_not_known_to_be_something_else_is_an_institution() {
    let self_hosted = BTreeSet::from(["ours".parse().unwrap()]);
    let kind = |own, listed: Option<&Listed>| Counterparty::of(own, listed, &self_hosted);
    assert_eq!(kind(true, None), Counterparty::OwnWallet);
    assert_eq!(kind(false, Some(&listed(Some("ours")))), Counterparty::SelfHosted);
    for unknown in [None, Some(&listed(None)), Some(&listed(Some("kraken")))] {
        assert_eq!(kind(false, unknown), Counterparty::Institution);
    }
}

#[test]
fn only_what_goes_to_institutions_counts() {
    use Counterparty::{Institution, OwnWallet, SelfHosted};
    let all = order(vec![payment("a", 1), payment("b", 2), payment("c", 4), payment("d", 8)]);
    let told = to_institutions(&all, &[OwnWallet, Institution, SelfHosted]);
    assert_eq!(told.payments, [payment("b", 2), payment("d", 8)], "what nothing is known of counts, too");
    let asked = || Demand { asked: true, why: "because".into() };
    let none = to_institutions(&order(vec![payment("a", 1)]), &[OwnWallet]);
    assert!(matches!(Assessment::of(&none, asked()), Assessment::NotRequired { .. }));
    let one = to_institutions(&all, &[OwnWallet, Institution, SelfHosted, SelfHosted]);
    let required = Assessment::Required { why: "because".into(), payment: payment("b", 2) };
    assert_eq!(Assessment::of(&one, asked()), required);
    // One message cannot be about two.
    assert!(matches!(Assessment::of(&told, asked()), Assessment::Unsupported { .. }));
    let free = Demand { asked: false, why: "little".into() };
    assert_eq!(Assessment::of(&told, free), Assessment::NotRequired { why: "little".into() });
}

#[test]
fn thresholds_are_of_the_sum_and_what_has_none_is_asked_about() {
    let thresholds =
        Thresholds { from: [(Asset::Btc, Amount::from_u64(1000))].into(), ..Thresholds::default() };
    let asked = |payments| thresholds.demand(&order(payments)).asked;
    assert!(!asked(vec![payment("a", 999)]));
    assert!(asked(vec![payment("a", 1000)]));
    assert!(asked(vec![payment("a", 600), payment("b", 600)]), "split in a batch is not below");
    let huge = || Payment { amount: Amount(ruint::aliases::U256::MAX), ..payment("a", 0) };
    assert!(asked(vec![huge(), huge()]), "a sum without a number is above");
    assert!(Thresholds::default().demand(&order(vec![payment("a", 1)])).asked);
}

#[test]
fn references_hold_no_sentences() {
    let long = "x".repeat(101);
    for bad in ["", " ", "Rosa Muster", "a\nb", "\u{e9}", &long] {
        let answer = ExchangeAnswer::Accepted { reference: bad.into() };
        assert!(matches!(answer.check(), Err(NoExchange::Malformed(_))), "{bad:?}");
    }
    let answer = ExchangeAnswer::Rejected { reference: "case-7/b".into() };
    assert_eq!(answer.clone().check(), Ok(answer));
}
