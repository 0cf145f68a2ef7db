use tokio::sync::oneshot::error::TryRecvError;

use crate::peer::{ReplyMemory, RequestPermit};
use crate::transport::connection_limits::*;

fn limits(most_per_network: usize, most_per_wide_network: usize) -> LimitSettings {
    LimitSettings {
        max_connections_per_peer: most_per_network,
        max_connections_per_wide_network: Some(most_per_wide_network),
        ..LimitSettings::default()
    }
}

fn connection_limits(most: usize, most_per_network: usize) -> ConnectionLimits {
    ConnectionLimits::new(most, &limits(most_per_network, 100))
}

/// A connection in a test.
struct Caller {
    traffic: Arc<Traffic>,
    admitted: Admitted,
}

impl Caller {
    fn connect(
        connection_limits: &Arc<ConnectionLimits>,
        address: &str,
    ) -> Result<Self, ConnectionRefusal> {
        let traffic = Traffic::new(9, &ReplyMemory::default(), connection_limits.clock());
        let admitted = connection_limits.take(address.parse().unwrap(), &traffic)?;
        Ok(Self { traffic, admitted })
    }

    fn is_told_to_end(&mut self) -> bool {
        self.admitted.evicted.try_recv() != Err(TryRecvError::Empty)
    }

    fn begin_request(&self) -> RequestPermit {
        self.traffic.begin_request().unwrap()
    }

    fn is_known(&self) {
        let place = &self.admitted.place;
        place.connection_limits.note_known(place.id());
    }
}

#[test]
fn places_are_counted_by_network_and_given_back() {
    let connection_limits = Arc::new(connection_limits(3, 2));
    let connect = |address: &str| Caller::connect(&connection_limits, address);
    let first = connect("2001:db8::1").unwrap();
    let _second = connect("2001:db8::2").unwrap();
    assert_eq!(
        connect("2001:db8::3").err(),
        Some(ConnectionRefusal::Network)
    );
    let _other = connect("192.0.2.1").unwrap();
    assert_eq!(connect("192.0.2.2").err(), Some(ConnectionRefusal::All));
    drop(first);
    let fourth = connect("::ffff:192.0.2.1").unwrap();
    assert_eq!(connect("2001:db8::3").err(), Some(ConnectionRefusal::All));
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
fn a_trusted_proxy_is_counted_in_all_alone() {
    let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap());
    let connection_limits = Arc::new(connection_limits(4, 1).trusting(trusted.to_vec()));
    let connect = |address: &str| Caller::connect(&connection_limits, address);
    let _other = connect("192.0.2.1").unwrap();
    assert!(connect("192.0.2.1").is_err(), "it is not trusted");
    let mut proxies: Vec<_> = ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"]
        .into_iter()
        .map(|address| connect(address).unwrap())
        .collect();
    assert!(connect("10.0.0.1").is_err(), "four in all");
    proxies.pop();
    assert!(connect("2001:db8::1").is_ok());
    drop(proxies);
    assert_eq!(connection_limits.lock().counts.len(), 1);
}

#[test]
fn the_connection_that_was_idle_longest_has_to_go() {
    let connection_limits = Arc::new(connection_limits(3, 3).evicting());
    let connect = |address: &str| Caller::connect(&connection_limits, address).unwrap();
    let mut first = connect("192.0.2.1");
    let mut second = connect("192.0.2.2");
    let mut third = connect("192.0.2.3");
    let busy = first.begin_request();
    let fourth = connect("192.0.2.4");
    assert!(fourth.admitted.has_evicted);
    assert!(second.is_told_to_end() && !first.is_told_to_end() && !third.is_told_to_end());
    let _fifth = connect("192.0.2.5");
    assert!(third.is_told_to_end() && !first.is_told_to_end());
    drop(busy);
    assert_eq!(connection_limits.lock().leaving, 2);
    drop((second, third));
    assert_eq!(connection_limits.lock().leaving, 0);
    assert_eq!(connection_limits.lock().open.len(), 3);
}

#[test]
fn no_call_in_progress_is_cut_off() {
    let connection_limits = Arc::new(connection_limits(2, 2).evicting());
    let first = Caller::connect(&connection_limits, "192.0.2.1").unwrap();
    let second = Caller::connect(&connection_limits, "192.0.2.2").unwrap();
    let _busy = (first.begin_request(), second.begin_request());
    let refused = Caller::connect(&connection_limits, "192.0.2.3").err();
    assert_eq!(refused, Some(ConnectionRefusal::All));
}

#[test]
fn places_are_kept_for_networks_that_are_known() {
    let connection_limits = Arc::new(connection_limits(16, 16).evicting());
    let connect = |address: &str| Caller::connect(&connection_limits, address);
    let known = connect("192.0.2.1").unwrap();
    known.is_known();
    drop(known);
    let all: Vec<Caller> = (0..14).map(|_| connect("192.0.2.2").unwrap()).collect();
    let _busy: Vec<_> = all.iter().map(Caller::begin_request).collect();
    assert_eq!(connect("192.0.2.3").err(), Some(ConnectionRefusal::All));
    let mut first = connect("192.0.2.1").unwrap();
    let second = connect("192.0.2.1").unwrap();
    let _busy = second.begin_request();
    assert!(!second.admitted.has_evicted);
    // Another that is not known does not take their places.
    assert_eq!(connect("192.0.2.3").err(), Some(ConnectionRefusal::All));
    assert!(!first.is_told_to_end());
    // Its own connections may.
    connect("192.0.2.1").unwrap();
    assert!(first.is_told_to_end());
}

#[test]
fn known_networks_give_way_until_half_of_the_places_are_left_to_them() {
    let connection_limits = Arc::new(connection_limits(16, 16).evicting());
    let connect = |address: &str| Caller::connect(&connection_limits, address).unwrap();
    let mut known: Vec<Caller> = (0..16).map(|_| connect("192.0.2.1")).collect();
    known.iter().for_each(Caller::is_known);
    let new: Vec<Caller> = (0..14).map(|_| connect("192.0.2.2")).collect();
    let told = known.iter_mut().map(Caller::is_told_to_end);
    assert_eq!(told.filter(|told| *told).count(), 8);
    let mut new = new.into_iter();
    let first_is_told = new.next().is_some_and(|mut first| first.is_told_to_end());
    assert!(first_is_told, "the others gave way to each other");
}
