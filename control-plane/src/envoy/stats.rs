//! The filter's metrics, from Envoy's statistics to what we show ourselves.
//!
//! Envoy writes Prometheus' text format; [`crate::metrics`] writes OpenMetrics,
//! where a counter's family has no `_total` and every family its help. Names
//! and labels are those of `filter/src/host/metrics.rs`; a name that is not in
//! [`FILTER_METRICS`] is left out.

/// Where Envoy shows the filter's metrics and nothing else.
pub(super) const PATH: &str = "/stats/prometheus?filter=^wasmcustom\\.mercator_";

/// The metrics of the filter, as `docs/reference/metrics.md` lists them.
pub const FILTER_METRICS: &[(&str, &str)] = &[
    (
        "mercator_decisions",
        "Exchanges by verdict: allow, deny, error",
    ),
    (
        "mercator_rule_matches",
        "Rules that matched, by policy, rule, effect and mode (enforce or shadow)",
    ),
    (
        "mercator_unscanned",
        "Bodies that were not read in full, by direction and reason",
    ),
    ("mercator_findings", "What detectors found, by kind"),
    (
        "mercator_tokens",
        "Tokens by direction and kind: reported by the provider, or estimated where it reported none",
    ),
    ("mercator_request_bytes", "Bytes of request bodies"),
    ("mercator_response_bytes", "Bytes of response bodies"),
    (
        "mercator_inspection_duration_microseconds",
        "Time to read a request and decide on it",
    ),
    (
        "mercator_evidence_outbox_records",
        "Records that filters hold and no control plane has acknowledged",
    ),
    (
        "mercator_evidence_dropped",
        "Records that a full outbox left to the access log",
    ),
    (
        "mercator_evidence_refused",
        "Records that the control plane refused",
    ),
    (
        "mercator_evidence_first_stored",
        "Requests that waited for their record and went on once it was stored",
    ),
    (
        "mercator_evidence_first_failed",
        "Requests that waited for their record in vain",
    ),
    (
        "mercator_keyed_requests",
        "Requests with an Idempotency-Key by how they went on: first, again, unprotected, replayed, none",
    ),
    (
        "mercator_keyed_answers",
        "Answers to them, where answers are kept, by kind: kept, too_large, no_room, unreadable",
    ),
    (
        "mercator_keyed_answers_lost",
        "Answers that were to be kept and that no control plane took",
    ),
    (
        "mercator_filter_bundle_info",
        "1 for the bundle that filters enforce",
    ),
    (
        "mercator_filter_bundle_confirmed_timestamp_seconds",
        "Unix time at which a control plane last confirmed that bundle, with inspection.max_staleness",
    ),
];

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
            let help = FILTER_METRICS.iter().find(|(known, _)| *known == name);
            known = help.is_some();
            if let Some((_, help)) = help {
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
