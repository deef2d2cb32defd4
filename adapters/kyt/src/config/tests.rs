use super::*;
use crate::clock::SystemClock;
use std::os::unix::fs::PermissionsExt;

/// A configuration in a folder with all that it names.
fn scene(provider: &str, more: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    crate::key::create(&dir.path().join("key.pem")).unwrap();
    for (name, text) in [("token", "t0ken"), ("secret", "c2VjcmV0"), ("list.toml", "default = \"CLEAR\"\n")] {
        std::fs::write(dir.path().join(name), text).unwrap();
        let mode = PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(dir.path().join(name), mode).unwrap();
    }
    let text = format!(
        "data = {:?}\ntoken = {{ file = {:?} }}\n{more}\n[key]\nfile = {:?}\nuser = \"platform.screening\"\nid = \"main\"\n\n{}",
        dir.path().display().to_string(),
        path("token"),
        path("key.pem"),
        provider.replace("DIR", &dir.path().display().to_string()),
    );
    (dir, text)
}

const LIST: &str = "[provider]\nkind = \"list\"\nfile = \"DIR/list.toml\"\n";

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn refused(provider: &str, more: &str) -> String {
    let (_dir, text) = scene(provider, more);
    match Config::parse(&text) {
        Err(error) => error.to_string(),
        Ok(config) => config.validate(&clock()).err().map_or("accepted".into(), |error| error.to_string()),
    }
}

#[test]
fn every_provider_can_be_configured() {
    let key = "api_key = { file = \"DIR/token\" }";
    let token = "erc20:0x00000000000000000000000000000000000000aa";
    for provider in [
        LIST.to_owned(),
        format!(
            "[provider]\nkind = \"chainalysis\"\n{key}\n[provider.networks]\n\"bitcoin:regtest\" = \"Bitcoin\"\n"
        ),
        format!(
            "[provider]\nkind = \"elliptic\"\n{key}\nsecret = {{ file = \"DIR/secret\" }}\ncallback_token = {{ file = \"DIR/token\" }}\n"
        ),
        format!(
            "[provider]\nkind = \"trm\"\n{key}\n[[provider.tokens]]\nasset = \"{token}\"\nsymbol = \"usdc\"\ndecimals = 6\n"
        ),
        "[provider]\nkind = \"http\"\nurl = \"http://127.0.0.1:1/ask\"\nsigning_secret = { file = \"DIR/secret\" }\n"
            .to_owned(),
    ] {
        let (_dir, text) = scene(&provider, "");
        let config = Config::parse(&text).unwrap();
        assert!(config.listen.ip().is_loopback());
        let composed = config.compose(clock());
        composed.map_err(|error| format!("{provider}: {error}")).unwrap();
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (more, named) in [
        ("validity_seconds = 0", "validity_seconds: must be 1 to"),
        ("patience_seconds = 101", "patience_seconds: must be 1 to 100"),
        ("max_concurrent = 0", "max_concurrent"),
        ("poll_seconds = 0", "poll_seconds"),
        ("genesis = \"07\"", "genesis"),
        ("listen = \"nowhere\"", "listen"),
        ("lisen = 1", "lisen"),
        ("http = { attempts = 0 }", "http.attempts"),
        ("mapping = { outcomes = { SEVERE = \"CLEAR\" } }", "mapping.outcomes.SEVERE"),
        ("orchestrator = { alerts_url = \"http://example.com/\" }", "orchestrator.alerts_url"),
        ("orchestrator = { alerts_url = \"x\" }", "orchestrator.alerts_url"),
    ] {
        let error = refused(LIST, more);
        assert!(error.contains(named), "{more}: {error}");
    }
    for (provider, named) in [
        ("[provider]\nkind = \"list\"\nfile = \"DIR/none.toml\"", "provider.file"),
        ("[provider]\nkind = \"trm\"\napi_key = { file = \"DIR/none\" }", "provider.api_key"),
        (
            "[provider]\nkind = \"trm\"\napi_key = { env = \"BURSAR_TEST_NO_SUCH_VARIABLE\" }",
            "BURSAR_TEST_NO",
        ),
        ("[provider]\nkind = \"trm\"\napi_key = \"k3y\"", "give { file"),
        (
            "[provider]\nkind = \"trm\"\nurl = \"http://example.com\"\napi_key = { file = \"DIR/token\" }",
            "provider.url: must be https",
        ),
        (
            "[provider]\nkind = \"elliptic\"\napi_key = { file = \"DIR/token\" }\nsecret = { file = \"DIR/list.toml\" }",
            "provider.secret",
        ),
        (
            "[provider]\nkind = \"chainalysis\"\napi_key = { file = \"DIR/token\" }\nalerts_path = \"x?y\"",
            "provider.alerts_path",
        ),
        (
            "[provider]\nkind = \"chainalysis\"\napi_key = { file = \"DIR/token\" }\nnetworks = { bitcoin = \"x\" }",
            "provider.networks",
        ),
    ] {
        let error = refused(provider, "");
        assert!(error.contains(named), "{provider}: {error}");
        // A secret that was written where its place belongs is not repeated.
        assert!(!error.contains("t0ken"), "{error}");
    }
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let (dir, text) = scene(LIST, "");
    std::fs::set_permissions(dir.path().join("key.pem"), PermissionsExt::from_mode(0o644)).unwrap();
    let error = Config::parse(&text).unwrap().validate(&clock()).err().unwrap().to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

/// What is in docs is what is read.
#[test]
fn the_examples_are_configurations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/example/screening");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("screener-") {
            let config = Config::load(&path).unwrap();
            config.check().unwrap();
            config.mapping().unwrap();
            read += 1;
        } else if name == "list.toml" {
            crate::provider::list::List::open(&path).unwrap();
            read += 1;
        }
    }
    assert_eq!(read, 6);
}
