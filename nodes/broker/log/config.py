"""The settings of a topic that its logs obey, by Kafka's names and with Kafka 4's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

_HOUR_MS = 3_600_000
_NEVER = 2**63 - 1

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Size = Annotated[int, msgspec.Meta(ge=0)]
_OrUnlimited = Annotated[int, msgspec.Meta(ge=-1)]


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, rename=lambda n: n.replace("_", ".")):
    """One topic's settings. A log takes a new one at any time (`log.config = …`).

    Times are in milliseconds; -1 for a retention means without limit.
    """

    segment_bytes: _Positive = 1 << 30
    segment_ms: _Positive = 7 * 24 * _HOUR_MS
    index_interval_bytes: _Size = 4096
    max_message_bytes: _Size = 1_048_588
    flush_messages: _Positive = _NEVER
    flush_ms: _Size = _NEVER
    retention_ms: _OrUnlimited = 7 * 24 * _HOUR_MS
    retention_bytes: _OrUnlimited = -1
    cleanup_policy: str = "delete"
    delete_retention_ms: _Size = 24 * _HOUR_MS
    min_cleanable_dirty_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    min_compaction_lag_ms: _Size = 0
    message_timestamp_type: Literal["CreateTime", "LogAppendTime"] = "CreateTime"
    message_timestamp_after_max_ms: _Size = _HOUR_MS

    @staticmethod
    def of(configs: Mapping[str, str]) -> LogConfig:
        """From a topic's configs, by Kafka's names; names that are not the log's are left alone.

        Raises:
            ValueError: a value that cannot be, with the name of its setting.
        """
        ours = {n: v for n, v in configs.items() if n in LogConfig.__struct_encode_fields__}
        try:
            return msgspec.convert(ours, LogConfig, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error

    @property
    def deletes(self) -> bool:
        """Whether what is old or too much goes."""
        return "delete" in self.cleanup_policy.split(",")

    @property
    def compacts(self) -> bool:
        """Whether of each key the newest record stays, and older ones go."""
        return "compact" in self.cleanup_policy.split(",")

    @property
    def stamps(self) -> bool:
        """Whether the leader's clock gives records their timestamps."""
        return self.message_timestamp_type == "LogAppendTime"
