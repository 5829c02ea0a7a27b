"""Publishes a real model with `registry publish`, pulls it with `registry pull` and with an unmodified huggingface_hub, and
compares each byte.

    python journey.py REGISTRY FOLDER

REGISTRY is the program, and FOLDER has the files of the model. HF_ENDPOINT, HF_TOKEN and HF_HOME are set. Runs with
huggingface_hub 0.36 and later, and with transformers if it is installed.
"""

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import huggingface_hub as hub
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get

URL = os.environ["HF_ENDPOINT"]
KEY = os.environ["HF_TOKEN"]
API = HfApi()


def request(method, path, body=None, headers=None):
    headers = {"X-API-Key": KEY, **(headers or {})}
    if isinstance(body, (dict, list)):
        body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    with urllib.request.urlopen(urllib.request.Request(URL + path, body, headers, method=method)) as answer:
        return answer.read()


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def digests(folder):
    """Returns the digest of each file by its path."""
    files = (file for file in Path(folder).rglob("*") if file.is_file())
    relative = ((file.relative_to(folder).as_posix(), file) for file in files)
    return {path: sha256(file) for path, file in relative if not path.startswith(".cache/")}


def split(folder):
    """Splits the weights into shards with an index, as large models have them."""
    whole = Path(folder, "model.safetensors")
    data = whole.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    tensors = {name: value for name, value in json.loads(data[8 : 8 + length]).items() if name != "__metadata__"}
    names, index = sorted(tensors), {}
    half = len(names) // 2
    for number, part in enumerate([names[:half], names[half:]], 1):
        header, body = {}, b""
        for name in part:
            start, end = tensors[name]["data_offsets"]
            header[name] = {**tensors[name], "data_offsets": [len(body), len(body) + end - start]}
            body += data[8 + length + start : 8 + length + end]
        file = f"model-{number:05}-of-00002.safetensors"
        head = json.dumps(header).encode()
        Path(folder, file).write_bytes(struct.pack("<Q", len(head)) + head + body)
        index.update(dict.fromkeys(part, file))
    Path(folder, "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    whole.unlink()


def registry(*arguments):
    """Runs a command of the registry's own program, and returns what it prints."""
    environment = {**os.environ, "CAIA_REGISTRY_URL": URL, "CAIA_REGISTRY_API_KEY": KEY}
    return subprocess.run([sys.argv[1], *arguments], env=environment, check=True, stdout=subprocess.PIPE).stdout


def publish(name, label, folder):
    """Publishes a folder, and returns the version."""
    return json.loads(registry("publish", name, folder, "--version", label))


def gets():
    """Returns how many GETs of files the server has answered."""
    lines = request("GET", "/metrics").decode().splitlines()
    counted = [line for line in lines if "/resolve/" in line and 'method="GET"' in line and "_total{" in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in counted)


def raises(error, call, *texts):
    try:
        call()
    except error as raised:
        for text in texts:
            assert text in str(raised), f"{text!r} is not in {raised}"
        return raised
    raise AssertionError(f"no {error.__name__} was raised")


def pulls_whole_versions(name, folder, version):
    expected = digests(folder)
    for reference in (f"{name}:v1", f"{name}@champion", f"{name}#1"):
        pulled = tempfile.mkdtemp()
        registry("pull", reference, "--to", pulled)
        assert digests(pulled) == expected, reference
    for revision in (None, "main", "v1", "champion", version["revision"]):
        pulled = snapshot_download(name, revision=revision, cache_dir=tempfile.mkdtemp())
        assert digests(pulled) == expected, revision
        assert Path(pulled).name == version["revision"], pulled
    local = tempfile.mkdtemp()
    snapshot_download(name, local_dir=local, allow_patterns=["*.json"])
    assert digests(local) == {path: digest for path, digest in expected.items() if path.endswith(".json")}


def downloads_once(name, folder):
    cache = tempfile.mkdtemp()
    before = gets()
    first = hf_hub_download(name, "tokenizer.json", cache_dir=cache)
    assert gets() == before + 1
    again = hf_hub_download(name, "tokenizer.json", cache_dir=cache)
    assert gets() == before + 1, "the second download was a GET"
    assert first == again and sha256(first) == sha256(Path(folder, "tokenizer.json"))


def resumes(name, folder):
    """After a lost connection, clients go on with what they have: that stays as it is, and only the rest is fetched."""
    expected = Path(folder, "vocab.txt").read_bytes()
    with tempfile.TemporaryFile() as file:
        file.write(b"?" * 1000)
        headers = {"authorization": f"Bearer {KEY}"}
        url = hub.hf_hub_url(name, "vocab.txt")
        http_get(url, file, resume_size=1000, headers=headers, expected_size=len(expected))
        file.seek(0)
        assert file.read() == b"?" * 1000 + expected[1000:], "the download did not go on where it was"


def tokenizes(name, folder):
    try:
        from transformers import AutoTokenizer
    except ImportError:
        return
    text = "A registered model is pulled by its name."
    pulled = AutoTokenizer.from_pretrained(name, revision="champion")
    assert pulled(text)["input_ids"] == AutoTokenizer.from_pretrained(folder)(text)["input_ids"]


def describes(name, folder, version):
    expected = digests(folder)
    info = API.model_info(name)
    assert re.fullmatch("[0-9a-f]{40}", info.sha) and info.sha == version["revision"]
    assert info.id == name and info.author == "org" and info.pipeline_tag == "sentence-similarity"
    assert {"embedding", "team:nlp"} <= set(info.tags), info.tags
    assert sorted(file.rfilename for file in info.siblings) == sorted(expected)
    siblings = API.model_info(name, revision="v1", files_metadata=True).siblings
    assert {file.rfilename: file.lfs["sha256"] for file in siblings} == expected
    assert all(file.size == Path(folder, file.rfilename).stat().st_size for file in siblings)
    assert sorted(API.list_repo_files(name)) == sorted(expected)
    top = {entry.path: type(entry).__name__ for entry in API.list_repo_tree(name)}
    assert top["1_Pooling"] == "RepoFolder" and top["config.json"] == "RepoFile"
    inner = [entry.path for entry in API.list_repo_tree(name, "1_Pooling", revision="champion", expand=True)]
    assert inner == ["1_Pooling/config.json"], inner
    paths = API.get_paths_info(name, ["config.json", "1_Pooling", "absent"], expand=True)
    assert [path.path for path in paths] == ["config.json", "1_Pooling"]
    assert paths[0].lfs["sha256"] == expected["config.json"] and paths[0].last_commit["title"] == "version v1"
    refs = API.list_repo_refs(name)
    assert {branch.name: branch.target_commit for branch in refs.branches} == {
        "main": version["revision"],
        "champion": version["revision"],
    }
    assert [(tag.ref, tag.target_commit) for tag in refs.tags] == [("refs/tags/v1", version["revision"])]
    commits = API.list_repo_commits(name)
    assert [(commit.commit_id, commit.title) for commit in commits] == [(version["revision"], "version v1")]
    meta = hub.get_hf_file_metadata(hub.hf_hub_url(name, "config.json"))
    assert (meta.commit_hash, meta.etag) == (version["revision"], expected["config.json"])
    assert meta.size == Path(folder, "config.json").stat().st_size
    assert API.get_safetensors_metadata(name).weight_map


def reads_as_files(name, folder):
    files = HfFileSystem()
    assert f"{name}/config.json" in files.ls(name, detail=False)
    assert files.glob(f"{name}/**/config.json") == [f"{name}/1_Pooling/config.json", f"{name}/config.json"]
    assert files.isdir(f"{name}/1_Pooling") and not files.exists(f"{name}/absent")
    assert files.info(f"{name}/config.json")["size"] == Path(folder, "config.json").stat().st_size
    data = Path(folder, "vocab.txt").read_bytes()
    assert files.cat_file(f"{name}/vocab.txt", start=1000, end=2000) == data[1000:2000]
    with files.open(f"{name}@v1/vocab.txt", "rb", block_size=4096) as file:
        file.seek(50_000)
        assert file.read(10) == data[50_000:50_010]
    raises(FileNotFoundError, lambda: files.ls(f"{name}/absent", detail=False))


def lists(name):
    first = name.split("/")[1]
    assert [model.id for model in API.list_models(search=first.upper())] == [name]
    assert name in [model.id for model in API.list_models(author="org", limit=1000)]
    assert [model.id for model in API.list_models(search=first, filter=["team:nlp", "embedding"])] == [name]
    assert list(API.list_models(search=first, filter="team:vision")) == []
    assert list(API.list_models(author="nowhere")) == []
    full = next(iter(API.list_models(search=first, full=True)))
    assert re.fullmatch("[0-9a-f]{40}", full.sha) and full.last_modified
    raises(HfHubHTTPError, lambda: list(API.list_models(sort="last_modified")), "listed by name")


def refuses(name):
    cache = tempfile.mkdtemp()
    pull = lambda file="config.json", repo=name, **more: hf_hub_download(repo, file, cache_dir=cache, **more)
    raises(RepositoryNotFoundError, lambda: API.model_info("org/absent"), "there is no model")
    raises(RepositoryNotFoundError, lambda: pull(repo="org/absent"))
    raises(RepositoryNotFoundError, lambda: API.model_info("v1/absent"), "another API")
    raises(RevisionNotFoundError, lambda: API.model_info(name, revision="absent"), "alias, label or revision")
    raises(RevisionNotFoundError, lambda: pull(revision="absent"))
    raises(RevisionNotFoundError, lambda: snapshot_download(name, revision="0" * 40, cache_dir=cache))
    raises(EntryNotFoundError, lambda: pull("absent.json"), "has no file")
    raises(EntryNotFoundError, lambda: list(API.list_repo_tree(name, "absent")))
    raises(EntryNotFoundError, lambda: list(API.list_repo_tree(name, "config.json")))
    raises(RepositoryNotFoundError, lambda: API.dataset_info("org/absent"), "only models")
    wrong = raises(HfHubHTTPError, lambda: API.model_info(name, token="hf_wrong"), "API key is not valid")
    assert wrong.response.status_code == 401 and not isinstance(wrong, RepositoryNotFoundError)
    raises(GatedRepoError, lambda: API.model_info(name, token=False), "API key is required")
    raises(GatedRepoError, lambda: pull("README.md", token=False))
    assert API.repo_exists(name) and not API.repo_exists("org/absent")
    assert API.revision_exists(name, "v1") and not API.revision_exists(name, "v0")
    assert API.file_exists(name, "config.json") and not API.file_exists(name, "absent")
    API.auth_check(name)
    raises(RepositoryNotFoundError, lambda: API.auth_check("org/absent"))
    assert API.whoami()["auth"]["accessToken"]["role"] == "read"
    raises(HfHubHTTPError, lambda: API.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=name))


