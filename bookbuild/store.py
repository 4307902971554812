"""What was executed, filed under what it was computed from.

`<folder>/<slug>/<key>.ipynb` is an executed notebook. `<key>.json` is what a chapter gave without
one: its records and claims, the same that the notebook of this key would have. Same key, same
outputs: the key covers code cells, parameters, the library files that the notebook runs, the files
that it can read, the lock file, Python and the data packages. Prose is not in it. Nothing is ever
changed in place, and each file carries a digest of its text: what the store gives is a whole,
successful execution. A damaged file counts as none.
"""

import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

from bnlib.parameters import Parameter
from bnlib.results import read_outputs
from bookbuild import notebook as nb
from bookbuild import sources

FOLDER = "_build/executed"
STAMP = "bnlib"  # where a stored file's metadata keeps key, parameters and seconds
NOTEBOOK, DIRECT = ".ipynb", ".json"
INJECTED = "injected-parameters"
_NO_DIGEST = "0" * 64
_TAGS_THAT_MATTER = {"parameters", INJECTED, "raises-exception", "skip-execution"}


class Basis(NamedTuple):
    """What a key covers besides the parameters: the same for every run of a notebook.

    cells: source and tags that matter, by code cell. library: digests by file of the package.
    environment: versions. beside: digests by path of what the code can read beside the notebook.
    """

    package: str
    cells: list[list[Any]]
    library: dict[str, str]
    environment: dict[str, str | None]
    beside: dict[str, str | None]


def basis(path: Path, notebook: Any, *, root: Path, package: str = "bnlib") -> Basis:
    """The basis of the notebook that was read from path. Raises ValueError as `sources.library`."""
    cells = nb.code_cells(notebook)
    code = [cell.source for cell in cells]
    files = sources.beside(path.parent, code)
    modules = [file.read_text("utf-8", "replace") for file in files if file.suffix == ".py"]
    return Basis(
        package,
        [[cell.source, sorted(_TAGS_THAT_MATTER & set(nb.tags(cell)))] for cell in cells],
        sources.library(package, [*code, *modules]),
        sources.environment(root),
        {str(file): sources.digest(file) for file in files},
    )


def keys(
    folder: Path, declared: Mapping[str, Parameter], made_of: Basis
) -> Callable[[Mapping[str, Any]], tuple[str, dict[str, str | None]]]:
    """The function that takes effective overrides to their key, and to digests of all files in it.

    folder: of the notebook; a parameter may name a file there, whose content is in the key.
    A plan has many runs of one notebook, so all but their parameters is hashed here, once.
    """
    shared = {"format": 2, **made_of._asdict()}  # raise the format when what is stored changes
    package, beside = shared.pop("package"), shared.pop("beside")
    files = {f"{package}/{name}": digest for name, digest in made_of.library.items()} | beside
    shared |= {"beside": {os.path.relpath(p, folder): beside[p] for p in beside}} if beside else {}
    # "parameters" sorts behind the other names: their text is a prefix of the whole.
    begun = sha256(f'{_text(shared)[:-1]},"parameters":'.encode())
    defaults = {name: parameter.default for name, parameter in declared.items()}

    def of(overrides: Mapping[str, Any]) -> tuple[str, dict[str, str | None]]:
        whole, values = begun.copy(), list({**defaults, **overrides}.values())
        whole.update(f"{_text(overrides)}}}".encode())
        data = {str(path): sources.digest(path) for path in sources.named(folder, values)}
        if data:
            whole.update(_text(list(data.values())).encode())
        return whole.hexdigest()[:32], files | data if data else files

    return of


def effective(declared: Mapping[str, Parameter], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that differ from the declared defaults, ints made floats where declared so."""
    cast = {
        name: float(value) if declared[name].kind == "float" else value
        for name, value in overrides.items()
    }
    return {name: value for name, value in cast.items() if value != declared[name].default}


def path_of(folder: Path, slug: str, key: str, kind: str = NOTEBOOK) -> Path:
    """Where an execution lies, or will lie; kind: `NOTEBOOK` or `DIRECT`."""
    return folder / slug / f"{key}{kind}"


def get(folder: Path, slug: str, key: str) -> nbformat.NotebookNode | None:
    """The stored executed notebook, None where there is none that is whole."""
    text = _read(path_of(folder, slug, key), key)
    # It was valid when it was written, and is the same: no need to check it against the schema.
    return None if text is None else nbformat.v4.reads(text)


def holds(folder: Path, slug: str, key: str) -> bool:
    """Whether `get` would give a notebook, told without making one."""
    return _read(path_of(folder, slug, key), key) is not None


class Measured(NamedTuple):
    """What a run measured. records, claims: as `bnlib.results.collect` gives them."""

    records: dict[str, dict]
    claims: dict[str, dict]
    seconds: float | None


def measured(folder: Path, slug: str, key: str) -> Measured | None:
    """Of the executed notebook, else of a direct run; None where the store has neither."""
    if executed := get(folder, slug, key):
        return Measured(*read_outputs(executed), executed.metadata[STAMP].get("seconds"))
    text = _read(path_of(folder, slug, key, DIRECT), key)
    if text is None:
        return None
    content = json.loads(text)
    return Measured(content["records"], content["claims"], content["metadata"][STAMP]["seconds"])


def stamp(content: bytes) -> dict[str, Any]:
    """Key, parameters and seconds of a stored file, whole or not; empty where it has none."""
    try:
        return json.loads(content)["metadata"][STAMP] | {}
    except (ValueError, LookupError, TypeError):  # damage looks like anything
        return {}


def _read(path: Path, key: str) -> str | None:
    """The text of a stored file, if every byte of it is as it was put under this key."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    put = stamp(content)
    whole = content.replace(_entry(put.get("digest", "")), _entry(_NO_DIGEST))
    if put.get("key") == key and put.get("digest") == sha256(whole).hexdigest():
        return content.decode()
    logging.getLogger(__name__).warning("%s is damaged; it counts as none", path)
    return None


def _entry(digest: str) -> bytes:
    return f'"digest": "{digest}"'.encode()  # as a string of an output it would have backslashes


def text_of(key: str, notebook: Any, **facts: Any) -> str:
    """The file of an executed notebook; facts: parameters, seconds, ..."""
    outputs = [cell.outputs for cell in nb.code_cells(notebook)]
    head = {"key": key, "outputs": sha256(_text(outputs).encode()).hexdigest()}
    notebook.metadata[STAMP] = head | facts | {"digest": _NO_DIGEST}
    return _sealed(nbformat.writes(notebook))


def direct_text(key: str, records: dict, claims: dict, **facts: Any) -> str:
    """The file of a direct run."""
    head = {"key": key, **facts, "digest": _NO_DIGEST}
    content = {"metadata": {STAMP: head}, "records": records, "claims": claims}
    return _sealed(json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False))


def _sealed(text: str) -> str:
    whole = f"{text}\n".encode()
    return whole.replace(_entry(_NO_DIGEST), _entry(sha256(whole).hexdigest())).decode()


def prepare(folder: Path) -> None:
    """Raise OSError unless results can be put there."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def write_atomically(target: Path, text: str) -> None:
    """Write text so that a reader, or a crash, meets the old file or the new one, never a part."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _text(value: Any) -> str:
    """Raises ValueError for NaN and infinity, which are no JSON."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
