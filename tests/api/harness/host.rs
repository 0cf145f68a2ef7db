//! A simulated host: a network namespace behind a link that can be cut.

use std::{
    env,
    io::{self, Write as _},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
};

use uuid::Uuid;

use super::eventually_blocking;

/// With this variable set, the test fails on a machine without network namespaces.
const DEMANDED: &str = "TEST_NETWORK_NAMESPACES";

/// Arguments: the namespace, the outer end of the link, the outer and the inner address. The
/// neighbour entry is permanent, so that packets to a cut host vanish, as behind a router,
/// instead of failing in ARP. Unsent data of a killed process is dropped at once.
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

/// Removes the host when the pipe to this shell closes, by any end of this process.
const GUARD: &str = r#"
    while read -r _; do :; done
    ip link delete "$2"
    ip netns delete "$1"
"#;

/// Removed when dropped; processes inside have to end before.
pub struct Host {
    pub address: Ipv4Addr,
    name: String,
    guard: Child,
}

impl Host {
    /// A new host; `None`, with a message, where namespaces cannot be created.
    pub fn new() -> Option<Self> {
        let mut problem = String::new();
        // The address may be in use by another test process.
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
            "\n*** SKIPPED: the test of a dying database host. It requires root and ip (iproute2): \
             {problem}. ***\n"
        );
        None
    }

    fn try_new() -> Result<Self, String> {
        let random = Uuid::new_v4().as_u128();
        let name = format!("bv{:08x}", random as u32);
        // A network of four addresses in 198.18.0.0/15, reserved for tests (RFC 2544).
        let network = 0xC612_0000 | (random >> 32) as u32 & 0x0001_FFFC;
        let (outside, inside) = (Ipv4Addr::from(network + 1), Ipv4Addr::from(network + 2));
        let arguments = [
            name.clone(),
            format!("{name}o"),
            outside.to_string(),
            inside.to_string(),
        ];
        // Started first, so that it also cleans up after a partial setup.
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

    /// A command to run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Drops all packets silently, in both directions.
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

    /// Waits until the host has no connections, as after a reboot. Connections in TIME-WAIT are
    /// closed at both ends.
    pub fn forget_connections(&self) {
        eventually_blocking("no connections", || {
            let list = ["-Htan", "state", "connected", "exclude", "time-wait"];
            let output = self.command("ss").args(list).output().expect("ss runs");
            assert!(output.status.success(), "ss");
            output.stdout.is_empty()
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Closes the guard's pipe first.
        let _ = self.guard.wait();
    }
}
