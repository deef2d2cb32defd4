//! What came of each case.

use super::{Case, Course, Place};
use std::fmt;

#[derive(Debug, Clone)]
pub struct Row {
    pub place: Place,
    pub course: Course,
    pub case: Case,
    /// How often the process died in it; 0 when no payment came through there.
    pub deaths: u32,
}

/// Every case that was run. Each of them ended in exactly one payment: a case that does not is an error, not a row.
#[derive(Debug, Clone, Default)]
pub struct Table(pub Vec<Row>);

impl Table {
    pub fn deaths(&self) -> u32 {
        self.0.iter().map(|row| row.deaths).sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.case.to_string().len()).max().unwrap_or(0);
        let line = |cells: [&str; 6]| {
            let [chain, store, signer, course, case, outcome] = cells;
            format!("{chain:<8}  {store:<8}  {signer:<22}  {course:<11}  {case:<width$}  {outcome}")
        };
        writeln!(f, "{}", line(["chain", "store", "signer", "course", "died", "outcome"]))?;
        for Row { place, course, case, deaths } in &self.0 {
            let how = match deaths {
                0 => "not passed",
                1 => "",
                _ => "died again in recovery",
            };
            let end = match course {
                Course::Paid | Course::Reorganised | Course::SpedUp => "paid once",
                Course::Cancelled => "paid once or not at all",
                Course::Aborted => "paid nothing",
            };
            let outcome = if how.is_empty() { end.to_owned() } else { format!("{how}; {end}") };
            let (chain, course, case) = (place.chain.to_string(), format!("{course:?}"), case.to_string());
            writeln!(f, "{}", line([&chain, place.store, place.signer, &course, &case, &outcome]))?;
        }
        let passed = self.0.iter().filter(|row| row.deaths > 0).count();
        write!(
            f,
            "{} cases, {} deaths, {} not passed; every transfer ended once",
            self.0.len(),
            self.deaths(),
            self.0.len() - passed
        )
    }
}
