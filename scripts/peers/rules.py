"""Rules that do not decide the measured traffic, in each switch's own language, and those that do."""

# What is measured: frames to UDP 9, TCP streams to 5201, round trips and connections at 7001.
UDP_PORTS = (9, 7001)
TCP_PORTS = (5201, 7001)


def bystanders(count):
    """`count` times (protocol, source network, destination, source port, destination port, admits): none ever matches."""
    for number in range(count):
        high, low = number >> 8 & 255, number & 255
        protocol = "tcp" if number & 1 else "udp"
        length = (32, 28, 24)[number % 3]
        host = {32: low, 28: low & 0xF0, 24: 0}[length]
        network = f"10.{100 + number % 50}.{high}.{host}/{length}"
        yield number, protocol, network, 1000 + number % 5000, number % 2 == 1


def septum_policy(count, ports):
    """A policy of `count` bystanders over two workloads whose ports these lines declare."""
    lines = ["version = 1", "[segment.lan]", 'subnet = ["10.77.0.0/16"]']
    for number, (name, port) in enumerate(ports.items(), start=1):
        lines += [
            f"[workload.{name}]", *port, 'segment = "lan"', f'mac = "02:00:00:00:00:0{number}"',
            f'ip = ["10.77.0.{number}"]', f'labels = {{ app = "{name}" }}',
        ]
    networks, rules = [], []
    for number, protocol, network, port, admits in bystanders(count):
        action = "allow" if admits else "deny"
        networks.append(f'net{number} = ["{network}"]')
        rules += [
            "[[rule]]", f'name = "bystander-{number}"', f'from = "cidr:net{number}"',
            f'to = "app={"client" if number & 1 else "server"}"', f'{action} = ["{protocol}/{port}"]',
        ]
    services = [f'"udp/{port}"' for port in UDP_PORTS] + [f'"tcp/{port}"' for port in TCP_PORTS]
    lines += ["[cidr]", *networks, *rules, "[[rule]]", 'name = "measured"', 'from = "app=client"', 'to = "app=server"']
    return "\n".join([*lines, f"allow = [{', '.join(services)}]", ""])


def openflow(count):
    """Open vSwitch with connection tracking: the bystanders are asked for new connections only."""
    lines = [
        "priority=2,arp,actions=NORMAL",
        "table=0,priority=5,ip,ct_state=-trk,actions=ct(table=1)",
        "table=1,priority=65000,ip,ct_state=+trk+est,actions=NORMAL",
        "table=1,priority=65000,ip,ct_state=+trk+rel,actions=NORMAL",
        "table=1,priority=0,actions=drop",
        "priority=0,actions=drop",
    ]
    for number, protocol, network, port, admits in bystanders(count):
        action = "ct(commit),NORMAL" if admits else "drop"
        lines.append(
            f"table=1,priority={60_000 - number % 50_000},{protocol},ct_state=+trk+new,nw_src={network},"
            f"nw_dst=10.77.0.2,tp_dst={port},actions={action}"
        )
    for protocol, ports in (("udp", UDP_PORTS), ("tcp", TCP_PORTS)):
        for port in ports:
            lines.append(f"table=1,priority=5,{protocol},ct_state=+trk+new,tp_dst={port},actions=ct(commit),NORMAL")
    return "\n".join([*lines, ""])


def nft_measured():
    """Both directions of what is measured; a bridge chain sees every frame."""
    udp, tcp = (", ".join(map(str, ports)) for ports in (UDP_PORTS, TCP_PORTS))
    return (
        "  ether type arp accept\n"
        f"  udp dport {{ {udp} }} accept\n  udp sport {{ {udp} }} accept\n"
        f"  tcp dport {{ {tcp} }} accept\n  tcp sport {{ {tcp} }} accept\n"
    )


def nft_linear(count):
    """A bridge's forward chain, rule after rule."""
    rules = "".join(
        f"  ip saddr {network} ip daddr 10.77.0.2 {protocol} dport {port} {'accept' if admits else 'drop'}\n"
        for _, protocol, network, port, admits in bystanders(count)
    )
    chain = "type filter hook forward priority 0; policy drop;"
    return f"table bridge filter {{\n chain forward {{\n  {chain}\n{rules}{nft_measured()} }}\n}}\n"


def nft_map(count):
    """The same as one verdict map of intervals; elements may not overlap, so each network stands for one rule."""
    elements = {}
    for _, protocol, network, port, admits in bystanders(count):
        address = network.rsplit(".", 1)[0]
        elements[f"{address}.0/24 . {protocol} . {port}"] = "accept" if admits else "drop"
    rows = ",\n".join(f"   {element} : {verdict}" for element, verdict in elements.items())
    key = "ipv4_addr . inet_proto . inet_service"
    chain = "type filter hook forward priority 0; policy drop;"
    return (
        f"table bridge filter {{\n map verdicts {{\n  type {key} : verdict; flags interval;\n  elements = {{\n{rows}\n  }}\n }}\n"
        f" chain forward {{\n  {chain}\n  ip saddr . ip protocol . th dport vmap @verdicts\n{nft_measured()} }}\n}}\n"
    )


def nft_conntrack(family):
    """Connection tracking: on the bridge itself (family `bridge`), or as the IP hooks see bridged packets (`ip`)."""
    udp, tcp = (", ".join(map(str, ports)) for ports in (UDP_PORTS, TCP_PORTS))
    chain = "type filter hook forward priority 0; policy drop;"
    arp = "  ether type arp accept\n" if family == "bridge" else ""
    return (
        f"table {family} filter {{\n chain forward {{\n  {chain}\n{arp}  ct state established,related accept\n"
        f"  ct state new udp dport {{ {udp} }} accept\n  ct state new tcp dport {{ {tcp} }} accept\n }}\n}}\n"
    )
