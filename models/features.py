"""The features of a borrower, declared once as data: code, type, group, unit, meaning, and what a missing value says (spec 06
section 6.4).

`spark_jobs.features.person_features` computes them, lake table `person_feature` holds them, a model picks from them. Missing is
not zero: a value is null exactly where its policy says so, and the flags `has_…` tell why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Group(StrEnum):
    """Where a feature's facts come from; a group's flag says whether there are any."""

    INDUSTRY = "INDUSTRY"
    REPUTATION = "REPUTATION"
    OWN = "OWN"
    LEDGER = "LEDGER"
    FLAG = "FLAG"


class Missing(StrEnum):
    """When a feature has no value."""

    NEVER = "NEVER"
    NO_RECORD = "NO_RECORD"
    """The group's flag is 0: nobody knows anything."""
    NO_RECORD_OR_NEVER_HAPPENED = "NO_RECORD_OR_NEVER_HAPPENED"
    """The flag is 0, or there are records but what the feature measures never happened (the flag tells which)."""
    NO_CASE = "NO_CASE"
    """Nothing to divide by or to measure from: no loan, no instalment due, no customer row."""


@dataclass(frozen=True)
class Feature:
    """One feature. `ddl` is its Spark SQL type: int, bigint or decimal (never double).

    For example ``FEATURES["own_max_dpd_365"].unit`` is ``days``.
    """

    code: str
    group: Group
    ddl: str
    unit: str
    missing: Missing
    en: str
    zh: str

    @property
    def scale(self) -> int:
        """Digits after the point."""
        return int(self.ddl.partition(",")[2].rstrip(")")) if self.ddl.startswith("decimal") else 0


RATIO = "decimal(9,6)"
_I, _R, _O, _L, _F = Group.INDUSTRY, Group.REPUTATION, Group.OWN, Group.LEDGER, Group.FLAG
_NO, _NEVER_HAPPENED = Missing.NO_RECORD, Missing.NO_RECORD_OR_NEVER_HAPPENED

