"""The example in the README runs as written."""

import re
from pathlib import Path

import actonce_crdt


def test_the_example_runs() -> None:
    readme = Path(actonce_crdt.__file__).resolve().parents[1] / "README.md"
    (example,) = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, str(readme), "exec"), names)
    newcomer, source = names["c"], names["a"]
    assert isinstance(newcomer, actonce_crdt.Document)
    assert isinstance(source, actonce_crdt.Document)
    assert newcomer.digest == source.digest
