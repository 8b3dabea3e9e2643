//! `list`: certificates with their status and the days that they have left.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use openset_pki::Role;
use openset_protocol::BrandId;
use openset_service::clock;

use crate::authorities::Authorities;
use crate::routes::certificates::View;
use crate::store::certificates::{self, Filter, Issued, Status};

/// How many are read at once.
const PAGE: i64 = 500;

#[derive(Debug, Default, Args)]
pub(super) struct ListArgs {
    /// Only the CAs' own certificates.
    #[arg(long)]
    own: bool,
    /// Only of owners with this role, such as merchant or brand_ca.
    #[arg(long)]
    role: Option<String>,
    /// Only of this brand.
    #[arg(long)]
    brand: Option<BrandId>,
    /// Only good, expired, revoked or retired ones.
    #[arg(long)]
    status: Option<Status>,
    /// Only those in force that run out within so many days, without OCSP responders'.
    #[arg(long, value_name = "DAYS")]
    expiring: Option<u32>,
    /// As JSON, one array.
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(ca: &Authorities, args: &ListArgs) -> anyhow::Result<String> {
    let now_s = clock::now_seconds();
    let ahead = |days: u32| now_s.saturating_add(i64::from(days).saturating_mul(86_400));
    let filter = Filter {
        role: args.role.as_deref().map(role).transpose()?,
        brand: args.brand.clone(),
        status: args.status,
        expiring_before_s: args.expiring.map(ahead),
        own: args.own,
    };
    let mut conn = ca.db.read().await?;
    let mut all: Vec<Issued> = Vec::new();
    loop {
        let after = all.last().map(|last| {
            let serial = certificates::serial(&last.certificate);
            (last.issued_at_s, serial)
        });
        let (at_s, serial) = after.unwrap_or_default();
        let page = certificates::list(&mut conn, &filter, (at_s, &serial), PAGE, now_s).await?;
        let last = i64::try_from(page.len())? < PAGE;
        all.extend(page);
        if last {
            break;
        }
    }
    if args.json {
        let views: Vec<View> = all
            .into_iter()
            .map(|issued| View::of(issued, now_s))
            .collect();
        return Ok(serde_json::to_string_pretty(&views)? + "\n");
    }
    table(&all, now_s)
}

fn role(name: &str) -> anyhow::Result<Role> {
    serde_json::from_value(name.into()).with_context(|| {
        let names: Vec<String> = Role::ALL
            .iter()
            .filter_map(|role| certificates::text(role).ok())
            .collect();
        format!("--role {name} is none of {}", names.join(", "))
    })
}

fn table(all: &[Issued], now_s: i64) -> anyhow::Result<String> {
    let heads = ["STATUS", "DAYS", "OF", "PURPOSE", "BRAND", "NAME", "SERIAL"];
    let mut rows = vec![heads.map(str::to_owned)];
    for issued in all {
        let certificate = &issued.certificate;
        rows.push([
            issued.status(now_s).name().to_owned(),
            issued.days_left(now_s).to_string(),
            issued
                .owner
                .clone()
                .unwrap_or(certificates::text(&certificate.role())?),
            certificate.purpose().name().to_owned(),
            certificate.brand().map_or("-", BrandId::as_str).to_owned(),
            certificate.common_name().to_owned(),
            certificates::serial(certificate),
        ]);
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ")?;
        }
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(text)
}
