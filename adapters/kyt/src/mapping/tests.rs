use super::*;
use crate::provider::Mark;

fn strict() -> Mapping {
    Mapping::new(MappingConfig::default()).unwrap()
}

fn parse(text: &str) -> Result<Mapping, InvalidMapping> {
    Mapping::new(toml::from_str(text).unwrap())
}

fn report(level: Level, findings: Vec<Mark>) -> Report {
    Report { reference: "r".into(), level, sanctions: false, outcome: None, findings, expires_at: None }
}

fn mark(category: &str, level: Level) -> Mark {
    Mark { category: category.into(), level, sanctions: false, description: String::new() }
}

fn word(word: &str) -> Level {
    Level::Word(word.into())
}

#[test]
fn levels_lead_to_strict_outcomes() {
    for (level, risk, outcome) in [
        (word("LOW"), RiskBand::Low, Screened::Clear),
        (word("Medium"), RiskBand::Medium, Screened::Review),
        (word("HIGH"), RiskBand::High, Screened::Block),
        (word("severeRisk"), RiskBand::Severe, Screened::Block),
        (word("noRiskInfo"), RiskBand::Unknown, Screened::Review),
        (word(""), RiskBand::Unknown, Screened::Review),
        (Level::Unknown, RiskBand::Unknown, Screened::Review),
        (Level::Score(0.0), RiskBand::Low, Screened::Clear),
        (Level::Score(0.999), RiskBand::Low, Screened::Clear),
        (Level::Score(1.0), RiskBand::Medium, Screened::Review),
        (Level::Score(5.0), RiskBand::High, Screened::Block),
        (Level::Score(9.038_007), RiskBand::Severe, Screened::Block),
        (Level::Score(10.1), RiskBand::Unknown, Screened::Review),
        (Level::Score(-1.0), RiskBand::Unknown, Screened::Review),
        (Level::Score(f64::NAN), RiskBand::Unknown, Screened::Review),
        (Level::NothingFound { usually: RiskBand::Low }, RiskBand::Low, Screened::Clear),
        (Level::NothingFound { usually: RiskBand::Unknown }, RiskBand::Unknown, Screened::Review),
    ] {
        let scored = strict().score(&report(level.clone(), Vec::new()));
        assert_eq!((scored.risk, scored.outcome), (risk, outcome), "{level:?}");
        assert!(!scored.sanctions);
    }
}

#[test]
fn the_worst_finding_counts_and_is_first() {
    let findings =
        vec![mark("exchange", word("LOW")), mark("mixing", word("HIGH")), mark("p2p", word("MEDIUM"))];
    let scored = strict().score(&report(Level::Band(RiskBand::Low), findings));
    assert_eq!((scored.risk, scored.outcome), (RiskBand::High, Screened::Block));
    let categories: Vec<&str> = scored.findings.iter().map(|finding| finding.category.as_str()).collect();
    assert_eq!(categories, ["mixing", "p2p", "exchange"]);
}

#[test]
fn sanctions_block_under_any_name_and_level() {
    let loose =
        parse("outcomes = { HIGH = \"REVIEW\", SEVERE = \"REVIEW\" }\nsanctions = [\"My List\"]").unwrap();
    let named = [
        "Sanctions",
        "sanctioned entity",
        "Sanctioned Jurisdiction",
        "SANCTIONS: OFAC SDN: somebody",
        "OFAC SDN",
        "my_list",
    ];
    for category in named {
        let scored = loose.score(&report(word("LOW"), vec![mark(category, word("LOW"))]));
        assert!(scored.sanctions, "{category}");
        assert_eq!((scored.risk, scored.outcome), (RiskBand::Severe, Screened::Block));
    }
    let flagged = Mark { sanctions: true, ..mark("exchange", word("LOW")) };
    assert_eq!(loose.score(&report(word("LOW"), vec![flagged])).outcome, Screened::Block);
    let said = Report { sanctions: true, ..report(word("LOW"), Vec::new()) };
    assert_eq!(loose.score(&said).outcome, Screened::Block);
    // What only sounds alike is a matter of the level.
    assert!(!loose.score(&report(word("LOW"), vec![mark("my", word("LOW"))])).sanctions);
}

#[test]
fn categories_can_be_made_stricter_and_their_risk_be_set() {
    let mapping = parse(
        "categories = { mixing = { outcome = \"BLOCK\" }, \"Atm\" = { risk = \"LOW\" } }\nnothing_found = \"MEDIUM\"",
    )
    .unwrap();
    let of = |category: &str, level: &str| {
        let scored = mapping.score(&report(word("LOW"), vec![mark(category, word(level))]));
        (scored.risk, scored.outcome)
    };
    assert_eq!(of("Mixing", "LOW"), (RiskBand::Low, Screened::Block));
    assert_eq!(of("ATM", "HIGH"), (RiskBand::Low, Screened::Clear));
    assert_eq!(of("other", "HIGH"), (RiskBand::High, Screened::Block));
    let nothing = mapping.score(&report(Level::NothingFound { usually: RiskBand::Low }, Vec::new()));
    assert_eq!(nothing.outcome, Screened::Review);
    // A provider's own word is never made milder, and never makes milder.
    let said = |outcome| Report { outcome: Some(outcome), ..report(word("MEDIUM"), Vec::new()) };
    assert_eq!(mapping.score(&said(Screened::Clear)).outcome, Screened::Review);
    assert_eq!(mapping.score(&said(Screened::Block)).outcome, Screened::Block);
}

#[test]
fn findings_are_bounded_and_clean() {
    let many = (0..200).map(|n| mark(&format!("c{n}\n"), word("LOW"))).chain([mark("last", word("HIGH"))]);
    let scored = strict().score(&report(word("LOW"), many.collect()));
    assert_eq!(scored.findings.len(), MAX_FINDINGS);
    assert_eq!(scored.findings[0].category, "last");
    assert!(scored.findings.iter().all(|finding| !finding.category.contains('\n')));
}

#[test]
fn tables_that_let_through_what_must_not_be_are_refused() {
    let severe = RiskBand::Severe;
    for (text, refused) in [
        ("outcomes = { SEVERE = \"CLEAR\" }", InvalidMapping::NeverClear(severe)),
        ("outcomes = { UNKNOWN = \"CLEAR\" }", InvalidMapping::NeverClear(RiskBand::Unknown)),
        (
            "outcomes = { LOW = \"BLOCK\" }",
            InvalidMapping::Order { lower: RiskBand::Low, higher: RiskBand::Medium },
        ),
        ("scores = { medium = 5, high = 1, severe = 9 }", InvalidMapping::Scores),
        ("scores = { medium = 1, high = 5, severe = 11 }", InvalidMapping::Scores),
        ("categories = { x = {} }", InvalidMapping::Empty("x".into())),
    ] {
        assert_eq!(parse(text), Err(refused), "{text}");
    }
    assert!(parse("outcomes = { MEDIUM = \"CLEAR\", HIGH = \"REVIEW\" }").is_ok());
}
