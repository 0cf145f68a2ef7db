use tokio::sync::oneshot::error::TryRecvError;

use crate::peer::{ReplyMemory, RequestPermit};
use crate::transport::connection_limits::*;

fn limits(max_per_network: usize, max_per_wide_network: usize) -> LimitSettings {
    LimitSettings {
        max_connections_per_peer: max_per_network,
        max_connections_per_wide_network: Some(max_per_wide_network),
        ..LimitSettings::default()
    }
}

fn connection_limits(max_connections: usize, max_per_network: usize) -> ConnectionLimits {
    ConnectionLimits::new(max_connections, &limits(max_per_network, 100))
}

/// A connection in a test.
struct Caller {
    traffic: Arc<Traffic>,
    admitted: AdmittedConnection,
}

impl Caller {
    fn connect(
        connection_limits: &Arc<ConnectionLimits>,
        address: &str,
    ) -> Result<Self, ConnectionRefusal> {
        let traffic = Traffic::new(9, &ReplyMemory::default(), connection_limits.clock());
        let admitted = connection_limits.acquire(address.parse().unwrap(), &traffic)?;
        Ok(Self { traffic, admitted })
    }

    fn is_evicted(&mut self) -> bool {
        self.admitted.evicted.try_recv() != Err(TryRecvError::Empty)
    }

    fn begin_request(&self) -> RequestPermit {
        self.traffic.begin_request().unwrap()
    }

    fn mark_known(&self) {
        let permit = &self.admitted.permit;
        permit.connection_limits.mark_known(permit.id());
    }
}

#[test]
fn permits_are_counted_per_network_and_returned() {
    let connection_limits = Arc::new(connection_limits(3, 2));
    let connect = |address: &str| Caller::connect(&connection_limits, address);
    let first = connect("2001:db8::1").unwrap();
    let _second = connect("2001:db8::2").unwrap();
    assert_eq!(
        connect("2001:db8::3").err(),
        Some(ConnectionRefusal::Network)
    );
    let _other = connect("192.0.2.1").unwrap();
    assert_eq!(connect("192.0.2.2").err(), Some(ConnectionRefusal::Total));
    drop(first);
    let fourth = connect("::ffff:192.0.2.1").unwrap();
    assert_eq!(connect("2001:db8::3").err(), Some(ConnectionRefusal::Total));
    drop(fourth);
    assert!(connect("2001:db8::3").is_ok());
}

#[test]
fn networks_of_one_site_are_counted_together() {
    let connection_limits = Arc::new(ConnectionLimits::new(9, &limits(2, 3)));
    let connect = |address: &str| Caller::connect(&connection_limits, address);
    let first = connect("2001:db8:0:1::1").unwrap();
    let _second = connect("2001:db8:0:1::2").unwrap();
    let _third = connect("2001:db8:0:2::1").unwrap();
    assert_eq!(
        connect("2001:db8:0:3::1").err(),
        Some(ConnectionRefusal::WideNetwork)
    );
    let _other = connect("2001:db8:1::1").unwrap();
    drop(first);
    assert!(connect("2001:db8:0:3::1").is_ok());
}

#[test]
fn a_trusted_proxy_counts_against_the_total_only() {
    let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap());
    let connection_limits =
        Arc::new(connection_limits(4, 1).with_trusted_proxies(trusted.to_vec()));
    let connect = |address: &str| Caller::connect(&connection_limits, address);
    let _other = connect("192.0.2.1").unwrap();
    assert!(connect("192.0.2.1").is_err(), "it is not trusted");
    let mut proxies: Vec<_> = ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"]
        .into_iter()
        .map(|address| connect(address).unwrap())
        .collect();
    assert!(connect("10.0.0.1").is_err(), "four in total");
    proxies.pop();
    assert!(connect("2001:db8::1").is_ok());
    drop(proxies);
    assert_eq!(connection_limits.lock().counts.len(), 1);
}

#[test]
fn the_connection_idle_longest_is_evicted() {
    let connection_limits = Arc::new(connection_limits(3, 3).with_eviction());
    let connect = |address: &str| Caller::connect(&connection_limits, address).unwrap();
    let mut first = connect("192.0.2.1");
    let mut second = connect("192.0.2.2");
    let mut third = connect("192.0.2.3");
    let busy = first.begin_request();
    let fourth = connect("192.0.2.4");
    assert!(fourth.admitted.has_evicted);
    assert!(second.is_evicted() && !first.is_evicted() && !third.is_evicted());
    let _fifth = connect("192.0.2.5");
    assert!(third.is_evicted() && !first.is_evicted());
    drop(busy);
    assert_eq!(connection_limits.lock().evicted, 2);
    drop((second, third));
    assert_eq!(connection_limits.lock().evicted, 0);
    assert_eq!(connection_limits.lock().open.len(), 3);
}

#[test]
fn busy_connections_are_not_evicted() {
    let connection_limits = Arc::new(connection_limits(2, 2).with_eviction());
    let first = Caller::connect(&connection_limits, "192.0.2.1").unwrap();
    let second = Caller::connect(&connection_limits, "192.0.2.2").unwrap();
    let _busy = (first.begin_request(), second.begin_request());
    let refused = Caller::connect(&connection_limits, "192.0.2.3").err();
    assert_eq!(refused, Some(ConnectionRefusal::Total));
}

#[test]
fn connections_are_reserved_for_known_networks() {
    let connection_limits = Arc::new(connection_limits(16, 16).with_eviction());
    let connect = |address: &str| Caller::connect(&connection_limits, address);
    let known = connect("192.0.2.1").unwrap();
    known.mark_known();
    drop(known);
    let all: Vec<Caller> = (0..14).map(|_| connect("192.0.2.2").unwrap()).collect();
    let _busy: Vec<_> = all.iter().map(Caller::begin_request).collect();
    assert_eq!(connect("192.0.2.3").err(), Some(ConnectionRefusal::Total));
    let mut first = connect("192.0.2.1").unwrap();
    let second = connect("192.0.2.1").unwrap();
    let _busy = second.begin_request();
    assert!(!second.admitted.has_evicted);
    // An unknown network does not evict a known one.
    assert_eq!(connect("192.0.2.3").err(), Some(ConnectionRefusal::Total));
    assert!(!first.is_evicted());
    // A known network evicts its own idle connection.
    connect("192.0.2.1").unwrap();
    assert!(first.is_evicted());
}

#[test]
fn known_networks_are_evicted_down_to_half_of_the_total() {
    let connection_limits = Arc::new(connection_limits(16, 16).with_eviction());
    let connect = |address: &str| Caller::connect(&connection_limits, address).unwrap();
    let mut known: Vec<Caller> = (0..16).map(|_| connect("192.0.2.1")).collect();
    known.iter().for_each(Caller::mark_known);
    let new: Vec<Caller> = (0..14).map(|_| connect("192.0.2.2")).collect();
    let evicted = known.iter_mut().map(Caller::is_evicted);
    assert_eq!(evicted.filter(|evicted| *evicted).count(), 8);
    let mut new = new.into_iter();
    let is_evicted = new.next().is_some_and(|mut first| first.is_evicted());
    assert!(is_evicted, "the other networks evict each other");
}
