//! Ledger time: seconds since 2000-01-01T00:00:00Z.

/// Unix time of the ledger epoch.
pub const LEDGER_EPOCH: u64 = 946_684_800;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `2026-11-20T22:19:21Z`
#[must_use]
pub fn iso_time(seconds: u32) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let (h, m, s) = clock(seconds);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

/// `2026-Nov-20 22:19:21.000000000 UTC`
#[must_use]
pub fn human_time(seconds: u32) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let (h, m, s) = clock(seconds);
    let month = MONTHS[(month as usize - 1) % MONTHS.len()];
    format!("{year:04}-{month}-{day:02} {h:02}:{m:02}:{s:02}.000000000 UTC")
}

fn clock(seconds: u32) -> (u32, u32, u32) {
    let of_day = seconds % 86_400;
    (of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Days since 2000-01-01 to year, month and day of the proleptic Gregorian calendar.
fn civil(days: u32) -> (u32, u32, u32) {
    // 2000-03-01 starts a 400-year era; January and February of 2000 are the 60 days before it.
    let Some(days) = days.checked_sub(60) else {
        return if days < 31 { (2000, 1, days + 1) } else { (2000, 2, days - 30) };
    };
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (2000 + era * 400 + year + u32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_should_print_as_rippled_prints_them() {
        assert_eq!(iso_time(848_528_361), "2026-11-20T22:19:21Z");
        assert_eq!(human_time(848_528_420), "2026-Nov-20 22:20:20.000000000 UTC");
        assert_eq!(iso_time(0), "2000-01-01T00:00:00Z");
        assert_eq!(iso_time(59 * 86_400), "2000-02-29T00:00:00Z");
        assert_eq!(iso_time(60 * 86_400), "2000-03-01T00:00:00Z");
        assert_eq!(iso_time(366 * 86_400 - 1), "2000-12-31T23:59:59Z");
    }
}
