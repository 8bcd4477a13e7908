"""What a log stores beside its batches: where it begins, how far it is durable, and whose it is.

    log-state           {"start_offset": …, "recovery_point": …}; all before the recovery point is
                        durable, and the entries of the indexes and of the epochs' file for it, too
    partition.metadata  the topic's id, as Kafka writes it

Both are replaced atomically and durably, so one that cannot be read is damage, not a torn write.
"""

from __future__ import annotations

import uuid
from pathlib import PurePath

import msgspec

from harness.host.contract import Disk
from nodes.broker.log.errors import Damaged, WrongTopic

STATE = "log-state"
METADATA = "partition.metadata"
DELETED = ".deleted"
"""Suffix of a folder that is being deleted."""


class State(msgspec.Struct):
    start_offset: int = 0
    recovery_point: int = 0


def load_state(disk: Disk, folder: str) -> State | None:
    """None if none was stored yet. Raises Damaged, OSError."""
    path = f"{folder}/{STATE}"
    if not disk.exists(path):
        return None
    try:
        return msgspec.json.decode(disk.read(path), type=State)
    except msgspec.MsgspecError as error:
        raise Damaged(f"{path}: {error}") from error


async def store_state(disk: Disk, folder: str, state: State) -> None:
    """Durable when it returns. Raises OSError."""
    await disk.replace(f"{folder}/{STATE}", msgspec.json.encode(state))


async def claim(disk: Disk, folder: str, topic_id: uuid.UUID) -> None:
    """Make the folder this topic's, before anything else is in it.

    Raises:
        WrongTopic: it is another one's, or what an interrupted deletion left of one. OSError.
    """
    path = f"{folder}/{METADATA}"
    if disk.exists(path):
        if f"topic_id: {topic_id}" not in disk.read(path).decode(errors="replace").splitlines():
            raise WrongTopic(f"{folder} is not of topic id {topic_id}")
        return
    # Any file of another topic's: what it says of a log's begin must not be believed of this one.
    if left := [name for name in disk.listdir(folder) if name != f"{METADATA}.tmp"]:
        raise WrongTopic(f"{folder} has {', '.join(left[:3])}, but no {METADATA}")
    await disk.replace(path, f"version: 0\ntopic_id: {topic_id}\n".encode())


async def remove_folder(disk: Disk, folder: str) -> None:
    """Delete a log's folder such that no crash leaves half of it under its name. Raises OSError."""
    if not disk.exists(folder):
        return
    aside = folder + DELETED
    if disk.exists(aside):
        disk.rmtree(aside)
    disk.rename(folder, aside)
    await disk.fsync_dir(PurePath(folder).parent)  # else half of it could be back as `folder`
    disk.rmtree(aside)
