"""Features of what others know of a borrower: the industry bureau and the web (spec 06 sections 6.2 to 6.4).

A record counts from the moment it was knowable; when it is sent again under its number (an application decided, a finding
reviewed) the version knowable last before the observation counts, and the earlier ones do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from domain.vocabulary import ReputationCategory as C

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

KEY = ("platform_id", "borrower_ref", "as_of", "known_on")
"""What identifies an observation."""
YEAR_DAYS, FIVE_YEARS_DAYS = 365, 1826
STACKING_DAYS = 3
MONTH_DAYS = 30
DECAY_DAYS = 180
"""A finding's weight falls to 1/e in so many days (spec 06 section 6.2)."""
TIER_TENTHS = {1: 10, 2: 6, 3: 2, 4: 1}
"""Weight of a source's tier in tenths (spec 06 section 6.2: 1.0, 0.6, 0.2, 0.1)."""
SEVERITY = {
    C.DISHONEST_LIST: 5,
    C.ENFORCEMENT: 4,
    C.BANKRUPTCY: 4,
    C.FRAUD_ACCUSATION: 4,
    C.LITIGATION: 3,
    C.TAX: 3,
    C.ADMIN_PENALTY: 3,
    C.MEDIA_NEGATIVE: 2,
    C.COMPLAINT: 1,
}
"""How grave a category is; others are 0."""
_INDUSTRY_FACTS = (
    "member_no",
    "record_type",
    "contract_no",
    "occurred_on",
    "amount_minor",
    "decision",
    "status_code",
    "dpd",
    "kind",
    "knowable_at",
)
_REPUTATION_FACTS = ("source_tier", "category", "polarity_pct", "match_pct", "review", "published_on", "knowable_at")


def industry_features(observations: DataFrame, records: DataFrame) -> DataFrame:
    """KEY, the features of group INDUSTRY, has_industry and industry_known_at, of observations with at least one record."""
    known = visible(observations, records, "record_no", _INDUSTRY_FACTS)
    facts = known.withColumn("age", F.expr("datediff(as_of_date, occurred_on)"))
    found = facts.groupBy(*KEY).agg(
        *(_members(days).alias(f"app_member_cnt_{days}") for days in (30, 90)),
        F.expr(f"count_if({_decided('R')})").alias("rejected"),
        F.expr(f"count_if({_decided('A')})").alias("approved"),
        F.expr(
            """size(array_except(collect_set(case when record_type = 'CONTRACT' then contract_no end),
                                 collect_set(case when status_code in ('C', 'G') or kind = 'WRITE_OFF' then contract_no end)))"""
        ).alias("contract_open_cnt"),
        F.expr(f"sum(case when {_contract(180)} then amount_minor else 0L end)").alias("contract_new_minor_180"),
        F.expr(f"max(case when record_type = 'REPAY' and {_within(YEAR_DAYS)} then dpd end)").alias("worst_dpd"),
        F.expr("min(case when record_type = 'REPAY' and dpd > 0 and age >= 0 then age end)").alias("overdue_age"),
        F.expr("max(case when kind in ('WRITE_OFF', 'FRAUD_CONFIRMED') then 1 else 0 end)").alias("industry_ever_write_off"),
        F.expr(f"sort_array(collect_list(case when {_contract(YEAR_DAYS)} then occurred_on end))").alias("begun"),
        F.max("knowable_at").alias("industry_known_at"),
    )
    apart = "transform(begun, (one, place) -> datediff(one, get(begun, place - 1)))"
    return found.select(
        *KEY,
        "app_member_cnt_30",
        "app_member_cnt_90",
        ratio("rejected", "rejected + approved").alias("app_reject_share_180"),
        "contract_open_cnt",
        "contract_new_minor_180",
        F.expr("coalesce(worst_dpd, 0)").alias("industry_max_dpd_365"),
        F.expr(f"cast(overdue_age div {MONTH_DAYS} as int)").alias("industry_months_since_overdue"),
        "industry_ever_write_off",
        F.expr(f"case when exists({apart}, gap -> gap <= {STACKING_DAYS}) then 1 else 0 end").alias("stacking_flag"),
        F.lit(1).alias("has_industry"),
        "industry_known_at",
    )


