"""Cleaning up: the backups of an order go into the trash one by one, each judged once more at its turn."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.jobs.cancel import stop_if_asked
from dbcalm_mariadb_cmd.jobs.order import CleanupJob
from dbcalm_mariadb_cmd.retention.guard import Limits, Stock
from dbcalm_mariadb_cmd.retention.trash import Trash
from dbcalm_mariadb_cmd.store.journal import Journal


def delete(job: CleanupJob, journal: Journal, say: Callable[[str], None]) -> None:
    """Delete what the order names; raise Cancelled, between two of them, or OSError. What may no longer go, because it
    was held meanwhile, stays with what it builds on. ``say`` gets one line for each backup.

    Whoever kills this at any moment finds each backup that is left with its whole chain.
    """
    places = job.places
    backup_dir = Path(places.backup_dir)
    trash = Trash(backup_dir, Path(places.job_dir), journal)
    stock = Stock(
        backup_dir, Limits(job.min_full_chains, timedelta(seconds=job.min_age_seconds)), journal.now()
    )
    kept: set[str] = set()
    for id in stock.oldest_chain_first(job.ids):
        stop_if_asked(job)
        if id in kept:
            continue
        with trash.changing():
            try:
                stock.require_removable(id)
            except Refused as refused:
                kept.update(stock.chain_below(id))
                say(f"kept {id}: {refused}")
                continue
            trash.put(id, job.job_id)
        stock.take_out(id)
        say(f"deleted {id}")


def left(job: CleanupJob) -> list[str]:
    """Return the ids of the order that are not deleted."""
    return [id for id in job.ids if job.places.backup(id).exists()]
