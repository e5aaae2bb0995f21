"""One-sided keys that fit several records of the other side equally well: B28, listed and never confirmed (spec 07, 7.3)."""

from __future__ import annotations

from recon.engine import Statement
from recon.records import KEY
from recon.rules import RuleSet
from recon.timeline import same_key


def rivals(rules: RuleSet) -> Statement:
    """View `rival`: keys with one record in all that has a candidate, and by how many candidates that pair is contested.

    A candidate is a record of the other side, alone under its key too, with the same accounts and amount, of the same date and
    within the rule's `weak_minutes`. `rivals` = the most candidates that either of a pair has: above 1 nobody can say who
    belongs to whom. It is settled on the date of the records and carried, so that a run of one date and of many agree.
    """
    weak = [rule for rule in rules.records if rule.weak_minutes]
    near = " or ".join(
        f"(a.recon_id = '{rule.recon_id}' and b.happened_at between a.happened_at - interval {rule.weak_minutes} minutes "
        f"and a.happened_at + interval {rule.weak_minutes} minutes)"
        for rule in weak
    )
    place = "recon_id, platform_id, currency"
    return Statement(
        "rival",
        f"""
        with one as (
          select s.recon_id, s.platform_id, s.currency, s.match_key, s.event_date, r.side, r.debit_account_no,
            r.credit_account_no, r.amount_minor, r.happened_at
          from key_state s join open_record r on {same_key("r", "s")} and r.business_date = s.event_date
          where s.n_left + s.n_right = 1 and r.debit_account_no || r.credit_account_no <> ''),
        pair as (
          select a.recon_id, a.platform_id, a.currency, a.match_key as left_key, b.match_key as right_key
          from one a join one b on b.recon_id = a.recon_id and b.platform_id = a.platform_id and b.currency = a.currency
            and b.event_date = a.event_date and b.debit_account_no = a.debit_account_no
            and b.credit_account_no = a.credit_account_no and b.amount_minor = a.amount_minor
          where a.side = 'L' and b.side = 'R' and ({near or "false"})),
        contested as (
          select pair.*, greatest(count(*) over (partition by {place}, left_key),
            count(*) over (partition by {place}, right_key)) as rivals from pair)
        select {KEY}, cast(max(rivals) as bigint) as rivals
        from (
          select {place}, left_key as match_key, rivals from contested
          union all
          select {place}, right_key, rivals from contested
          union all
          select {KEY}, rivals from carried_record where rivals is not null) r
        group by {KEY}""",
        keep=True,
    )
