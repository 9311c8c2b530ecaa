"""What matters in a stage, in words."""

from __future__ import annotations

from nnstudy.search.importance.importances import Group, Importance, StageImportance
from nnstudy.search.importance.interaction import Interaction

TITLES = {
    "ped-anova": "PED-ANOVA",
    "fanova": "fANOVA",
    "mean-decrease-impurity": "mean decrease in impurity",
}

Row = tuple[str, str, str, str, str]

HEADING: Row = ("parameter", "importance", "by chance up to", "asked for in", "")


def headline(found: StageImportance) -> str:
    """Returns in a line what matters in a stage, "" where nothing can be said."""
    if not found.groups:
        return ""
    told, others = [], []
    for importance in _best_known(found):
        if importance.is_told:
            told.append(f"{importance.parameter} {importance.share:.2f}")
        else:
            others.append(importance.parameter)
    matters = f"what mattered: {', '.join(told) or 'no parameter for sure'}"
    chance = f"; not told from chance: {', '.join(others)}" if others else ""
    return f"{matters}{chance} ({TITLES[found.evaluator]}, {found.complete} complete trials)"


def _best_known(found: StageImportance) -> list[Importance]:
    """Returns each parameter once, as the largest group of trials has it."""
    known: dict[str, Importance] = {}
    for group in sorted(found.groups, key=lambda group: -group.trials):
        for importance in group.importances:
            known.setdefault(importance.parameter, importance)
    return list(known.values())


def strongest(found: StageImportance) -> list[str]:
    """Returns the parameters, those that are told from chance first, then by importance.

    What only some trials ask for counts for these only, where its share is one of theirs.
    """
    ranked = sorted(
        _best_known(found),
        key=lambda importance: (not importance.is_told, -importance.share * importance.asked),
    )
    return [importance.parameter for importance in ranked]


def group_title(group: Group) -> str:
    """Returns which trials a group is made of."""
    if not group.branch:
        return f"{group.trials} complete trials"
    return f"the {group.trials} complete trials that ask for {' and '.join(group.branch)}"


def rows(found: StageImportance, group: Group) -> list[Row]:
    """Returns a group as a table, without its heading."""
    return [
        (
            importance.parameter,
            f"{importance.share:.2f}",
            f"{importance.chance:.2f}",
            f"{importance.asked} of {found.complete}",
            ", ".join(
                [
                    *(["conditional"] if importance.is_conditional else []),
                    *([] if importance.is_told else ["not told from chance"]),
                ]
            ),
        )
        for importance in group.importances
    ]


def interaction_words(found: Interaction) -> str:
    """Returns in a sentence whether two parameters act together."""
    pair = f"{found.first} and {found.second}"
    chance = f"(by chance up to {found.chance:.0%}; {found.trials} trials)"
    if not found.is_told:
        return f"{pair}: no interaction to be seen, {found.share:.0%} {chance}"
    return (
        f"{pair} act together: {found.share:.0%} of what both explain is their interaction {chance}"
    )


def as_markdown(found: StageImportance) -> str:
    """Returns all that is said of a stage, but for the interaction, as Markdown."""
    lines = [f"# {found.study}/{found.stage}: which parameters matter", ""]
    lines += [f"By {TITLES[found.evaluator]}.", ""]
    for group in found.groups:
        lines += [f"{group_title(group)}:", ""]
        lines += ["| " + " | ".join(HEADING) + " |", "|" + " --- |" * len(HEADING)]
        lines += ["| " + " | ".join(row) + " |" for row in rows(found, group)]
        lines += [""]
    lines += [f"- {name}: {reason}" for name, reason in found.unsaid.items()]
    lines += [f"- {warning}" for warning in found.warnings]
    return "\n".join(lines).rstrip() + "\n"
