//! How long warm purchases take: steps 4 to 10, as the person with the wallet sees them.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Story;
use super::calls::Calls;
use super::processes::Services;
use super::screen::Screen;

pub(crate) async fn run(
    calls: &Calls,
    story: &Story,
    count: u32,
    services: Option<&Services>,
    screen: &Screen,
) -> anyhow::Result<()> {
    let amount = calls.price(&story.product_id).await?;
    let mut millis = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        let purchase = calls
            .purchase_for(&story.card_id, &story.product_id, 1, &amount)
            .await?;
        millis.push(started.elapsed().as_secs_f64() * 1000.0);
        let status = purchase.get("status").and_then(Value::as_str);
        ensure!(
            status == Some("paid"),
            "a purchase was not paid: {purchase}"
        );
    }
    millis.sort_by(f64::total_cmp);
    let at = |share: usize| {
        millis
            .get(millis.len().saturating_mul(share) / 100)
            .copied()
            .context("no purchases")
    };
    let (low, median, high) = (at(0)?, at(50)?, at(95)?);
    screen.line(&format!("{count} purchases one after another: median {median:.1} ms, fastest {low:.1} ms, 95% within {high:.1} ms"));
    if let Some(services) = services {
        let shown = Services::parties().map(|party| {
            let mib = services.resident_kib(party).unwrap_or_default() as f64 / 1024.0;
            format!("{party} {mib:.0} MiB")
        });
        screen.line(&format!("resident memory: {}", shown.join(", ")));
    }
    Ok(())
}
