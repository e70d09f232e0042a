"""What was measured, as a table and as a plot."""

import pathlib
import platform
import statistics

from .bench import VALUES

LIMIT = "copy-loop"


def medians(rows):
    """{figure: {peer: (median, median of the ratios to the copy loop of the same round)}}, peers in their order."""
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


def text_of(figure, value):
    unit = VALUES[figure][1]
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.2f} {unit}"


def table(rows):
    """A Markdown table: a row a peer, a column a figure, each with its ratio to the copy loop."""
    figures = medians(rows)
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    lines = [f"| | {' | '.join(figures)} |", f"|---{'|---:' * len(figures)}|"]
    for peer in peers:
        cells = []
        for figure, values in figures.items():
            value, ratio = values.get(peer, (None, None))
            cells.append("" if value is None else text_of(figure, value) + (f" ({ratio:.2f})" if ratio else ""))
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows):
    """An SVG: bars of ratios to the copy loop, a group a figure. Of times, the inverse: longer is better everywhere."""
    figures = medians(rows)
    width, bar, label = 860, 16, 150
    y, parts = 30, []
    for figure, peers in figures.items():
        parts.append(f'<text x="8" y="{y}" class="head">{figure}, {VALUES[figure][1]}</text>')
        y += 10
        for peer, (value, ratio) in peers.items():
            if ratio is None:
                continue
            length = min(ratio if VALUES[figure][2] else 1 / ratio, 2) * (width - label - 190) / 1.5
            kind = "ours" if peer.startswith("septum") else "limit" if peer == LIMIT else "other"
            parts.append(f'<text x="{label - 8}" y="{y + 12}" class="name">{peer}</text>')
            parts.append(f'<rect x="{label}" y="{y}" width="{length:.1f}" height="{bar - 3}" class="{kind}"/>')
            shown = f"{text_of(figure, value)} ({ratio:.2f})"
            parts.append(f'<text x="{label + length + 6:.1f}" y="{y + 12}">{shown}</text>')
            y += bar
        y += 28
    style = (
        "text{font:12px sans-serif;fill:#333}.head{font-weight:bold}.name{text-anchor:end}"
        ".ours{fill:#2a7f62}.limit{fill:#888}.other{fill:#c9a66b}"
    )
    size = f'width="{width}" height="{y}" viewBox="0 0 {width} {y}"'
    background = f'<rect width="{width}" height="{y}" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{background}{"".join(parts)}</svg>\n'


def write(folder, rows, command):
    """Puts peers.md and peers.svg there."""
    folder.mkdir(parents=True, exist_ok=True)
    cpu = next(
        (line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    cores = sum(line.startswith("processor") for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines())
    rounds = max((row["round"] for row in rows), default=0)
    text = (
        f"# Beside its peers\n\n`{command}`: medians of {rounds} rounds, in brackets the median ratio to the copy loop of the same "
        f"round. {cpu}, {cores} cores, Linux {platform.release()}.\n\n{table(rows)}\n\n![The same as bars](peers.svg)\n"
    )
    (folder / "peers.md").write_text(text, encoding="utf-8")
    (folder / "peers.svg").write_text(plot(rows), encoding="utf-8")
