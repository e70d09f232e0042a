"""What was measured, as a table and as a plot."""

import html
import json
import pathlib
import platform
import statistics

from .bench import VALUES

LIMIT, OURS = "copy-loop", "septum"


def medians(rows):
    """{value: {peer: (median, median of the ratios to the copy loop of the same round)}}, peers in their order."""
    found = {}
    for row in rows:
        found.setdefault(row["figure"], {}).setdefault(row["peer"], {})[row["round"]] = row["value"]
    result = {}
    for figure, peers in found.items():
        limit = peers.get(LIMIT, {})
        for peer, rounds in peers.items():
            ratios = [value / limit[number] for number, value in rounds.items() if limit.get(number)]
            ratio = statistics.median(ratios) if ratios else None
            result.setdefault(figure, {})[peer] = (statistics.median(rounds.values()), ratio)
    return result


def times_theirs(rows, peer):
    """Our frames a second, one flow, over those of a peer in the same round: the median of the rounds. What the README says."""
    rates = {(row["peer"], row["round"]): row["value"] for row in rows if row["figure"] == "frames"}
    pairs = [(rate, rates.get((peer, number))) for (name, number), rate in rates.items() if name == OURS]
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    return f"{statistics.median(ratios):.3g}" if ratios else ""


def text_of(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def table(rows):
    """A Markdown table: a row a peer, a column a value, each with its ratio to the copy loop."""
    figures = medians(rows)
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    heads = [f"{VALUES[figure][3]}, {VALUES[figure][1]}" for figure in figures]
    lines = [f"| | {' | '.join(heads)} | frames of {OURS}, one flow, over its |", f"|---{'|---:' * len(figures)}|---:|"]
    for peer in peers:
        cells = []
        for values in figures.values():
            value, ratio = values.get(peer, (None, None))
            cells.append("" if value is None else text_of(value) + (f" ({ratio:.3g})" if ratio else ""))
        lines.append(f"| {peer} | {' | '.join(cells)} | {times_theirs(rows, peer)} |")
    return "\n".join(lines)


# Of the plot, in pixels.
WIDTH, NAMES, NUMBERS, BAR, GAP = 860, 130, 190, 17, 26


def plot(rows):
    """An SVG: bars, a group a value, each to a scale of its own. Of times, the inverse: longer is better everywhere."""
    top, parts = 44, []
    parts.append(f'<text x="8" y="20" class="title">Beside the copy loop ({LIMIT} = 1, the line); longer is better</text>')
    for figure, peers in medians(rows).items():
        _, unit, more_is_better, words = VALUES[figure]
        shown = {peer: found for peer, found in peers.items() if found[1]}
        better = {peer: ratio if more_is_better else 1 / ratio for peer, (_, ratio) in shown.items()}
        if not better:
            continue
        room = (WIDTH - NAMES - NUMBERS) / max(1, *better.values())
        inverse = "" if more_is_better else " (bars: the inverse)"
        parts.append(f'<text x="8" y="{top}" class="head">{html.escape(words)}, {unit}{inverse}</text>')
        top += 10
        parts.append(f'<path d="M{NAMES + room:.1f} {top - 3}v{BAR * len(shown) + 3}" class="line"/>')
        for peer, (value, ratio) in shown.items():
            length = better[peer] * room
            kind = "ours" if peer.startswith("septum") else "limit" if peer == LIMIT else "other"
            parts.append(f'<text x="{NAMES - 8}" y="{top + 11}" class="name">{peer}</text>')
            parts.append(f'<rect x="{NAMES}" y="{top}" width="{max(length, 1):.1f}" height="{BAR - 4}" class="{kind}"/>')
            at = f'x="{NAMES + max(length, 1) + 6:.1f}" y="{top + 11}"'
            parts.append(f'<text {at} class="value">{text_of(value)} ({ratio:.3g})</text>')
            top += BAR
        top += GAP
    style = (
        "text{font:12px sans-serif;fill:#333}.title{font-size:14px}.head{font-weight:bold}.name{text-anchor:end}"
        ".value{paint-order:stroke;stroke:#fff;stroke-width:4px}"
        ".ours{fill:#2a7f62}.limit{fill:#888}.other{fill:#c9a66b}.line{stroke:#555;stroke-dasharray:2 3}"
    )
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    background = f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{background}{"".join(parts)}</svg>\n'


def machine():
    """The processor and the kernel, in words."""
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    processors = sum(line.startswith("processor") for line in lines)
    return f"{model}, {processors} processors, Linux {platform.release().split('-')[0]}"


def write(folder, rows, command, peers):
    """Puts peers.md, peers.svg and every single measurement (peers.json) there."""
    folder.mkdir(parents=True, exist_ok=True)
    rounds = max((row["round"] for row in rows), default=0)
    about = "\n".join(f"- `{peer.name}`: {peer.about}" for peer in peers)
    text = (
        f"# Beside its peers\n\n    {command}\n\nMedians of {rounds} round{'s' * (rounds > 1)}, in brackets the median ratio to the copy loop of the same round, "
        f"in the last column that of {OURS}'s frames to the row's; {machine()}. "
        "All peers, the senders and the receivers share the processors, so figures are this machine's: compare the ratios.\n\n"
        f"{table(rows)}\n\n{about}\n\n![The same as bars](peers.svg)\n"
    )
    (folder / "peers.md").write_text(text, encoding="utf-8")
    (folder / "peers.svg").write_text(plot(rows), encoding="utf-8")
    (folder / "peers.json").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
