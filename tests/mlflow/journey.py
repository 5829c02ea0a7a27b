"""A user's way through the registry with the unmodified MLflow client, of 3.17 or 2.22.

    journey.py URL STRICT_URL

The registry is at URL. It has an artifact store, does not protect production versions from being deleted, and refuses no
promotion. The one at STRICT_URL protects them, and wants scores of the suite "smoke" for production. The key of both is in
MLFLOW_TRACKING_TOKEN, and in REGISTRY_TEST_KEY for what else needs it; REGISTRY_TEST_BINARY is the registry's command. Runs are
tracked in a local folder. Each line of the output is a step that passed; the first one that does not ends the journey.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
import warnings
from pathlib import Path

URL, STRICT_URL = sys.argv[1:]
KEY = os.environ["REGISTRY_TEST_KEY"]
FOLDER = Path(tempfile.mkdtemp(prefix="mlflow-journey-"))
os.chdir(FOLDER)
os.environ |= {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # An answer 5xx would otherwise be retried for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
warnings.filterwarnings("ignore")

import mlflow  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

IS_3 = not mlflow.__version__.startswith("2.")
TRACKING = f"file://{FOLDER}/runs"
mlflow.set_tracking_uri(TRACKING)
mlflow.set_registry_uri(URL)
client = MlflowClient()


def step(name):
    print(f"passed: {name}", flush=True)


def same(found, expected):
    if found != expected:
        sys.exit(f"found    {found!r}\nexpected {expected!r}")


def refused(code, call, *arguments, said="", **named):
    """Asserts that a call raises an MlflowException with this code."""
    try:
        found = call(*arguments, **named)
    except MlflowException as error:
        same(error.error_code, code)
        if said not in str(error):
            sys.exit(f"{error} does not say {said!r}")
        return
    sys.exit(f"{call.__name__}{arguments} was not refused with {code}, but returned {found!r}")


def saved(name):
    """Returns a folder that looks like a saved model."""
    folder = FOLDER / name
    folder.mkdir()
    (folder / "MLmodel").write_text(f"artifact_path: model\nflavors: {{}}\nmodel_uuid: '{name}'\n")
    return folder


def api(url, method, path, body=None):
    """Calls the registry's own API."""
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers, method=method)) as answer:
        return json.load(answer)


