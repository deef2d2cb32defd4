//! The RPC methods: one table, the same for HTTP and WebSocket.

pub mod accounts;
pub mod history;
pub mod ledgers;
pub mod server;
pub mod sight;
pub mod submit;
pub mod transactions;

use serde_json::{Map, Value};

use super::state::State;

/// Parameters, or result fields.
pub type Fields = Map<String, Value>;

/// An error answer. Source: <https://xrpl.org/docs/references/http-websocket-apis/api-conventions/error-formatting>
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{token}")]
pub struct RpcError {
    pub token: &'static str,
    pub code: Option<i32>,
    pub message: Option<String>,
    /// Further fields beside the error, such as `searched_all`.
    pub extra: Fields,
}

impl RpcError {
    #[must_use]
    pub fn new(token: &'static str, code: i32, message: &str) -> Self {
        Self { token, code: Some(code), message: Some(message.to_owned()), extra: Fields::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn invalid(field: &str) -> Self {
        Self::new("invalidParams", 31, &format!("Invalid field '{field}'."))
    }

    #[must_use]
    pub fn missing(field: &str) -> Self {
        Self::new("invalidParams", 31, &format!("Missing field '{field}'."))
    }

    #[must_use]
    pub fn not_implemented() -> Self {
        Self::new("notImpl", 74, "Not implemented.")
    }

    /// The fields of an error answer, without `status` and `request`.
    #[must_use]
    pub fn fields(&self) -> Fields {
        let mut fields = self.extra.clone();
        fields.insert("error".into(), self.token.into());
        if let Some(code) = self.code {
            fields.insert("error_code".into(), code.into());
        }
        if let Some(message) = &self.message {
            fields.insert("error_message".into(), message.clone().into());
        }
        fields
    }
}

/// Outcome of a method.
pub type Answer = Result<Fields, RpcError>;

/// Runs one method.
///
/// # Errors
/// As rippled answers; `unknownCmd` for a method that the stand-in does not have.
pub fn call(state: &mut State, method: &str, params: &Fields) -> Answer {
    if state.broken {
        return Err(RpcError::new(
            "internal",
            73,
            "A ledger could not be written to the state file; restart.",
        ));
    }
    match method {
        "ping" => Ok(Fields::new()),
        "server_info" => server::info(state),
        "server_state" => server::state(state),
        "fee" => server::fee(state),
        "account_info" => accounts::info(state, params),
        "account_objects" => accounts::objects(state, params),
        "account_lines" => accounts::lines(state, params),
        "deposit_authorized" => accounts::deposit_authorized(state, params),
        "account_tx" => history::account_tx(state, params),
        "tx" => transactions::tx(state, params),
        "submit" => submit::submit(state, params),
        "simulate" => submit::simulate(state, params),
        "ledger" => ledgers::ledger(state, params),
        "ledger_closed" => Ok(ledgers::closed(state)),
        "ledger_current" => Ok(ledgers::current(state)),
        "ledger_entry" => ledgers::entry(state, params),
        "ledger_accept" => ledgers::accept(state),
        "standin_fault" => server::fault(state, params),
        _ => Err(RpcError::new("unknownCmd", 32, "Unknown method.")),
    }
}

/// 1 unless the request asks for 2.
///
/// # Errors
/// `invalid_API_version`.
pub fn api_version(params: &Fields) -> Result<u32, RpcError> {
    match params.get("api_version").map(Value::as_u64) {
        None | Some(Some(1)) => Ok(1),
        Some(Some(2)) => Ok(2),
        _ => Err(RpcError { token: "invalid_API_version", code: None, message: None, extra: Fields::new() }),
    }
}

pub(super) fn object(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}
