#!/usr/bin/env python3
"""Follows the commands that Busbar tells of on the topic command.events: a pattern for programs of your own.

What this one does with a command is to keep it in a SQLite file and to print it, once. Three habits make that safe:

* The offset is committed only after the effect is durable, so a crash repeats events and loses none.
* The effect and the id of the event are stored in one transaction, so a repeated event has no second effect.
* A value that is not as the published schema says is set aside, and the partition goes on.

    pip install -r requirements.txt
    python command_created_consumer.py --brokers localhost:9092 --database commands.db
"""

import argparse
import asyncio
import json
import logging
import signal
import sqlite3
import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, KafkaError
from jsonschema import Draft202012Validator, FormatChecker

TOPIC = "command.events"
GROUP = "command-created-consumers"
TYPE = "command.created"
SCHEMA = Path(__file__).parent.parent / "json" / "command.created.schema.json"

# Records taken in one transaction, and how long to wait for the first of them.
BATCH_RECORDS = 500
BATCH_WAIT_MS = 500

log = logging.getLogger("command-created")

TABLES = """
create table if not exists commands (
    id text primary key, device_id text not null, name text not null, payload text, created_at text not null
);
create table if not exists set_aside (
    partition integer not null, "offset" integer not null, reason text not null, value blob,
    primary key (partition, "offset")
);
"""


FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def is_date_time(value):
    """Python's own reading of RFC 3339; by itself jsonschema does not look at formats."""
    return datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None


class Events:
    """Tells commands from what cannot be understood."""

    def __init__(self, schema_path):
        schema = json.loads(Path(schema_path).read_text(encoding="utf-8"))
        Draft202012Validator.check_schema(schema)
        self.validator = Draft202012Validator(schema, format_checker=FORMATS)

    def read(self, value):
        """The command of a record; None when it is of a type that this program does not know.

        Raises ValueError when it is not as the schema says.
        """
        try:
            event = json.loads(value or b"")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from error
        kind = event.get("type") if isinstance(event, dict) else None
        # Later versions and other events have types of their own: they are not for this program.
        if isinstance(kind, str) and kind != TYPE:
            return None
        problem = next(self.validator.iter_errors(event), None)
        if problem is not None:
            raise ValueError(f"{problem.json_path}: {problem.message}"[:500])
        return event


class Store:
    """What was taken in, each command once."""

    def __init__(self, path):
        self.database = sqlite3.connect(path)
        # Full: what is committed here survives a power cut, before Kafka forgets it.
        self.database.execute("pragma journal_mode = wal")
        self.database.execute("pragma synchronous = full")
        self.database.executescript(TABLES)

    def take(self, records, events):
        """Stores a batch in one transaction; gives the commands that were new."""
        new = []
        with self.database:
            for record in records:
                try:
                    event = events.read(record.value)
                except ValueError as problem:
                    self.set_aside(record, str(problem))
                    continue
                if event is not None and self.insert(event):
                    new.append(event)
        return new

    def insert(self, event):
        """True the first time that this id comes."""
        payload = None if event["payload"] is None else json.dumps(event["payload"])
        row = (event["id"], event["device_id"], event["name"], payload, event["created_at"])
        return self.database.execute("insert or ignore into commands values (?, ?, ?, ?, ?)", row).rowcount == 1

    def set_aside(self, record, reason):
        log.warning("partition %d, offset %d is set aside: %s", record.partition, record.offset, reason)
        row = (record.partition, record.offset, reason, record.value)
        self.database.execute("insert or ignore into set_aside values (?, ?, ?, ?)", row)

    def close(self):
        self.database.close()


async def consume(consumer, events, store, stopping):
    while not stopping.is_set():
        batches = await consumer.getmany(timeout_ms=BATCH_WAIT_MS, max_records=BATCH_RECORDS)
        records = [record for batch in batches.values() for record in batch]
        if not records:
            continue
        for event in store.take(records, events):
            print(json.dumps(event), flush=True)
        try:
            await consumer.commit({partition: batch[-1].offset + 1 for partition, batch in batches.items()})
        except CommitFailedError:
            # The group gave the partition to another member, which gets these events again and knows their ids.
            log.warning("a partition was taken away before the commit; its events come again")


async def main(options):
    events = Events(options.schema)
    stopping = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    consumer = AIOKafkaConsumer(
        options.topic,
        bootstrap_servers=options.brokers,
        group_id=options.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    with closing(Store(options.database)) as store:
        await consumer.start()
        log.info("following %s as %s", options.topic, options.group)
        try:
            await consume(consumer, events, store, stopping)
        finally:
            await consumer.stop()


def arguments():
    parser = argparse.ArgumentParser(description="Keeps every command that Busbar tells of, once.")
    parser.add_argument("--brokers", default="localhost:9092", help="host:port of some brokers, with commas between")
    parser.add_argument("--topic", default=TOPIC)
    parser.add_argument("--group", default=GROUP, help="consumer group; members of one group share the work")
    parser.add_argument("--schema", default=SCHEMA, help="the published JSON Schema")
    parser.add_argument("--database", default="commands.db", help="SQLite file that remembers the commands")
    return parser.parse_args()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(main(arguments()))
    except KafkaError as error:
        sys.exit(f"Kafka: {error}")
