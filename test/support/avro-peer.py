"""A program of somebody else on topics in Avro, written with aiokafka and fastavro: nothing of Busbar but its schemas.

    avro-peer.py follow --brokers B --registry URL TOPIC...        each record as a line of JSON, from the oldest on
    avro-peer.py produce --brokers B --topic T --key K --value JSON [--header NAME=TEXT]... [--schema FILE --id N]

`produce` writes Avro when it is given a schema and its id, and JSON otherwise. `follow` reads what is committed alone.
"""

import argparse
import asyncio
import io
import json
import struct
import urllib.error
import urllib.request

import fastavro
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


class Schemas:
    def __init__(self, registry):
        self.registry = registry
        self.known = {}

    def of(self, schema_id):
        if schema_id not in self.known:
            with urllib.request.urlopen(f"{self.registry}/schemas/ids/{schema_id}", timeout=10) as answer:
                self.known[schema_id] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
        return self.known[schema_id]

    def read(self, value):
        """The encoding of the value, and what it says."""
        if value[:1] != b"\0":
            return "json", json.loads(value)
        (schema_id,) = struct.unpack(">I", value[1:5])
        body = io.BytesIO(value[5:])
        try:
            datum = fastavro.schemaless_reader(body, self.of(schema_id))
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return "unreadable", None
        except (EOFError, IndexError, UnicodeDecodeError):
            return "unreadable", None
        return ("avro", datum) if body.read() == b"" else ("unreadable", None)


async def read(schemas, value):
    while True:
        try:
            return schemas.read(value)
        except urllib.error.URLError:
            # The registry is away.
            await asyncio.sleep(0.1)


async def follow(options):
    schemas = Schemas(options.registry)
    consumer = AIOKafkaConsumer(
        *options.topics,
        bootstrap_servers=options.brokers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        metadata_max_age_ms=1000,
    )
    await consumer.start()
    try:
        async for record in consumer:
            encoding, value = await read(schemas, record.value)
            key = record.key.decode()
            headers = {name: text.decode() for name, text in record.headers}
            line = {"topic": record.topic, "key": key, "headers": headers, "encoding": encoding, "value": value}
            print(json.dumps(line), flush=True)
    finally:
        await consumer.stop()


async def produce(options):
    value = options.value.encode()
    if options.schema is not None:
        body = io.BytesIO()
        body.write(struct.pack(">bI", 0, options.id))
        fastavro.schemaless_writer(body, fastavro.schema.load_schema(options.schema), json.loads(options.value))
        value = body.getvalue()
    headers = [(name, text.encode()) for name, text in (each.split("=", 1) for each in options.header)]
    producer = AIOKafkaProducer(bootstrap_servers=options.brokers, enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(options.topic, value, key=options.key.encode(), headers=headers)
    finally:
        await producer.stop()


parser = argparse.ArgumentParser()
verbs = parser.add_subparsers(required=True)
verb = verbs.add_parser("follow")
verb.add_argument("--brokers", required=True)
verb.add_argument("--registry", required=True)
verb.add_argument("topics", nargs="+")
verb.set_defaults(run=follow)
verb = verbs.add_parser("produce")
for name in ["brokers", "topic", "key", "value"]:
    verb.add_argument(f"--{name}", required=True)
verb.add_argument("--header", action="append", default=[])
verb.add_argument("--schema")
verb.add_argument("--id", type=int)
verb.set_defaults(run=produce)
chosen = parser.parse_args()
asyncio.run(chosen.run(chosen))
