"""From `MODULE:AGENT` or `path/file.py:AGENT` on the command line to the agent, with a sentence for all that fails."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from actonce.agent import Agent
from actonce.errors import ActonceError, ConfigError


def load_agent(target: str) -> Agent:
    """Import what `target` names. The current folder, or the file's, is looked in first, as by `python`.

    Raises:
        ConfigError: there is no such module, file or agent, or importing it failed; the message says which and where.
    """
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise ConfigError(f"{target!r} does not name an agent: write MODULE:AGENT or path/file.py:AGENT")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    if not hasattr(module, name):
        raise ConfigError(f"{where} has no {name!r}; {_agents_of(module)}")
    agent = getattr(module, name)
    if not isinstance(agent, Agent):
        raise ConfigError(f"{target} is of type {type(agent).__name__}, not an actonce.Agent; {_agents_of(module)}")
    return agent


def _agents_of(module: ModuleType) -> str:
    names = sorted(name for name, value in vars(module).items() if isinstance(value, Agent))
    return f"its agents are: {', '.join(names)}" if names else "there is no agent in it"


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{name!r} is not the name of a module; a file is written with its .py")
    _look_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"there is no module {error.name!r} in {Path.cwd()} or among the installed ones"
            ) from None
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    _look_in(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses and pickle look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _failed(str(path), error) from error
    return module


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _failed(where: str, error: BaseException) -> ConfigError:
    if isinstance(error, SyntaxError):
        return ConfigError(f"{error.filename or where}, line {error.lineno}: {error.msg}")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    place = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else where
    what = str(error) if isinstance(error, ActonceError) else f"{type(error).__name__}: {error}"
    return ConfigError(f"{place}: {' '.join(what.split())}")


def _is_theirs(filename: str) -> bool:
    """Neither ours, nor generated, nor the import system's: a line that the user can do something about."""
    ours = str(Path(__file__).resolve().parent.parent) + os.sep
    return not filename.startswith(("<", ours)) and filename != importlib.__file__
