"""Schemas for what the published description says only in words.

The server reads values as leniently as 0.2.0 did: integers in texts, booleans as words, and so on. The description gives the type a
value should have, so that generated clients are simple, and describes the rest in words. Without these hooks, a string that
the server rightly takes for a number would count as "invalid data that was accepted".
"""

import ipaddress
import itertools

import schemathesis

BODIES = ("NewModel", "ModelChanges", "NewScores")
# Files of the server's disk: a server refuses them unless it is set to read them, which this one is not. tests/api/local_paths/ is about them.
FILES = ("checkpoint_path", "config_path")

INTEGER_TEXT = {"type": "string", "pattern": r"^\s*\+?[0-9]{1,18}(\.0+)?\s*$"}
NUMBER_TEXT = {"type": "string", "pattern": r"^\s*[+-]?([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})([eE][+-]?[0-9]{1,2})?\s*$"}
WORDS = ("true", "false", "yes", "no", "on", "off", "t", "f", "y", "n", "1", "0")
BOOLEAN_TEXT = {"enum": [*WORDS, *(word.upper() for word in WORDS)]}

# In paths and queries all is text; in a body there are other types.
IN_TEXT = {"integer": (INTEGER_TEXT,), "boolean": (BOOLEAN_TEXT,)}
IN_BODY = {
    "integer": (INTEGER_TEXT, {"type": "boolean"}),
    "number": (NUMBER_TEXT, {"type": "boolean"}),
    "boolean": (BOOLEAN_TEXT, {"enum": [0, 1]}),
}


def widened(schema, lenient):
    """Returns the schema, widened by what else the server accepts for its type."""
    types = schema.get("type", ())
    types = (types,) if isinstance(types, str) else types
    more = [other for name in types for other in lenient.get(name, ())]
    return {"anyOf": [schema, *more]} if more else schema


@schemathesis.hook
def before_load_schema(context, raw_schema):
    schemas = raw_schema["components"]["schemas"]
    for body in BODIES:
        fields = schemas[body]["properties"]
        for name in FILES:
            fields.pop(name, None)
        schemas[body]["properties"] = {name: widened(schema, IN_BODY) for name, schema in fields.items()}
    # /v1 is strict.
    lenient = (operations for path, operations in raw_schema["paths"].items() if not path.startswith("/v1/"))
    for path in lenient:
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                # One with bounds stays as it is: the bounds hold for the texts too, and no pattern says so.
                if "schema" in parameter and "maximum" not in parameter["schema"]:
                    parameter["schema"] = widened(parameter["schema"], IN_TEXT)


ADDRESSES = itertools.count(1)


STATUSES = ("experimental", "staging", "production", "archived")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Sends each request from its own address, as a proxy would say: after many wrong keys the server throttles an address (429).

    A promotion has the same status in query and body, which no schema can express.
    """
    case.headers["X-Forwarded-For"] = str(ipaddress.IPv4Address(next(ADDRESSES)))
    wanted = (case.query or {}).get("to_status")
    if wanted in STATUSES and isinstance(case.body, dict) and case.body.get("to_status") in STATUSES:
        case.body["to_status"] = wanted