_ALL = (
    Feature(
        "app_member_cnt_30",
        _I,
        "int",
        "members",
        _NO,
        "lenders of the industry bureau he applied to in the last 30 days",
        "近30天在同业机构申请借款的机构数",
    ),
    Feature(
        "app_member_cnt_90",
        _I,
        "int",
        "members",
        _NO,
        "lenders of the industry bureau he applied to in the last 90 days",
        "近90天在同业机构申请借款的机构数",
    ),
    Feature(
        "app_reject_share_180",
        _I,
        RATIO,
        "share",
        _NEVER_HAPPENED,
        "share of his applications decided in the last 180 days that were rejected",
        "近180天已审批同业申请中被拒绝的比例",
    ),
    Feature("contract_open_cnt", _I, "int", "contracts", _NO, "open contracts with other lenders", "同业未结清合同数"),
    Feature(
        "contract_new_minor_180",
        _I,
        "bigint",
        "minor units",
        _NO,
        "amount of contracts with other lenders begun in the last 180 days",
        "近180天同业新增合同金额",
    ),
    Feature(
        "industry_max_dpd_365",
        _I,
        "int",
        "days",
        _NO,
        "most days past due reported by other lenders in the last 365 days",
        "近365天同业最大逾期天数",
    ),
    Feature(
        "industry_months_since_overdue",
        _I,
        "int",
        "months of 30 days",
        _NEVER_HAPPENED,
        "months since another lender last reported him overdue",
        "距最近一次同业逾期的月数",
    ),
    Feature(
        "industry_ever_write_off",
        _I,
        "int",
        "0 or 1",
        _NO,
        "another lender has written a debt of his off or called it fraud",
        "是否有同业核销或确认欺诈记录",
    ),
    Feature(
        "stacking_flag",
        _I,
        "int",
        "0 or 1",
        _NO,
        "two contracts with other lenders began within 3 days of each other, in the last 365 days",
        "近365天是否在3天内签订两笔及以上同业合同",
    ),
    Feature(
        "reputation_hit_cnt_365",
        _R,
        "int",
        "hits",
        _NO,
        "negative findings about him on the web in the last 365 days, rejected ones left out",
        "近365天网络负面信息条数（不含已排除）",
    ),
    Feature(
        "reputation_confirmed_tier1",
        _R,
        "int",
        "hits",
        _NO,
        "confirmed negative findings of courts and authorities in the last 5 years",
        "近5年经核实的法院及政府来源负面信息条数",
    ),
    Feature(
        "reputation_confirmed_tier2",
        _R,
        "int",
        "hits",
        _NO,
        "confirmed negative findings of licensed media in the last 5 years",
        "近5年经核实的持牌媒体负面信息条数",
    ),
    Feature(
        "reputation_neg_weighted_365",
        _R,
        "decimal(12,6)",
        "weight",
        _NO,
        "weight of negative findings of the last 365 days: match x tier x negativity x exp(-age/180)",
        "近365天网络负面加权值：匹配度×来源权重×负面程度×exp(-天数/180)",
    ),
    Feature(
        "reputation_max_severity",
        _R,
        "int",
        "0 to 5",
        _NO,
        "gravest category among the negative findings of the last 365 days",
        "近365天网络负面信息最高严重级别",
    ),
    Feature(
        "own_age_days", _O, "int", "days", Missing.NO_CASE, "days since he became a customer of the platform", "在本平台开户天数"
    ),
    Feature(
        "own_loan_cnt", _O, "int", "loans", Missing.NEVER, "loans the platform has paid out to him so far", "本平台累计放款笔数"
    ),
    Feature(
        "own_on_time_ratio",
        _O,
        RATIO,
        "share",
        Missing.NO_CASE,
        "share of his instalments due so far that were never overdue at the end of a day",
        "本平台已到期期数中从未逾期的比例",
    ),
    Feature(
        "own_max_dpd_365",
        _O,
        "int",
        "days",
        Missing.NO_CASE,
        "most days past due on the platform in the last 365 days, what guarantors paid not counted",
        "近365天本平台最大逾期天数（代偿不计）",
    ),
    Feature(
        "own_late_issue_cnt_365",
        _O,
        "int",
        "instalments",
        Missing.NO_CASE,
        "instalments overdue on the platform on some day of the last 365",
        "近365天本平台逾期期数",
    ),
    Feature(
        "own_outstanding_minor",
        _O,
        "bigint",
        "minor units",
        Missing.NO_CASE,
        "principal of his loans on the platform that lenders have not got back",
        "本平台待还本金余额",
    ),
    Feature(
        "own_repaid_share",
        _O,
        RATIO,
        "share",
        Missing.NO_CASE,
        "share of the principal paid out to him on the platform that he himself has paid back",
        "本平台借款本金本人已还比例",
    ),
    Feature("ledger_balance_minor", _L, "bigint", "minor units", _NO, "balance of his borrower sub-account", "借款人子账户余额"),
    Feature(
        "ledger_avg_balance_30_minor",
        _L,
        "bigint",
        "minor units",
        _NO,
        "average closing balance of his borrower sub-account over the last 30 days",
        "近30天借款人子账户日均余额",
    ),
    Feature(
        "ledger_recharge_30_minor",
        _L,
        "bigint",
        "minor units",
        _NO,
        "money he brought in by recharges in the last 30 days",
        "近30天借款人充值金额",
    ),
    Feature(
        "ledger_days_since_movement",
        _L,
        "int",
        "days",
        _NEVER_HAPPENED,
        "days since the last movement on his borrower sub-account, looked for over 90 days",
        "距借款人子账户最近一次变动的天数（回溯90天）",
    ),
    Feature("has_industry", _F, "int", "0 or 1", Missing.NEVER, "the industry bureau knows him", "同业征信是否有记录"),
    Feature(
        "has_reputation",
        _F,
        "int",
        "0 or 1",
        Missing.NEVER,
        "his reputation on the web has been searched",
        "是否做过网络信誉查询",
    ),
    Feature("has_ledger", _F, "int", "0 or 1", Missing.NEVER, "book B knows his borrower sub-account", "台账是否有借款人子账户"),
)

FEATURES: Mapping[str, Feature] = {feature.code: feature for feature in _ALL}
"""All features by code, in the order of the columns of `person_feature`."""

FLAG_OF: Mapping[Group, str] = {_I: "has_industry", _R: "has_reputation", _L: "has_ledger"}
"""The feature that says whether a group has facts; OWN needs none, its facts are the platform's own books."""


def features_ddl() -> str:
    """The features as columns of a Spark SQL DDL."""
    return ", ".join(f"{feature.code} {feature.ddl}" for feature in FEATURES.values())
