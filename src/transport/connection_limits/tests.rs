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

fn places(most: usize, most_per_network: usize) -> Places {
    Places::new(most, &limits(most_per_network, 100))
}

/// A connection in a test.
struct Caller {
    traffic: Arc<Traffic>,
    admitted: Admitted,
}

impl Caller {
    fn connect(places: &Arc<Places>, address: &str) -> Result<Self, NoPlace> {
        let traffic = Traffic::new(9, &ReplyMemory::default(), places.clock());
        let admitted = places.take(address.parse().unwrap(), &traffic)?;
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
        place.places.note_known(place.id());
    }
}

#[test]
fn places_are_counted_by_network_and_given_back() {
    let places = Arc::new(places(3, 2));
    let connect = |address: &str| Caller::connect(&places, address);
    let first = connect("2001:db8::1").unwrap();
    let _second = connect("2001:db8::2").unwrap();
    assert_eq!(connect("2001:db8::3").err(), Some(NoPlace::Network));
    let _other = connect("192.0.2.1").unwrap();
    assert_eq!(connect("192.0.2.2").err(), Some(NoPlace::All));
    drop(first);
    let fourth = connect("::ffff:192.0.2.1").unwrap();
    assert_eq!(connect("2001:db8::3").err(), Some(NoPlace::All));
    drop(fourth);
    assert!(connect("2001:db8::3").is_ok());
}

#[test]
fn networks_of_one_site_are_counted_together() {
    let places = Arc::new(Places::new(9, &limits(2, 3)));
    let connect = |address: &str| Caller::connect(&places, address);
    let first = connect("2001:db8:0:1::1").unwrap();
    let _second = connect("2001:db8:0:1::2").unwrap();
    let _third = connect("2001:db8:0:2::1").unwrap();
    assert_eq!(connect("2001:db8:0:3::1").err(), Some(NoPlace::WideNetwork));
    let _other = connect("2001:db8:1::1").unwrap();
    drop(first);
    assert!(connect("2001:db8:0:3::1").is_ok());
}

#[test]
fn a_trusted_proxy_is_counted_in_all_alone() {
    let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap());
    let places = Arc::new(places(4, 1).trusting(trusted.to_vec()));
    let connect = |address: &str| Caller::connect(&places, address);
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
    assert_eq!(places.lock().counts.len(), 1);
}

#[test]
fn the_connection_that_was_idle_longest_has_to_go() {
    let places = Arc::new(places(3, 3).evicting());
    let connect = |address: &str| Caller::connect(&places, address).unwrap();
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
    assert_eq!(places.lock().leaving, 2);
    drop((second, third));
    assert_eq!(places.lock().leaving, 0);
    assert_eq!(places.lock().open.len(), 3);
}

#[test]
fn no_call_in_progress_is_cut_off() {
    let places = Arc::new(places(2, 2).evicting());
    let first = Caller::connect(&places, "192.0.2.1").unwrap();
    let second = Caller::connect(&places, "192.0.2.2").unwrap();
    let _busy = (first.begin_request(), second.begin_request());
    let refused = Caller::connect(&places, "192.0.2.3").err();
    assert_eq!(refused, Some(NoPlace::All));
}

#[test]
fn places_are_kept_for_networks_that_are_known() {
    let places = Arc::new(places(16, 16).evicting());
    let connect = |address: &str| Caller::connect(&places, address);
    let known = connect("192.0.2.1").unwrap();
    known.is_known();
    drop(known);
    let all: Vec<Caller> = (0..14).map(|_| connect("192.0.2.2").unwrap()).collect();
    let _busy: Vec<_> = all.iter().map(Caller::begin_request).collect();
    assert_eq!(connect("192.0.2.3").err(), Some(NoPlace::All));
    let mut first = connect("192.0.2.1").unwrap();
    let second = connect("192.0.2.1").unwrap();
    let _busy = second.begin_request();
    assert!(!second.admitted.has_evicted);
    // Another that is not known does not take their places.
    assert_eq!(connect("192.0.2.3").err(), Some(NoPlace::All));
    assert!(!first.is_told_to_end());
    // Its own connections may.
    connect("192.0.2.1").unwrap();
    assert!(first.is_told_to_end());
}

#[test]
fn known_networks_give_way_until_half_of_the_places_are_left_to_them() {
    let places = Arc::new(places(16, 16).evicting());
    let connect = |address: &str| Caller::connect(&places, address).unwrap();
    let mut known: Vec<Caller> = (0..16).map(|_| connect("192.0.2.1")).collect();
    known.iter().for_each(Caller::is_known);
    let new: Vec<Caller> = (0..14).map(|_| connect("192.0.2.2")).collect();
    let told = known.iter_mut().map(Caller::is_told_to_end);
    assert_eq!(told.filter(|told| *told).count(), 8);
    let mut new = new.into_iter();
    let first_is_told = new.next().is_some_and(|mut first| first.is_told_to_end());
    assert!(first_is_told, "the others gave way to each other");
}
