"""Policy ``schedule``: follow given times, whatever is seen.

One point is a static deployment. The benchmark's clairvoyant oracle computes its points from
the trace and is played through this policy, so that orders and start-ups are real ones.
"""

from __future__ import annotations

from planner.core.policies.contract import Policy, PoolProposal, Proposal, View


def propose(view: View) -> Proposal:
    """The last point whose time has come; before the first one, the first."""
    config, now_s = view.config, view.observation.now_s
    due = [point for point in config.schedule if point.at_s <= now_s + 1e-9]
    replicas = (due[-1] if due else config.schedule[0]).replicas
    return Proposal(
        state=view.state,
        pools=tuple(
            PoolProposal(
                pool=pool,
                stock=stock,
                load_known=True,
                at_least=count,
                at_most=count,
                wanted=count,
                need=float(count),
            )
            for pool, stock, count in zip(config.pools, view.stocks, replicas, strict=True)
        ),
    )


SCHEDULE = Policy(name="schedule", propose=propose, needs_traffic=False)