def reputation_features(observations: DataFrame, hits: DataFrame) -> DataFrame:
    """KEY, the features of group REPUTATION, has_reputation and reputation_known_at, of observations that were searched.

    Only negative findings count that nobody rejected; NO_HIT says no more than that a search was made. The weight is
    Σ match · tier · max(0, −polarity) · exp(−age/180) over 365 days, each decay rounded to 15 digits: the sum is exact and does
    not depend on the order of its terms.
    """
    known = visible(observations, hits, "hit_no", _REPUTATION_FACTS)
    facts = known.withColumn(
        "age", F.expr("greatest(datediff(as_of_date, coalesce(published_on, to_date(knowable_at))), 0)")
    ).withColumn("counts", F.expr(f"category <> '{C.NO_HIT}' and review <> 'REJECTED' and polarity_pct < 0"))
    tier = "case source_tier " + " ".join(f"when {tier} then {tenths}" for tier, tenths in TIER_TENTHS.items()) + " else 0 end"
    decay = f"cast(exp(-age / {DECAY_DAYS}.0D) as decimal(18,15))"
    weight = f"{decay} * cast(match_pct * -polarity_pct * ({tier}) as decimal(7,0)) * 0.00001BD"
    severity = "case category " + " ".join(f"when '{name}' then {grade}" for name, grade in SEVERITY.items()) + " else 0 end"
    recent = f"counts and age < {YEAR_DAYS}"
    return facts.groupBy(*KEY).agg(
        F.expr(f"cast(count_if({recent}) as int)").alias("reputation_hit_cnt_365"),
        *(
            F.expr(
                f"cast(count_if(counts and review = 'CONFIRMED' and source_tier = {tier} and age < {FIVE_YEARS_DAYS}) as int)"
            ).alias(f"reputation_confirmed_tier{tier}")
            for tier in (1, 2)
        ),
        F.expr(f"cast(coalesce(sum(case when {recent} then {weight} end), 0) as decimal(12,6))").alias(
            "reputation_neg_weighted_365"
        ),
        F.expr(f"coalesce(max(case when {recent} then {severity} end), 0)").alias("reputation_max_severity"),
        F.lit(1).alias("has_reputation"),
        F.max("knowable_at").alias("reputation_known_at"),
    )


def visible(observations: DataFrame, records: DataFrame, number: str, facts: Sequence[str]) -> DataFrame:
    """KEY, as_of_date and the facts of each record of the subject in the version knowable last before `as_of`.

    Only what the platform's own files brought up to `known_on` counts, so that one platform alone gives what all together give.
    """
    order = F.struct("knowable_at", "business_date", "line_no")
    theirs = records.select(
        F.col("platform_id").alias("_platform"),
        F.col("subject_hash").alias("_subject"),
        F.col("business_date").alias("_came_on"),
        F.col(number),
        F.struct(*facts).alias("_facts"),
        order.alias("_order"),
    )
    known = (
        (F.col("platform_id") == F.col("_platform"))
        & (F.col("subject_hash") == F.col("_subject"))
        & (F.col("_order.knowable_at") < F.col("as_of"))
        & (F.col("_came_on") <= F.col("known_on"))
    )
    newest = (
        observations.join(theirs, known).groupBy(*KEY, "as_of_date", number).agg(F.max_by("_facts", "_order").alias("_facts"))
    )
    return newest.select(*KEY, "as_of_date", "_facts.*")


def ratio(above: str, below: str) -> Column:
    """above / below of two counts or amounts as decimal(9,6), half-up by integer arithmetic; null when below is not above 0."""
    parts, whole = f"cast({above} as decimal(28,0))", f"cast({below} as decimal(28,0))"
    millionths = f"({parts} * 2000000 + {whole}) div (2 * {whole})"
    value = f"cast({millionths} as decimal(15,0)) / cast(1000000 as decimal(7,0))"
    return F.expr(f"case when {below} > 0 then cast({value} as decimal(9,6)) end")


def _within(days: int) -> str:
    """Age of the last so many days, the day of the observation included."""
    return f"age between 0 and {days - 1}"


def _members(days: int) -> Column:
    return F.expr(f"size(collect_set(case when record_type = 'APPLICATION' and {_within(days)} then member_no end))")


def _decided(decision: str) -> str:
    return f"record_type = 'APPLICATION' and decision = '{decision}' and {_within(180)}"


def _contract(days: int) -> str:
    return f"record_type = 'CONTRACT' and {_within(days)}"
