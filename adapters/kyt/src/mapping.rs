//! From a provider's words to risk bands and outcomes. Strict where nothing is configured.

use crate::provider::{Level, Report};
use bursar_domain::screening::{Finding, MAX_FINDINGS, RiskBand, Screened};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What to make of what a provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    outcomes: BTreeMap<RiskBand, Screened>,
    categories: BTreeMap<String, Category>,
    sanctions: BTreeSet<String>,
    nothing_found: Option<RiskBand>,
    /// The least score, in thousandths, of each band from MEDIUM up.
    scores: [u32; 3],
}

/// `[mapping]` of the configuration.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MappingConfig {
    /// What a band leads to. Absent ones: LOW is CLEAR, MEDIUM and UNKNOWN are REVIEW, HIGH and SEVERE are BLOCK.
    pub outcomes: BTreeMap<RiskBand, Screened>,
    /// What a category leads to, whatever its level. Names are compared without case, spaces, `_` and `-`.
    pub categories: BTreeMap<String, Category>,
    /// Further categories that are sanctions hits.
    pub sanctions: Vec<String>,
    /// The band where a provider has looked and found nothing.
    pub nothing_found: Option<RiskBand>,
    /// From which score of 0 to 10 on the bands begin.
    pub scores: Option<Scores>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Category {
    pub risk: Option<RiskBand>,
    /// Never milder than what the level leads to.
    pub outcome: Option<Screened>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    pub medium: f64,
    pub high: f64,
    pub severe: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapping {
    #[error("mapping.outcomes.{0}: must not be CLEAR")]
    NeverClear(RiskBand),
    #[error("mapping.outcomes.{higher}: must not be milder than that of {lower}")]
    Order { lower: RiskBand, higher: RiskBand },
    #[error("mapping.scores: must rise from medium over high to severe, from 0 to 10")]
    Scores,
    #[error("mapping.categories.{0}: give risk, outcome, or both")]
    Empty(String),
}

/// What always is a sanctions hit: words that are in a category's name, and its number at Chainalysis.
const SANCTIONS: [&str; 3] = ["sanction", "ofacsdn", "specialdesignatednational"];

/// A report, as this desk sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scored {
    pub risk: RiskBand,
    pub sanctions: bool,
    pub outcome: Screened,
    /// The worst first.
    pub findings: Vec<Finding>,
}

impl Mapping {
    /// # Errors
    /// A table that lets through what must not be: the field, and what it must be.
    pub fn new(config: MappingConfig) -> Result<Self, InvalidMapping> {
        let MappingConfig { outcomes: given, categories, sanctions, nothing_found, scores } = config;
        let mut outcomes = BTreeMap::from([
            (RiskBand::Low, Screened::Clear),
            (RiskBand::Medium, Screened::Review),
            (RiskBand::High, Screened::Block),
            (RiskBand::Severe, Screened::Block),
            (RiskBand::Unknown, Screened::Review),
        ]);
        outcomes.extend(given);
        for band in [RiskBand::Severe, RiskBand::Unknown] {
            if outcomes[&band] == Screened::Clear {
                return Err(InvalidMapping::NeverClear(band));
            }
        }
        let rising = [RiskBand::Low, RiskBand::Medium, RiskBand::High, RiskBand::Severe];
        for pair in rising.windows(2) {
            let (lower, higher) = (pair[0], pair[1]);
            if outcomes[&higher] < outcomes[&lower] {
                return Err(InvalidMapping::Order { lower, higher });
            }
        }
        for (name, category) in &categories {
            if category.risk.is_none() && category.outcome.is_none() {
                return Err(InvalidMapping::Empty(name.clone()));
            }
        }
        let scores = scores.unwrap_or(Scores { medium: 1.0, high: 5.0, severe: 8.0 });
        let rise = 0.0 <= scores.medium
            && scores.medium <= scores.high
            && scores.high <= scores.severe
            && scores.severe <= 10.0;
        if !rise {
            return Err(InvalidMapping::Scores);
        }
        let categories = categories.into_iter().map(|(name, category)| (plain(&name), category)).collect();
        let sanctions = sanctions.iter().map(|name| plain(name)).collect();
        let scores = [scores.medium, scores.high, scores.severe].map(thousandths);
        Ok(Self { outcomes, categories, sanctions, nothing_found, scores })
    }

