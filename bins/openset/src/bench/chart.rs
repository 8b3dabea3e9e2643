//! A bar for each service: what its cryptography must cost, and what it cost.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 150.0;
const BAR: f64 = 22.0;
const ROW: f64 = 36.0;
const TOP: f64 = 58.0;
/// Told apart by brightness, too.
const FLOOR_COLOUR: &str = "#1f5fa8";
const REST_COLOUR: &str = "#c9d8ea";

/// Draws milliseconds of processor time per purchase as SVG: name, floor, measured.
pub(super) fn svg(
    title: &str,
    parties: &[&'static str],
    floor: &BTreeMap<&'static str, f64>,
    cpu: &BTreeMap<&'static str, f64>,
) -> String {
    let most = cpu.values().copied().fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let height = TOP + ROW * parties.len() as f64 + 12.0;
    let mut svg = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">"#
    );
    let _ = writeln!(
        svg,
        r#"<rect width="100%" height="100%" fill="white"/><text x="12" y="22" font-weight="bold">{}</text>"#,
        escaped(title)
    );
    for (x, colour, text) in [
        (12.0, FLOOR_COLOUR, "RSA operations"),
        (160.0, REST_COLOUR, "everything else"),
    ] {
        let _ = writeln!(
            svg,
            r#"<rect x="{x}" y="34" width="12" height="12" fill="{colour}"/><text x="{}" y="45">{text}</text>"#,
            x + 18.0
        );
    }
    for (row, party) in parties.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let of = |map: &BTreeMap<&'static str, f64>| map.get(party).copied().unwrap_or_default();
        let (floor, cpu) = (of(floor), of(cpu));
        let (middle, end) = (LEFT + floor * scale, LEFT + cpu * scale);
        let text_y = y + 16.0;
        let _ = writeln!(svg, r#"<text x="12" y="{text_y}">{party}</text>"#);
        for (from, to, colour) in [(LEFT, middle, FLOOR_COLOUR), (middle, end, REST_COLOUR)] {
            let width = (to - from).max(0.0);
            let _ = writeln!(
                svg,
                r#"<rect x="{from:.1}" y="{y}" width="{width:.1}" height="{BAR}" fill="{colour}"/>"#
            );
        }
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{text_y}">{cpu:.2} ms, RSA {floor:.2}</text>"#,
            end + 8.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_time() {
        let (floor, cpu) = (
            BTreeMap::from([("a", 1.0), ("b", 0.0)]),
            BTreeMap::from([("a", 4.0), ("b", 2.0)]),
        );
        let drawn = svg("x < y", &["a", "b"], &floor, &cpu);
        assert!(drawn.contains("x &lt; y"));
        // 394 units are the longest, 4 ms: a has 98.5 of RSA and 295.5 beside it, b 197.
        for width in ["98.5", "295.5", "197.0"] {
            assert!(drawn.contains(&format!("width=\"{width}\"")), "{width}");
        }
    }
}
