use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The node gets the request and acts on it; the connection is cut before its reply.
    DropReply,
    /// The node gets the request after this time.
    Delay(Duration),
    /// The node gets the request twice; the caller sees the second reply.
    Duplicate,
    /// The caller gets the headers and so many bytes of the reply's body, then the connection is cut.
    Truncate(usize),
    /// The connection is cut and the node gets nothing.
    Refuse,
    /// The caller gets this HTTP status (e.g. 503) with an empty body, and the node gets nothing.
    Status(u16),
}

/// A fault, the requests that it is for, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    fault: Fault,
    method: Option<String>,
    left: Option<usize>,
}

impl Rule {
    /// For every request until cleared.
    pub fn new(fault: Fault) -> Self {
        Self { fault, method: None, left: None }
    }

    /// Only for requests of this JSON-RPC method (in a batch: if any call of it is of the method).
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Only for the first `count` requests that fit.
    pub fn times(mut self, count: usize) -> Self {
        self.left = Some(count);
        self
    }

    pub fn once(self) -> Self {
        self.times(1)
    }
}

/// Rules in force and what was seen.
#[derive(Debug, Default)]
pub struct Book {
    rules: Vec<Rule>,
    seen: BTreeMap<String, usize>,
    faults: usize,
}

impl Book {
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    pub fn seen(&self, method: &str) -> usize {
        self.seen.get(method).copied().unwrap_or(0)
    }

    pub fn calls(&self) -> BTreeMap<String, usize> {
        self.seen.clone()
    }

    pub fn faults(&self) -> usize {
        self.faults
    }

    /// Counts a request with this body and says what happens to it.
    pub fn apply(&mut self, body: &[u8]) -> Option<Fault> {
        let methods = methods(body);
        for method in &methods {
            *self.seen.entry(method.clone()).or_default() += 1;
        }
        let rule = self.rules.iter_mut().find(|rule| {
            rule.left != Some(0) && rule.method.as_ref().is_none_or(|method| methods.contains(method))
        })?;
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        self.faults += 1;
        Some(rule.fault.clone())
    }
}

/// The methods that a body calls: none when it is not JSON-RPC, several in a batch.
fn methods(body: &[u8]) -> Vec<String> {
    let name = |call: &Value| call.get("method").and_then(Value::as_str).map(str::to_owned);
    match serde_json::from_slice(body) {
        Ok(Value::Array(calls)) => calls.iter().filter_map(name).collect(),
        Ok(call) => name(&call).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fitting_rule_is_used_and_used_up() {
        let mut book = Book::default();
        book.add(Rule::new(Fault::Refuse).method("send").once());
        book.add(Rule::new(Fault::DropReply).method("send").once());
        assert_eq!(book.apply(br#"{"method":"read"}"#), None);
        assert_eq!(book.apply(br#"{"method":"send"}"#), Some(Fault::Refuse));
        assert_eq!(book.apply(br#"[{"method":"read"},{"method":"send"}]"#), Some(Fault::DropReply));
        assert_eq!(book.apply(br#"{"method":"send"}"#), None);
        assert_eq!((book.seen("send"), book.seen("read"), book.faults()), (3, 2, 2));
    }

    #[test]
    fn bodies_that_are_not_json_fit_only_rules_for_everything() {
        let mut book = Book::default();
        book.add(Rule::new(Fault::Refuse).method("send"));
        assert_eq!(book.apply(b"\xff not json"), None);
        book.add(Rule::new(Fault::Status(503)));
        assert_eq!(book.apply(b""), Some(Fault::Status(503)));
    }
}
