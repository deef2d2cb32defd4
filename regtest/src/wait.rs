use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::RegtestError;

/// Polls `check` until it gives `Ok`, at most for `timeout`. `Err` means "not yet" and carries the state seen, which the
/// error reports when time runs out. A single check that hangs is cut off at the same deadline.
///
/// Level-triggered: it looks at the state as it is, so that an event between two looks cannot be missed.
///
/// # Errors
/// [`RegtestError::TimedOut`] with `label` and the last state.
pub async fn eventually<T, E, F, Fut>(
    timeout: Duration,
    interval: Duration,
    label: &str,
    mut check: F,
) -> Result<T, RegtestError>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + timeout;
    let mut last = "nothing seen yet".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(state)) => last = state.to_string(),
            Err(_) => last = format!("{last} (and the last look did not come back)"),
        }
        if Instant::now() + interval >= deadline {
            return Err(RegtestError::TimedOut { label: label.to_owned(), seconds: timeout.as_secs(), last });
        }
        tokio::time::sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reports_the_last_state() {
        let mut looks = 0;
        let error = eventually(Duration::from_millis(50), Duration::from_millis(5), "the moon", || {
            looks += 1;
            let state = format!("look {looks}");
            async move { Err::<(), _>(state) }
        })
        .await
        .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the moon") && text.contains(&format!("look {looks}")), "{text}");
    }

    #[tokio::test]
    async fn cuts_off_a_check_that_hangs() {
        let error = eventually(Duration::from_millis(50), Duration::from_millis(5), "nothing", || async {
            std::future::pending::<Result<(), String>>().await
        })
        .await
        .unwrap_err();
        assert!(error.to_string().contains("did not come back"), "{error}");
    }

    #[tokio::test]
    async fn gives_the_value_once_it_is_there() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), Duration::from_millis(1), "three", || {
            looks += 1;
            let seen = looks;
            async move { if seen == 3 { Ok(seen) } else { Err(seen) } }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }
}
