//! Whether an address book entry names a place that a payment can go to. Replay compares text; only a chain's adapter knows its form.

use crate::intake::adapter;
use bursar_domain::{governance::address_book::AddressEntry, ports::InvalidDestination};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDestinationOf {
    #[error("destination.address: {0}")]
    Invalid(#[from] InvalidDestination),
    /// Payments are compared with the canonical form, so another would match none.
    #[error("destination: must be written as {address}{}", .tag.map(|tag| format!(" with tag {tag}")).unwrap_or_default())]
    NotCanonical { address: String, tag: Option<u32> },
}

/// Checksum, network, type, and that it is written as payments are.
pub fn check_destination(entry: &AddressEntry) -> Result<(), InvalidDestinationOf> {
    let written = &entry.destination;
    let canonical =
        adapter(entry.network.chain()).parse_destination(entry.network, &written.address, written.tag)?;
    if canonical != *written {
        return Err(InvalidDestinationOf::NotCanonical { address: canonical.address, tag: canonical.tag });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(network: &str, address: &str) -> AddressEntry {
        serde_json::from_value(serde_json::json!({
            "id": "a", "network": network, "destination": { "address": address }, "label": "A"
        }))
        .unwrap()
    }

    #[test]
    fn only_addresses_in_their_canonical_form_are_listed() {
        let good = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48";
        assert_eq!(check_destination(&entry("ethereum:1", good)), Ok(()));
        assert_eq!(
            check_destination(&entry("ethereum:1", &good.to_lowercase())),
            Err(InvalidDestinationOf::NotCanonical { address: good.into(), tag: None })
        );
        let mistyped = good.replace("A0b", "a0b");
        assert!(matches!(
            check_destination(&entry("ethereum:1", &mistyped)),
            Err(InvalidDestinationOf::Invalid(_))
        ));
        assert!(matches!(
            check_destination(&entry("xrp:0", "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYF")),
            Err(InvalidDestinationOf::Invalid(_))
        ));
    }
}
