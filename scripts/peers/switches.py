"""The peers: how each is started between `client` and `server`. The lab ends what they start."""

import os
import time

from . import rules
from .bench import SEPTUM
from .lab import CLIENT, SERVER

RULES = 10_000
DEVICES = {"left": CLIENT, "right": SERVER}


class Peer:
    """One switch in one configuration."""

    name = ""
    about = ""
    needs = ("ip",)
    package = ""

    def start(self, lab):
        raise NotImplementedError


class OfTwoDevices(Peer):
    """One that makes the devices `left` and `right`, and serves them wherever they are."""

    def start(self, lab):
        self.serve(lab)
        for device, host in DEVICES.items():
            lab.await_device(device)
            lab.place(device, host)

    def serve(self, lab):
        raise NotImplementedError


class CopyLoop(OfTwoDevices):
    name = "copy-loop"
    about = "copies frames between two TAPs, and does nothing else: the limit"

    def serve(self, lab):
        lab.spawn(f"{SEPTUM} bench --copy-loop left right")


class Septum(Peer):
    name = "septum"
    about = f"this switch: TAPs, guard, connection tracking, {RULES} rules"
    count = RULES

    def start(self, lab):
        ports = {host: ('tap = "eth0"', f'netns = "{host}"') for host in (CLIENT, SERVER)}
        self.run(lab, ports)
        for host in (CLIENT, SERVER):
            lab.address("eth0", host)

    def run(self, lab, ports):
        policy = lab.folder / "policy.toml"
        policy.write_text(rules.septum_policy(self.count, ports), encoding="utf-8")
        log = lab.spawn(f"{SEPTUM} run {policy}")
        lab.await_true("the switch", lambda: "forwarding for" in log.read_text())


class SeptumFewRules(Septum):
    name = "septum-10"
    about = "the same with 10 rules"
    count = 10


class SeptumPacket(Septum):
    name = "septum-packet"
    about = "the same over AF_PACKET on two veth pairs"

    def start(self, lab):
        ports = {}
        for host in (CLIENT, SERVER):
            lab.run(f"ip link add eth0 netns {host} type veth peer name p-{host}")
            lab.address("eth0", host)
            ports[host] = (f'packet = "p-{host}"',)
        self.run(lab, ports)


class OpenVSwitch(OfTwoDevices):
    name = "ovs-tso"
    about = "Open vSwitch's userspace datapath, offload on, no rules"
    needs = ("ip", "ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl")
    package = "openvswitch-switch"
    offload = True
    flows = "priority=0,actions=NORMAL\n"

    def serve(self, lab):
        folder = lab.folder
        names = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        env = {**os.environ, **{name: str(folder) for name in names}}
        lab.run(f"ovsdb-tool create {folder}/conf.db /usr/share/openvswitch/vswitch.ovsschema")
        lab.spawn(
            f"ovsdb-server {folder}/conf.db --remote=punix:{folder}/db.sock --unixctl={folder}/db.ctl --no-chdir", env=env
        )
        lab.await_true("the database", lambda: (folder / "db.sock").exists())
        control = f"ovs-vsctl --timeout=15 --db=unix:{folder}/db.sock"
        lab.run(f"{control} --no-wait init", env=env)
        if self.offload:
            lab.run(f"{control} --no-wait set Open_vSwitch . other_config:userspace-tso-enable=true", env=env)
        lab.spawn(f"ovs-vswitchd unix:{folder}/db.sock --unixctl={folder}/vswitchd.ctl --no-chdir -vfile:off", env=env)
        lab.run(f"{control} add-br peers -- set bridge peers datapath_type=netdev fail_mode=secure", env=env)
        for device in DEVICES:
            lab.run(f"{control} add-port peers {device} -- set interface {device} type=internal", env=env)
        flows = folder / "flows"
        flows.write_text(self.flows, encoding="utf-8")
        lab.run("ovs-ofctl del-flows peers", env=env)
        lab.run(f"ovs-ofctl --bundle add-flows peers {flows}", env=env)


class OpenVSwitchConntrack(OpenVSwitch):
    name = "ovs-ct-1k"
    about = "Open vSwitch's userspace datapath, connection tracking and 1,000 ACLs"
    offload = False
    flows = rules.openflow(1000)


class Bridge(Peer):
    name = "bridge"
    about = "the kernel's bridge and veth pairs, no rules"
    needs = ("ip", "nft")
    package = "nftables"

    def start(self, lab):
        lab.add_namespace("switch")
        lab.run("ip -n switch link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
        lab.run("ip -n switch link set br0 up")
        for host in (CLIENT, SERVER):
            lab.run(f"ip link add eth0 netns {host} type veth peer name p-{host} netns switch")
            lab.run(f"ip -n switch link set p-{host} master br0 up")
            lab.address("eth0", host)
        text = self.rules()
        if text:
            file = lab.folder / "rules.nft"
            file.write_text(text, encoding="utf-8")
            lab.run(f"nft -f {file}", inside="switch")

    def rules(self):
        return ""


class BridgeLinear(Bridge):
    name = "bridge-linear"
    about = f"the kernel's bridge, {RULES} nftables rules one after the other"

    def rules(self):
        return rules.nft_linear(RULES)


class BridgeMap(Bridge):
    name = "bridge-map"
    about = f"the kernel's bridge, an nftables verdict map of up to {RULES} elements"

    def rules(self):
        return rules.nft_map(RULES)


class BridgeConntrack(Bridge):
    name = "bridge-ct"
    about = "the kernel's bridge with connection tracking"

    def start(self, lab):
        super().start(lab)
        file = lab.folder / "conntrack.nft"
        file.write_text(rules.nft_conntrack("bridge"), encoding="utf-8")
        try:
            lab.run(f"nft -f {file}", inside="switch")
        except RuntimeError:
            # A kernel without nf_conntrack_bridge: bridged packets go through the IP hooks instead.
            lab.run("sysctl -qw net.bridge.bridge-nf-call-iptables=1", inside="switch")
            file.write_text(rules.nft_conntrack("ip"), encoding="utf-8")
            lab.run(f"nft -f {file}", inside="switch")


class Vde(OfTwoDevices):
    name = "vde"
    about = "vde_switch on two TAPs, no rules"
    needs = ("ip", "vde_switch")
    package = "vde2"

    def serve(self, lab):
        lab.spawn(f"vde_switch -s {lab.folder}/vde -n 8 -t left -t right")


class Testpmd(OfTwoDevices):
    name = "testpmd"
    about = "DPDK's testpmd on two TAPs, no rules"
    needs = ("ip", "dpdk-testpmd")
    package = "dpdk-dev"

    def serve(self, lab):
        log = lab.spawn(
            "dpdk-testpmd -l 0,1 --main-lcore 0 --no-pci --no-huge -m 512 --file-prefix peers --log-level 3 "
            "--vdev=net_tap0,iface=left --vdev=net_tap1,iface=right "
            "-- --forward-mode=io --auto-start --nb-cores=1 --total-num-mbufs=16384"
        )
        # The driver names its devices until its ports have started: they are moved only then.
        lab.await_true("testpmd", lambda: "hecking link status" in log.read_text(), seconds=40)
        time.sleep(1.5)


PEERS = (
    CopyLoop, Septum, SeptumFewRules, SeptumPacket, OpenVSwitch, OpenVSwitchConntrack,
    Bridge, BridgeLinear, BridgeMap, BridgeConntrack, Vde, Testpmd,
)
