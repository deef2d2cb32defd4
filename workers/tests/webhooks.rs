//! Webhooks against a receiver in this process, with a clock that the tests turn.
#![allow(non_snake_case)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

#[path = "webhooks/hostile.rs"]
mod hostile;
#[path = "webhooks/receiver.rs"]
mod receiver;
#[path = "webhooks/retries.rs"]
mod retries;
#[path = "webhooks/told.rs"]
mod told;
#[path = "webhooks/world.rs"]
mod world;