def follows_production(name, folder, first):
    other = tempfile.mkdtemp()
    Path(other, "config.json").write_text("{}")
    second = publish(name, "release/2", other)
    quoted = urllib.request.quote(name, safe="")
    assert API.model_info(name).sha == second["revision"], "main is the newest"
    request("PUT", f"/v1/models/{quoted}/aliases/production", {"version": first["number"]})
    assert API.model_info(name).sha == first["revision"], "main is the production version"
    assert API.model_info(name, revision="release/2").sha == second["revision"]
    assert [commit.title for commit in API.list_repo_commits(name, revision="release/2")] == [
        "version release/2",
        "version v1",
    ]
    assert [commit.title for commit in API.list_repo_commits(name)] == ["version v1"]


def says_where_bytes_are(name):
    body = {"label": "far", "artifact_uri": f"s3://bucket/{name}/model.bin", "sha256": "ab" * 32, "size_bytes": 7}
    request("POST", f"/v1/models/{urllib.request.quote(name, safe='')}/versions", body)
    assert API.list_repo_files(name, revision="far") == ["model.bin"]
    cache = tempfile.mkdtemp()
    pull = lambda: hf_hub_download(name, "model.bin", revision="far", cache_dir=cache)
    raises(EntryNotFoundError, pull, f"s3://bucket/{name}/model.bin")
    assert not list(Path(cache).rglob(".no_exist/*")), "a client believes that the file will never be there"


def main():
    line = hub.__version__.split(".")[0]
    name, folder = f"org/minilm-{line}", tempfile.mkdtemp()
    shutil.copytree(sys.argv[2], folder, dirs_exist_ok=True)
    split(folder)
    tags = {"embedding": "", "team": "nlp", "pipeline_tag": "sentence-similarity"}
    request("POST", "/v1/models", {"name": name, "tags": tags})
    version = publish(name, "v1", folder)
    request("PUT", f"/v1/models/{urllib.request.quote(name, safe='')}/aliases/champion", {"version": 1})
    pulls_whole_versions(name, folder, version)
    downloads_once(name, folder)
    resumes(name, folder)
    tokenizes(name, folder)
    describes(name, folder, version)
    reads_as_files(name, folder)
    lists(name)
    refuses(name)
    says_where_bytes_are(f"far-{line}")
    follows_production(name, folder, version)
    print(f"huggingface_hub {hub.__version__}: everything was as expected")


if __name__ == "__main__":
    main()
