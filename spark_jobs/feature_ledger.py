"""Features of the money on a borrower's own sub-account, in our own book B: what only a custodian sees (spec 06 section 6.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from spark_jobs.feature_bureau import KEY

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.window import WindowSpec

AVERAGED_DAYS, LOOKED_BACK_DAYS = 30, 90
_ACCOUNT_DAY = ("platform_id", "account_no", "business_date")
_BORROWERS = "BORROWERS"


def ledger_features(observations: DataFrame, balances: DataFrame, movements: DataFrame, customers: DataFrame) -> DataFrame:
    """KEY, the features of group LEDGER, has_ledger and ledger_known_on, of observations whose account book B knew on their date.

    `balances` and `movements` are rows of `ledger_balance` and `ledger_movement`, back to 90 days before the first observation;
    `customers` is what `spark_jobs.feature_books.people` gives. Several accounts of a person add up.
    """
    days = _account_days(balances, movements)
    theirs = observations.join(customers.drop("opened_on"), ["platform_id", "known_on", "borrower_ref"])
    account = theirs.join(days, ["platform_id", "customer_no"]).where("business_date = as_of_date")
    return account.groupBy(*KEY).agg(
        F.sum("closing_minor").alias("ledger_balance_minor"),
        F.sum("average_minor").alias("ledger_avg_balance_30_minor"),
        F.sum("recharged_minor").alias("ledger_recharge_30_minor"),
        F.expr("min(datediff(as_of_date, moved_on))").alias("ledger_days_since_movement"),
        F.lit(1).alias("has_ledger"),
        F.max("business_date").alias("ledger_known_on"),
    )


def _account_days(balances: DataFrame, movements: DataFrame) -> DataFrame:
    """A row a borrower's account and date with what the days before say: average balance, recharges, last movement."""
    own = balances.where(F.col("account_role") == _BORROWERS).select(*_ACCOUNT_DAY, "customer_no", "closing_minor")
    days = own.join(_turnover(movements), [*_ACCOUNT_DAY], "left")
    recent, looked_back = _last_days(AVERAGED_DAYS), _last_days(LOOKED_BACK_DAYS)
    total, count = F.sum("closing_minor").over(recent), F.count("closing_minor").over(recent)
    return (
        days.withColumn("_total", total)
        .withColumn("_count", count)
        .select(
            "platform_id",
            "customer_no",
            "business_date",
            "closing_minor",
            # half-up: balances of customers are never below zero
            F.expr("(2 * _total + _count) div (2 * _count)").alias("average_minor"),
            F.coalesce(F.sum("recharge_minor").over(recent), F.lit(0)).alias("recharged_minor"),
            F.max(F.when(F.col("has_moved"), F.col("business_date"))).over(looked_back).alias("moved_on"),
        )
    )


def _turnover(movements: DataFrame) -> DataFrame:
    """What moved on a borrower's account on a date: net recharges; bringing in an opening balance is nobody's movement."""
    sides = F.explode(
        F.expr(
            """array(struct(debit_account_no as account_no, debit_role as role, -amount_minor as signed_minor),
                     struct(credit_account_no as account_no, credit_role as role, amount_minor as signed_minor))"""
        )
    ).alias("side")
    moved = movements.where("movement_type <> 'OPENING_BALANCE'").select("platform_id", "business_date", "movement_type", sides)
    return (
        moved.where(F.col("side.role") == _BORROWERS)
        .groupBy("platform_id", F.col("side.account_no").alias("account_no"), "business_date")
        .agg(
            F.expr("sum(case when movement_type = 'RECHARGE' then side.signed_minor else 0L end)").alias("recharge_minor"),
            F.lit(True).alias("has_moved"),
        )
    )


def _last_days(days: int) -> WindowSpec:
    """The dates of an account from so many days back, the date itself included."""
    in_order = Window.partitionBy("platform_id", "account_no").orderBy(F.unix_date("business_date"))
    return in_order.rangeBetween(1 - days, 0)
