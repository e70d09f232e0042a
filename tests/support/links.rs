//! The devices of a namespace, less those that the kernel puts into every one: the loopback device, and the fallback devices of
//! tunnel modules that happen to be loaded (`tunl0`, `sit0`).

use libtest_mimic::Failed;
use septum::sys::namespace::NetworkNamespace;
use septum::sys::netlink::Netlink;

/// Names of the devices that a new namespace does not have.
pub(crate) fn added_to(namespace: &NetworkNamespace) -> Result<Vec<String>, Failed> {
    let names = |namespace: &NetworkNamespace| -> Result<Vec<String>, Failed> {
        let links = namespace.run(|| Netlink::open()?.links())??;
        Ok(links.into_iter().map(|link| link.name.to_string()).collect())
    };
    let own = names(namespace)?;
    // Afterwards: a module that is loaded in between is in both.
    let of_every = names(&NetworkNamespace::anonymous()?)?;
    Ok(own.into_iter().filter(|name| !of_every.contains(name)).collect())
}
