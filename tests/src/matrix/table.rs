//! What came of each case.

use super::{Case, Course, Part, Place};
use anyhow::Context as _;
use std::{collections::BTreeMap, fmt, path::Path, time::Instant};

#[derive(Debug, Clone)]
pub struct Row {
    pub place: Place,
    pub course: Course,
    pub case: Case,
    /// How often the process died in it; 0 when no payment came through there.
    pub deaths: u32,
}

/// Every case that was run. Each of them ended in exactly one payment: a case that does not is an error, not a row.
#[derive(Debug, Clone)]
pub struct Table {
    pub rows: Vec<Row>,
    /// Which of all there are.
    pub part: Part,
}

/// Cases at one place.
#[derive(Default)]
struct Sum {
    cases: usize,
    passed: usize,
    deaths: u32,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cases, passed, deaths } = self;
        let not = cases - passed;
        write!(f, "{deaths} deaths in {passed} cases, {passed} of {passed} transfers ended exactly once")?;
        if not > 0 { write!(f, " ({not} more were not passed again)") } else { Ok(()) }
    }
}

impl Table {
    pub fn deaths(&self) -> u32 {
        self.rows.iter().map(|row| row.deaths).sum()
    }

    /// A line for each chain, store and signer, and one for all.
    pub fn summary(&self) -> String {
        let mut sums = BTreeMap::<String, Sum>::new();
        for row in &self.rows {
            for place in [row.place.to_string(), "together".to_owned()] {
                let sum = sums.entry(place).or_default();
                sum.cases += 1;
                sum.passed += usize::from(row.deaths > 0);
                sum.deaths += row.deaths;
            }
        }
        let part = self.part.to_string();
        let part = if part.is_empty() { part } else { format!(" ({part})") };
        sums.iter().map(|(place, sum)| format!("{place}: {sum}{part}\n")).collect()
    }

    /// Prints it, and leaves its summary where the closing words of the whole run are put together from.
    ///
    /// # Errors
    /// When that file cannot be written.
    pub fn close(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        println!("{self}");
        std::fs::create_dir_all(folder)?;
        let file = folder.join(format!("{name}.txt"));
        std::fs::write(&file, self.summary()).with_context(|| file.display().to_string())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.case.to_string().len()).max().unwrap_or(0);
        let line = |cells: [&str; 6]| {
            let [chain, store, signer, course, case, outcome] = cells;
            format!("{chain:<8}  {store:<8}  {signer:<22}  {course:<14}  {case:<width$}  {outcome}")
        };
        writeln!(f, "{}", line(["chain", "store", "signer", "course", "died", "outcome"]))?;
        for Row { place, course, case, deaths } in &self.rows {
            let how = match deaths {
                0 => "not passed; ",
                1 => "",
                _ => "died again in recovery; ",
            };
            let outcome = format!("{how}{}", course.end());
            let (chain, course, case) = (place.chain.to_string(), format!("{course:?}"), case.to_string());
            writeln!(f, "{}", line([&chain, place.store, place.signer, &course, &case, &outcome]))?;
        }
        f.write_str(self.summary().trim_end())
    }
}

/// Says now and then how far a course is.
pub struct Progress {
    what: String,
    began: Instant,
    cases: usize,
    done: usize,
    deaths: u32,
}

impl Progress {
    /// So many cases are worth a line.
    const OFTEN: usize = 25;

    pub(super) fn begin(place: &Place, course: Course, cases: usize) -> Self {
        let what = format!("{place}, {course:?}");
        println!("{what}: {cases} cases");
        Self { what, began: Instant::now(), cases, done: 0, deaths: 0 }
    }

    pub(super) fn one_more(&mut self, deaths: u32) {
        self.done += 1;
        self.deaths += deaths;
        if self.done == self.cases || self.done.is_multiple_of(Self::OFTEN) {
            let Self { what, began, cases, done, deaths } = self;
            println!("{what}: {done} of {cases} cases, {deaths} deaths, {} s", began.elapsed().as_secs());
        }
    }
}
