//! The filter's metrics, from Envoy's statistics to what we show ourselves.
//!
//! Envoy writes Prometheus' text format; [`crate::metrics`] writes OpenMetrics,
//! where a counter's family has no `_total` and every family its help. What is
//! no [`Family`] is left out.

use jupiter_filter::metrics::Family;

/// Where Envoy shows the filter's metrics and nothing else.
pub(super) const PATH: &str = "/stats/prometheus?filter=^wasmcustom\\.mercator_";

/// Envoy's text as families of OpenMetrics, without the end mark.
pub fn open_metrics(prometheus: &str) -> String {
    let mut text = String::new();
    let mut known = false;
    for line in prometheus.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap_or((family, "unknown"));
            let name = match kind {
                "counter" => name.strip_suffix("_total").unwrap_or(name),
                _ => name,
            };
            let family = Family::ALL.iter().find(|family| family.name() == name);
            known = family.is_some();
            if let Some(help) = family.map(|family| family.help()) {
                text.push_str(&format!("# HELP {name} {help}.\n# TYPE {name} {kind}\n"));
            }
        } else if known && !line.is_empty() && !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_lose_their_suffix_and_foreign_names_are_left_out() {
        let prometheus = "\
# TYPE mercator_decisions_total counter
mercator_decisions_total{verdict=\"allow\"} 3

# TYPE mercator_surprise counter
mercator_surprise{} 1
# TYPE mercator_evidence_outbox_records gauge
mercator_evidence_outbox_records{} 0
";
        assert_eq!(
            open_metrics(prometheus),
            "\
# HELP mercator_decisions Exchanges by verdict: allow, deny, error.
# TYPE mercator_decisions counter
mercator_decisions_total{verdict=\"allow\"} 3
# HELP mercator_evidence_outbox_records Records that filters hold and no control plane has acknowledged.
# TYPE mercator_evidence_outbox_records gauge
mercator_evidence_outbox_records{} 0
"
        );
        assert_eq!(open_metrics(""), "");
    }
}
