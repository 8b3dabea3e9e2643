//! Which CAs are to be made, before any key is.

use openset_pki::Role;
use openset_pki::authority::Subject;
use openset_protocol::BrandId;

use super::{Ca, Hierarchy, ROOT};
use crate::config::slug;
use crate::store::regions::Region;

/// Nested, so that no CA outlives the one above it: root, brand, region, issuing CA.
const ROOT_YEARS: i64 = 12;
const BRAND_YEARS: i64 = 8;
const REGION_YEARS: i64 = 6;
const ISSUING_YEARS: i64 = 4;
/// The CAs of a region, by the last part of their names.
const ISSUING: [(&str, Role, &str); 3] = [
    ("cca", Role::CardholderCa, "Cardholder CA"),
    ("mca", Role::MerchantCa, "Merchant CA"),
    ("pca", Role::GatewayCa, "Payment Gateway CA"),
];
/// The root's name in its certificate, unless the operator chooses another.
pub(crate) const ROOT_NAME: &str = "OpenSET Test Root";

/// A CA to be made.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) id: String,
    /// The CA that issues for it, held or planned before; none for a root.
    pub(crate) parent: Option<String>,
    pub(crate) series: String,
    pub(crate) generation: i64,
    pub(crate) region: Option<String>,
    pub(crate) role: Role,
    pub(crate) subject: Subject,
    pub(crate) years: i64,
    pub(crate) path_len: u8,
    /// The generation that it takes the place of.
    pub(crate) replaces: Option<String>,
}

/// Names of a brand's CAs: those of the first region have no region in theirs.
#[derive(Debug, Clone, Copy)]
struct Naming<'a> {
    brand: &'a BrandId,
    region: Option<(&'a Region, bool)>,
}

impl Naming<'_> {
    fn series(&self, ca: &str) -> String {
        match self.region {
            Some((region, false)) => format!("{}-{}-{ca}", slug(self.brand.as_str()), region.slug),
            _ => format!("{}-{ca}", slug(self.brand.as_str())),
        }
    }
}

/// The first root.
pub(crate) fn first_root() -> Planned {
    root(1, None)
}

/// The root after one.
pub(crate) fn next_root(held: &Hierarchy) -> Planned {
    let newest = held.newest_root();
    root(newest.generation.saturating_add(1), Some(newest.id.clone()))
}

fn root(generation: i64, replaces: Option<String>) -> Planned {
    Planned {
        id: named(ROOT, generation, "-"),
        parent: None,
        series: ROOT.to_owned(),
        generation,
        region: None,
        role: Role::RootCa,
        subject: Subject {
            common_name: named(ROOT_NAME, generation, " "),
            ..Subject::default()
        },
        years: ROOT_YEARS,
        path_len: 3,
        replaces,
    }
}

/// What a brand lacks below a root: its own CA, and those of regions.
pub(crate) fn missing(
    held: Option<&Hierarchy>,
    root: &str,
    brand: &BrandId,
    regions: &[(Region, bool)],
) -> Vec<Planned> {
    let there = |series: &str| held.is_some_and(|held| held.newest(series).is_some());
    let naming = Naming {
        brand,
        region: None,
    };
    let mut planned = Vec::new();
    let series = naming.series("bca");
    let bca = match held.and_then(|held| held.current(&series)) {
        Some(ca) => ca.id.clone(),
        // Its only generation was revoked: it is for the operator to renew it.
        None if there(&series) => return planned,
        None => {
            planned.push(brand_ca(brand, series.clone(), 1, root.to_owned()));
            series
        }
    };
    for (region, first) in regions {
        let naming = Naming {
            brand,
            region: Some((region, *first)),
        };
        let gca = naming.series("gca");
        if there(&gca) {
            continue;
        }
        planned.push(regional_ca(brand, region, gca.clone(), 1, bca.clone()));
        for (ca, role, title) in ISSUING {
            let series = naming.series(ca);
            planned.push(issuing_ca(
                brand,
                region,
                (role, title),
                series,
                1,
                gca.clone(),
            ));
        }
    }
    planned
}

