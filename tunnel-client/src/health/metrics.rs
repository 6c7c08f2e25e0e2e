//! The states of services as a metric, read at each scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use relay::proto::HealthState;

use crate::expose::Exposes;

/// `causeway_service_health{service, state}`: 1 for the state that a service is in, 0 for the others.
#[derive(Debug)]
pub(crate) struct HealthMetrics(pub(crate) Arc<Exposes>);

impl Collector for HealthMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut metric = encoder.encode_descriptor(
            "causeway_service_health",
            "Whether the target of an exposed service is in a state",
            None,
            MetricType::Gauge,
        )?;
        for (service, _, found) in self.0.all() {
            for state in HealthState::ALL {
                let labels = [("service", service.as_str()), ("state", state.label())];
                let is_so = i64::from(found.health.state == state);
                ConstGauge::new(is_so).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
