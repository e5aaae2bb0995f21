"""The cells of `cust_360`: what is newest about a person, out of the rows of many dates and platforms (architecture section 5).

A person is known by the 8-byte id of the `id_hash`; a customer without one by platform and customer number (profile only).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def entity_id(*parts: Column) -> Column:
    """`domain.ids.entity_id` as a Spark expression: the first 8 bytes of sha256, top bit cleared."""
    digest = F.sha2(F.concat_ws("|", *parts), 256)
    high = F.conv(F.substring(digest, 1, 8), 16, 10).cast("bigint").bitwiseAND(0x7FFF_FFFF)
    low = F.conv(F.substring(digest, 9, 8), 16, 10).cast("bigint")
    return F.shiftleft(high, 32).bitwiseOR(low)


def newest_profiles(customers: DataFrame) -> DataFrame:
    """One row a person: the newest by business date, then platform, customer number and line."""
    identity = F.coalesce(F.col("id_hash"), F.concat_ws("|", "platform_id", "customer_no"))
    age = F.struct("business_date", "platform_id", "customer_no", "line_no")
    newest = customers.withColumn("party_key", entity_id(identity)).groupBy("party_key")
    return newest.agg(F.max_by(F.struct(*customers.columns), age).alias("newest")).select("party_key", "newest.*")


def newest_features(features: DataFrame) -> DataFrame:
    """The newest features of every known person; decimals as whole millionths."""
    whole = (
        F.expr(f"cast({name} * 1000000 as bigint)").alias(f"{name}_millionths")
        for name in ("app_reject_share_180", "reputation_neg_weighted_365")
    )
    return _newest_of_person(features.select("*", *whole))


def newest_scores(scores: DataFrame) -> DataFrame:
    """The newest score of every known person; the probability in whole billionths."""
    whole = F.expr("cast(pd * 1000000000 as bigint)").alias("pd_billionths")
    return _newest_of_person(scores.select("*", F.col("feature_as_of").alias("as_of"), whole))


def _newest_of_person(rows: DataFrame) -> DataFrame:
    """One row a person with an `id_hash` (as `subject_hash`): the newest by business date, then platform."""
    known = rows.where("subject_hash is not null").withColumn("party_key", entity_id(F.col("subject_hash")))
    age = F.struct("business_date", "platform_id", "borrower_ref")
    newest = known.groupBy("party_key").agg(F.max_by(F.struct(*rows.columns), age).alias("newest"))
    return newest.select("party_key", "newest.*")


def party_keys(frames: Sequence[DataFrame]) -> DataFrame:
    """The persons that some frames name, each once."""
    return reduce(lambda one, other: one.unionByName(other), (frame.select("party_key") for frame in frames)).distinct()