def contents(folder):
    """Returns the bytes of all files of a folder by path, without the file that the client adds to a model."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    files.pop("registered_model_meta", None)
    return files


def names(found):
    return [item.name for item in found]


def numbers(found):
    return [int(item.version) for item in found]


# ---- registered models
detector = client.create_registered_model("detector", {"team": "vision", "n": 5}, "finds cats")
same((detector.name, detector.description, detector.tags), ("detector", "finds cats", {"team": "vision", "n": "5"}))
same((detector.latest_versions, detector.aliases), ([], {}))
same(detector.creation_timestamp, detector.last_updated_timestamp)
same(client.get_registered_model("detector").tags, detector.tags)
refused("RESOURCE_ALREADY_EXISTS", client.create_registered_model, "detector", said="(name=detector) already exists")
refused("RESOURCE_DOES_NOT_EXIST", client.get_registered_model, "nothing", said="name=nothing not found")
refused("INVALID_PARAMETER_VALUE", client.create_registered_model, "")
for name in ["a/b", "a:b", "  "]:
    refused("INVALID_PARAMETER_VALUE", client.create_registered_model, name)
step("create_registered_model, get_registered_model")

same(client.update_registered_model("detector", "finds dogs").description, "finds dogs")
client.set_registered_model_tag("detector", "team", "pets")
client.set_registered_model_tag("detector", "a b/c.d:e-f_g", "é\n" * 3)
client.delete_registered_model_tag("detector", "n")
client.delete_registered_model_tag("detector", "absent")
same(client.get_registered_model("detector").tags, {"team": "pets", "a b/c.d:e-f_g": "é\né\né\n"})
client.set_registered_model_tag("detector", "large", "界" * 100_000)
same(client.get_registered_model("detector").tags["large"], "界" * 100_000)
refused("INVALID_PARAMETER_VALUE", client.set_registered_model_tag, "detector", "large", "x" * 100_001)
refused("INVALID_PARAMETER_VALUE", client.set_registered_model_tag, "detector", "a//b", "x")
client.delete_registered_model_tag("detector", "large")
before = client.get_registered_model("detector").last_updated_timestamp
client.set_registered_model_tag("detector", "n", "1")
same(client.get_registered_model("detector").last_updated_timestamp, before)
step("update_registered_model, set_registered_model_tag, delete_registered_model_tag")

# ---- versions
with mlflow.start_run() as run:
    mlflow.log_artifacts(str(saved("logged")), "model")
RUN = run.info.run_id
first = client.create_model_version(
    "detector", f"runs:/{RUN}/model", RUN, {"eval": 0.5}, f"http://runs/{RUN}", "the first", await_creation_for=0
)
same((int(first.version), first.current_stage, first.status), (1, "None", "READY"))
same((first.source, first.run_id, first.run_link), (f"runs:/{RUN}/model", RUN, f"http://runs/{RUN}"))
same((first.description, first.tags, first.aliases), ("the first", {"eval": "0.5"}, []))
bare = client.create_model_version("detector", "s3://bucket/detector/2", await_creation_for=0)
same((int(bare.version), bare.description, bare.run_id, bare.run_link, bare.tags), (2, "", "", "", {}))
same(client.get_model_version("detector", 1).source, first.source)
same(client.get_model_version_download_uri("detector", "1"), first.source)
same(client.get_model_version_download_uri("detector", "2"), "s3://bucket/detector/2")
refused("RESOURCE_DOES_NOT_EXIST", client.get_model_version, "detector", "9", said="name=detector, version=9) not found")
refused("INVALID_PARAMETER_VALUE", client.get_model_version, "detector", "latest")
refused("RESOURCE_DOES_NOT_EXIST", client.create_model_version, "nothing", "s3://b/x", await_creation_for=0)
refused("INVALID_PARAMETER_VALUE", client.create_model_version, "detector", "", await_creation_for=0)
refused("INVALID_PARAMETER_VALUE", client.create_model_version, "detector", "s3://b/../x", await_creation_for=0)
step("create_model_version, get_model_version, get_model_version_download_uri")

same(client.update_model_version("detector", "2", "the second").description, "the second")
client.set_model_version_tag("detector", "2", "eval", "0.7")
client.set_model_version_tag("detector", "2", "gone", "")
client.delete_model_version_tag("detector", "2", "gone")
client.delete_model_version_tag("detector", "2", "absent")
second = client.get_model_version("detector", "2")
same((second.description, second.tags), ("the second", {"eval": "0.7"}))
refused("RESOURCE_DOES_NOT_EXIST", client.set_model_version_tag, "detector", "9", "k", "v")
step("update_model_version, set_model_version_tag, delete_model_version_tag")

# ---- aliases
client.set_registered_model_alias("detector", "champion", "1")
same(int(client.get_model_version_by_alias("detector", "champion").version), 1)
client.set_registered_model_alias("detector", "champion", 2)
same(client.get_model_version("detector", "2").aliases, ["champion"])
same({alias: int(number) for alias, number in client.get_registered_model("detector").aliases.items()}, {"champion": 2})
for alias in ["latest", "v1", "V2", "a b", "x" * 256]:
    refused("INVALID_PARAMETER_VALUE", client.set_registered_model_alias, "detector", alias, "1")
refused("RESOURCE_DOES_NOT_EXIST", client.set_registered_model_alias, "detector", "champion", "9")
refused("INVALID_PARAMETER_VALUE", client.get_model_version_by_alias, "detector", "none", said="alias none not found")
client.delete_registered_model_alias("detector", "champion")
client.delete_registered_model_alias("detector", "champion")
refused("INVALID_PARAMETER_VALUE", client.get_model_version_by_alias, "detector", "champion")
same(int(client.get_model_version_by_alias("detector", "latest").version), 2)
client.set_registered_model_alias("detector", "champion", "2")
step("set_registered_model_alias, get_model_version_by_alias, delete_registered_model_alias")

# ---- stages
moved = client.transition_model_version_stage("detector", "1", "staging")
same(moved.current_stage, "Staging")
client.transition_model_version_stage("detector", "1", "Production")
client.transition_model_version_stage("detector", "2", "Production", archive_existing_versions=True)
stages = {int(version.version): version.current_stage for version in client.search_model_versions("name = 'detector'")}
same(stages, {1: "Archived", 2: "Production"})
client.transition_model_version_stage("detector", "1", "Production")
same(client.get_model_version("detector", "2").current_stage, "Staging")
same(numbers(client.get_latest_versions("detector", ["Production"])), [1])
same(sorted(numbers(client.get_latest_versions("detector"))), [1, 2])
same(numbers(client.get_latest_versions("detector", ["archived"])), [])
same(int(client.get_model_version_by_alias("detector", "production").version), 1)
refused("INVALID_PARAMETER_VALUE", client.transition_model_version_stage, "detector", "1", "Live", said="must be one of")
refused("RESOURCE_DOES_NOT_EXIST", client.transition_model_version_stage, "detector", "9", "Staging")
same({int(v.version) for v in client.get_registered_model("detector").latest_versions}, {1, 2})
same(client.get_model_version_stages("detector", "1"), ["None", "Staging", "Production", "Archived"])
step("transition_model_version_stage, get_latest_versions")

# ---- copies, and models of a local tracking store
copy = client.copy_model_version("models:/detector/1", "copy")
same((copy.name, int(copy.version), copy.source, copy.run_id), ("copy", 1, "models:/detector/1", RUN))
same((copy.tags, copy.description), ({"eval": "0.5"}, "the first"))
again = client.copy_model_version("models:/copy/1", "copy of a copy")
same(client.get_model_version_download_uri("copy of a copy", again.version), first.source)
by_alias = client.copy_model_version("models:/detector@champion", "copy")
same((int(by_alias.version), by_alias.source), (2, "models:/detector/2"))
# The client wraps the server's error.
refused("INTERNAL_ERROR", client.copy_model_version, "models:/detector/9", "copy", said="version=9) not found")
step("copy_model_version")

registered = mlflow.register_model(f"runs:/{RUN}/model", "local", tags={"by": "run"})
same((int(registered.version), registered.run_id, registered.tags), (1, RUN, {"by": "run"}))
where = client.get_model_version_download_uri("local", "1")
same((mlflow.artifacts.list_artifacts(where) or [])[0].path.endswith("MLmodel"), True)
registered = mlflow.register_model((FOLDER / "logged").as_uri(), "local")
same((int(registered.version), registered.source), (2, (FOLDER / "logged").as_uri()))
downloaded = mlflow.artifacts.download_artifacts("models:/local/1")
same((Path(downloaded) / "MLmodel").is_file(), True)
step("register_model from a local run and a local folder, download_artifacts models:/local/1")

if IS_3:
    logged = client.create_logged_model("0", name="logged")
    client.log_model_artifacts(logged.model_id, str(FOLDER / "logged"))
    client.finalize_logged_model(logged.model_id, "READY")
    registered = mlflow.register_model(logged.model_uri, "logged")
    same((int(registered.version), registered.source), (1, logged.model_uri))
    same(client.get_model_version_download_uri("logged", "1"), logged.model_uri)
    step("register_model of a logged model models:/m-…")

# ---- files in the artifact store
published = saved("published")
(published / "data" / "deep dir").mkdir(parents=True)
(published / "data" / "deep dir" / "\u00fc 100%.bin").write_bytes(bytes(range(256)) * 8_000)
(published / "data" / "empty").write_bytes(b"")
command = [os.environ["REGISTRY_TEST_BINARY"], "publish", "published", str(published), "--version", "first", "--url", URL]
subprocess.run(command, check=True, capture_output=True, env=os.environ | {"CAIA_REGISTRY_API_KEY": KEY})
client.transition_model_version_stage("published", "1", "Production")
for uri in ["models:/published/1", "models:/published@production", "models:/published/Production", "models:/published/latest"]:
    same(contents(mlflow.artifacts.download_artifacts(uri)), contents(published))
version = client.get_model_version("published", "1")
same((version.source.startswith(URL + "/"), version.tags), (True, {"registry.label": "first"}))
same(contents(mlflow.artifacts.download_artifacts(version.source)), contents(published))
listed = mlflow.artifacts.list_artifacts("models:/published/1")
same([(item.path, item.is_dir) for item in listed], [("MLmodel", False), ("data", True)])
one = mlflow.artifacts.download_artifacts("models:/published/1/data/deep dir")
same(len(contents(one)["\u00fc 100%.bin"]), 2_048_000)
refused("INTERNAL_ERROR", mlflow.artifacts.download_artifacts, "models:/published/1/none", said="has no file")
client.copy_model_version("models:/published/1", "copied")
client.transition_model_version_stage("published", "1", "None")
client.delete_model_version("published", "1")
same(contents(mlflow.artifacts.download_artifacts("models:/copied/1")), contents(published))
step("download_artifacts of a version that `registry publish` registered, and of its copy")

# ---- what other APIs register
api(URL, "POST", "/v1/models/org%2Fmodel/versions", {"artifact_uri": "s3://b/org", "tags": {"only": "here"}})
api(URL, "POST", "/v1/models/a:b/versions", {"artifact_uri": "s3://b/ab", "tags": {"only": "here"}})
api(URL, "POST", "/v1/models/labelled/versions", {"artifact_uri": "s3://b/l", "label": "v1.0", "tags": {"only": "here"}})
same(client.get_model_version("labelled", "1").tags, {"registry.label": "v1.0", "only": "here"})
same([v.name for v in client.search_model_versions("tags.only = 'here'")], ["labelled"])
found = names(client.search_registered_models(max_results=1000))
same([name for name in found if name in ("org/model", "a:b", "labelled")], ["labelled"])
for name in ["org/model", "a:b"]:
    refused("INVALID_PARAMETER_VALUE", client.get_registered_model, name)
    refused("INVALID_PARAMETER_VALUE", client.get_model_version, name, "1")
step("models with / or : in their names, and labels that are no numbers")

# ---- the rules of the registry
strict = MlflowClient(registry_uri=STRICT_URL, tracking_uri=TRACKING)
strict.create_registered_model("guarded")
for number in [1, 2]:
    strict.create_model_version("guarded", f"s3://b/{number}", await_creation_for=0)
said = 'needs scores of the suite "smoke"'
refused("RESOURCE_CONFLICT", strict.transition_model_version_stage, "guarded", "1", "Production", said=said)
refused("RESOURCE_CONFLICT", strict.set_registered_model_alias, "guarded", "production", "1", said=said)
same(strict.get_model_version("guarded", "1").current_stage, "None")
api(STRICT_URL, "POST", "/v1/models/guarded/versions/1/scores", {"suite": "smoke", "metrics": {"score": 0.5}})
same(strict.transition_model_version_stage("guarded", "1", "Production").current_stage, "Production")
refused("RESOURCE_CONFLICT", strict.transition_model_version_stage, "guarded", "2", "Production", said=said)
refused("RESOURCE_CONFLICT", strict.delete_model_version, "guarded", "1", said="in production")
refused("RESOURCE_CONFLICT", strict.delete_registered_model, "guarded", said="in production")
strict.delete_model_version("guarded", "2")
strict.delete_registered_model_alias("guarded", "production")
same(strict.get_model_version("guarded", "1").current_stage, "Staging")
strict.delete_registered_model("guarded")
refused("RESOURCE_DOES_NOT_EXIST", strict.get_registered_model, "guarded")
step("promotions that the gate refuses, deletes of what is in production")

# ---- searches
for number in range(3):
    client.create_registered_model(f"many-{number}", {"even": str(number % 2 == 0)})
same(names(client.search_registered_models("name LIKE 'many-%'")), ["many-0", "many-1", "many-2"])
same(names(client.search_registered_models("name ILIKE 'MANY-%' AND tags.even = 'True'", order_by=["name DESC"])), ["many-2", "many-0"])
page = client.search_registered_models("name LIKE 'many-%'", max_results=2)
same((names(page), bool(page.token)), (["many-0", "many-1"], True))
page = client.search_registered_models("name LIKE 'many-%'", max_results=2, page_token=page.token)
same((names(page), bool(page.token)), (["many-2"], False))
same(names(client.search_registered_models("name = 'nothing'")), [])
same(names(client.search_registered_models("tags.`a b/c.d:e-f_g` LIKE 'é%'")), ["detector"])
found = client.search_registered_models("name = 'detector'")[0]
same((found.description, {k: int(v) for k, v in found.aliases.items()}), ("finds dogs", {"champion": 2}))
same(numbers(client.search_model_versions("name = 'detector'", order_by=["version_number ASC"])), [1, 2])
same(numbers(client.search_model_versions(f"run_id = '{RUN}' AND name IN ('detector', 'local')", order_by=["name ASC"])), [1, 1])
same(numbers(client.search_model_versions("version_number > 1 AND name = 'detector'")), [2])
same(numbers(client.search_model_versions("source_path = 's3://bucket/detector/2'", order_by=["creation_timestamp ASC"]))[:1], [2])
same(numbers(client.search_model_versions("name = 'detector' AND tags.eval = '0.7'")), [2])
for bad in ["name == 'a'", "nonsense = 'a'", "name = a", "(name = 'a')", "name = 'a' OR name = 'b'"]:
    refused("INVALID_PARAMETER_VALUE", client.search_registered_models, bad)
    refused("INVALID_PARAMETER_VALUE", client.search_model_versions, bad)
refused("INVALID_PARAMETER_VALUE", client.search_registered_models, order_by=["nonsense"])
refused("INVALID_PARAMETER_VALUE", client.search_registered_models, page_token="nonsense")
step("search_registered_models, search_model_versions")

# ---- prompts
prompts = mlflow.genai if IS_3 else mlflow
prompt = prompts.register_prompt("greeting", "Hello {{name}}", commit_message="one", tags={"lang": "en"})
same((int(prompt.version), prompt.template), (1, "Hello {{name}}"))
same(int(prompts.register_prompt("greeting", "Hi {{name}}").version), 2)
set_alias = prompts.set_prompt_alias
set_alias("greeting", alias="live", version=1)
same(prompts.load_prompt("prompts:/greeting@live").format(name="Ann"), "Hello Ann")
same(prompts.load_prompt("prompts:/greeting/2").template, "Hi {{name}}")
same("greeting" in names(client.search_registered_models()), False)
refused("RESOURCE_ALREADY_EXISTS", client.create_registered_model, "greeting")
prompts.delete_prompt_alias("greeting", alias="live")
if IS_3:
    same([prompt.name for prompt in mlflow.genai.search_prompts("name = 'greeting'")], ["greeting"])
    client.set_prompt_tag("greeting", "team", "nlp")
    client.delete_prompt_tag("greeting", "team")
    client.set_prompt_version_tag("greeting", "2", "reviewed", "yes")
    client.delete_prompt_version_tag("greeting", "2", "reviewed")
    same(len(client.search_prompt_versions("greeting")), 2)
    same([client.get_prompt("greeting").name, client.get_prompt("nothing")], ["greeting", None])
    refused("RESOURCE_DOES_NOT_EXIST", client.get_prompt_version, "greeting", 9)
    client.create_prompt("chat", "a talk", {"lang": "en"})
    chat = client.create_prompt_version("chat", [{"role": "user", "content": "Hi {{name}}"}], "one", {"k": "v"})
    same((client.get_prompt("chat").description, client.get_prompt("chat").tags), ("a talk", {"lang": "en"}))
    same(client.get_prompt_version("chat", chat.version).template, [{"role": "user", "content": "Hi {{name}}"}])
    client.set_prompt_alias("chat", "live", 1)
    same(client.get_prompt_version_by_alias("chat", "live").version, 1)
    client.delete_prompt_alias("chat", "live")
    client.link_prompt_version_to_run(RUN, "prompts:/chat/1")
    client.link_prompt_version_to_model("chat", "1", logged.model_id)
    refused("RESOURCE_ALREADY_EXISTS", client.create_prompt, "copy")
    client.delete_prompt_version("greeting", "1")
    client.delete_prompt_version("greeting", "2")
    client.delete_prompt("greeting")
    same(len(mlflow.genai.search_prompts("name = 'greeting'")), 0)
else:
    mlflow.delete_prompt("greeting", 1)
step("register_prompt, load_prompt, set_prompt_alias, search_prompts, delete_prompt")

# ---- rename and delete
client.rename_registered_model("detector", "finder")
renamed = client.get_registered_model("finder")
same((renamed.name, {k: int(v) for k, v in renamed.aliases.items()}), ("finder", {"champion": 2}))
same(client.get_model_version("finder", "1").current_stage, "Production")
refused("RESOURCE_DOES_NOT_EXIST", client.get_registered_model, "detector")
refused("RESOURCE_ALREADY_EXISTS", client.rename_registered_model, "finder", "copy")
client.delete_model_version("finder", "2")
refused("RESOURCE_DOES_NOT_EXIST", client.get_model_version, "finder", "2")
same(client.get_registered_model("finder").aliases, {})
same(int(client.create_model_version("finder", "s3://b/3", await_creation_for=0).version), 3)
refused("RESOURCE_DOES_NOT_EXIST", client.delete_model_version, "finder", "2")
client.delete_registered_model("finder")
refused("RESOURCE_DOES_NOT_EXIST", client.delete_registered_model, "finder")
client.create_registered_model("finder")
same(int(client.create_model_version("finder", "s3://b/1", await_creation_for=0).version), 1)
step("rename_registered_model, delete_model_version, delete_registered_model")

# ---- webhooks
if hasattr(client, "create_webhook"):
    hook = client.create_webhook("hook", "https://1.1.1.1/x", ["model_version.created", "prompt_tag.set"], "d", "s")
    same((hook.name, hook.url, hook.description, str(hook.status)), ("hook", "https://1.1.1.1/x", "d", "ACTIVE"))
    same([str(event) for event in hook.events], ["model_version.created", "prompt_tag.set"])
    same(client.get_webhook(hook.webhook_id).events, hook.events)
    changed = client.update_webhook(hook.webhook_id, name="other", events=["registered_model.created"])
    same((changed.name, [str(event) for event in changed.events]), ("other", ["registered_model.created"]))
    client.create_webhook("second", "https://1.1.1.1/y", ["registered_model.created"])
    page = client.list_webhooks(max_results=1)
    same([names(page), names(client.list_webhooks(page_token=page.token))], [["second"], ["other"]])
    refused("INVALID_PARAMETER_VALUE", client.create_webhook, "h", "https://127.0.0.1/", ["model_version.created"])
    client.delete_webhook(hook.webhook_id)
    refused("RESOURCE_DOES_NOT_EXIST", client.get_webhook, hook.webhook_id, said="not found")
    step("create_webhook, get_webhook, update_webhook, list_webhooks, delete_webhook")

# ---- keys
os.environ.pop("MLFLOW_TRACKING_TOKEN", None)
in_url = URL.replace("://", f"://anyone:{KEY}@")
same(MlflowClient(registry_uri=in_url, tracking_uri=TRACKING).get_registered_model("finder").name, "finder")
os.environ |= {"MLFLOW_TRACKING_USERNAME": "anyone", "MLFLOW_TRACKING_PASSWORD": KEY}
same(MlflowClient(registry_uri=URL, tracking_uri=TRACKING).get_registered_model("finder").name, "finder")
os.environ["MLFLOW_TRACKING_PASSWORD"] = "wrong"
refused("UNAUTHENTICATED", MlflowClient(registry_uri=URL, tracking_uri=TRACKING).get_registered_model, "finder")
step("a password in the URL, user name and password, a wrong password")
print(f"mlflow {mlflow.__version__}: the journey is complete")
