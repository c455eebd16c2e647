"""What schemathesis checks of statscache besides its own checks."""

import re

import schemathesis

# Why a question may be refused although each of its parameters is as the document says.
REASONS = [
    "a time before `end`",
    "a step for which the range is kept",
    "only together with rollup=sum",
    "none, together with rollup=product",
    "only without `step`",
    "a label that `by` keeps",
    "at most 32 (patterns|filters)",
    "1 to [0-9]+: there are [0-9]+ rows",
    "a shorter range or a coarser step|a coarser step or a shorter range",
]


@schemathesis.check
def refused_for_what_no_schema_can_say(ctx, response, case):
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code != 400:
        return
    problem = response.json()
    told = f"{problem['title']}: {problem['detail']}"
    assert any(re.search(reason, told) for reason in REASONS), f"refused, and the document does not say why: {told}"
