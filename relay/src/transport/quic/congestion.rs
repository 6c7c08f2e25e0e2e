//! CUBIC (RFC 9438) that begins with the first answer.
//!
//! A handshake that is begun while the network is away loses its first packets, which says nothing of
//! how much the path carries. Taken for congestion, it would end slow start at some 8 KiB, and a
//! session that goes on over this connection would crawl for seconds.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig};
use quinn_proto::RttEstimator;

/// Makes the controllers.
#[derive(Debug, Default)]
pub(super) struct FromFirstAnswer(Arc<CubicConfig>);

impl ControllerFactory for FromFirstAnswer {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Answered {
            cubic: Cubic::new(self.0.clone(), now, current_mtu),
            first_answered: None,
        })
    }
}

#[derive(Clone, Debug)]
struct Answered {
    cubic: Cubic,
    /// When the first of those packets was sent that were acknowledged.
    first_answered: Option<Instant>,
}

impl Controller for Answered {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        let first = self.first_answered.unwrap_or(sent);
        self.first_answered = Some(first.min(sent));
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        if self.first_answered.is_some_and(|first| sent >= first) {
            self.cubic
                .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_is_lost_after_the_first_answer_is_congestion() {
        let began = Instant::now();
        let mut controller = Answered {
            cubic: Cubic::new(Arc::default(), began, 1200),
            first_answered: None,
        };
        let [lost, answered, later] = [0, 3, 4].map(|s| began + Duration::from_secs(s));
        controller.on_congestion_event(answered, lost, false, 1200);
        controller.first_answered = Some(answered);
        controller.on_congestion_event(answered, lost, false, 1200);
        assert_eq!(controller.window(), controller.initial_window());
        controller.on_congestion_event(later, answered, false, 1200);
        assert!(controller.window() < controller.initial_window());
    }
}