    /// The band of a level, as far as it has one.
    fn band(&self, level: &Level) -> RiskBand {
        match level {
            Level::Band(band) => *band,
            Level::Word(word) => match plain(word).as_str() {
                "low" | "lowrisk" | "norisk" => RiskBand::Low,
                "medium" | "mediumrisk" => RiskBand::Medium,
                "high" | "highrisk" => RiskBand::High,
                "severe" | "severerisk" | "critical" => RiskBand::Severe,
                _ => RiskBand::Unknown,
            },
            Level::Score(score) if score.is_finite() && (0.0..=10.0).contains(score) => {
                let score = thousandths(*score);
                match self.scores {
                    [_, _, severe] if score >= severe => RiskBand::Severe,
                    [_, high, _] if score >= high => RiskBand::High,
                    [medium, ..] if score >= medium => RiskBand::Medium,
                    _ => RiskBand::Low,
                }
            }
            Level::Score(_) | Level::Unknown => RiskBand::Unknown,
            Level::NothingFound { usually } => self.nothing_found.unwrap_or(*usually),
        }
    }

    /// Whether a category is one of sanctions.
    pub fn is_sanctions(&self, category: &str) -> bool {
        let name = plain(category);
        SANCTIONS.iter().any(|word| name.contains(word)) || self.sanctions.contains(&name)
    }

    /// The worst of all that is in it.
    pub fn score(&self, report: &Report) -> Scored {
        let mut risk = self.band(&report.level);
        let mut outcome = report.outcome.map_or(self.outcomes[&risk], |said| said.max(self.outcomes[&risk]));
        let mut sanctions = report.sanctions;
        let mut findings = Vec::with_capacity(report.findings.len().min(MAX_FINDINGS));
        for mark in &report.findings {
            let hit = mark.sanctions || self.is_sanctions(&mark.category);
            let configured = self.categories.get(&plain(&mark.category));
            let band = match configured.and_then(|category| category.risk) {
                _ if hit => RiskBand::Severe,
                Some(band) => band,
                None => self.band(&mark.level),
            };
            sanctions |= hit;
            risk = worse(risk, band);
            outcome = outcome.max(self.outcomes[&band]);
            if let Some(at_least) = configured.and_then(|category| category.outcome) {
                outcome = outcome.max(at_least);
            }
            findings.push(Finding {
                category: crate::text::short(&mark.category, 100),
                risk: band,
                description: crate::text::short(&mark.description, 500),
            });
        }
        if sanctions {
            (risk, outcome) = (RiskBand::Severe, Screened::Block);
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(rank(finding.risk)));
        findings.truncate(MAX_FINDINGS);
        Scored { risk, sanctions, outcome, findings }
    }
}

/// The worse of two. What is not known is worse than what is known to be harmless, and not worse than what is known to be bad.
pub fn worse(a: RiskBand, b: RiskBand) -> RiskBand {
    if rank(b) > rank(a) { b } else { a }
}

pub(crate) const fn rank(band: RiskBand) -> u8 {
    match band {
        RiskBand::Low => 0,
        RiskBand::Medium => 1,
        RiskBand::Unknown => 2,
        RiskBand::High => 3,
        RiskBand::Severe => 4,
    }
}

/// Providers write one category in several ways.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Of a score that is between 0 and 10. Scores are no amounts: nothing is lost that anybody counts.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10 000")]
fn thousandths(score: f64) -> u32 {
    (score * 1000.0).round() as u32
}

#[cfg(test)]
mod tests;
