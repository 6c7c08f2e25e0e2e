//! How many clusters and services there are, read at each scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use relay::proto::HealthState;

use super::Clusters;
use super::known::State;

/// `causeway_clusters{state}` and `causeway_service_health{state}`. Names of clusters and services are
/// peers' words, and no labels.
#[derive(Debug)]
pub(crate) struct ClusterMetrics(pub(crate) Arc<Clusters>);

impl Collector for ClusterMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (clusters, services) = self.0.known.lock().counts();
        let states = [State::Connected, State::Disconnected].map(State::label);
        gauge(
            &mut encoder,
            "causeway_clusters",
            "Clusters that are listed, by whether there is a session with them",
            states.into_iter().zip(clusters),
        )?;
        gauge(
            &mut encoder,
            "causeway_service_health",
            "Services of connected clusters, by the state of their targets",
            HealthState::ALL
                .map(HealthState::label)
                .into_iter()
                .zip(services),
        )
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'static str, usize)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (state, count) in values {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        ConstGauge::new(count).encode(metric.encode_family(&[("state", state)])?)?;
    }
    Ok(())
}
