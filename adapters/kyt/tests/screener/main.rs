//! Each provider against a stand-in that speaks the vendor's shapes, and the screener from end to end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod alerts;
mod chainalysis;
mod elliptic;
mod failures;
mod hook;
mod list;
mod over_http;
mod support;
mod trm;
