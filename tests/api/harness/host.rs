//! A host of the tests' own: a network namespace behind a link that can be cut.

use std::{
    env,
    io::{self, Write as _},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use uuid::Uuid;

/// With this variable set, a machine that cannot make namespaces fails the test.
const DEMANDED: &str = "TEST_NETWORK_NAMESPACES";

/// The name of the namespace, the end of the link outside, the address outside and
/// the one inside. The neighbour is known for good, so that a packet to a host that is
/// cut off vanishes, as it would behind a router, and is not refused by ARP. What a
/// killed process leaves to be sent is given up at once.
const MAKE: &str = r#"
    set -e
    test -z "$(ip -o address show to "$3/30")"
    ip netns add "$1"
    ip link add "$2" type veth peer name inside netns "$1"
    ip address add "$3/30" dev "$2"
    ip link set "$2" up
    ip -n "$1" address add "$4/30" dev inside
    ip -n "$1" link set lo up
    ip -n "$1" link set inside up
    mac=$(ip netns exec "$1" cat /sys/class/net/inside/address)
    ip neighbour replace "$4" lladdr "$mac" dev "$2" nud permanent
    ip netns exec "$1" sh -c 'echo 1 > /proc/sys/net/ipv4/tcp_orphan_retries'
"#;

/// Removes it when the pipe to this shell closes, however this process ends.
const GUARD: &str = r#"
    while read -r _; do :; done
    ip link delete "$2"
    ip netns delete "$1"
"#;

/// How long the kernel may take to forget its connections.
const PATIENCE: Duration = Duration::from_secs(30);

/// Removed when it is dropped; what runs inside has to end before.
pub struct Host {
    pub address: Ipv4Addr,
    name: String,
    guard: Child,
}

impl Host {
    /// A new one; `None`, said loudly, where the machine lets nobody make one.
    pub fn new() -> Option<Self> {
        let mut problem = String::new();
        // The address may be taken by another process's host.
        for _ in 0..5 {
            match Self::try_new() {
                Ok(host) => return Some(host),
                Err(error) => problem = error,
            }
        }
        assert!(
            env::var_os(DEMANDED).is_none(),
            "{DEMANDED} demands network namespaces: {problem}"
        );
        let _ = writeln!(
            io::stderr(),
            "\n*** SKIPPED: the database host that dies. It takes root and ip (iproute2): \
             {problem}. ***\n"
        );
        None
    }

    fn try_new() -> Result<Self, String> {
        let random = Uuid::new_v4().as_u128();
        let name = format!("bv{:08x}", random as u32);
        // A network of four addresses of 198.18.0.0/15, which is for tests (RFC 2544).
        let network = 0xC612_0000 | (random >> 32) as u32 & 0x0001_FFFC;
        let (outside, inside) = (Ipv4Addr::from(network + 1), Ipv4Addr::from(network + 2));
        let arguments = [
            name.clone(),
            format!("{name}o"),
            outside.to_string(),
            inside.to_string(),
        ];
        // First, so that it also clears away what is only half made.
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let host = Self {
            address: inside,
            name,
            guard,
        };
        let made = Command::new("sh")
            .args(["-c", MAKE, "make"])
            .args(&arguments)
            .output()
            .map_err(|error| error.to_string())?;
        if made.status.success() {
            Ok(host)
        } else {
            Err(String::from_utf8_lossy(&made.stderr).trim().to_owned())
        }
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// From now on nothing arrives, in either direction, and nobody is told.
    pub fn cut(&self) {
        self.set_link("down");
    }

    pub fn mend(&self) {
        self.set_link("up");
    }

    fn set_link(&self, state: &str) {
        let arguments = ["-n", &self.name, "link", "set", "inside", state];
        let set = Command::new("ip").args(arguments).status();
        assert!(set.expect("ip runs").success(), "the link");
    }

    /// Waits until it knows of no connection, like one that was just switched on. A
    /// connection in TIME-WAIT is closed at both ends.
    pub fn forget_connections(&self) {
        let start = Instant::now();
        loop {
            let list = ["-Htan", "state", "connected", "exclude", "time-wait"];
            let output = self.command("ss").args(list).output().expect("ss runs");
            assert!(output.status.success(), "ss");
            if output.stdout.is_empty() {
                return;
            }
            let left = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(start.elapsed() < PATIENCE, "it still has {left}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Closes the pipe to it first.
        let _ = self.guard.wait();
    }
}
