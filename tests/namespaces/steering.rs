//! Two workers where the kernel takes no steering program: that is said once, and every connection works, whichever workers
//! its two directions come to.
//!
//! In a sandbox, programs are refused unless `kernel.unprivileged_bpf_disabled` is 0. Where they are taken, nothing may be said.

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use septum::sys::steering::{self, Hook};

use crate::host::{Outcome, PATIENCE};
use crate::lab::Lab;
use crate::trio::TRIO;

/// So many that a hash of their ports leads some to either worker, there and back.
const CONNECTIONS: usize = 32;

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("steering::a_refusal_is_said_once_and_harms_nothing", a_refusal_harms_nothing)]
}

fn a_refusal_harms_nothing() -> Result<(), Failed> {
    let is_refused = steering::program(Hook::Tap).is_none();
    if !is_refused {
        eprintln!("this kernel takes steering programs from anybody: what is without them was not tested");
    }
    let lab = Lab::new(TRIO)?;
    let running = lab.start()?;
    let mut said = running.said_at_start().to_vec();
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    for to in [&b, &c] {
        let _servers = to.serve(&[80], &[53])?;
        for connection in 0..CONNECTIONS {
            let address = to.address(connection % 2 == 0);
            assert_eq!(a.tcp(address, 80, PATIENCE)?, Outcome::Echoed);
            assert_eq!(a.udp(address, 53, PATIENCE)?, Outcome::Echoed);
        }
    }
    let (_, later) = running.end_and_tell(Signal::TERM)?;
    said.extend(later);
    let count = said.iter().filter(|line| line.contains("takes no steering program")).count();
    assert_eq!(count, usize::from(is_refused), "{said:#?}");
    lab.assert_empty()
}
