//! The desk's own list: hits, defaults, changes of the file, files that make no sense.

use crate::support::*;
use bursar_domain::screening::{Inquiry, RiskBand, Screened, Unanswered};
use bursar_kyt::provider::{
    Provider,
    list::{List, ListProvider},
};
use std::{path::Path, sync::Arc};

pub fn provider(path: &Path) -> Arc<dyn Provider> {
    Arc::new(ListProvider(Arc::new(List::open(path).unwrap())))
}

const ENTRIES: &str = r#"
[[entries]]
address = "bcrt1qreview"
risk = "MEDIUM"
finding = "a friend of a friend"
[[entries]]
address = "bcrt1qblock"
risk = "SEVERE"
category = "stolen funds"
[[entries]]
address = "bcrt1qsdn"
risk = "LOW"
sanctions = true
[[entries]]
address = "0x00000000000000000000000000000000000000Aa"
network = "ethereum:1"
risk = "LOW"
outcome = "REVIEW"
"#;

struct File {
    dir: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let file = Self { dir: tempfile::tempdir().unwrap() };
        file.write(text);
        file
    }
    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("list.toml")
    }
    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }
}

#[tokio::test]
async fn listed_addresses_get_what_is_written_and_others_the_default() {
    let file = File::new(&format!("default = \"CLEAR\"\n{ENTRIES}"));
    let scene = Scene::new(provider(&file.path()));
    let out = |address: &str| Inquiry::outbound(order(&[address]));
    assert_eq!(scene.outcome(&out(PAYEE)).await, CLEAR);
    assert_eq!(scene.outcome(&out("bcrt1qreview")).await, (Screened::Review, RiskBand::Medium, false));
    assert_eq!(scene.outcome(&out("BCRT1QBLOCK")).await, (Screened::Block, RiskBand::Severe, false));
    assert_eq!(scene.outcome(&out("bcrt1qsdn")).await, SANCTIONED);
    let ether = |address: &str, network: &str| Inquiry::Address {
        network: network.parse().unwrap(),
        address: address.into(),
    };
    let listed = "0x00000000000000000000000000000000000000aA";
    assert_eq!(scene.outcome(&ether(listed, "ethereum:1")).await, (Screened::Review, RiskBand::Low, false));
    assert_eq!(scene.outcome(&ether(listed, "ethereum:5")).await, CLEAR);
    // Of a deposit the senders are looked up, and a batch is as good as its worst payee.
    assert_eq!(scene.outcome(&deposit()).await, CLEAR);
    let mut from = deposit();
    if let Inquiry::Deposit { from, .. } = &mut from {
        from.push("bcrt1qblock".into());
    }
    assert_eq!(scene.outcome(&from).await.0, Screened::Block);
    let batch = Inquiry::outbound(order(&[PAYEE, "bcrt1qreview"]));
    assert_eq!(scene.outcome(&batch).await.0, Screened::Review);
}

#[tokio::test]
async fn what_an_alert_is_about_is_not_clear_however_often_it_is_asked_about() {
    let alert = format!("[[alerts]]\nid = \"a\"\ntx_id = \"{TX}\"\nrisk = \"SEVERE\"\nsanctions = true\n");
    let file = File::new(&format!("default = \"CLEAR\"\n{alert}"));
    let scene = Scene::new(provider(&file.path()));
    let (outcome, _, sanctions) = scene.outcome(&deposit()).await;
    assert_eq!((outcome, sanctions), (Screened::Block, true));
    let other = File::new(&format!("default = \"CLEAR\"\n{}", alert.replace(TX, "another")));
    assert_eq!(Scene::new(provider(&other.path())).outcome(&deposit()).await, CLEAR);
}

#[tokio::test]
async fn without_a_default_there_is_no_answer() {
    let file = File::new(ENTRIES);
    let scene = Scene::new(provider(&file.path()));
    assert!(matches!(scene.screen(&outbound()).await, Err(Unanswered::Unknown(_))));
    let file = File::new("default = \"REVIEW\"");
    let scene = Scene::new(provider(&file.path()));
    assert_eq!(scene.outcome(&outbound()).await, (Screened::Review, RiskBand::Unknown, false));
    let file = File::new("default = \"BLOCK\"");
    assert_eq!(Scene::new(provider(&file.path())).outcome(&outbound()).await.0, Screened::Block);
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_broken_one_screens_nothing() {
    let file = File::new("default = \"CLEAR\"\n");
    let scene = Scene::new(provider(&file.path()));
    assert_eq!(scene.outcome(&address("bcrt1qa")).await, CLEAR);
    file.write(&format!("default = \"CLEAR\"\n{ENTRIES}"));
    assert_eq!(scene.outcome(&address("bcrt1qblock")).await.0, Screened::Block);
    file.write("default = \"CLEAR\"\n[[entries]]\naddress = 7\n");
    let refused = scene.screen(&address("bcrt1qb")).await;
    assert!(matches!(refused, Err(Unanswered::Unavailable(_))));
    std::fs::remove_file(file.path()).unwrap();
    assert!(scene.screen(&address("bcrt1qc")).await.is_err());
    file.write("default = \"CLEAR\" ");
    assert_eq!(scene.outcome(&address("bcrt1qb")).await, CLEAR);
}

#[test]
fn files_that_make_no_sense_are_refused() {
    for (text, named) in [
        ("default = \"MAYBE\"", "default"),
        ("[[entries]]\nrisk = \"LOW\"", "address"),
        ("[[entries]]\naddress = \"\"\nrisk = \"LOW\"", "entries.address"),
        ("[[entries]]\naddress = \"a b\"\nrisk = \"LOW\"", "entries.address"),
        ("[[entries]]\naddress = \"a\"\nrisk = \"NONE\"", "risk"),
        ("[[entries]]\naddress = \"a\"\nrisk = \"LOW\"\nnetwork = \"x\"", "network"),
        ("[[entries]]\naddress = \"a\"\nrisk = \"LOW\"\nrsik = 1", "rsik"),
        (
            "[[entries]]\naddress = \"a\"\nrisk = \"LOW\"\n[[entries]]\naddress = \"a\"\nrisk = \"HIGH\"",
            "twice",
        ),
        ("[[alerts]]\nid = \"1\"\nrisk = \"LOW\"\naddress = \"a\"", "give an address"),
    ] {
        let file = File::new(text);
        let error = List::open(&file.path()).err().expect(text).to_string();
        assert!(error.contains(named), "{text}: {error}");
    }
}
