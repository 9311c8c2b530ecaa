"""A command whose options are grouped by topic in its help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


class TopicOption(click.Option):
    """An option that belongs to a topic."""

    def __init__(self, *args: Any, topic: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.topic = topic


def topic_option(topic: str) -> Callable[..., Callable[[Function], Function]]:
    """Returns ``click.option`` for the options of a topic."""

    def option(*names: str, **attributes: Any) -> Callable[[Function], Function]:
        return click.option(*names, cls=TopicOption, topic=topic, **attributes)

    return option


class TopicCommand(click.Command):
    """Shows the options of each topic under its heading, the others last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, topic by topic."""
        topics: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if isinstance(param, click.Option) and record is not None:
                topics.setdefault(getattr(param, "topic", "Other"), []).append(record)
        topics["Other"] = topics.pop("Other", [])
        for topic, records in topics.items():
            if records:
                with formatter.section(topic):
                    formatter.write_dl(records)
