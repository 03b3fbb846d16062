"""The results as a table for people."""


def number(value):
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def verdict(row, figures, all_rows):
    """The ratio to the relay (None without one), and whether the budget is kept (None without one)."""
    own = figures.get("martlet")
    budget = row.budget
    relay = figures.get("relay")
    if budget and budget.relay_row:
        relay = all_rows.get(budget.relay_row, {}).get("relay")
    ratio = own / relay if own is not None and relay else None
    if own is None or budget is None:
        return ratio, None
    if budget.relay_row:
        return ratio, None if ratio is None else ratio <= budget.limit
    return ratio, own <= budget.limit


def render(results, subjects):
    """Markdown, with columns as wide as their contents, so that it reads well in a terminal too.

    `results` are dictionaries with title, unit, figures, ratio, budget and kept.
    """
    head = ["work", "unit", *subjects, "martlet / relay", "budget", ""]
    lines = [head]
    for result in results:
        kept = {True: "pass", False: "MISS", None: ""}[result["kept"]]
        ratio = "" if result["ratio"] is None else f"{result['ratio']:.2f}"
        lines.append([result["title"], result["unit"], *(number(result["figures"].get(s)) for s in subjects), ratio,
                      result["budget"] or "", kept])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    left = {0, 1, len(head) - 1, len(head) - 2}
    text = []
    for index, line in enumerate(lines):
        cells = [cell.ljust(width) if column in left else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(line, widths))]
        text.append("| " + " | ".join(cells) + " |")
        if index == 0:
            text.append("|" + "|".join(
                "-" * (width + 2) if column in left else "-" * (width + 1) + ":"
                for column, width in enumerate(widths)) + "|")
    return "\n".join(text)
