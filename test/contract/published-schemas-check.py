"""Validates values of command.events with public tools. Usage: check.py JSON_SCHEMA AVRO_SCHEMA < values, one a line.

Prints the number of values that are valid and come through Avro's binary form unchanged; fails on the first that does not.
"""

import io
import json
import sys

import fastavro
from fastavro.schema import load_schema
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

json_schema_path, avro_schema_path = sys.argv[1:]
with open(json_schema_path, encoding="utf-8") as file:
    json_schema = json.load(file)
assert json_schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
Draft202012Validator.check_schema(json_schema)
validator = Draft202012Validator(json_schema)
avro_schema = load_schema(avro_schema_path)


def refuses(event):
    try:
        validator.validate(event)
    except ValidationError:
        return True
    return False


count = 0
for line in sys.stdin:
    event = json.loads(line)
    validator.validate(event)
    for member in json_schema["required"]:
        assert refuses({name: value for name, value in event.items() if name != member}), f"{member} may be missing"
    assert refuses({**event, "id": "cmd-1"}), "any id is taken"

    # As the schema's own words have it: the payload travels as JSON text.
    record = {**event, "payload": None if event["payload"] is None else json.dumps(event["payload"])}
    assert fastavro.validate(record, avro_schema, strict=True)
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, avro_schema, record)
    buffer.seek(0)
    read = fastavro.schemaless_reader(buffer, avro_schema)
    assert read == record, f"{record} came back as {read}"
    assert (None if read["payload"] is None else json.loads(read["payload"])) == event["payload"]
    count += 1
print(count)