/// The next generation of a CA, and with `below` of all current ones below it. Its parent is the generation
/// that issues now, or the one planned.
pub(crate) fn renewal(
    held: &Hierarchy,
    ca: &Ca,
    parent: String,
    below: bool,
) -> anyhow::Result<Vec<Planned>> {
    let mut planned = vec![next(held, ca, parent)?];
    if below {
        let mut at = 0;
        while let Some(above) = planned.get(at).cloned() {
            at = at.saturating_add(1);
            for child in children(held, above.replaces.as_deref()) {
                planned.push(next(held, child, above.id.clone())?);
            }
        }
    }
    Ok(planned)
}

/// The newest generations that stand below any generation of a CA's series.
fn children<'a>(held: &'a Hierarchy, id: Option<&str>) -> Vec<&'a Ca> {
    let Some(series) = id.and_then(|id| held.by_id(id)).map(|ca| &ca.series) else {
        return Vec::new();
    };
    let below = |ca: &&Ca| {
        held.by_id(&ca.parent)
            .is_some_and(|parent| parent.series == *series)
            && held
                .newest(&ca.series)
                .is_some_and(|newest| newest.id == ca.id)
    };
    held.all().iter().map(AsRef::as_ref).filter(below).collect()
}

fn next(held: &Hierarchy, ca: &Ca, parent: String) -> anyhow::Result<Planned> {
    let generation = ca.generation.saturating_add(1);
    let brand = ca
        .brand()
        .ok_or_else(|| anyhow::anyhow!("{} has no brand", ca.id))?;
    let region = || {
        let slug = ca.region.as_deref().unwrap_or_default();
        held.regions()
            .iter()
            .find(|region| region.slug == slug)
            .ok_or_else(|| anyhow::anyhow!("the region {slug:?} of {} is not known", ca.id))
    };
    let series = ca.series.clone();
    let mut planned = match ca.role() {
        Role::BrandCa => brand_ca(brand, series, generation, parent),
        Role::RegionalCa => regional_ca(brand, region()?, series, generation, parent),
        role => {
            let (_, role, title) = ISSUING
                .into_iter()
                .find(|(_, issuing, _)| *issuing == role)
                .ok_or_else(|| anyhow::anyhow!("{} is no CA below a root", ca.id))?;
            issuing_ca(brand, region()?, (role, title), series, generation, parent)
        }
    };
    planned.replaces = Some(ca.id.clone());
    Ok(planned)
}

/// A generation of a brand's CA.
pub(crate) fn brand_ca(
    brand: &BrandId,
    series: String,
    generation: i64,
    parent: String,
) -> Planned {
    Planned {
        id: named(&series, generation, "-"),
        parent: Some(parent),
        series,
        generation,
        region: None,
        role: Role::BrandCa,
        subject: subject(brand, "Brand", &format!("{brand} Brand CA"), generation),
        years: BRAND_YEARS,
        path_len: 2,
        replaces: None,
    }
}

fn regional_ca(
    brand: &BrandId,
    region: &Region,
    series: String,
    generation: i64,
    parent: String,
) -> Planned {
    let name = &region.name;
    Planned {
        id: named(&series, generation, "-"),
        parent: Some(parent),
        series,
        generation,
        region: Some(region.slug.clone()),
        role: Role::RegionalCa,
        subject: subject(brand, name, &format!("{brand} {name} CA"), generation),
        years: REGION_YEARS,
        path_len: 1,
        replaces: None,
    }
}

fn issuing_ca(
    brand: &BrandId,
    region: &Region,
    (role, title): (Role, &str),
    series: String,
    generation: i64,
    parent: String,
) -> Planned {
    let name = &region.name;
    Planned {
        id: named(&series, generation, "-"),
        parent: Some(parent),
        series,
        generation,
        region: Some(region.slug.clone()),
        role,
        subject: subject(brand, name, &format!("{brand} {name} {title}"), generation),
        years: ISSUING_YEARS,
        path_len: 0,
        replaces: None,
    }
}

fn subject(brand: &BrandId, organizational_unit: &str, name: &str, generation: i64) -> Subject {
    Subject {
        country: None,
        brand: Some(brand.clone()),
        organizational_unit: Some(organizational_unit.to_owned()),
        common_name: named(name, generation, " "),
    }
}

/// A name, ending with the generation from the second on.
fn named(name: &str, generation: i64, between: &str) -> String {
    if generation == 1 {
        name.to_owned()
    } else {
        format!("{name}{between}{generation}")
    }
}
